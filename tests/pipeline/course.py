"""One course of the pipeline: crimes from a file and card events from a socket, to SQL at the end.

tailraced takes crimes as rows in pipe form, which the function makes into JSON; or, with edge=True,
the CSV file itself, which is made into JSON at the edge by the same engine, and the function passes on.
Card events, single ones and arrays of a hundred, come through a socket that acknowledges them, and
the function takes them apart.
"""

import base64
import collections
import pathlib
import subprocess
import time

import crimes
import harness
import make_sample
import truth
from parts import HALVES, Pipeline

PASS_ON = "format: json\n"
PUSH_SECONDS_MAX = 60
STEPS = 10


def crime_text():
    """The file that a city published, when it is beside the project; else a made-up one of its shape."""
    path = crimes.published()
    if path is None:
        return f"made up by {pathlib.Path(make_sample.__file__).name}", crimes.made_up()
    return path.name, crimes.text("published")


class Outcome:
    """What was put in, what was found at each stage, and SQL to ask further (close() it)."""

    def __init__(self):
        self.wanted, self.found, self.lines, self.counts, self.keys = {}, {}, {}, {}, {}
        self.frames, self.raw_is_whole = {}, {}
        self.kept = {}  # what lies under errors/, and what must
        self.unfit = {"crimes": collections.Counter(), "events": collections.Counter()}

    def close(self):
        self.answers.close()


def crime_source(edge, folder):
    if edge:
        return {**crimes.SOURCE, "file": f"{folder}/*.csv", "stream": "crimes"}
    return {"file": f"{folder}/*.rows", "stream": "crimes", "format": "line", "start_at": "beginning"}


def event_source(folder):
    return {"socket": f"{folder}/events.sock", "stream": "events", "format": "json", "ack": "durable"}


def write_in_steps(path, data):
    """A file that grows while it is followed, in pieces that do not end where rows end."""
    with open(path, "ab", buffering=0) as out:
        for i in range(STEPS):
            out.write(data[len(data) * i // STEPS : len(data) * (i + 1) // STEPS])
            time.sleep(0.02)


def push(folder, frames):
    """All frames through the socket, by the project's own tool: it ends when all are acknowledged."""
    done = subprocess.run(
        [str(harness.BUILD / "tailrace"), "push", "--ack", "--socket", f"{folder}/events.sock"],
        input="".join(frame + "\n" for frame in frames).encode(),
        capture_output=True,
        timeout=PUSH_SECONDS_MAX * harness.PATIENCE,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def feed(p, path, data, frames):
    """Everything into tailraced, and from there into the streams, to the last record."""
    write_in_steps(path, data)
    push(path.parent, frames)
    status, _, said = harness.tool("shipped", "--wait", "-c", p.daemon.file, path, timeout=60)
    assert status == 0, said
    p.daemon.terminate()  # a stop delivers what was acknowledged, and says so by its status


def run(directory, text, events, edge=False, say=lambda text: None):
    outcome = Outcome()
    rows = truth.rows_of(text)
    frames = list(truth.frames_of(events))
    folder = pathlib.Path(directory) / "in"
    folder.mkdir()
    if edge:
        path, data = folder / "january.csv", text.encode()
        outcome.wanted["crimes"] = crimes.wanted(text)
    else:
        path, data = folder / "january.rows", "".join(truth.piped(row) + "\n" for row in rows).encode()
        outcome.wanted["crimes"] = truth.crime_lines(filter(truth.fits, rows))
        outcome.unfit["crimes"].update(truth.piped(row).encode() for row in rows if not truth.fits(row))
    outcome.wanted["events"] = truth.event_lines(events)
    outcome.frames = {"crimes": len(rows), "events": len(frames)}
    path.touch()
    begun = time.monotonic()
    say("starts a local Kinesis, a local S3, two functions and what stands in for Firehose")
    with Pipeline(directory, mappings={"crimes": PASS_ON} if edge else {}) as p:
        p.edge({"crimes": crime_source(edge, folder), "events": event_source(folder)})
        p.deliver()
        say("tailraced follows a growing file, and takes events from a socket")
        feed(p, path, data, frames)
        say("all is in the streams; the rest of it goes to S3")
        p.finish()
        say("Parquet is made of the JSON in S3")
        p.to_parquet()
        say("looks at everything")
        look(p, outcome)
        outcome.answers = p.answers()
        outcome.query = p.query()
        outcome.tables = {half: p.table(half) for half in HALVES}
    outcome.seconds = time.monotonic() - begun
    return outcome


def look(p, outcome):
    for half in HALVES:
        outcome.lines[half] = list(p.placed(half))
        outcome.found[half] = truth.lines_found(line for _, line in outcome.lines[half])
        outcome.counts[half] = p.deliveries[half].counts
        outcome.kept[half] = collections.Counter(base64.b64decode(e["rawData"]) for e in p.errors(half))
        outcome.raw_is_whole[half] = truth.is_made_of(p.raw(half), p.streamed(half))
        outcome.keys[half] = {
            "raw": p.keys("RawBucket", f"{half}/"),
            "json": p.keys("JsonBucket", f"{half}/"),
            "errors": p.keys("JsonBucket", f"errors/{half}/"),
            "parquet": p.keys("ParquetBucket", f"{half}/"),
        }
