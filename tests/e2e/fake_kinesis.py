"""A Kinesis of the tests' own: strict where the real service is strict, and broken on demand.

It shares nothing with the daemon: signatures are checked with Python's hmac and hashlib, limits are
counted on the decoded records, shards are chosen with Python's MD5. Whatever it refuses on its own
account is noted in `violations`: a test that did not ask for it fails (see conftest.py).

One thread a connection, HTTP/1.1 read by hand, so that an answer can be late, cut, wrong or
missing. `fake.faults` is a queue, one fault (faults.py) for each coming PutRecords request, None
meaning an ordinary answer; when it is empty, `fake.fault` applies, if there is one.

    fake = FakeKinesis({"crimes": 2}).start()
    fake.faults += [faults.Status(500), faults.DropAfterStoring()]
    ...
    fake.data("crimes")     every record's bytes, in order of arrival
    fake.stop()
"""

import binascii
import collections
import datetime
import hashlib
import hmac
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse

from faults import Fault, Hangup, Refusal

RECORDS_MAX = 500
RECORD_BYTES_MAX = 1024 * 1024
REQUEST_BYTES_MAX = 5 * 1024 * 1024
BODY_BYTES_MAX = 10 * 1024 * 1024
KEY_CHARS_MAX = 256
SKEW_SECONDS_MAX = 300
TARGET = "Kinesis_20131202."
CONTENT_TYPE = "application/x-amz-json-1.1"

ACCESS_KEY = "AKIDTAILRACETESTS"
SECRET_KEY = "a/secret+of=these/tests+and/nobody=else"


Record = collections.namedtuple("Record", "data key shard sequence")


class Request:
    """One request as it arrived, and what became of it (outcome)."""

    def __init__(self, connection, method, path, headers, body, pairs):
        self.connection = connection
        self.method, self.path, self.body = method, path, body
        self.headers = headers  # dict, names in lower case
        self.pairs = pairs  # as they came: [(name, value)]
        self.operation = headers.get("x-amz-target", "").removeprefix(TARGET)
        self.stream = None
        self.records = []  # (data, key) of a PutRecords request that was read
        self.refused = 0  # how many of them were refused one by one
        self.outcome = None  # "stored", "partial", "error 500", "hangup", ...

    def __str__(self):
        ends = [data[:40] for data, _ in (self.records[:1] + self.records[-1:])]
        return f"{len(self.records)} records, {self.refused} refused, {self.outcome}: {ends}"


