"""The command-line tool: check and cat."""

import base64
import json
import os
import re
import signal
import subprocess

import pytest

import fake_kinesis as fk
import faults
import harness
from harness import tool, wait_until

GOOD = """\
region: us-east-1
state_dir: /var/lib/tailrace
streams:
  crimes:
    kinesis: crimes
sources:
  a:
    file: /srv/*.csv
    stream: crimes
    format: csv
    key: "{district}"
    record:
      district: {from: district, type: int}
"""


def check(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    status, out, err = tool("check", path)
    return status, out, err.replace(str(path), "c.yaml").splitlines()


def test_a_good_configuration_is_said_to_be_good(tmp_path):
    status, out, err = check(tmp_path, GOOD)
    assert status == 0 and "ok" in out and err == []


def test_every_error_is_told_with_its_place_in_order(tmp_path):
    bad = (
        GOOD.replace("region: us-east-1", "regoin: us-east-1")
        .replace("format: csv", "format: cvs")
        .replace("stream: crimes", "stream: crime")
        .replace("type: int", "type: integer")
    )
    status, out, err = check(tmp_path, bad)
    assert status == 1 and out == "" and len(err) >= 4
    places = [tuple(map(int, re.match(r"c\.yaml:(\d+):(\d+): ", line).groups())) for line in err]
    assert places == sorted(places)
    told = "\n".join(err)
    assert re.search(r"c\.yaml:1:1: .*regoin.*\bregion\b", told)
    assert re.search(r"c\.yaml:9:13: .*crime\b.*crimes", told)
    assert re.search(r"c\.yaml:10:13: .*cvs.*csv", told)
    assert re.search(r"c\.yaml:13:40: .*integer", told)


@pytest.mark.parametrize(
    "change,place,words",
    [
        (("kinesis: crimes", "kinesis: crimes\n    linger: 5"), "6:13", "unit|ms"),
        (("kinesis: crimes", "kinesis: crimes\n    linger: 5 parsecs"), "6:13", "linger"),
        (("kinesis: crimes", "kinesis: crimes\n    in_flight: 0"), "6:16", "in_flight"),
        (("kinesis: crimes", "kinesis: crimes\n    in_flight: many"), "6:16", "in_flight"),
        (("kinesis: crimes", "kinesis: crimes\n    buffer: 1KiB"), "6:13", "8"),
        (("kinesis: crimes", "kinesis: a/b"), "5:14", "kinesis"),
        (
            ("kinesis: crimes", "kinesis: arn:aws:kinesis:eu-west-1:123456789012:stream/x"),
            "5:14",
            "region",
        ),
        (
            ("kinesis: crimes", "kinesis: crimes\n    kinesis: crimes"),
            "6:5",
            "kinesis|duplicate|twice",
        ),
        (("/srv/*.csv", "srv/*.csv"), "8:11", "absolute"),
        (("sources:\n  a:", "sources:\n  a b:"), "7:3", "name"),
        (("format: csv", "format: line"), "12:5", "record.*csv"),
        (("region: us-east-1", "region: [us-east-1]"), "1:9", "region"),
        (("state_dir:", "endpoint: ftp://x\nstate_dir:"), "2:11", "http"),
        (('"{district}"', '"{district"'), "11:10", "key"),
        (("type: int", 'parse: "%m"'), "13:", "print"),
        (("type: int", 'parse: "%q", print: "%m"'), "13:", "%q"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(tmp_path, change, place, words):
    assert change[0] in GOOD
    status, _, err = check(tmp_path, GOOD.replace(*change))
    assert status == 1
    assert any(line.startswith(f"c.yaml:{place}") and re.search(words, line) for line in err), err


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "\t",
        "a: *x",
        "x: &a [*a]",
        "- a",
        "a",
        b"\xff\xfe\x00",
        "a: b\n---\nc: d\n",
        "? [a]\n: b",
        "[" * 200,
    ],
)
def test_what_is_no_configuration_is_told_with_a_place(tmp_path, text):
    status, _, err = check(tmp_path, text)
    assert status == 1 and err
    assert re.match(r"c\.yaml:\d+:\d+: ", err[0])


def test_a_file_that_is_not_there_is_told(tmp_path):
    status, _, err = tool("check", tmp_path / "none.yaml")
    assert status == 66 and "none.yaml" in err


def test_the_configuration_of_the_manual_works_as_written(tmp_path):
    found = [p for p in harness.ROOT.glob("conf/*.yaml")]
    assert found
    for path in found:
        status, _, err = tool("check", path)
        assert status == 0, err


def test_wrong_usage_is_told():
    for arguments in ([], ["chekc"], ["check"], ["check", "--wrong"], ["cat"]):
        status, out, err = tool(*arguments)
        assert status == 64 and out == "" and "usage" in err, arguments
    assert "check" in tool("chekc")[2]


@pytest.mark.parametrize("command", ["check", "cat"])
def test_every_command_has_help_and_version(command):
    status, out, _ = tool(command, "--help")
    assert status == 0 and f"tailrace {command}" in out
    status, out, _ = tool(command, "--version")
    assert status == 0 and re.search(r"\d+\.\d+\.\d+", out)


# cat


@pytest.fixture
def filled(daemon, fakes, tmp_path):
    """A fake of four shards with some records in it, and a daemon's settings to send it more."""
    fake = fakes({"s": 4})
    (tmp_path / "a.log").write_bytes(b"".join(b"line %d\n" % i for i in range(1000)))
    d = daemon(fake.url).source("a", tmp_path / "a.log", start_at="beginning")
    assert d.once() == 0, d.log()
    return fake, d


def where(fake):
    return ["--endpoint", fake.url, "--region", "us-east-1"]


def test_cat_prints_every_record_of_every_shard(filled):
    fake, d = filled
    status, out, err = tool("cat", *where(fake), "--until-idle=1", "s", env=d.env)
    assert status == 0, err
    assert sorted(out.splitlines()) == sorted(f"line {i}" for i in range(1000))


def test_cat_prints_json_lines_that_name_shard_number_and_key(filled):
    fake, d = filled
    binary = bytes(range(256)).replace(b"\n", b"")
    with open(d.dir / "a.log", "ab") as more:
        more.write(binary + b"\n")
    assert d.once() == 0
    status, out, err = tool("cat", *where(fake), "--json", "--until-idle=1", "s", env=d.env)
    assert status == 0, err
    found = {
        (
            base64.b64decode(x["data_base64"]) if "data_base64" in x else x["data"].encode(),
            x["partition_key"],
            x["shard"],
            x["sequence"],
        )
        for x in map(json.loads, out.splitlines())
    }
    assert found == set(fake.records("s"))
    assert binary in fake.data("s")


def test_cat_takes_endpoint_and_region_from_the_environment_and_a_limit(filled):
    fake, d = filled
    env = dict(d.env, AWS_ENDPOINT_URL_KINESIS=fake.url, AWS_REGION="us-east-1")
    status, out, err = tool("cat", "--limit", "7", "s", env=env)
    assert status == 0 and len(out.splitlines()) == 7, err


def test_cat_reads_over_tls_with_a_session_token(fakes, tmp_path, daemon):
    fake = fakes(tls_dir=tmp_path, session_token="token")
    d = daemon(fake.url)
    d.env.update(harness.credentials(session_token="token"))
    fake.streams["s"].records.append(
        fk.Record(b"x", "k", "shardId-000000000001", "4959" + "0" * 52)
    )
    status, out, err = tool(
        "cat", *where(fake), "--ca-bundle", fake.ca_bundle, "--until-idle=1", "s", env=d.env
    )
    assert (status, out) == (0, "x\n"), err
    status, out, err = tool("cat", *where(fake), "--until-idle=1", "s", env=d.env)
    assert (status, out) == (1, "") and "certificate" in err.lower()


def test_cat_of_a_stream_that_is_not_there_fails_with_its_name(filled):
    fake, d = filled
    status, out, err = tool("cat", *where(fake), "no-such-stream", "--until-idle=1", env=d.env)
    assert status == 1 and out == ""
    assert "ResourceNotFoundException" in err and "no-such-stream" in err


def test_cat_follows_until_it_is_stopped(filled):
    fake, d = filled
    cat = subprocess.Popen(
        [harness.BUILD / "tailrace", "cat", *where(fake), "s"],
        env=d.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out = b""
    os.set_blocking(cat.stdout.fileno(), False)

    def have(n):
        nonlocal out
        out += cat.stdout.read() or b""
        return out.count(b"\n") >= n

    try:
        wait_until(lambda: have(1000))
        with open(d.dir / "a.log", "ab") as more:
            more.write(b"one more\n")
        assert d.once() == 0
        wait_until(lambda: have(1001))
        cat.send_signal(signal.SIGINT)
        assert cat.wait(10) == 0
    finally:
        cat.kill()
        cat.communicate()
    assert out.endswith(b"one more\n")


def test_cat_into_a_closed_pipe_ends(filled):
    fake, d = filled
    cat = subprocess.Popen(
        [harness.BUILD / "tailrace", "cat", *where(fake), "s"],
        env=d.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    cat.stdout.close()
    try:
        assert cat.wait(20) >= 0
    finally:
        cat.kill()
        cat.wait()


def test_cat_outlives_errors_of_the_service(filled):
    fake, d = filled
    fails = iter(
        [
            faults.Refusal(500, "InternalFailure", blame=False),
            faults.Refusal(400, "ProvisionedThroughputExceededException", blame=False),
        ]
    )
    whole = fake.do_GetRecords

    def sometimes(request, body, fault):
        for refusal in fails:
            raise refusal
        return whole(request, body, fault)

    fake.do_GetRecords = sometimes
    status, out, err = tool("cat", *where(fake), "s", "--until-idle=2", env=d.env)
    assert status == 0, err
    assert len(out.splitlines()) == 1000
