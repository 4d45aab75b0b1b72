"""The fake is only worth something if a stranger's client agrees with it: boto3 is the judge."""

import binascii
import contextlib
import datetime
import hashlib
import socket
import ssl
import urllib.error
import urllib.request

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config

import fake_kinesis as fk
import faults


def client(fake, secret=fk.SECRET_KEY, **more):
    return boto3.client(
        "kinesis",
        endpoint_url=fake.url,
        region_name="us-east-1",
        verify=fake.ca_bundle,
        aws_access_key_id=fk.ACCESS_KEY,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        **more,
    )


def put(fake, *data, key="k", **more):
    records = [{"Data": d, "PartitionKey": key} for d in data]
    return client(fake, **more).put_records(StreamName="s", Records=records)


def refused(code, call, *args, **more):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(*args, **more)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response


@pytest.fixture
def start(request):
    def start_fake(**more):
        fake = fk.FakeKinesis({"s": 4}, **more).start()
        request.addfinalizer(fake.stop)
        return fake

    return start_fake


@pytest.fixture
def fake(start):
    return start()


def test_boto3_writes_and_reads_back_by_shard(fake):
    keys = ["a", "b", "c", "é", "日本"]
    c = client(fake)
    reply = c.put_records(
        StreamName="s", Records=[{"Data": k.encode(), "PartitionKey": k} for k in keys]
    )
    assert reply["FailedRecordCount"] == 0
    read = []
    for shard in c.list_shards(StreamName="s")["Shards"]:
        low = int(shard["HashKeyRange"]["StartingHashKey"])
        high = int(shard["HashKeyRange"]["EndingHashKey"])
        iterator = c.get_shard_iterator(
            StreamName="s", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        for r in c.get_records(ShardIterator=iterator)["Records"]:
            hashed = int(hashlib.md5(r["PartitionKey"].encode()).hexdigest(), 16)
            assert low <= hashed <= high
            read.append((r["Data"].decode(), r["PartitionKey"]))
    assert sorted(read) == sorted((k, k) for k in keys)
    assert fake.violations == []


def test_boto3_signature_is_accepted_over_tls_with_a_session_token(start, tmp_path):
    fake = start(tls_dir=tmp_path, session_token="a/session+token==")
    assert put(fake, b"x", aws_session_token="a/session+token==")["FailedRecordCount"] == 0
    refused("UnrecognizedClientException", put, fake, b"x", aws_session_token="another")


def test_certificate_is_not_trusted_by_the_system(start, tmp_path):
    fake = start(tls_dir=tmp_path)
    with pytest.raises(urllib.error.URLError) as caught:
        urllib.request.urlopen(fake.url)
    assert isinstance(caught.value.reason, ssl.SSLCertVerificationError)


def test_wrong_secret_is_refused(fake):
    refused("InvalidSignatureException", put, fake, b"x", secret="another secret")
    assert fake.count("s") == 0 and len(fake.violations) == 1


def test_unknown_access_key_is_refused(start):
    fake = start(access_key="AKIDOTHER")
    refused("UnrecognizedClientException", put, fake, b"x")


def test_body_changed_on_the_way_is_refused(fake):
    request = fk.Request(None, "POST", "/", {}, b"{}", [])
    c = client(fake)
    sent = {}
    c.meta.events.register(
        "before-send.kinesis.*",
        lambda request, **_: sent.update(headers=dict(request.headers.items()), body=request.body),
    )
    c.put_records(StreamName="s", Records=[{"Data": b"x", "PartitionKey": "k"}])
    request.headers = {
        k.lower(): v.decode() if isinstance(v, bytes) else v for k, v in sent["headers"].items()
    }
    request.headers["host"] = f"127.0.0.1:{fake.port}"
    request.body = sent["body"]
    fake.check_signature(request)
    request.body += b" "
    with pytest.raises(faults.Refusal) as caught:
        fake.check_signature(request)
    assert caught.value.code == "InvalidSignatureException"


def test_clock_more_than_five_minutes_off_is_refused(start):
    for minutes in (-6, 6):
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        refused("InvalidSignatureException", put, start(now=lambda: now), b"x")
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=4)
    assert put(start(now=lambda: now), b"x")["FailedRecordCount"] == 0


