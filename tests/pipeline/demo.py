"""make pipeline: everything between a file, a socket and a table, on this machine, with counts.

A local Kinesis and a local S3 made by others, the function as it is zipped for AWS, DuckDB for Parquet
and SQL; a program of ours (delivery.py) stands in for Firehose. What each part is told comes from
conf/aws/pipeline.yaml. Ends with status 0 only if nothing was lost, altered or invented, and nothing
is there twice. Leaves nothing behind.
"""

import pathlib
import shutil
import signal
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / room) for room in ("e2e", "demo", "cloud")]

import course  # noqa: E402
import truth  # noqa: E402
from parts import HALVES  # noqa: E402

WIDTHS = (34, 12, 12)


def line(what, *values):
    texts = [f"{v:,}" if isinstance(v, int) else str(v) for v in values]
    print("  " + what.ljust(WIDTHS[0]) + "".join(t.rjust(w) for t, w in zip(texts, WIDTHS[1:])))


def each(measure):
    return [measure(half) for half in HALVES]


def stages(o):
    counts, keys = o.counts, o.keys
    print()
    line("", *HALVES)
    line("rows and events that go in", *each(lambda h: o.wanted[h].total() + o.unfit[h].total()))
    line("  lines of the file, frames", *each(lambda h: o.frames[h]))
    line("records in the stream", *each(lambda h: counts[h]["records"]))
    line("raw backup: objects in S3", *each(lambda h: len(keys[h]["raw"])))
    line("  is what the stream held", *each(lambda h: "yes" if o.raw_is_whole[h] else "NO"))
    line("calls of the function", *each(lambda h: counts[h]["calls"]))
    line("  failed calls, failed records", *each(lambda h: f"{counts[h]['failed calls']}, {counts[h]['failed']}"))
    line("JSON: objects in S3", *each(lambda h: len(keys[h]["json"])))
    line("  lines", *each(lambda h: len(o.lines[h])))
    line("  kept under errors/", *each(lambda h: o.kept[h].total()))
    line("    for times that do not exist", *each(lambda h: o.unfit[h].total()))
    line("Parquet: files in S3", *each(lambda h: len(keys[h]["parquet"])))
    line("  day partitions", *each(lambda h: len(o.answers.directories(h))))
    line("  rows", *each(lambda h: o.answers.ask(f"SELECT count(*) FROM {h}")[0][0]))
    compared = {h: truth.compared(o.wanted[h], o.found[h]) for h in HALVES}
    for n, what in enumerate(("lost", "twice", "not what went in")):
        line(what, *each(lambda h: compared[h][n]))
    line("time", f"{o.seconds:.1f} s")
    return compared


def written(value):
    """As Athena writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}={v}" for k, v in value.items()) + "}"
    return "" if value is None else str(value)


def table(names, rows):
    cells = [names, *([written(v) for v in row] for row in rows)]
    widths = [max(len(c[i]) for c in cells) for i in range(len(names))]
    for c in cells:
        print("  " + "  ".join(text.ljust(w) for text, w in zip(c, widths)).rstrip())


def sound(o, compared):
    return (
        not any(any(compared[h]) for h in HALVES)
        and all(o.raw_is_whole.values())
        and o.kept == o.unfit
        and not any(o.counts[h]["failed calls"] for h in HALVES)
        and all(o.answers.ask(f"SELECT count(*) FROM {h}")[0][0] == o.wanted[h].total() for h in HALVES)
    )


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tailrace-pipeline-"))
    outcome = None
    try:
        name, text = course.crime_text()
        many = f"{truth.EVENTS:,} made up, in arrays of {truth.EVENTS_AN_ARRAY} and single"
        print(f"crimes: {name}; events: {many}", flush=True)
        begun = time.monotonic()

        def say(what):
            print(f"{time.monotonic() - begun:5.1f} s  {what}", flush=True)

        outcome = course.run(directory, text, truth.nested_events(), say=say)
        compared = stages(outcome)
        query = outcome.query.strip()
        print("\n" + query + "\n")
        table(*outcome.answers.ask_with_names(query))
        if not sound(outcome, compared):
            print("pipeline: failed: see the counts", file=sys.stderr)
            return 1
    except BaseException:
        for log in sorted(directory.glob("*.log")):
            sys.stderr.write(f"{log.name}:\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        if outcome is not None:
            outcome.close()
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
