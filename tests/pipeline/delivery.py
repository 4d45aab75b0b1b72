"""A delivery stream on this machine. It stands in for Firehose in this demonstration, and only there.

It is told what to do by the delivery streams of conf/aws/pipeline.yaml themselves, and does it with a
Kinesis, a Lambda function and an S3 that are really there:

  read     every shard, and put each record, as it came, into the buffer of the backup
  call     the function with about a megabyte of records, or what came within the buffer's interval;
           hold its answer against the contract; call it again when there is none
  file     what it made under the prefix: by keys that the function or the template's query gave, or
           by the time of arrival; what failed under the error prefix, as JSON that says why
  write    an object when a buffer is full or old enough

What Firehose does beyond that is not here: taking KPL aggregates apart, many calls at once,
encryption, format conversion, metrics, limits on partitions. Two things are told differently: it
reads from the beginning of the stream, and may be told to wait less than the template says.
"""

import base64
import collections
import dataclasses
import datetime
import gzip
import json
import re
import subprocess
import threading
import time
import uuid

from runtime import FunctionFailed

ERROR_TYPE = "processing-failed"
EXTENSIONS = {"GZIP": ".gz", "UNCOMPRESSED": ""}
MEGABYTE = 1024 * 1024
READ_RECORDS_MAX = 10000
QUERY_SECONDS_MAX = 60
EXPRESSION = re.compile(r"!\{([A-Za-z]+):([^}]+)\}")


@dataclasses.dataclass
class Record:
    data: bytes
    shard: str
    sequence: str
    key: str
    arrived: float  # as the stream says, in seconds

    @property
    def id(self):
        return self.shard + self.sequence


@dataclasses.dataclass
class Settings:
    """What a delivery stream of the template says."""

    name: str
    stream: str
    bucket: str
    prefix: str
    error_prefix: str
    compression: str
    object_bytes: int
    object_seconds: float
    backup: dict | None
    function_arn: str
    call_bytes: int
    call_seconds: float
    retries: int
    query: str | None

    @classmethod
    def of(cls, made):
        """made: the properties of an AWS::KinesisFirehose::DeliveryStream, all functions resolved."""
        s3 = made["ExtendedS3DestinationConfiguration"]
        processors = {
            one["Type"]: {p["ParameterName"]: p["ParameterValue"] for p in one["Parameters"]}
            for one in s3["ProcessingConfiguration"]["Processors"]
        }
        call = processors["Lambda"]
        return cls(
            name=made["DeliveryStreamName"],
            stream=made["KinesisStreamSourceConfiguration"]["KinesisStreamARN"].rpartition("/")[2],
            bucket=bucket_of(s3),
            prefix=with_default(s3["Prefix"]),
            error_prefix=s3["ErrorOutputPrefix"],
            compression=s3["CompressionFormat"],
            object_bytes=int(s3["BufferingHints"]["SizeInMBs"]) * MEGABYTE,
            object_seconds=float(s3["BufferingHints"]["IntervalInSeconds"]),
            backup=s3["S3BackupConfiguration"] if s3["S3BackupMode"] == "Enabled" else None,
            function_arn=call["LambdaArn"],
            call_bytes=int(float(call["BufferSizeInMBs"]) * MEGABYTE),
            call_seconds=float(call["BufferIntervalInSeconds"]),
            retries=int(call["NumberOfRetries"]),
            query=processors.get("MetadataExtraction", {}).get("MetadataExtractionQuery"),
        )

    def hurried(self, call_seconds, object_seconds):
        return dataclasses.replace(self, call_seconds=call_seconds, object_seconds=object_seconds)


def bucket_of(s3):
    return s3["BucketARN"].rpartition(":")[2]


def with_default(prefix):
    """A prefix without any expression is followed by the time of arrival."""
    return prefix if EXPRESSION.search(prefix) else prefix + "!{timestamp:yyyy/MM/dd/HH/}"