def test_limits_are_enforced(fake):
    mib = 1024 * 1024
    assert put(fake, *[b"x"] * 500)["FailedRecordCount"] == 0
    refused("ValidationException", put, fake, *[b"x"] * 501)
    refused("ValidationException", put, fake)
    assert put(fake, b"x" * (mib - 1))["FailedRecordCount"] == 0
    refused("ValidationException", put, fake, b"x" * mib)
    assert put(fake, *[b"x" * (mib // 2 - 1)] * 10)["FailedRecordCount"] == 0
    refused("InvalidArgumentException", put, fake, *[b"x" * (mib // 2 - 1)] * 10, b"x")
    assert put(fake, b"x", key="é" * 256)["FailedRecordCount"] == 0
    refused("ValidationException", put, fake, b"x", key="é" * 257)
    refused("ValidationException", put, fake, b"x", key="")
    assert fake.count("s") == 512 and len(fake.violations) == 6


def test_missing_stream_is_refused_without_blame(fake):
    refused(
        "ResourceNotFoundException",
        client(fake).put_records,
        StreamName="none",
        Records=[{"Data": b"x", "PartitionKey": "k"}],
    )
    assert fake.violations == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff{}", b'{"Records":[{"Data":"eA=="}]}'])
def test_bodies_that_are_no_request_are_refused(body):
    with pytest.raises(faults.Refusal) as caught:
        fk.read_records(fk.parse_body(body).get("Records"))
    assert caught.value.code == "SerializationException"


@pytest.mark.parametrize("data", ["eA=", "eA", "e A==", "eA==\n", "e-A=", 5, None])
def test_data_must_be_exact_base64(data):
    with pytest.raises(faults.Refusal) as caught:
        fk.read_records([{"Data": data, "PartitionKey": "k"}])
    assert caught.value.code == "SerializationException"


def test_scripted_faults_come_in_order_and_then_end(fake):
    fake.faults += [
        faults.Status(503),
        faults.Error("AccessDeniedException"),
        faults.Entries(share=0.5, seed=1),
        faults.DropBeforeReading(),
        faults.DropBeforeStoring(),
        faults.DropAfterStoring(),
    ]
    refused("503", put, fake, b"1")
    refused("AccessDeniedException", put, fake, b"2")
    reply = put(fake, *[b"3"] * 100)
    assert 20 < reply["FailedRecordCount"] < 80
    assert sum("ErrorCode" in r for r in reply["Records"]) == reply["FailedRecordCount"]
    for data in (b"4", b"5", b"6"):
        with pytest.raises(botocore.exceptions.HTTPClientError):
            put(fake, data)
    put(fake, b"7")
    data = fake.data("s")
    assert data == [b"3"] * (100 - reply["FailedRecordCount"]) + [b"6", b"7"]
    assert fake.violations == []


def test_poison_refuses_only_requests_that_hold_it(fake):
    fake.fault = faults.Poison(b"bad")
    refused("InvalidArgumentException", put, fake, b"good", b"a bad one")
    assert put(fake, b"good")["FailedRecordCount"] == 0


def test_outage_ends_on_the_same_port(fake):
    put(fake, b"1")
    fake.go_away()
    with pytest.raises(botocore.exceptions.EndpointConnectionError):
        put(fake, b"2")
    fake.come_back()
    put(fake, b"3")
    assert fake.data("s") == [b"1", b"3"]


def test_what_was_sent_in_an_outage_is_not_heard_after_it(fake):
    """Half a request stands for one that lies in a buffer of the kernel, its sender dead by now."""
    fake.fault = faults.DropBeforeReading()
    with socket.create_connection(("127.0.0.1", fake.port), timeout=10) as late:
        late.sendall(b"POST / HTTP/1.1\r\nX-Amz-Target: Kinesis_20131202.ListShards\r\n")
        fake.fault = None
        with contextlib.suppress(ConnectionError):
            late.sendall(b"Content-Length: 0\r\n\r\n")
            assert late.recv(1) == b""
    assert fake.requests == []
    assert put(fake, b"after")["FailedRecordCount"] == 0


def test_sequence_numbers_resume_after_the_one_given(fake):
    put(fake, *[b"%d" % i for i in range(10)])
    c, first = client(fake), fake.records("s")[3]
    iterator = c.get_shard_iterator(
        StreamName="s",
        ShardId=first.shard,
        ShardIteratorType="AFTER_SEQUENCE_NUMBER",
        StartingSequenceNumber=first.sequence,
    )["ShardIterator"]
    assert [r["Data"] for r in c.get_records(ShardIterator=iterator)["Records"]] == [
        b"%d" % i for i in range(4, 10)
    ]


def test_base64_of_the_fake_is_the_standard_one():
    data = bytes(range(256))
    assert fk.read_records(
        [{"Data": binascii.b2a_base64(data, newline=False).decode(), "PartitionKey": "k"}]
    ) == [(data, "k")]
