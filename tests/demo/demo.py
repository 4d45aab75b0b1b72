"""The demonstration: a file grows, tailraced delivers it, strangers read back every record.

Starts a local Kinesis made by others (tests/parts/kinesis.js), creates the streams with boto3,
writes the first part of a made-up crime list, runs tailraced on it, appends the rest while it runs,
reads everything back with boto3 and compares it with what Python's csv and datetime make of the file.
Ends with status 0 only if nothing was lost, altered or invented. Leaves nothing behind.
"""

import collections
import csv
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import boto3
from botocore.config import Config

import crime_table
import expect
import make_sample

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(os.environ.get("TAILRACE_BUILD", ROOT / "build"))
PATIENCE_SECONDS = 60

CONFIG = """\
region: us-east-1
endpoint: {endpoint}
state_dir: {dir}/state
streams:
  crimes:
    kinesis: crimes
    linger: 100ms
    buffer: 64MiB
    in_flight: 4
  weblogs:
    kinesis: weblogs
sources:
  crimes-csv:
    file: {dir}/crimes/*.csv
    stream: crimes
    start_at: beginning
    format: csv
    key: "{{district}}"
    record:
{record}
  access-log:
    file: {dir}/log/access*.log
    stream: weblogs
    format: line
"""


class Failed(Exception):
    pass


def start_kinesis():
    process = subprocess.Popen(
        ["node", str(HERE.parent / "parts" / "kinesis.js")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    word, _, port = process.stdout.readline().partition(" ")
    if word != "ready":
        raise Failed("the local Kinesis did not start")
    return process, f"http://127.0.0.1:{int(port)}"


def connect(endpoint):
    return boto3.client(
        "kinesis",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="demo",
        aws_secret_access_key="demo",
        config=Config(retries={"total_max_attempts": 3}),
    )


def create_stream(kinesis, name, shards):
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        if summary["StreamStatus"] == "ACTIVE":
            return
        if time.monotonic() > deadline:
            raise Failed(f"stream {name} did not become active")
        time.sleep(0.01)


def start_tailraced(directory, endpoint):
    (directory / "state").mkdir(mode=0o700)
    (directory / "log").mkdir()
    config = directory / "tailrace.yaml"
    text = CONFIG.format(dir=directory, endpoint=endpoint, record=crime_table.RECORD)
    config.write_text(text)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
    }
    with open(directory / "tailraced.log", "wb") as log:
        return subprocess.Popen(
            [str(BUILD / "tailraced"), "-c", str(config)], env=environment, stderr=log
        )


def stop(process):
    """Asks the process to end; tells its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class Reader:
    """Reads every shard of a stream from its beginning, and goes on from there at each call."""

    def __init__(self, kinesis, stream):
        self.kinesis, self.data = kinesis, []
        self.iterators = [
            kinesis.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            for shard in kinesis.list_shards(StreamName=stream)["Shards"]
        ]

    def read(self):
        for i, iterator in enumerate(self.iterators):
            reply = self.kinesis.get_records(ShardIterator=iterator, Limit=10000)
            self.iterators[i] = reply["NextShardIterator"]
            self.data += [r["Data"] for r in reply["Records"]]
        return len(self.data)


def wait_for(reader, n, process):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while reader.read() < n and time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"tailraced ended by itself, status {process.returncode}")
        time.sleep(0.02)


def append_slowly(path, rows, steps=20):
    """Appends the rest in pieces that do not end where rows end."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    data = text.getvalue().encode()
    with open(path, "ab", buffering=0) as out:
        for i in range(steps):
            out.write(data[len(data) * i // steps : len(data) * (i + 1) // steps])
            time.sleep(0.02)


def run(directory):
    rows = list(make_sample.rows())
    first, rest = rows[:5000], rows[5000:]
    path = directory / "crimes" / "january.csv"
    path.parent.mkdir()
    with open(path, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(make_sample.HEADER)
        writer.writerows(first)

    kinesis_process, endpoint = start_kinesis()
    tailraced = None
    try:
        kinesis = connect(endpoint)
        create_stream(kinesis, "crimes", 2)
        create_stream(kinesis, "weblogs", 1)
        begun = time.monotonic()
        tailraced = start_tailraced(directory, endpoint)
        reader = Reader(kinesis, "crimes")
        wait_for(reader, 1, tailraced)
        append_slowly(path, rest)
        wait_for(reader, len(rows), tailraced)
        seconds = time.monotonic() - begun
        status = stop(tailraced)
        reader.read()
    finally:
        if tailraced is not None:
            stop(tailraced)
        kinesis_process.stdin.close()
        kinesis_process.wait(20)
    return path, reader.data, seconds, status


def report(path, data, seconds, status):
    with open(path, newline="", encoding="utf-8") as text:
        wanted = collections.Counter(map(expect.frozen, expect.records(text.read())))
    found = collections.Counter(expect.frozen(expect.parse(d)) for d in data)
    lost = wanted - found
    more = found - wanted
    duplicated = sum(n for record, n in more.items() if record in wanted)
    foreign = sum(more.values()) - duplicated
    print("ten of the records:")
    for record in data[:10]:
        print(" ", json.dumps(json.loads(record), ensure_ascii=False))
    print()
    table = [
        ("rows in", wanted.total()),
        ("records out", len(data)),
        ("lost", lost.total()),
        ("duplicated", duplicated),
        ("not what the row says", foreign),
        ("time", f"{seconds:.1f} s"),
    ]
    for name, value in table:
        print(f"  {name:<22} {value:>8}")
    if lost or foreign or status != 0:
        for record in list(lost)[:3]:
            print("lost:", record, file=sys.stderr)
        for record in [r for r in more if r not in wanted][:3]:
            print("not expected:", record, file=sys.stderr)
        raise Failed(f"lost {lost.total()}, foreign {foreign}, tailraced's exit status {status}")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tailrace-demo-"))
    try:
        report(*run(directory))
    except Failed as failure:
        log = directory / "tailraced.log"
        if log.exists():
            sys.stderr.write(log.read_text(errors="replace"))
        print(f"demo: failed: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
