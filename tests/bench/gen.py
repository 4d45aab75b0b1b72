"""The bench's input: log lines and CSV rows, the same for the same seed.

    python3 gen.py lines|rows COUNT FILE [SEED]
"""

import datetime
import random
import sys

CSV_HEADER = "cdatetime,address,district,beat,grid,crimedescr,ucr_ncic_code,latitude,longitude\n"

AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1",
    "curl/7.88.1",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
]
PATHS = ["/", "/cart", "/search?q=blue+shoes", "/static/app.9f3c1e.js", "/api/v2/orders/{}",
         "/product/{}", "/images/{}_large.jpg"]
METHODS = ["GET"] * 8 + ["POST", "HEAD"]
STATUSES = [200] * 12 + [304, 301, 404, 500]
REFERERS = ["-", "https://shop.example.com/", "https://www.example.org/links/page7.html"]
STREETS = ["OCCIDENTAL DR", "STOCKTON BLVD", "FRUITRIDGE RD", "J ST", "FLORIN RD", "DEL PASO BLVD"]
CRIMES = [
    ("10851(A)VC TAKE VEH W/O OWNER", 2404),
    ("459 PC  BURGLARY RESIDENCE", 2204),
    ("484 PC   PETTY THEFT/INSIDE", 2308),
    ("TOWED/STORED VEH-14602.6", 7000),
    ("\"CASUALTY REPORT, NO CRIME\"", 7000),
    ("594(B)(2)(A) VANDALISM/ -$400", 2999),
]


def log_lines(count, seed):
    """Combined log format, about 190 bytes a line."""
    rnd = random.Random(seed)
    pick, number = rnd.choice, rnd.random
    at = datetime.datetime(2026, 11, 23, 0, 0, 0)
    stamp = ""
    for i in range(count):
        if i % 50 == 0:
            at += datetime.timedelta(seconds=1)
            stamp = at.strftime("%d/%b/%Y:%H:%M:%S +0000")
        n = int(number() * 1000000)
        path = pick(PATHS).format(n)
        yield (f"10.{n % 251}.{n % 199}.{n % 254 + 1} - - [{stamp}] \"{pick(METHODS)} {path} "
               f"HTTP/1.1\" {pick(STATUSES)} {n} \"{pick(REFERERS)}\" \"{pick(AGENTS)}\" "
               f"rid={n * 2654435761 % 2**32:08x} rt={n % 997 / 1000:.3f}\n")


def csv_rows(count, seed):
    """Rows of the shape of a city's crime reports; now and then a quoted field."""
    rnd = random.Random(seed)
    pick, number = rnd.choice, rnd.random
    yield CSV_HEADER
    for i in range(count):
        n = int(number() * 1000000)
        crime, code = pick(CRIMES)
        beat = f"{n % 6 + 1}{'ABC'[n % 3]}"
        yield (f"{i % 12 + 1}/{n % 28 + 1}/06 {n % 24}:{i % 60:02},"
               f"{n % 9000 + 100} {pick(STREETS)},"
               f"{n % 6 + 1},{beat:<10},{n % 1600 + 100},{crime},{code},"
               f"{38.4 + number() / 4:.8f},{-121.3 - number() / 4:.7f}\n")


def write(path, lines, count, seed=1):
    make = {"lines": log_lines, "rows": csv_rows}[lines]
    with open(path, "w", encoding="ascii", newline="", buffering=1 << 20) as out:
        out.writelines(make(count, seed))


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    write(sys.argv[3], sys.argv[1], int(sys.argv[2]), int(sys.argv[4]) if len(sys.argv) > 4 else 1)
