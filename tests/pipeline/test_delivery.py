"""What stands in for Firehose, by itself: it must be as strict as what it stands in for."""

import base64
import datetime
import gzip
import json
import sys

import pytest

import delivery
import runtime
from delivery import Delivery, Settings

ARRIVED = datetime.datetime(2026, 11, 23, 8, 59, 59, tzinfo=datetime.timezone.utc)
FOR_ALL = {
    "name": "d",
    "stream": "s",
    "bucket": "made",
    "prefix": "p/!{timestamp:yyyy/MM/dd}/",
    "error_prefix": "errors/!{firehose:error-output-type}/!{timestamp:yyyy}/",
    "compression": "GZIP",
    "object_bytes": 1000,
    "object_seconds": 60.0,
    "backup": None,
    "function_arn": "arn:aws:lambda:eu-west-1:123456789012:function:f",
    "call_bytes": 100,
    "call_seconds": 60.0,
    "retries": 3,
    "query": None,
}


class Kinesis:
    """One shard, of which a call gives three records."""

    def __init__(self, data):
        self.data = data

    def list_shards(self, StreamName):
        return {"Shards": [{"ShardId": "shard-0"}]}

    def get_shard_iterator(self, StreamName, ShardId, ShardIteratorType):
        return {"ShardIterator": "0"}

    def get_records(self, ShardIterator, Limit):
        start = int(ShardIterator)
        found = [
            {"Data": d, "SequenceNumber": str(start + n), "PartitionKey": "k", "ApproximateArrivalTimestamp": ARRIVED}
            for n, d in enumerate(self.data[start : start + 3])
        ]
        return {"Records": found, "NextShardIterator": str(start + len(found))}


class S3(dict):
    def put_object(self, Bucket, Key, Body):
        assert (Bucket, Key) not in self
        self[Bucket, Key] = gzip.decompress(Body) if Key.endswith(".gz") else Body

    def of(self, bucket, prefix=""):
        return [body for (b, key), body in self.items() if b == bucket and key.startswith(prefix)]


class Function:
    """Answers with what `change` makes of a right answer's records; counts and keeps the events."""

    def __init__(self, change=lambda records: records):
        self.change, self.events = change, []

    def invoke(self, event):
        self.events.append(json.loads(event))
        records = [
            {"recordId": r["recordId"], "result": "Ok", "data": r["data"]} for r in self.events[-1]["records"]
        ]
        made = self.change(records)
        return made if isinstance(made, bytes) else json.dumps({"records": made}).encode()


def run(data, function, **more):
    s3 = S3()
    made = Delivery(Settings(**{**FOR_ALL, **more}), Kinesis(data), s3, function)
    made.finish()
    return s3, made


def errors(s3):
    return [json.loads(line) for body in s3.of("made", "errors/") for line in body.splitlines()]


DATA = [b"one", b"two", b"three", b"four", b"five"]


def test_records_go_through_in_their_order():
    function = Function()
    s3, made = run(DATA, function)
    assert s3.of("made", "p/2026/11/23/") == [b"onetwothreefourfive"]
    (event,) = function.events
    first = event["records"][0]
    assert first["recordId"] == "shard-00"
    assert first["approximateArrivalTimestamp"] == int(ARRIVED.timestamp() * 1000)
    assert first["kinesisRecordMetadata"]["partitionKey"] == "k"
    assert event["sourceKinesisStreamArn"] == "arn:aws:kinesis:eu-west-1:123456789012:stream/s"


def test_a_call_has_no_more_than_its_buffer_unless_it_is_one_record():
    function = Function()
    run([b"a" * 40] * 5 + [b"b" * 300], function)
    assert [len(e["records"]) for e in function.events] == [2, 2, 1, 1]


def test_an_object_is_written_when_its_buffer_is_full():
    s3, _ = run([b"a" * 90] * 25, Function())
    assert [len(body) for body in s3.of("made")] == [1080, 1080, 90]


