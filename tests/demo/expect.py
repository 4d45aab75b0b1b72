"""What a row of the crime list must become, worked out with Python's csv and datetime alone."""

import csv
import datetime
import decimal
import io
import json

PARSE = "%m/%d/%y %H:%M"


def time(text, out):
    try:
        return datetime.datetime.strptime(text, PARSE).strftime(out)
    except ValueError:
        return None


def number(text):
    """Exactly the number that is written, digit for digit; nothing is rounded."""
    text = text.strip()
    return decimal.Decimal(text) if text else None


def record(row):
    """The record, in order, for one row (a dict by column). Numbers are Decimals."""
    return {
        "crime_time": time(row["cdatetime"], "%Y/%m/%d %H:%M:%S"),
        "address": row["address"],
        "district": number(row["district"]),
        "beat": row["beat"].strip(" \t"),
        "grid": number(row["grid"]),
        "description": row["crimedescr"],
        "crime_id": number(row["ucr_ncic_code"]),
        "latitude": number(row["latitude"]),
        "longitude": number(row["longitude"]),
        "location": {"lat": number(row["latitude"]), "lon": number(row["longitude"])},
        "crime_year": time(row["cdatetime"], "%Y"),
        "crime_month": time(row["cdatetime"], "%m"),
        "crime_day": time(row["cdatetime"], "%d"),
    }


def records(text):
    """Every record for a whole file's text (str, read without newline translation)."""
    return [record(row) for row in csv.DictReader(io.StringIO(text, newline=""))]


def parse(data):
    """A record as delivered, numbers as Decimals so that they compare digit for digit."""
    return json.loads(data, parse_float=decimal.Decimal, parse_int=decimal.Decimal)


INTEGERS = ("district", "grid", "crime_id")


def frozen(record):
    """One record as text that is equal exactly when fields, their order, types and values are."""

    def text(value):
        if isinstance(value, decimal.Decimal):
            return {"number": str(value)}
        if isinstance(value, dict):
            return {"object": [[k, text(v)] for k, v in value.items()]}
        if isinstance(value, list):
            return {"array": [text(v) for v in value]}
        return value

    return json.dumps(text(record), ensure_ascii=False)