class Stream:
    def __init__(self, name, shards):
        self.name = name
        self.step = 2**128 // shards
        self.shards = [f"shardId-{i:012d}" for i in range(shards)]
        self.records = []

    def shard_of(self, key):
        hashed = int.from_bytes(hashlib.md5(key.encode()).digest(), "big")
        return self.shards[min(hashed // self.step, len(self.shards) - 1)]


class FakeKinesis:
    def __init__(
        self,
        streams=None,
        *,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        session_token=None,
        region="us-east-1",
        tls_dir=None,
        now=None,
    ):
        self.streams = {name: Stream(name, n) for name, n in (streams or {}).items()}
        self.access_key, self.secret_key = access_key, secret_key
        self.session_token, self.region = session_token, region
        self.now = now or (lambda: datetime.datetime.now(datetime.timezone.utc))
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.faults = collections.deque()
        self._fault = None
        self.requests = []  # every request that was read whole
        self.violations = []
        self.connections_n = 0
        self.connections = set()
        self.callers = collections.deque(maxlen=64)  # the addresses of the last ones
        self.listener = None
        self.port = 0
        self.tls = None
        self.ca_bundle = None
        if tls_dir is not None:
            self.ca_bundle, key = make_certificate(str(tls_dir))
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(self.ca_bundle, key)

    # Life: start, and in the middle of a test go_away and come_back on the same port.

    def start(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    come_back = start

    def go_away(self):
        """An outage: nobody listens any more, and what was connected is cut off."""
        listener, self.listener = self.listener, None
        if listener is not None:
            # A thread that waits in accept would keep the port; shutdown wakes it.
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            connection.abort()

    def stop(self):
        self.stopping.set()
        self.go_away()

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    # Trouble. When it ends, what was sent in it and not read yet is lost, as it was up to then: a
    # process that is dead by now may have left a whole request in a buffer of the kernel, and would
    # be heard after its successor on a machine that is busy.

    @property
    def fault(self):
        return self._fault

    @fault.setter
    def fault(self, fault):
        if fault is None and self._fault is not None and self.listener is not None:
            self.cut_off()
        self._fault = fault

    def cut_off(self):
        """Ends every connection made up to now: at once, or with the answer that it waits for."""
        self._wait_for_the_door()
        with self.lock:
            waiting = [c for c in self.connections if not c.busy]
            for connection in self.connections:
                connection.over = True
        for connection in waiting:
            connection.abort()

    def _wait_for_the_door(self):
        """Until every connection made before this moment is accepted: they come in order."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as last:
            me, ends = last.getsockname(), time.monotonic() + 10
            while not self._met(me):
                assert time.monotonic() < ends, "the fake Kinesis accepts nobody"
                time.sleep(0.001)

    def _met(self, caller):
        with self.lock:
            return caller in self.callers

    # What a test asks afterwards.

    def records(self, stream):
        with self.lock:
            return list(self.streams[stream].records)

    def data(self, stream):
        return [r.data for r in self.records(stream)]

    def count(self, stream):
        return len(self.streams[stream].records)

    def puts(self):
        with self.lock:
            return [r for r in self.requests if r.operation == "PutRecords"]

    # Connections.

    def _accept(self, listener):
        while True:
            try:
                raw, caller = listener.accept()
            except OSError:
                return
            with self.lock:
                self.callers.append(caller)
                self.connections_n += 1
                connection = Connection(self, raw, self.connections_n)
                self.connections.add(connection)
            threading.Thread(target=connection.run, daemon=True).start()

    def next_fault(self, connection, operation):
        with self.lock:
            if connection.over:
                raise Hangup
            connection.busy = True
            if operation != "PutRecords":
                return Fault()
            fault = self.faults.popleft() if self.faults else self.fault
        return fault or Fault()

    # Requests.

    def handle(self, request, fault):
        """The (status, body) for a request that was read whole."""
        try:
            self.check_head(request)
            self.check_signature(request)
            operation = getattr(self, f"do_{request.operation}", None)
            if operation is None:
                raise Refusal(400, "UnknownOperationException")
            status, body = 200, operation(request, parse_body(request.body), fault)
        except Refusal as refusal:
            request.outcome = f"error {refusal.code or refusal.status}"
            if refusal.blame:
                with self.lock:
                    self.violations.append(str(refusal))
            status, body = refusal.status, refusal_body(refusal)
        return fault.answer(request, status, body)

    def check_head(self, request):
        h = request.headers
        if request.method != "POST" or request.path != "/":
            raise Refusal(403, "AccessDeniedException", f"{request.method} {request.path}")
        if h.get("content-type") != CONTENT_TYPE:
            raise Refusal(404, "UnknownOperationException", f"content type {h.get('content-type')}")
        if not h.get("x-amz-target", "").startswith(TARGET):
            raise Refusal(400, "UnknownOperationException", f"target {h.get('x-amz-target')}")
        if h.get("host") != f"127.0.0.1:{self.port}":
            raise Refusal(400, "MalformedHttpRequestException", f"host {h.get('host')}")

    def check_signature(self, request):
        h = request.headers
        if "authorization" not in h:
            raise Refusal(
                400, "MissingAuthenticationTokenException", "Missing Authentication Token"
            )
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/(\d{8})/([^/, ]+)/([^/, ]+)/aws4_request, ?"
            r"SignedHeaders=([^, ]+), ?Signature=([0-9a-f]{64})",
            h["authorization"],
        )
        if not found:
            raise Refusal(400, "IncompleteSignatureException", h["authorization"])
        access_key, day, region, service, signed, signature = found.groups()
        if access_key != self.access_key or h.get("x-amz-security-token") != self.session_token:
            raise Refusal(
                400,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        signed = signed.split(";")
        must = {"host"} | {name for name in h if name.startswith("x-amz-")}
        if signed != sorted(signed) or not must <= set(signed) or not set(signed) <= set(h):
            raise Refusal(400, "InvalidSignatureException", f"signed headers {signed}")
        stamp = h.get("x-amz-date", "")
        if (region, service) != (self.region, "kinesis") or not stamp.startswith(day + "T"):
            raise Refusal(
                400,
                "InvalidSignatureException",
                f"Credential should be scoped to a valid region: {region}/{service}/{day}",
            )
        expected = sign(self.secret_key, request, signed, stamp, day, region, service)
        if not hmac.compare_digest(expected, signature):
            raise Refusal(
                400,
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you " "provided.",
            )
        try:
            when = datetime.datetime.strptime(stamp + "+0000", "%Y%m%dT%H%M%SZ%z")
        except ValueError:
            raise Refusal(400, "IncompleteSignatureException", f"date {stamp}")
        if abs((self.now() - when).total_seconds()) > SKEW_SECONDS_MAX:
            raise Refusal(400, "InvalidSignatureException", f"Signature expired: {stamp}")

    def find_stream(self, body):
        name, arn = body.get("StreamName"), body.get("StreamARN")
        if arn is not None:
            found = re.fullmatch(
                r"arn:aws[^:]*:kinesis:([^:]+):\d{12}:stream/([a-zA-Z0-9_.-]+)", str(arn)
            )
            if not found or found[1] != self.region or name not in (None, found[2]):
                raise Refusal(400, "ValidationException", f"StreamARN {arn}")
            name = found[2]
        if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9_.-]{1,128}", name):
            raise Refusal(400, "ValidationException", f"StreamName {name}")
        if name not in self.streams:
            raise Refusal(
                400,
                "ResourceNotFoundException",
                f"Stream {name} under account 000000000000 not found.",
                blame=False,
            )
        return self.streams[name]

    def do_PutRecords(self, request, body, fault):
        unknown = set(body) - {"Records", "StreamName", "StreamARN"}
        if unknown:
            raise Refusal(400, "SerializationException", f"members {sorted(unknown)}")
        request.records = read_records(body.get("Records"))
        stream = self.find_stream(body)
        request.stream = stream.name
        fault.refuse(request)
        codes = [None] * len(request.records)
        if type(fault).entry is not Fault.entry:
            codes = [fault.entry(request, i, *r) for i, r in enumerate(request.records)]
        return self.store(request, stream, codes)

    def store(self, request, stream, codes):
        answers, kept = [], []
        shards = [stream.shard_of(key) for _, key in request.records]
        with self.lock:
            sequence = len(stream.records)
            for (data, key), shard, code in zip(request.records, shards, codes):
                if code is not None:
                    answers.append('{"ErrorCode":"%s","ErrorMessage":"as scripted"}' % code)
                    continue
                number = f"4959{sequence + len(kept):052d}"
                kept.append(Record(data, key, shard, number))
                answers.append('{"SequenceNumber":"%s","ShardId":"%s"}' % (number, shard))
            stream.records += kept
        request.refused = len(codes) - len(kept)
        request.outcome = "partial" if request.refused else "stored"
        return (
            '{"FailedRecordCount":%d,"Records":[%s]}' % (request.refused, ",".join(answers))
        ).encode()

    # The reading side, as far as `tailrace cat` and boto3 need it.

    def do_ListShards(self, request, body, fault):
        stream = self.find_stream(body)
        shards = [
            {
                "ShardId": shard,
                "HashKeyRange": {
                    "StartingHashKey": str(i * stream.step),
                    "EndingHashKey": str((i + 1) * stream.step - 1),
                },
                "SequenceNumberRange": {"StartingSequenceNumber": "4959" + "0" * 52},
            }
            for i, shard in enumerate(stream.shards)
        ]
        return json.dumps({"Shards": shards}).encode()

    def do_DescribeStreamSummary(self, request, body, fault):
        stream = self.find_stream(body)
        return json.dumps(
            {
                "StreamDescriptionSummary": {
                    "StreamName": stream.name,
                    "StreamStatus": "ACTIVE",
                    "RetentionPeriodHours": 24,
                    "StreamARN": f"arn:aws:kinesis:{self.region}:000000000000:stream/{stream.name}",
                    "StreamCreationTimestamp": 1.0,
                    "EnhancedMonitoring": [],
                    "OpenShardCount": len(stream.shards),
                }
            }
        ).encode()

    def do_GetShardIterator(self, request, body, fault):
        stream = self.find_stream(body)
        kind, shard = body.get("ShardIteratorType"), body.get("ShardId")
        if shard not in stream.shards or kind not in (
            "TRIM_HORIZON",
            "LATEST",
            "AFTER_SEQUENCE_NUMBER",
        ):
            raise Refusal(400, "ValidationException", f"iterator {kind} {shard}")
        at = {"TRIM_HORIZON": 0, "LATEST": self.count(stream.name)}.get(kind)
        if at is None:
            at = int(body["StartingSequenceNumber"][4:]) + 1
        return json.dumps({"ShardIterator": f"{stream.name} {shard} {at}"}).encode()

    def do_GetRecords(self, request, body, fault):
        try:
            name, shard, at = body["ShardIterator"].split(" ")
            records, limit = self.records(name), int(body.get("Limit", 10000))
        except (KeyError, ValueError):
            raise Refusal(400, "InvalidArgumentException", "Invalid ShardIterator.")
        at, found = int(at), []
        while at < len(records) and len(found) < limit:
            if records[at].shard == shard:
                found.append(records[at])
            at += 1
        return json.dumps(
            {
                "NextShardIterator": f"{name} {shard} {at}",
                "MillisBehindLatest": 0 if at == len(records) else 1000,
                "Records": [
                    {
                        "Data": binascii.b2a_base64(r.data, newline=False).decode(),
                        "PartitionKey": r.key,
                        "SequenceNumber": r.sequence,
                        "ApproximateArrivalTimestamp": 1.5,
                    }
                    for r in found
                ],
            }
        ).encode()


class Connection:
    """Reads requests off one socket and answers them, one after the other."""

    def __init__(self, fake, raw, number):
        self.fake, self.raw, self.number = fake, raw, number
        self.socket = raw
        self.busy = False  # with a request whose head was read
        self.over = False  # the next one is not heard

    def run(self):
        try:
            if self.fake.tls:
                self.socket = self.fake.tls.wrap_socket(self.raw, server_side=True)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = self.socket.makefile("rb", buffering=1 << 18)
            while self.serve(stream):
                pass
        except (OSError, ValueError, Hangup):
            pass
        finally:
            with self.fake.lock:
                self.fake.connections.discard(self)
            self.close()

    def abort(self):
        """Ends the connection with a reset: what was on its way is lost."""
        try:
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        self.close()

    def close(self):
        for s in (self.socket, self.raw):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            try:
                s.close()
            except OSError:
                pass

    def serve(self, stream):
        line = stream.readline(8192)
        if not line:
            return False
        method, path, _ = line.decode("latin-1").split(" ", 2)
        pairs = []
        while line := stream.readline(65536).decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            pairs.append((name, value.strip()))
        headers = {name.lower(): value for name, value in pairs}
        request = Request(self, method, path, headers, b"", pairs)
        fault = self.fake.next_fault(self, request.operation)
        try:
            fault.arrive(request)
            self.read_body(stream, request)
            with self.fake.lock:
                self.fake.requests.append(request)
            status, body = self.fake.handle(request, fault)
        except Hangup:
            request.outcome = f"{request.outcome or 'nothing'}, hangup"
            raise
        request.body = b""  # a long test keeps many requests
        self.send_head(status, len(body))
        self.send(body)
        with self.fake.lock:
            self.busy = False
            return not self.over and headers.get("connection", "").lower() != "close"

    def read_body(self, stream, request):
        if request.headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(request.headers.get("content-length", "0"))
        if length > BODY_BYTES_MAX:
            self.send_head(413, 0)
            raise Hangup
        request.body = stream.read(length)
        if len(request.body) < length:
            raise Hangup

    def send_head(self, status, length):
        kind = CONTENT_TYPE if status in (200, 400) else "text/html"
        self.send(
            f"HTTP/1.1 {status} Because\r\nx-amzn-RequestId: {os.urandom(8).hex()}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()
        )

    def send(self, data):
        self.socket.sendall(data)


def refusal_body(refusal):
    if isinstance(refusal.message, bytes):
        return refusal.message
    return json.dumps({"__type": refusal.code, "message": refusal.message}).encode()


def parse_body(body):
    try:
        parsed = json.loads(body.decode("utf-8"))
    except ValueError as error:
        raise Refusal(400, "SerializationException", str(error))
    if not isinstance(parsed, dict):
        raise Refusal(400, "SerializationException", "not an object")
    return parsed


ENTRY = {"Data", "PartitionKey"}


def read_records(entries):
    """Every record as (data, key), or the refusal that the whole request earns."""
    if not isinstance(entries, list) or not 1 <= len(entries) <= RECORDS_MAX:
        n = len(entries) if isinstance(entries, list) else "no"
        raise Refusal(400, "ValidationException", f"Records: {n} entries")
    records, total = [], 0
    decode = binascii.a2b_base64
    try:
        for entry in entries:
            if entry.keys() != ENTRY:
                raise Refusal(400, "SerializationException", f"members {sorted(entry)}")
            key = entry["PartitionKey"]
            data = decode(entry["Data"], strict_mode=True)
            if not 1 <= len(key) <= KEY_CHARS_MAX:
                raise Refusal(400, "ValidationException", f"PartitionKey of {len(key)} characters")
            size = len(data) + len(key.encode())
            if size > RECORD_BYTES_MAX:
                raise Refusal(400, "ValidationException", f"record of {size} bytes")
            total += size
            records.append((data, key))
    except (AttributeError, TypeError, ValueError) as error:
        raise Refusal(400, "SerializationException", str(error))
    if total > REQUEST_BYTES_MAX:
        raise Refusal(400, "InvalidArgumentException", f"Records size exceeds 5 MB limit: {total}")
    return records


def sign(secret, request, signed, stamp, day, region, service):
    """The signature that a request should carry (AWS Signature Version 4, headers)."""
    path, _, query = request.path.partition("?")
    parameters = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    canonical = "\n".join(
        [
            request.method,
            path,
            urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(
        ["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = ("AWS4" + secret).encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def make_certificate(directory):
    """A self-signed certificate for 127.0.0.1, which is its own authority, and its key."""
    certificate, key = os.path.join(directory, "fake.pem"), os.path.join(directory, "fake.key")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=fake kinesis",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