def test_the_backup_has_the_records_as_they_came():
    backup = {"BucketARN": "arn:aws:s3:::raw", "Prefix": "r/", "CompressionFormat": "GZIP"}
    upper = Function(lambda records: [{**r, "data": base64.b64encode(b"X\n").decode()} for r in records])
    s3, _ = run(DATA, upper, backup=backup)
    assert s3.of("raw", "r/2026/11/23/08/") == [b"".join(DATA)]
    assert s3.of("made") == [b"X\n" * 5]


def test_what_the_function_drops_or_fails_is_counted_and_kept():
    def change(records):
        records[0] = {"recordId": records[0]["recordId"], "result": "Dropped"}
        records[1]["result"] = "ProcessingFailed"
        return records[::-1]

    s3, made = run(DATA, Function(change))
    assert made.counts["dropped"] == made.counts["failed"] == 1
    (told,) = errors(s3)
    assert base64.b64decode(told["rawData"]) == b"two"
    assert (told["errorCode"], told["attemptsMade"]) == ("Lambda.ProcessingFailedStatus", 1)
    assert s3.of("made", "p/") == [b"threefourfive"]
    assert len(s3.of("made", "errors/processing-failed/2026/d-1-2026-11-23-08-59-59-")) == 1


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda records: records[1:], "Lambda.MissingRecordId"),
        (lambda records: records + records[:1], "Lambda.DuplicatedRecordId"),
        (lambda records: [{**r, "recordId": "x" + r["recordId"]} for r in records], "Lambda.MissingRecordId"),
        (lambda records: [{**r, "result": "ok"} for r in records], "Lambda.JsonProcessingException"),
        (lambda records: [{**r, "data": "?"} for r in records], "Lambda.JsonProcessingException"),
        (lambda records: [{**r, "data": None} for r in records], "Lambda.JsonProcessingException"),
        (lambda records: b"{", "Lambda.JsonProcessingException"),
        (lambda records: b'{"records":{}}', "Lambda.MissingRecordId"),
        (lambda records: b"[]", "Lambda.JsonProcessingException"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_none(change, kind):
    function = Function(change)
    s3, made = run(DATA, function)
    assert len(function.events) == 4
    told = errors(s3)
    assert [base64.b64decode(t["rawData"]) for t in told] == DATA
    assert {(t["errorCode"], t["attemptsMade"]) for t in told} == {(kind, 4)}
    assert s3.of("made", "p/") == []


def test_a_call_that_fails_is_made_again_with_the_same_records():
    class Shaky(Function):
        def invoke(self, event):
            answer = super().invoke(event)
            if len(self.events) < 3:
                raise runtime.FunctionFailed("Runtime.ExitError", "exit status 1")
            return answer

    function = Shaky()
    s3, made = run(DATA, function)
    assert s3.of("made") == [b"".join(DATA)]
    ids = [[r["recordId"] for r in e["records"]] for e in function.events]
    assert ids[0] == ids[1] == ids[2]
    assert (made.counts["failed calls"], made.counts["failed"]) == (2, 0)


def test_partition_keys_of_the_function_are_directories():
    def change(records):
        for n, r in enumerate(records):
            r["metadata"] = {"partitionKeys": {"day": str(n % 2)} if n != 4 else {}}
        return records

    s3, _ = run(DATA, Function(change), prefix="p/day=!{partitionKeyFromLambda:day}/")
    assert (s3.of("made", "p/day=0/"), s3.of("made", "p/day=1/")) == ([b"onethree"], [b"twofour"])
    assert [base64.b64decode(t["rawData"]) for t in errors(s3)] == [b"five"]


def test_partition_keys_of_the_query_are_directories():
    good = [b'{"d":"02"}\n', b'{"d":null}\n']
    data = [*good, b'{"d":"02"}{"d":"03"}', b'{"d":"02"}\n{"d":"02"}\n', b'"d"', b'{"d":3}\n']
    s3, _ = run(data, Function(), prefix="p/d=!{partitionKeyFromQuery:d}/", query='{d: (.d // "none")}')
    assert s3.of("made", "p/d=02/") == [data[0]]
    assert s3.of("made", "p/d=none/") == [data[1]]
    told = errors(s3)
    assert [base64.b64decode(t["rawData"]) for t in told] == data[2:]
    assert {t["errorCode"] for t in told} == {"DynamicPartitioning.MetadataExtractionFailed"}


def test_a_prefix_without_expressions_is_followed_by_the_hour():
    assert delivery.evaluate(delivery.with_default("p/"), ARRIVED.timestamp()) == "p/2026/11/23/08/"
    assert delivery.with_default("p/!{timestamp:yyyy}/") == "p/!{timestamp:yyyy}/"


@pytest.mark.parametrize("prefix", ["!{timestamp:yyyy/ww}", "!{firehose:other}", "!{other:x}"])
def test_an_expression_that_is_not_known_is_an_error(prefix):
    with pytest.raises(ValueError, match="not known here"):
        delivery.evaluate(prefix, 0)


# The runtime API, asked by small bootstraps.

SHELL = """#!/bin/sh
exec {python} -c '
import http.client, os, sys
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
root = "/2018-06-01/runtime/"
def ask(method, path, body=None, **headers):
    api.request(method, root + path, body, headers)
    answer = api.getresponse()
    return answer, answer.read()
{act}
'
"""


@pytest.fixture
def function(tmp_path, request):
    def make(act, seconds=5):
        path = tmp_path / "bootstrap"
        path.write_text(SHELL.format(python=sys.executable, act=act))
        path.chmod(0o755)
        made = runtime.Function(tmp_path, "f", seconds, tmp_path / "log")
        request.addfinalizer(made.close)
        return made

    return make


LOOP = """
while True:
    answer, event = ask("GET", "invocation/next")
    call = "invocation/" + answer.headers["Lambda-Runtime-Aws-Request-Id"]
    {act}
"""


def test_a_process_is_kept_for_the_next_event(function):
    f = function(LOOP.format(act='ask("POST", call + "/response", event + str(os.getpid()).encode())'))
    first, second = f.invoke(b"a"), f.invoke(b"b")
    assert (first[:1], second[:1], first[1:]) == (b"a", b"b", second[1:])
    assert f.starts == 1


def test_an_error_of_the_function_is_told_and_the_process_kept(function):
    report = 'ask("POST", call + "/error", b"{\\"errorType\\":\\"Function.X\\",\\"errorMessage\\":\\"no\\"}")'
    f = function(LOOP.format(act=report))
    for _ in range(2):
        with pytest.raises(runtime.FunctionFailed, match="Function.X: no"):
            f.invoke(b"{}")
    assert f.starts == 1


def test_an_error_while_it_starts_is_told(function):
    told = 'b"{\\"errorType\\":\\"Runtime.NoMapping\\",\\"errorMessage\\":\\"no\\"}"'
    f = function(f'ask("POST", "init/error", {told}); sys.exit(1)')
    with pytest.raises(runtime.Died, match="Runtime.NoMapping: no"):
        f.invoke(b"{}")


def test_an_answer_over_six_megabytes_is_none(function):
    f = function(LOOP.format(act='ask("POST", call + "/response", b"x" * (int(event)))'))
    assert len(f.invoke(str(runtime.PAYLOAD_BYTES_MAX).encode())) == runtime.PAYLOAD_BYTES_MAX
    with pytest.raises(runtime.FunctionFailed, match="ResponseSizeTooLarge"):
        f.invoke(str(runtime.PAYLOAD_BYTES_MAX + 1).encode())
    with pytest.raises(runtime.FunctionFailed, match="RequestTooLarge"):
        f.invoke(b"x" * (runtime.PAYLOAD_BYTES_MAX + 1))


def test_an_answer_to_another_event_is_refused(function):
    act = (
        'status = ask("POST", "invocation/other/response", b"{}")[0].status;'
        ' ask("POST", call + "/response", str(status).encode())'
    )
    assert function(LOOP.format(act=act)).invoke(b"{}") == b"400"


@pytest.mark.parametrize(
    ("act", "kind"), [("sys.exit(3)", "Runtime.ExitError"), ("import time; time.sleep(60)", "Sandbox.Timedout")]
)
def test_a_process_that_ends_or_hangs_is_replaced(function, act, kind):
    f = function(LOOP.format(act=act), seconds=0.5)
    for _ in range(2):
        with pytest.raises(runtime.Died, match=kind):
            f.invoke(b"{}")
    assert f.starts == 2
