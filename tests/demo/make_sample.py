"""Writes a made-up file of the shape of a city's crime list for January 2006.

    python3 make_sample.py [ROWS] > crimes.csv

The same seed gives the same bytes. Most rows are plain; some carry what a real export carries now
and then: quoted fields with commas, doubled quotes and line breaks, empty cells, times written in
odd ways, numbers with leading zeros, and a few times that do not exist.
"""

import csv
import random
import sys

ROWS = 7584
SEED = 20060101
HEADER = [
    "cdatetime",
    "address",
    "district",
    "beat",
    "grid",
    "crimedescr",
    "ucr_ncic_code",
    "latitude",
    "longitude",
]

STREETS = [
    "OAK",
    "ELM",
    "RIVER",
    "STATION",
    "MILL",
    "GARDEN",
    "ORCHARD",
    "CANAL",
    "FOUNDRY",
    "CHAPEL",
    "MARKET",
    "HARBOUR",
    "QUARRY",
    "MEADOW",
    "TANNERY",
    "WINDMILL",
    "BRICKYARD",
    "LOCUST",
]
KINDS = ["ST", "AVE", "DR", "WAY", "CT", "BLVD", "LN"]
CRIMES = [
    ("VEHICLE TAKEN W/O OWNER", 2404),
    ("BURGLARY  RESIDENCE", 2204),
    ("BURGLARY-UNSPECIFIED", 2299),
    ("PASSED A BAD CHECK", 2501),
    ("PETTY THEFT/INSIDE", 2308),
    ("VANDALISM-GRAFFITI", 2999),
    ("FORGERY (I)", 2589),
    ("LOST PROPERTY", 7000),
    ("TRAFFIC-ACCIDENT-NON INJURY", 5400),
    ("BATTERY", 1313),
    ("FALSE ALARM", 909),
]
ODD_DESCRIPTIONS = [
    'THEFT, "GRAND", FROM BUILDING',
    'NOTE LEFT:\n"SORRY"',
    "TWO LINES,\r\nONE ROW",
    "CAFÉ WINDOW BROKEN",
    '"',
    "BACK\\SLASH\tAND TAB",
    "",
    " LEADING BLANK",
]
ODD_TIMES = ["01/02/06 04:05", "1/31/06 23:59", "1/1/06  0:00", "1/7/06 9:5", "1/1/69 0:00"]
NOT_TIMES = ["2/30/06 0:00", "1/3/06 24:00", "UNKNOWN", "1/3/06", ""]


def odd_row(r, row):
    """The row with one cell made unusual."""
    which = r.randrange(8)
    if which == 0:
        row[0] = r.choice(ODD_TIMES)
    elif which == 1:
        row[0] = r.choice(NOT_TIMES)
    elif which == 2:
        row[1] = f"{row[1]}, APT \"{r.choice('ABC')}\""
    elif which == 3:
        row[r.choice((2, 4, 6, 7))] = ""
    elif which == 4:
        row[4] = "0" + row[4]
    elif which == 5:
        row[7], row[8] = "38.5", "-121"
    else:
        row[5] = r.choice(ODD_DESCRIPTIONS)
    return row


def rows(n=ROWS, seed=SEED):
    r = random.Random(seed)
    minutes = sorted(r.randrange(31 * 24 * 60) for _ in range(n))
    for minute in minutes:
        day, rest = divmod(minute, 24 * 60)
        district = r.randint(1, 6)
        description, code = r.choice(CRIMES)
        row = [
            f"1/{day + 1}/06 {rest // 60}:{rest % 60:02d}",
            f"{r.randint(1, 9999)} {r.choice(STREETS)} {r.choice(KINDS)}",
            str(district),
            f"{district}{r.choice('ABC')}".ljust(10),
            str(r.randint(101, 1699)),
            description,
            str(code),
            f"{38.43 + r.random() * 0.25:.8f}",
            f"{-121.56 + r.random() * 0.2:.7f}",
        ]
        yield odd_row(r, row) if r.random() < 0.03 else row


def write(out, n=ROWS, line_end="\n"):
    writer = csv.writer(out, lineterminator=line_end)
    writer.writerow(HEADER)
    writer.writerows(rows(n))


if __name__ == "__main__":
    sys.stdout.reconfigure(newline="")
    write(sys.stdout, int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