def written_as(moment, pattern):
    """A pattern of Java's, as far as prefixes use it."""
    words = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H"}

    def one(match):
        if match[0] not in words:
            raise ValueError(f"{match[0]} in {pattern} is not known here")
        return moment.strftime(words[match[0]])

    return re.sub(r"[A-Za-z]+", one, pattern)


def utc(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def evaluate(prefix, arrived, from_lambda=None, from_query=None):
    """The prefix of an object whose oldest record arrived then."""

    def one(match):
        space, name = match[1], match[2]
        if space == "timestamp":
            return written_as(utc(arrived), name)
        if space == "firehose" and name == "error-output-type":
            return ERROR_TYPE
        if space == "firehose" and name == "random-string":
            return uuid.uuid4().hex[:11]
        if space == "partitionKeyFromLambda":
            return from_lambda[name]
        if space == "partitionKeyFromQuery":
            return from_query[name]
        raise ValueError(f"{match[0]} is not known here")

    return EXPRESSION.sub(one, prefix)


class Buffer:
    """What will be an object."""

    def __init__(self, arrived, keys=None):
        self.chunks, self.bytes = [], 0
        self.arrived, self.keys = arrived, keys or {}
        self.begun = time.monotonic()

    def add(self, data, arrived):
        self.chunks.append(data)
        self.bytes += len(data)
        self.arrived = min(self.arrived, arrived)


class Buffers:
    """Buffers of one prefix in one bucket, one for each set of partition keys."""

    def __init__(self, s3, name, bucket, prefix, compression, bytes_max, seconds_max):
        self.s3, self.name, self.bucket, self.prefix = s3, name, bucket, prefix
        self.compression, self.bytes_max, self.seconds_max = compression, bytes_max, seconds_max
        self.open = {}
        self.objects = []

    def add(self, data, arrived, keys=None):
        which = json.dumps(keys, sort_keys=True)
        if which not in self.open:
            self.open[which] = Buffer(arrived, keys)
        self.open[which].add(data, arrived)
        if self.open[which].bytes >= self.bytes_max:
            self.write(self.open.pop(which))

    def flush(self, all_of_them=False):
        now = time.monotonic()
        for which, buffer in list(self.open.items()):
            if all_of_them or now - buffer.begun >= self.seconds_max:
                self.write(self.open.pop(which))

    def write(self, buffer):
        moment = utc(buffer.arrived).strftime("%Y-%m-%d-%H-%M-%S")
        prefix = evaluate(self.prefix, buffer.arrived, **buffer.keys)
        key = f"{prefix}{self.name}-1-{moment}-{uuid.uuid4()}{EXTENSIONS[self.compression]}"
        body = b"".join(buffer.chunks)
        if self.compression == "GZIP":
            body = gzip.compress(body, 6, mtime=0)
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        self.objects.append(key)


class BrokenContract(Exception):
    """An answer that is none: kind as Firehose names it."""

    def __init__(self, kind, message):
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


def read_answer(answer, records):
    """{id: (result, data, partition keys)}, or BrokenContract."""
    try:
        told = json.loads(answer)["records"]
        found = {}
        for one in told:
            if one["recordId"] in found:
                raise BrokenContract("Lambda.DuplicatedRecordId", one["recordId"])
            if one["result"] not in ("Ok", "Dropped", "ProcessingFailed"):
                raise BrokenContract("Lambda.JsonProcessingException", f"result {one['result']}")
            data = base64.b64decode(one["data"], validate=True) if one.get("data") is not None else None
            if data is None and one["result"] == "Ok":
                raise BrokenContract("Lambda.JsonProcessingException", "Ok without data")
            found[one["recordId"]] = one["result"], data, one.get("metadata", {}).get("partitionKeys", {})
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise BrokenContract("Lambda.JsonProcessingException", repr(e)) from None
    if set(found) != {r.id for r in records}:
        raise BrokenContract("Lambda.MissingRecordId", f"{len(found)} for {len(records)}")
    return found


def ask_jq(query, lines):
    """What the template's query makes of each line: a dict of strings, or None.

    jq is the language that Firehose speaks there, in the version (1.6) that Debian has.
    """
    done = subprocess.run(
        ["jq", "-R", "-c", f"try (fromjson | {query}) catch null"],
        input=b"\n".join(lines) + b"\n",
        capture_output=True,
        timeout=QUERY_SECONDS_MAX,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(lines):
        raise ValueError(f"jq gave {len(answers)} answers for {len(lines)} lines")
    return [a if isinstance(a, dict) and all(isinstance(v, str) and v for v in a.values()) else None for a in answers]


class Delivery:
    """One delivery stream. start() it; finish() when nothing more will come."""

    def __init__(self, settings, kinesis, s3, function, poll_seconds=0.1):
        self.settings, self.kinesis, self.function = settings, kinesis, function
        self.poll_seconds = poll_seconds
        expressions = EXPRESSION.findall(settings.prefix)
        self.wanted_from_lambda = {name for space, name in expressions if space == "partitionKeyFromLambda"}
        self.counts = collections.Counter()
        self.waiting, self.waiting_bytes, self.waiting_since = [], 0, None
        limits = settings.object_bytes, settings.object_seconds
        common = s3, settings.name, settings.bucket
        self.made = Buffers(*common, settings.prefix, settings.compression, *limits)
        self.errors = Buffers(*common, settings.error_prefix, settings.compression, *limits)
        self.raw = None
        if settings.backup is not None:
            backup = settings.backup
            self.raw = Buffers(
                s3,
                settings.name,
                bucket_of(backup),
                with_default(backup["Prefix"]),
                backup["CompressionFormat"],
                *limits,
            )
        self.iterators = None
        self.stopping = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    # Life.

    def start(self):
        self.thread.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.step()
                self.stopping.wait(self.poll_seconds)
        except Exception as e:  # told by finish(), in the thread that can do something about it
            self.failure = e

    def stop(self):
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join(60)

    def finish(self, seconds=60):
        """Reads to the end, and writes everything."""
        self.stop()
        if self.failure is not None:
            raise self.failure
        deadline = time.monotonic() + seconds
        while self.read():
            self.transform_due()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.settings.name}: the stream does not end")
        self.transform_due(all_of_them=True)
        self.flush(all_of_them=True)

    def step(self):
        self.read()
        self.transform_due()
        self.flush()

    def flush(self, all_of_them=False):
        for buffers in (self.made, self.errors, self.raw):
            if buffers is not None:
                buffers.flush(all_of_them)

    # Read.

    def read(self):
        """Asks every shard once; True when there was something."""
        stream = self.settings.stream
        if self.iterators is None:
            self.iterators = {
                shard["ShardId"]: self.kinesis.get_shard_iterator(
                    StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]
                for shard in self.kinesis.list_shards(StreamName=stream)["Shards"]
            }
        came = False
        for shard, iterator in list(self.iterators.items()):
            reply = self.kinesis.get_records(ShardIterator=iterator, Limit=READ_RECORDS_MAX)
            if reply.get("NextShardIterator"):
                self.iterators[shard] = reply["NextShardIterator"]
            else:
                del self.iterators[shard]
            for r in reply["Records"]:
                arrived = r["ApproximateArrivalTimestamp"].timestamp()
                self.take(Record(r["Data"], shard, r["SequenceNumber"], r.get("PartitionKey", ""), arrived))
                came = True
        return came

    def take(self, record):
        self.counts["records"] += 1
        self.counts["bytes"] += len(record.data)
        if self.raw is not None:
            self.raw.add(record.data, record.arrived)
        if not self.waiting:
            self.waiting_since = time.monotonic()
        self.waiting.append(record)
        self.waiting_bytes += len(record.data)

    # Call.

    def transform_due(self, all_of_them=False):
        while self.waiting and (
            all_of_them
            or self.waiting_bytes >= self.settings.call_bytes
            or time.monotonic() - self.waiting_since >= self.settings.call_seconds
        ):
            self.transform(self.next_batch())

    def next_batch(self):
        n, size = 0, 0
        while n < len(self.waiting) and (n == 0 or size + len(self.waiting[n].data) <= self.settings.call_bytes):
            size += len(self.waiting[n].data)
            n += 1
        batch, self.waiting = self.waiting[:n], self.waiting[n:]
        self.waiting_bytes -= size
        self.waiting_since = time.monotonic()
        return batch

    def event(self, records):
        def one(r):
            arrived_ms = int(r.arrived * 1000)
            return {
                "recordId": r.id,
                "approximateArrivalTimestamp": arrived_ms,
                "data": base64.b64encode(r.data).decode(),
                "kinesisRecordMetadata": {
                    "sequenceNumber": r.sequence,
                    "subsequenceNumber": 0,
                    "partitionKey": r.key,
                    "shardId": r.shard,
                    "approximateArrivalTimestamp": arrived_ms,
                },
            }

        account = self.settings.function_arn.rsplit(":function:", 1)[0].replace("arn:aws:lambda:", "")
        event = {
            "invocationId": str(uuid.uuid4()),
            "sourceKinesisStreamArn": f"arn:aws:kinesis:{account}:stream/{self.settings.stream}",
            "deliveryStreamArn": f"arn:aws:firehose:{account}:deliverystream/{self.settings.name}",
            "region": account.partition(":")[0],
            "records": [one(r) for r in records],
        }
        return json.dumps(event).encode()

    def transform(self, records):
        """One batch: called until there is an answer, or given up."""
        event = self.event(records)
        for attempt in range(1, self.settings.retries + 2):
            self.counts["calls"] += 1
            try:
                answers = read_answer(self.function.invoke(event), records)
                break
            except (FunctionFailed, BrokenContract) as e:
                self.counts["failed calls"] += 1
                failure = e
        else:
            kind = failure.kind if isinstance(failure, BrokenContract) else "Lambda.FunctionError"
            for r in records:
                self.fail(r, attempt, kind, str(failure))
            return
        self.file(records, answers, attempt)

    # File.

    def file(self, records, answers, attempt):
        good = []
        for r in records:
            result, data, keys = answers[r.id]
            if result == "Ok":
                good.append((r, data, keys))
            elif result == "Dropped":
                self.counts["dropped"] += 1
            else:
                self.fail(r, attempt, "Lambda.ProcessingFailedStatus", "ProcessingFailed status set for record")
        queried = self.ask([data for _, data, _ in good])
        for (r, data, from_lambda), from_query in zip(good, queried):
            if from_query is None or not self.wanted_from_lambda <= set(from_lambda):
                self.fail(r, attempt, "DynamicPartitioning.MetadataExtractionFailed", "keys are missing")
                continue
            self.counts["delivered"] += 1
            self.made.add(data, r.arrived, {"from_lambda": from_lambda, "from_query": from_query})

    def ask(self, made):
        """The keys that the query gives for each, None where it cannot."""
        if self.settings.query is None:
            return [{}] * len(made)
        lines = [data.removesuffix(b"\n") for data in made]
        # A record that is several lines has no one date.
        single = [line if b"\n" not in line else b"several" for line in lines]
        return ask_jq(self.settings.query, single) if single else []

    def fail(self, record, attempts, kind, message):
        self.counts["failed"] += 1
        told = {
            "attemptsMade": attempts,
            "arrivalTimestamp": int(record.arrived * 1000),
            "errorCode": kind,
            "errorMessage": message,
            "attemptEndingTimestamp": int(time.time() * 1000),
            "rawData": base64.b64encode(record.data).decode(),
            "lambdaArn": self.settings.function_arn,
        }
        self.errors.add(json.dumps(told).encode() + b"\n", record.arrived)
