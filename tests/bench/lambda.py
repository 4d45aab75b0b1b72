"""The Lambda function beside the same function in Node (lambda.mjs), driven by the same runtime API.

    python lambda.py [--build DIR] [--events N] [--rounds N]

Each event holds 500 records: crime rows (pipes between the cells), or card events (nested JSON). A
round is a fresh process: how long from its start to the first time that it asks for an event, then
N events to warm up, then N events of which the CPU-seconds are counted, user and system, those of all
its threads. What is printed is the median round, and the bars that bootstrap must clear.
"""

import argparse
import base64
import json
import pathlib
import random
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from runtime_api import Function, RuntimeApi  # noqa: E402

RECORDS = 500
TIMES_MIN, COLD_MS_MAX, RSS_MIB_MAX = 4, 10, 12
STREETS = ["OCCIDENTAL DR", "EXPEDITION WAY", "PALEN CT", "BECKFORD CT", "19TH ST / P ST", "NORTHGATE BLVD"]
WHAT = ["10851(A)VC TAKE VEH W/O OWNER", "459 PC  BURGLARY RESIDENCE", "484J PC PUBLISH CARD INFO", "TRESPASS"]


def crime(r, i):
    time_of_day = f"2006/01/{r.randint(1, 31):02} {r.randint(0, 23):02}:{r.randint(0, 59):02}:00"
    beat = f"{r.randint(1, 6)}{r.choice('ABC')}        "
    cells = [time_of_day, f"{r.randint(1, 9999)} {r.choice(STREETS)}", str(r.randint(1, 6)), beat, str(r.randint(100, 1999))]
    cells += [r.choice(WHAT), str(r.randint(1000, 9999)), f"{38 + r.random():.8f}", f"{-121 - r.random():.7f}"]
    return "|".join(cells)


def card(r, i):
    return json.dumps(
        {
            "userId": f"u-{r.randint(0, 999999):06}",
            "event": r.choice(["card_opened", "card_dismissed", "card_clicked"]),
            "timestamp": f"2026-11-{r.randint(1, 28):02}T{r.randint(0, 23):02}:50:00.{r.randint(0, 999):03}Z",
            "eventContext": {
                "ip": f"203.0.113.{r.randint(1, 254)}",
                "userAgent": "app/4.2",
                "locale": "en-GB",
                "device": {"os": "android", "version": "14"},
            },
            "card": {"id": f"c-{r.randint(1, 99)}", "type": "offer", "position": r.randint(0, 9)},
        },
        separators=(",", ":"),
    )


def make_event(make, seed):
    r = random.Random(seed)
    records = []
    for i in range(RECORDS):
        sequence = f"4964{r.randrange(10**52):052}"
        metadata = {
            "sequenceNumber": sequence,
            "subsequenceNumber": 0,
            "partitionKey": f"{r.randrange(2**32):08x}",
            "shardId": "shardId-000000000000",
            "approximateArrivalTimestamp": 1763884200000 + i,
        }
        records.append(
            {
                "recordId": sequence + "000000",
                "approximateArrivalTimestamp": 1763884200000 + i,
                "data": base64.b64encode(make(r, i).encode()).decode(),
                "kinesisRecordMetadata": metadata,
            }
        )
    arn = "arn:aws:{}:us-east-1:123456789012:{}"
    return json.dumps(
        {
            "invocationId": "6f1a2c3d-0000-4000-8000-000000000000",
            "deliveryStreamArn": arn.format("firehose", "deliverystream/crimes"),
            "sourceKinesisStreamArn": arn.format("kinesis", "stream/crimes"),
            "region": "us-east-1",
            "records": records,
        },
        separators=(",", ":"),
    ).encode()


def texts(outcome):
    """What an answer delivers, as values: the two print some numbers differently."""
    made = []
    for record in json.loads(outcome.body)["records"]:
        assert record["result"] == "Ok"
        made += [json.loads(line) for line in base64.b64decode(record["data"]).splitlines()]
    return made


def measure(command, environment, mapping, events, n):
    api = RuntimeApi()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "mapping.yaml").write_bytes(mapping.read_bytes())
        function = Function(command, api, folder, **environment)
        first = texts(api.ask(events[0]))
        for i in range(n):
            api.ask(events[i % len(events)])
        before, _ = function.usage()
        waited = 0
        for i in range(n):
            waited += api.ask(events[i % len(events)]).seconds
        after, peak_kib = function.usage()
        function.stop()
        api.close()
    assert not api.broken
    records = n * RECORDS
    cold_ms = (api.first_next - function.started) * 1000
    return (after - before) / records * 1e6, waited / records * 1e6, cold_ms, peak_kib / 1024, first


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path)
    parser.add_argument("--events", default=200, type=int)
    parser.add_argument("--rounds", default=5, type=int)
    a = parser.parse_args()
    failed = []
    for name, make in ("crimes", crime), ("events", card):
        events = [make_event(make, seed) for seed in range(8)]
        mapping = ROOT / f"conf/aws/mapping.{name}.yaml"
        medians, first = {}, {}
        commands = {
            "bootstrap": [(a.build / "lambda/bootstrap").resolve()],
            "node": ["/usr/bin/env", "node", ROOT / "tests/bench/lambda.mjs"],
        }
        print(f"{name}: {RECORDS} records an event, {len(events[0]) / 1e3:.0f} kB")
        for what, command in commands.items():
            environment = {"MAPPING": name} if what == "node" else {}
            environment["PATH"] = "/usr/local/bin:/usr/bin:/bin"
            rounds = [measure(command, environment, mapping, events, a.events) for _ in range(a.rounds)]
            first[what] = rounds[0][4]
            medians[what] = [statistics.median(r[k] for r in rounds) for k in range(4)]
            cpu, wall, cold, rss = medians[what]
            print(f"  {what:10} {cpu:6.2f} us of CPU a record  {wall:6.2f} us a record  "
                  f"first asks after {cold:6.1f} ms  {rss:6.1f} MiB at most")
        assert first["bootstrap"] == first["node"], "they do not make the same of it"
        times = medians["node"][0] / medians["bootstrap"][0]
        _, _, cold, rss = medians["bootstrap"]
        for good, text in (
            (times >= TIMES_MIN, f"{times:.1f} times fewer CPU-seconds a record than Node, at least {TIMES_MIN}"),
            (cold <= COLD_MS_MAX, f"asks after {cold:.1f} ms, at most {COLD_MS_MAX}"),
            (rss <= RSS_MIB_MAX, f"{rss:.1f} MiB, at most {RSS_MIB_MAX}"),
        ):
            print(f"  {'ok  ' if good else 'FAIL'} {text}")
            failed += [] if good else [text]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
