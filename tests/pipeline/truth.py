"""What goes in, and what must come out: worked out by Python alone, without a line of what is tested.

A row of the crime list in pipe form is its cells joined by bars, the time written from the year down:

    2006/01/01 00:00:00|3108 OCCIDENTAL DR|3|3C        |1115|10851(A)VC TAKE VEH W/O OWNER|2404|...
"""

import collections
import csv
import io
import json
import random

import expect

EVENTS = 10_000
EVENTS_AN_ARRAY = 100
SEED = 20261123


# Crimes.


def cleaned(row):
    """A row whose cells fit on one line: that form has no quotes, so no line breaks either."""
    return {column: " ".join(cell.splitlines()) for column, cell in row.items()}


def rows_of(text):
    return [cleaned(row) for row in csv.DictReader(io.StringIO(text, newline=""))]


def piped(row):
    """A time that is none goes as it is written."""
    time = expect.time(row["cdatetime"], "%Y/%m/%d %H:%M:%S")
    return "|".join([time or row["cdatetime"], *list(row.values())[1:]])


def fits(row):
    """Whether the mapping takes it: its time is one, or is empty. (The list made up has others, too.)"""
    return not row["cdatetime"] or expect.time(row["cdatetime"], "%Y") is not None


def crime_lines(rows):
    """{a record, exactly: how often}."""
    return collections.Counter(expect.frozen(expect.record(row)) for row in rows)


def crime_day(row):
    return tuple(expect.time(row["cdatetime"], part) for part in ("%Y", "%m", "%d"))


# Card events.


def nested_event(r, n):
    day, minute = divmod(r.randrange(3 * 24 * 60), 24 * 60)
    time = f"{minute // 60:02d}:{minute % 60:02d}:{n % 60:02d}.{n % 1000:03d}"
    event = {
        "userId": f"u-{r.randrange(5000):06d}",
        "event": r.choice(["card_shown", "card_opened", "card_closed", "card_dismissed"]),
        "timestamp": f"2026-11-{20 + day}T{time}Z",
        "eventContext": {
            "ip": f"203.0.113.{r.randrange(256)}",
            "userAgent": r.choice(['app/4.2 "beta"', "app/4.1", "Mozilla/5.0 (X11; Linux x86_64)", "ÄPP\\7\t"]),
            "locale": r.choice(["en-GB", "de-AT", "ja-JP", None]),
            "device": {"os": r.choice(["android", "ios"]), "version": str(r.randrange(9, 20))},
        },
        "card": {"id": f"c-{r.randrange(200)}", "type": r.choice(["offer", "news"]), "position": n},
    }
    odd = r.randrange(20)
    if odd == 0:
        del event["card"]["position"]
    elif odd == 1:
        event["card"] = {}
    elif odd == 2:
        event["card"]["tags"] = ["a", {"b": [1, 2.50, None]}, []]
    elif odd == 3:
        event["eventContext"]["geo"] = {"at": {"lat": 38.55042047, "lon": -121.3914158}, "exact": True}
    return event


def nested_events(n=EVENTS, seed=SEED):
    r = random.Random(seed)
    return [nested_event(r, i) for i in range(n)]


def frames_of(events):
    """What an application writes: arrays of a hundred, and every twentieth hundred one by one."""
    for start in range(0, len(events), EVENTS_AN_ARRAY):
        part = events[start : start + EVENTS_AN_ARRAY]
        for frame in part if start // EVENTS_AN_ARRAY % 20 == 19 else [part]:
            yield json.dumps(frame, ensure_ascii=False)


def flat(event, path=""):
    for name, value in event.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{path}{name}.")
        else:
            yield path + name, value


def flat_event(event):
    made = dict(flat(event))
    date, _, _ = event["timestamp"].partition("T")
    made["event_year"], made["event_month"], made["event_day"] = date.split("-")
    return made


def frozen(record):
    return expect.frozen(expect.parse(json.dumps(record)))


def event_lines(events):
    return collections.Counter(frozen(flat_event(event)) for event in events)


# What was found.


def lines_found(lines):
    return collections.Counter(expect.frozen(expect.parse(line)) for line in lines)


def compared(wanted, found):
    """(lost, twice, altered): of those wanted, of those wanted too often, and what nobody wanted."""
    more = found - wanted
    twice = sum(n for record, n in more.items() if record in wanted)
    return (wanted - found).total(), twice, more.total() - twice


def is_made_of(blob, queues):
    """Whether a blob is exactly these records, in the order of each queue: how raw records lie in a
    backup, one behind the other with nothing between them."""
    queues = list(map(list, queues))
    ways, seen = [((0,) * len(queues), 0)], set()  # how far in each queue, and where that is in the blob
    while ways:
        taken, at = ways.pop()
        if at == len(blob):
            return all(n == len(q) for n, q in zip(taken, queues))
        for i, (n, q) in enumerate(zip(taken, queues)):
            if n < len(q) and blob.startswith(q[n], at):
                way = (*taken[:i], n + 1, *taken[i + 1 :])
                if way not in seen:
                    seen.add(way)
                    ways.append((way, at + len(q[n])))
    return False
