"""The crime list: where the file is, the template that shapes it, and what must come out."""

import collections
import io
import os
import pathlib

import expect
import harness
import make_sample

TIME = "%m/%d/%y %H:%M"
TEMPLATE = {
    "crime_time": {"from": "cdatetime", "parse": TIME, "print": "%Y/%m/%d %H:%M:%S"},
    "address": {"from": "address"},
    "district": {"from": "district", "type": "int"},
    "beat": {"from": "beat", "trim": True},
    "grid": {"from": "grid", "type": "int"},
    "description": {"from": "crimedescr"},
    "crime_id": {"from": "ucr_ncic_code", "type": "int"},
    "latitude": {"from": "latitude", "type": "double"},
    "longitude": {"from": "longitude", "type": "double"},
    "location": {
        "lat": {"from": "latitude", "type": "double"},
        "lon": {"from": "longitude", "type": "double"},
    },
    "crime_year": {"from": "cdatetime", "parse": TIME, "print": "%Y"},
    "crime_month": {"from": "cdatetime", "parse": TIME, "print": "%m"},
    "crime_day": {"from": "cdatetime", "parse": TIME, "print": "%d"},
}
SOURCE = {"start_at": "beginning", "format": "csv", "key": "{district}", "record": TEMPLATE}
NAME = "SacramentocrimeJanuary2006.csv"
ROWS = 7584


def published():
    """The file as a city published it, if it is on this machine: TAILRACE_CRIMES names it, or it is
    found in a directory beside the repository. None: only the made-up one is used."""
    named = os.environ.get("TAILRACE_CRIMES")
    found = [pathlib.Path(named)] if named else sorted(harness.ROOT.parent.glob(f"*/data/{NAME}"))
    return found[0] if found else None


def made_up(line_end="\n"):
    out = io.StringIO(newline="")
    make_sample.write(out, line_end=line_end)
    return out.getvalue()


def text(which, line_end="\n"):
    if which == "made up":
        return made_up(line_end)
    return published().read_bytes().decode().replace("\n", line_end)


def wanted(file_text):
    """How often each record must arrive."""
    return collections.Counter(map(expect.frozen, expect.records(file_text)))


def found(data):
    return collections.Counter(expect.frozen(expect.parse(d)) for d in data)
