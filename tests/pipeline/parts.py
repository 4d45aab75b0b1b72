"""The whole pipeline on this machine, put together from the template of the cloud's.

    with Pipeline(directory) as p:
        p.edge(...)          tailraced, with sources for p.stream("crimes"), p.stream("events")
        p.deliver()          two delivery streams begin to read
        ...
        p.finish()           all that is in the streams is in S3
        p.to_parquet()
        answers = p.answers()

A local Kinesis and a local S3, both made by others (tests/parts), the function's own zip, and what
stands in for Firehose (delivery.py). Streams, functions, prefixes, buffers, buckets and tables are
those of conf/aws/pipeline.yaml.
"""

import gzip
import json
import pathlib
import select
import subprocess
import zipfile

import boto3
from botocore.config import Config

import harness
import tables
import template
from delivery import Delivery, Settings
from runtime import Function

ROOT = harness.ROOT
ZIPS = harness.BUILD / "lambda"  # made by `make lambda`: crimes.zip, events.zip
HALVES = ("crimes", "events")
BUCKETS = {"JsonBucket": "tailrace-json", "ParquetBucket": "tailrace-parquet", "RawBucket": "tailrace-raw"}
START_SECONDS_MAX = 20
# Less than the template says, because somebody is watching.
CALL_SECONDS, OBJECT_SECONDS = 0.3, 2.0


def mapping(half):
    return ROOT / f"conf/aws/mapping.{half}.yaml"


class S3:
    """tests/parts/s3.js, and boto3 to look into it."""

    def __init__(self, directory, buckets):
        self.process = subprocess.Popen(
            ["node", str(ROOT / "tests/parts/s3.js"), str(directory), *buckets],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        readable, _, _ = select.select([self.process.stdout], [], [], START_SECONDS_MAX * harness.PATIENCE)
        word, _, port = self.process.stdout.readline().partition(" ") if readable else ("", "", "")
        assert word == "ready", "the local S3 did not start"
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{int(port)}",
            region_name="us-east-1",
            aws_access_key_id="S3RVER",
            aws_secret_access_key="S3RVER",
            config=Config(retries={"total_max_attempts": 3}, s3={"addressing_style": "path"}),
        )

    def stop(self):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def unpack(zipped, folder):
    """A function's folder, as the service makes it of the zip."""
    with zipfile.ZipFile(zipped) as packed:
        for one in packed.infolist():
            path = pathlib.Path(packed.extract(one, folder))
            path.chmod(one.external_attr >> 16 & 0o777 or 0o644)


class Pipeline:
    def __init__(self, directory, mappings=None, function_seconds=None):
        self.dir = pathlib.Path(directory)
        self.mappings = mappings or {}  # others than those in the zips
        self.function_seconds = function_seconds
        self.stack = template.Stack(known=BUCKETS, CodeBucket="code")
        self.kinesis = self.s3_server = self.daemon = None
        self.functions, self.deliveries = {}, {}

    def __enter__(self):
        try:
            self.kinesis = harness.Kinesalite()
            self.s3_server = S3(self.dir / "s3", BUCKETS.values())
            self.s3 = self.s3_server.client
            for half in HALVES:
                self.kinesis.create(self.stream(half))
                self.make_delivery(half)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for delivery in self.deliveries.values():
            delivery.stop()
        if self.daemon is not None:
            self.daemon.cleanup()
        for function in self.functions.values():
            function.close()
        if self.s3_server is not None:
            self.s3_server.stop()
        if self.kinesis is not None:
            self.kinesis.stop()

    # From the template.

    def made(self, kind, name):
        """The properties of the resource of that name."""
        names = ("FunctionName", "DeliveryStreamName")
        found = self.stack.resources(kind).values()
        return next(one for one in found if name in map(one.get, names))

    def stream(self, half):
        """The data stream; the delivery stream and the function have the same name."""
        return f"{template.STACK}-{half}"

    def make_delivery(self, half):
        about = self.made("AWS::Lambda::Function", self.stream(half))
        stream = self.made("AWS::KinesisFirehose::DeliveryStream", self.stream(half))
        folder = self.dir / f"function-{half}"
        unpack(ZIPS / f"{half}.zip", folder)
        if half in self.mappings:
            (folder / "mapping.yaml").write_text(self.mappings[half])
        seconds = self.function_seconds or about["Timeout"]
        function = Function(folder, about["FunctionName"], seconds, self.dir / f"function-{half}.log")
        settings = Settings.of(stream).hurried(CALL_SECONDS, OBJECT_SECONDS)
        assert settings.stream == self.stream(half)
        self.functions[half] = function
        self.deliveries[half] = Delivery(settings, self.kinesis.client, self.s3, function)

    def table(self, name):
        found = self.stack.resources("AWS::Glue::Table").values()
        return tables.Table(next(one["TableInput"] for one in found if one["TableInput"]["Name"] == name))

    def query(self):
        (found,) = self.stack.resources("AWS::Athena::NamedQuery").values()
        return found["QueryString"]

    # The steps.

    def edge(self, sources):
        """tailraced with these sources; it is up when this returns."""
        streams = {half: {"kinesis": self.stream(half), "linger": "100ms"} for half in HALVES}
        folder = self.dir / "edge"
        folder.mkdir()
        self.daemon = harness.Daemon(folder, self.kinesis.url, streams=streams, control=str(folder / "control"))
        self.daemon.settings["sources"] = sources
        self.daemon.start()
        return self.daemon

    def deliver(self):
        for delivery in self.deliveries.values():
            delivery.start()

    def finish(self):
        for delivery in self.deliveries.values():
            delivery.finish(60 * harness.PATIENCE)

    def to_parquet(self):
        for half in HALVES:
            tables.json_to_parquet(self.s3, self.table(f"{half}_json"), self.table(half))

    def answers(self, *halves):
        return tables.Answers(self.s3, *(self.table(half) for half in halves or HALVES))

    # What is there.

    def keys(self, bucket, prefix):
        return tables.keys_below(self.s3, BUCKETS[bucket], prefix)

    def body(self, bucket, key):
        body = self.s3.get_object(Bucket=BUCKETS[bucket], Key=key)["Body"].read()
        return gzip.decompress(body) if key.endswith(".gz") else body

    def placed(self, half):
        """Each line that was delivered, with the key of its object."""
        for key in self.keys("JsonBucket", f"{half}/"):
            for line in self.body("JsonBucket", key).split(b"\n")[:-1]:
                yield key, line

    def lines(self, half):
        return [line for _, line in self.placed(half)]

    def errors(self, half):
        keys = self.keys("JsonBucket", f"errors/{half}/")
        return [json.loads(line) for key in keys for line in self.body("JsonBucket", key).splitlines()]

    def raw(self, half):
        """All of the backup, in the order in which it was written (names go by the second)."""
        keys = self.deliveries[half].raw.objects
        assert sorted(keys) == self.keys("RawBucket", f"{half}/")
        return b"".join(self.body("RawBucket", key) for key in keys)

    def streamed(self, half):
        """The records of each shard, read once more by themselves."""
        client, stream = self.kinesis.client, self.stream(half)
        for shard in client.list_shards(StreamName=stream)["Shards"]:
            iterator = client.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            found = []
            while True:
                reply = client.get_records(ShardIterator=iterator, Limit=10000)
                found += [r["Data"] for r in reply["Records"]]
                iterator = reply.get("NextShardIterator")
                if not reply["Records"] or not iterator:
                    break
            yield found
