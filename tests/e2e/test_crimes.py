"""The main job on the crime list: every row, as every kind of reader sees it."""

import base64
import json
import os
import subprocess
import sys

import pytest

import crimes
import harness
from harness import wait_until

LISTS = ["made up"] + (["published"] if crimes.published() else [])


@pytest.mark.parametrize("which", LISTS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_every_row_becomes_the_record_that_python_makes_of_it(
    daemon, fake, tmp_path, which, line_end
):
    text = crimes.text(which, line_end)
    (tmp_path / "crimes.csv").write_bytes(text.encode())
    d = daemon(fake.url).source("crimes", tmp_path / "*.csv", **crimes.SOURCE)
    assert d.once() == 0, d.log()
    assert fake.count("s") == crimes.ROWS
    assert crimes.found(fake.data("s")) == crimes.wanted(text)
    for record in fake.records("s"):
        district = json.loads(record.data)["district"]
        assert record.key == str(district) or (district is None and record.key)


def test_records_keep_the_order_of_the_file_within_one_request_at_a_time(daemon, fake, tmp_path):
    text = crimes.text("made up")
    (tmp_path / "crimes.csv").write_bytes(text.encode())
    d = daemon(fake.url).source("crimes", tmp_path / "*.csv", **crimes.SOURCE)
    d.settings["streams"]["s"]["in_flight"] = 1
    assert d.once() == 0, d.log()
    assert list(crimes.found(fake.data("s"))) == list(crimes.wanted(text))


def test_a_growing_file_is_delivered_by_a_running_daemon_whatever_the_pieces(
    daemon, fake, tmp_path
):
    data = crimes.text("made up", "\r\n").encode()
    path = tmp_path / "crimes.csv"
    path.write_bytes(data[:100_000])
    d = daemon(fake.url).source("crimes", path, **crimes.SOURCE).start()
    with open(path, "ab", buffering=0) as out:
        for at in range(100_000, len(data), 7_919):
            out.write(data[at : at + 7_919])
            d.still_running()
    wait_until(lambda: fake.count("s") >= crimes.ROWS, 60)
    d.terminate()
    assert crimes.found(fake.data("s")) == crimes.wanted(data.decode())


def aws(endpoint, *arguments):
    """The aws command-line tool, as anyone would run it."""
    aws_tool = os.path.join(os.path.dirname(sys.executable), "aws")
    env = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": "/nonexistent",
    }
    done = subprocess.run(
        [aws_tool, "--endpoint-url", endpoint, "--output", "json", "kinesis", *arguments],
        env=env,
        capture_output=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def read_with_aws(endpoint, stream):
    found = []
    for shard in aws(endpoint, "list-shards", "--stream-name", stream)["Shards"]:
        iterator = aws(
            endpoint,
            "get-shard-iterator",
            "--stream-name",
            stream,
            "--shard-id",
            shard["ShardId"],
            "--shard-iterator-type",
            "TRIM_HORIZON",
        )["ShardIterator"]
        records = aws(endpoint, "get-records", "--shard-iterator", iterator)["Records"]
        found += [base64.b64decode(r["Data"]) for r in records]
    return found


def test_boto3_the_aws_tool_and_our_own_read_the_same_records(daemon, kinesalite, stream, tmp_path):
    text = crimes.text(LISTS[-1])
    (tmp_path / "crimes.csv").write_bytes(text.encode())
    d = daemon(kinesalite.url)
    d.settings["streams"]["s"]["kinesis"] = stream
    d.source("crimes", tmp_path / "*.csv", **crimes.SOURCE).start()
    wait_until(lambda: len(kinesalite.records(stream)) >= crimes.ROWS, 60)
    d.terminate()

    records = kinesalite.records(stream)
    assert crimes.found(r["Data"] for r in records) == crimes.wanted(text)
    assert {r["PartitionKey"] for r in records} >= {"1", "2", "3", "4", "5", "6"}

    by_boto3 = sorted(r["Data"] for r in records)
    assert sorted(read_with_aws(kinesalite.url, stream)) == by_boto3

    status, out, err = harness.tool(
        "cat",
        stream,
        "--json",
        "--until-idle=1",
        "--endpoint",
        kinesalite.url,
        "--region",
        "us-east-1",
        env=d.env,
    )
    assert status == 0, err
    assert sorted(json.loads(line)["data"].encode() for line in out.splitlines()) == by_boto3


def test_throttled_shards_get_everything_in_the_end(daemon, request, tmp_path):
    server = harness.Kinesalite("--records-per-second", "1000")
    request.addfinalizer(server.stop)
    server.create("s", 2)
    lines = [b"line %d" % i for i in range(4000)]
    (tmp_path / "a.log").write_bytes(b"\n".join(lines) + b"\n")
    d = daemon(server.url).source("a", tmp_path / "a.log", start_at="beginning")
    assert d.once() == 0, d.log()
    assert sorted(server.data("s")) == sorted(lines)
