"""The Lambda function: the real bootstrap, driven by a runtime API of our own (runtime_api.py), its
answers held against a plain transformation in Python, and against what tailraced makes of the same."""

import base64
import csv
import datetime
import io
import json
import random
import re
import socket
import subprocess

import pytest

import crimes
import harness
import kpl
import runtime_api

BOOTSTRAP = harness.BUILD / "lambda" / "bootstrap"
MAPPINGS = {name: harness.ROOT / "conf/aws" / f"mapping.{name}.yaml" for name in ("crimes", "events")}
ANSWER_MAX = 6_000_000


@pytest.fixture
def api():
    made = runtime_api.RuntimeApi()
    yield made
    made.close()
    assert made.broken == []


@pytest.fixture
def start(api, tmp_path, request):
    """start(mapping) -> a Function that must still be alive at the end; start(..., ends=True) may end."""

    def make(mapping, ends=False, **environment):
        folder = tmp_path / f"task{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        if mapping is not None:
            (folder / "mapping.yaml").write_text(mapping)
        env = {**harness.environment(folder), **environment}
        made = runtime_api.Function([BOOTSTRAP], api, folder, **env)
        request.addfinalizer(made.process.kill if ends else made.stop)
        return made

    return make


def mapping(name):
    return MAPPINGS[name].read_text()


def encoded(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def firehose(datas, **more):
    """An event as Firehose sends it, from a stream."""
    records = []
    for i, data in enumerate(datas):
        metadata = {
            "sequenceNumber": f"{i:056}",
            "subsequenceNumber": 0,
            "partitionKey": "k",
            "shardId": "shardId-000000000000",
            "approximateArrivalTimestamp": 1763884200000,
        }
        records.append(
            {
                "recordId": f"{i:056}000000",
                "approximateArrivalTimestamp": 1763884200000,
                "data": encoded(data),
                "kinesisRecordMetadata": metadata,
            }
        )
    return {
        "invocationId": "5a1b9f3c",
        "deliveryStreamArn": "arn:aws:firehose:us-east-1:123456789012:deliverystream/crimes",
        "sourceKinesisStreamArn": "arn:aws:kinesis:us-east-1:123456789012:stream/crimes",
        "region": "us-east-1",
        "records": records,
        **more,
    }


def answered(outcome, event):
    """(result, data) of each record: all of them, once, in order."""
    assert outcome.kind == "response", outcome.body
    assert len(outcome.body) <= ANSWER_MAX
    answer = json.loads(outcome.body)
    assert set(answer) == {"records"}
    assert [r["recordId"] for r in answer["records"]] == [r["recordId"] for r in event["records"]]
    for record in answer["records"]:
        assert set(record) - {"metadata"} == {"recordId", "result", "data"}
    return [(r["result"], base64.b64decode(r["data"], validate=True)) for r in answer["records"]]


def ask(api, datas, how="plain"):
    event = firehose(datas)
    return answered(api.ask(event, how), event)


# --- what records become, by a plain transformation ------------------------------------------------


TEXT, INTEGER, DECIMAL = r"[^|\r\n]*", r"\d+", r"-?\d+\.\d+"
PLAIN = [r"\d+/\d+/\d\d \d+:\d\d", TEXT, INTEGER, TEXT, INTEGER, TEXT, INTEGER, DECIMAL, DECIMAL]


def is_plain(cells):
    """The made-up list has times that do not exist, empty cells, and line breaks in quotes."""
    if len(cells) != len(PLAIN) or not all(map(re.fullmatch, PLAIN, cells)):
        return False
    try:
        datetime.datetime.strptime(cells[0], crimes.TIME)
    except ValueError:
        return False
    return True


def pipe_rows():
    """The crime list as rows with pipes, the time written out; and what must become of each."""
    rows, wanted = [], []
    listed = crimes.text("published" if crimes.published() else "made up")
    for cells in filter(is_plain, list(csv.reader(io.StringIO(listed)))[1:]):
        month, day, year, hour, minute = map(int, re.fullmatch(r"(\d+)/(\d+)/(\d+) (\d+):(\d+)", cells[0]).groups())
        at = f"{2000 + year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:00"
        rows.append("|".join([at, *cells[1:]]).encode())
        wanted.append(
            {
                "crime_time": at,
                "address": cells[1],
                "district": int(cells[2]),
                "beat": cells[3].strip(),
                "grid": int(cells[4]),
                "description": cells[5],
                "crime_id": int(cells[6]),
                "latitude": float(cells[7]),
                "longitude": float(cells[8]),
                "location": {"lat": float(cells[7]), "lon": float(cells[8])},
                "crime_year": at[:4],
                "crime_month": at[5:7],
                "crime_day": at[8:10],
            }
        )
    assert len(rows) > 0.9 * crimes.ROWS
    return rows, wanted


def flatten(value, prefix=""):
    out = {}
    for name, member in value.items():
        if isinstance(member, dict) and member:
            out |= flatten(member, f"{prefix}{name}.")
        else:
            out[prefix + name] = member
    return out


def card_event(r):
    at = f"2026-{r.randint(1, 12):02}-{r.randint(1, 28):02}T{r.randint(0, 23):02}:{r.randint(0, 59):02}:07"
    at += r.choice(["Z", ".5Z", f".{r.randint(0, 999):03}Z", "+02:00"])
    made = {
        "userId": f"u-{r.randint(0, 99999):06}",
        "event": r.choice(["card_opened", "card_dismissed"]),
        "timestamp": at,
        "eventContext": {"ip": "203.0.113.7", "device": {"os": "android", "é\u2028": r.random(), "empty": {}}},
        "card": {"id": f"c-{r.randint(1, 99)}", "tags": [{"a": 1}, []], "position": r.randint(0, 9), "sold": None},
    }
    return made


def flat_event(made):
    at = made["timestamp"]
    return {**flatten(made), "event_year": at[:4], "event_month": at[5:7], "event_day": at[8:10]}


def json_lines(data):
    """Split at line feeds and nothing else: U+2028 is data."""
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data[:-1].split(b"\n")]


def test_pipe_rows_become_typed_json(api, start):
    start(mapping("crimes"))
    rows, wanted = pipe_rows()
    made = []
    for i in range(0, len(rows), 500):
        for result, data in ask(api, rows[i : i + 500]):
            assert result == "Ok"
            made += json_lines(data)
    assert made == wanted
    assert list(made[0]) == list(wanted[0])


def test_the_row_of_the_manual(api, start):
    start(mapping("crimes"))
    row = "2006/01/01 00:00:00|3108 OCCIDENTAL DR|3|3C        |1115|10851(A)VC TAKE VEH W/O OWNER|2404|38.55042047|-121.3914158"
    assert ask(api, [row]) == [
        (
            "Ok",
            b'{"crime_time":"2006/01/01 00:00:00","address":"3108 OCCIDENTAL DR","district":3,"beat":"3C",'
            b'"grid":1115,"description":"10851(A)VC TAKE VEH W/O OWNER","crime_id":2404,"latitude":38.55042047,'
            b'"longitude":-121.3914158,"location":{"lat":38.55042047,"lon":-121.3914158},"crime_year":"2006",'
            b'"crime_month":"01","crime_day":"01"}\n',
        )
    ]


def test_card_events_become_flat_one_or_many_a_record(api, start):
    start(mapping("events"))
    r = random.Random(7)
    datas, wanted = [], []
    for n in [1, 100, 0, 3] + [r.randint(1, 5) for _ in range(300)]:
        events = [card_event(r) for _ in range(n)]
        value = events[0] if n == 1 else events
        datas.append(json.dumps(value, ensure_ascii=r.random() < 0.5, indent=r.choice([None, 1])))
        wanted.append([flat_event(e) for e in events])
    for (result, data), events in zip(ask(api, datas), wanted, strict=True):
        assert result == ("Ok" if events else "Dropped")
        assert (json_lines(data) if events else []) == events
        assert data.count(b"\n") == len(events)


def texts_for(name):
    """Records of each kind, and odd ones among them."""
    if name == "crimes":
        odd = [b'2006/13/01|\xff"x|y|  |007|\t|+5|1.|.5', b"|||", b"a", b"1|2|3|4|5|6|7|8|9|10", b'"|"']
        return pipe_rows()[0] + odd
    r = random.Random(11)
    events = [card_event(r) if r.random() < 0.7 else [card_event(r) for _ in range(3)] for _ in range(400)]
    odd = [b' { "a" : { "b" : [ 1 , 2 ] } , "event_day" : 1 } ', b"[1,[2],{}]", b"7", b'{"timestamp":"x"}']
    return [json.dumps(e).encode() for e in events] + odd


def at_the_edge(daemon, fake, tmp_path, text, data):
    """What tailraced sends of a file under this mapping, and what it keeps."""
    (tmp_path / "in").write_bytes(data)
    (tmp_path / "m.yaml").write_text(text)
    d = daemon(fake.url).source("a", tmp_path / "in", start_at="beginning", mapping=tmp_path / "m.yaml")
    dead = d.once() != 0 and [base64.b64decode(letter["data"]) for letter in d.dead_letters("a")]
    return fake.data("s"), dead or []


@pytest.mark.parametrize("policy", ["dead_letter", "set_null"])
@pytest.mark.parametrize("name", MAPPINGS)
def test_the_edge_makes_the_same_bytes(api, start, daemon, fake, tmp_path, name, policy):
    texts = texts_for(name)
    if policy == "dead_letter" and name == "events":
        texts.remove(b"[1,[2],{}]")  # at the edge an array's good elements go without the bad ones
    text = mapping(name).replace("on_bad_value: dead_letter", f"on_bad_value: {policy}")
    sent, dead = at_the_edge(daemon, fake, tmp_path, text, b"\n".join(texts) + b"\n")
    start(text)
    shaped = []
    for i in range(0, len(texts), 500):
        shaped += ask(api, texts[i : i + 500])
    made = b"".join(data for result, data in shaped if result == "Ok")
    failed = [data for result, data in shaped if result == "ProcessingFailed"]
    assert sorted(sent) == sorted(made[:-1].split(b"\n"))
    assert len(sent) >= len(texts) - len(failed)
    assert sorted(dead) == sorted(failed)
    assert len(failed) == {"set_null": 0, "dead_letter": 5 if name == "crimes" else 2}[policy]


ROW = b"2006/01/01 00:00:00|3108 OCCIDENTAL DR|3|3C|1115|X|2404|38.5|-121.3"
WHOLE_FILES = {
    "rows with a mark": ("crimes", b"\xef\xbb\xbf" + ROW + b"\n" + ROW),
    "rows of a Mac": ("crimes", ROW + b"\r" + ROW + b"\r\n\r\n" + ROW),
    "JSON with a mark": ("events", b'\xef\xbb\xbf{"a":{"b":1}}'),
    "JSON and empty lines": ("events", b'{"a":{"x":1}}\r\n\r\n{"b":2}\r\n\n'),
    "lines with a mark": ("format: line\n", b"\xef\xbb\xbfa\nb"),
    "lines with CRs": ("format: line\n", b"a\rb\n\rc\r\r\nd"),
    "lines with NULs": ("format: line\n", b"a\0b\nc"),
    "latin1": ("format: line\nencoding: latin1\n", b"\xe4\n\xfc\r\n"),
    "utf-16le": ("format: line\nencoding: utf-16le\n", "a\nbc\r\n\nd\u0a0a".encode("utf-16le")),
    "utf-16be with a mark": ("format: line\nencoding: utf-16be\n", "\ufeffa\nb\u0ac4".encode("utf-16be")),
    "JSON in utf-16": (
        'format: json\nencoding: utf-16le\nflatten: "."\n',
        '\ufeff{"a":{"b":1}}\n{"a":{"b":"\u0a0d"}}'.encode("utf-16le"),
    ),
    "logfmt": ("format: logfmt\n", b'a=1 b="x y"\n\nc=3'),
}


@pytest.mark.parametrize("what", WHOLE_FILES)
def test_a_record_is_read_as_a_file_is_at_the_edge(api, start, daemon, fake, tmp_path, what):
    text, data = WHOLE_FILES[what]
    text = mapping(text) if text in MAPPINGS else text
    sent, dead = at_the_edge(daemon, fake, tmp_path, text, data)
    start(text)
    [(result, made)] = ask(api, [data])
    assert (result, dead) == ("Ok", [])
    assert sorted(sent) == sorted(made[:-1].split(b"\n"))


@pytest.mark.parametrize(
    "name, good, bad",
    [
        ("crimes", ROW, [ROW[:31], b"hello", ROW + b"|more", ROW.replace(b"1115", b"x")]),
        ("events", b'{"timestamp":"2026-11-23T10:00:00Z"}', [b'{"timestamp":"yesterday"}', b"7", b"[1]"]),
    ],
    ids=MAPPINGS,
)
def test_what_is_torn_or_does_not_fit_comes_back_as_it_came(api, start, name, good, bad):
    function = start(mapping(name))
    results = ask(api, [good, *bad])
    assert results[0][0] == "Ok"
    assert results[1:] == [("ProcessingFailed", data) for data in bad]
    assert any(f"failed={len(bad)}" in line for line in function.lines())


def test_a_full_record_of_a_stream_fits(api, start):
    start("format: line\n")
    data = b"x" * 2**20
    assert ask(api, [data]) == [("Ok", data + b"\n")]


# --- results -----------------------------------------------------------------------------------------


def test_what_cannot_be_shaped_comes_back_as_it_came(api, start):
    function = start(mapping("events"))
    datas = [b'{"a":1}', b"{", b"\x00\xff secret", b"", b'[{"a":1},{]', b'{"b":2}']
    results = ask(api, datas)
    assert [result for result, _ in results] == ["Ok", *["ProcessingFailed"] * 2, "Dropped", "ProcessingFailed", "Ok"]
    assert [data for (result, data), _ in zip(results, datas) if result == "ProcessingFailed"] == [datas[1], datas[2], datas[4]]
    [line] = [line for line in function.lines() if "failed" in line]
    assert "failed=3" in line and "records=6" in line and 'why="not JSON at byte 1"' in line
    assert "secret" not in function.log.read_text()


def test_base64_that_is_none_comes_back_byte_for_byte(api, start):
    start(mapping("crimes"))
    event = firehose([b"x"] * 4)
    for record, data in zip(event["records"], ["%%%%", "YQ", "YWI\\u003d", 7]):
        record["data"] = data
    answer = json.loads(api.ask(event).body)
    assert [(r["result"], r["data"]) for r in answer["records"]] == [
        ("ProcessingFailed", "%%%%"),
        ("ProcessingFailed", "YQ"),
        ("ProcessingFailed", "YWI\\u003d"),
        ("ProcessingFailed", ""),
    ]


def test_aggregates_are_taken_apart(api, start):
    function = start(mapping("events"))
    users = [("a", b'{"n":{"x":1}}'), ("b", b'[{"n":2},{"n":3}]'), ("a", b""), ("c", b'{"n":4}\n')]
    good = kpl.aggregate(users)
    damaged = good[:-1] + bytes([good[-1] ^ 1])
    half = kpl.aggregate([("a", b'{"n":1}'), ("a", b"{")], hash_keys=[5])
    long_keys = kpl.aggregate([("k" * 300, b'{"z":1}')], hash_keys=[2**128 - 1])
    results = ask(api, [good, damaged, half, kpl.aggregate([]), long_keys])
    members = [b'"n.x":1', b'"n":2', b'"n":3', b'"n":4']
    dates = b',"event_year":null,"event_month":null,"event_day":null}\n'
    assert results[0] == ("Ok", b"".join(b"{" + member + dates for member in members))
    assert results[1:4] == [("ProcessingFailed", damaged), ("ProcessingFailed", half), ("Dropped", b"")]
    assert results[4][0] == "Ok" and json_lines(results[4][1])[0]["z"] == 1
    assert any("checksum" in line for line in function.lines())


def test_partition_keys_are_given_when_the_mapping_asks_for_them(api, start):
    start(mapping("crimes") + "partition_keys: [crime_year, crime_month, crime_day]\n")
    rows, wanted = pipe_rows()
    event = firehose(rows[:50] + [b"x|y"])
    outcome = api.ask(event)
    results = answered(outcome, event)
    answer = json.loads(outcome.body)["records"]
    for record, row in zip(answer, wanted[:50]):
        assert record["metadata"] == {"partitionKeys": {k: row[k] for k in ("crime_year", "crime_month", "crime_day")}}
    assert results[50] == ("ProcessingFailed", b"x|y") and "metadata" not in answer[50]


def test_an_answer_never_passes_six_megabytes(api, start):
    start(mapping("events"))
    long_name = "n" * 100
    text = json.dumps({long_name: {f"m{i}": i for i in range(30)}, "timestamp": "2026-01-02T03:04:05Z"})
    results = ask(api, [text] * 3000)
    ok = [data for result, data in results if result == "Ok"]
    assert 500 < len(ok) < 2000 and len(set(ok)) == 1
    assert {data for result, data in results if result == "ProcessingFailed"} == {text.encode()}


# --- events that are none ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{}", b'{"records":{}}', b'{"records":[{}]}', b"[" * 100_000, b"\xff" * 1000]
    + [b'{"records":[{"recordId":"1","data":"YQ=="}', b'{"records":[{"recordId":null,"data":"YQ=="}]}', b'{"a":' * 5000],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_an_event_that_is_none_is_an_error_of_its_invocation(api, start, body):
    function = start(mapping("events"))
    outcome = api.ask(body)
    assert outcome.kind == "error"
    told = json.loads(outcome.body)
    assert set(told) == {"errorMessage", "errorType", "stackTrace"} and told["stackTrace"] == []
    assert told["errorType"] == "Function.NotAnEvent" == outcome.headers["lambda-runtime-function-error-type"]
    assert len(told["errorMessage"]) > 10
    assert [x[0] for x in ask(api, [b"{}"])] == ["Ok"]
    assert sum("invocation failed" in line for line in function.lines()) == 1


def test_an_event_over_every_limit_is_told_by_its_id(api, start):
    start(mapping("events"))
    outcome = api.ask(b'{"records":[]}' + b" " * (8 << 20))
    assert json.loads(outcome.body)["errorType"] == "Function.EventTooLarge"
    outcome = api.ask(b'{"records":[]}' + b" " * (8 << 20), how="chunked")
    assert json.loads(outcome.body)["errorType"] == "Function.EventTooLarge"
    assert [x[0] for x in ask(api, [b"{}"])] == ["Ok"]


# --- the runtime API --------------------------------------------------------------------------------


def test_it_asks_answers_and_asks_again_over_one_connection(api, start):
    start(mapping("events"))
    for _ in range(5):
        ask(api, [b"{}"])
    id = api.put(firehose([]), invocation_id="inv-1")
    outcome = api.outcome(id)
    assert json.loads(outcome.body) == {"records": []}
    assert outcome.headers["lambda-runtime-invocation-id"] == "inv-1"
    assert outcome.headers["content-type"] == "application/json"
    harness.wait_until(lambda: len(api.paths) == 13)
    assert api.paths[0::2] == ["invocation/next"] * 7
    assert api.paths[11] == f"invocation/{id}/response"
    assert api.connections == 1


@pytest.mark.parametrize("how", [*runtime_api.HOWS, *runtime_api.BROKEN_OFF])
def test_an_event_arrives_however_it_is_sent(api, start, how):
    start(mapping("events"))
    datas = [b'{"n":%d}' % i for i in range(3)]
    for _ in range(2):
        results = ask(api, datas, how)
        assert [json_lines(data)[0]["n"] for _, data in results] == [0, 1, 2]


@pytest.mark.parametrize("how", runtime_api.HOPELESS)
def test_an_api_that_cannot_be_talked_to_ends_the_process(api, start, how):
    function = start(mapping("events"), ends=True)
    ask(api, [b"{}"])
    api.put(firehose([b"{}"]), how)
    assert function.ended() == 69
    [line] = [line for line in function.lines() if "runtime API" in line]
    assert "level=error" in line and len(line) < 500
    assert "Sanitizer" not in function.log.read_text()


def test_an_api_that_always_hangs_up_ends_the_process_in_the_end(api, start, monkeypatch):
    function = start(mapping("events"), ends=True)
    monkeypatch.setitem(runtime_api.HOWS, "plain", runtime_api.give_nothing)
    for _ in range(20):
        api.put(b"{}")
    assert function.ended() == 69


def test_without_an_api_the_process_ends(api, start):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % nobody.getsockname()[1]
        function = start(mapping("events"), ends=True, AWS_LAMBDA_RUNTIME_API=address)
        assert function.ended() == 69
    assert any("connect to" in line for line in function.lines())


def test_an_answer_is_given_again_when_the_connection_went(api, start):
    start(mapping("events"))
    api.statuses = ["close"]
    assert [x[0] for x in ask(api, [b"{}"])] == ["Ok"]
    assert api.connections == 2


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_answer_that_is_refused_the_second_time_has_been_given(api, start, status):
    function = start(mapping("events"))
    api.statuses = ["take and close", status]
    assert [x[0] for x in ask(api, [b"{}"])] == ["Ok"]
    assert [x[0] for x in ask(api, [b"{}"])] == ["Ok"]
    assert not [path for path in api.paths if path.endswith("/error")]
    assert not [line for line in function.lines() if "level=error" in line]


def test_an_answer_that_is_too_large_is_so_the_second_time_too(api, start):
    start(mapping("events"))
    api.statuses = ["close", 413]
    assert api.ask(firehose([b"{}"])).kind == "error"


def test_an_answer_that_is_refused_is_told_as_an_error_and_the_next_event_is_taken(api, start):
    function = start(mapping("events"))
    api.statuses = [413]
    outcome = api.ask(firehose([b"{}"]))
    assert outcome.kind == "error" and json.loads(outcome.body)["errorType"] == "Function.AnswerRefused"
    api.statuses = [400, 403]
    api.put(firehose([b"{}"]))
    assert [x[0] for x in ask(api, [b"{}"])] == ["Ok"]
    assert any("status 403" in line for line in function.lines())


def test_a_container_that_cannot_go_on_ends_the_process(api, start):
    function = start(mapping("events"), ends=True)
    api.statuses = [500]
    api.put(firehose([b"{}"]))
    assert function.ended() == 69


def test_a_bad_mapping_is_an_error_of_the_start_with_its_place(api, start):
    function = start("format: jsn\nflaten: '.'\n", ends=True)
    assert function.ended() == 78
    outcome = api.outcome("init")
    told = json.loads(outcome.body)
    assert told["errorType"] == "Runtime.BadMapping" == outcome.headers["lambda-runtime-function-error-type"]
    assert re.search(r"mapping\.yaml:1:9: format: \"jsn\" is not one of", told["errorMessage"])
    assert any("mapping.yaml:2:1: flaten: unknown option; the nearest known one is flatten" in x for x in function.lines())
    assert api.paths == ["init/error"]


@pytest.mark.parametrize("text", [None, "[", "format: csv\n", "- a\n", "start_at: end\n", "stream: s\n"])
def test_what_is_no_mapping_is_an_error_of_the_start(api, start, text):
    function = start(text, ends=True)
    assert function.ended() == 78
    assert "mapping.yaml" in json.loads(api.outcome("init").body)["errorMessage"]


@pytest.mark.parametrize("address", ["", "x", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "a.example:80", ":80"])
def test_an_address_that_is_none_ends_the_process(api, start, address):
    function = start(mapping("events"), ends=True, AWS_LAMBDA_RUNTIME_API=address)
    assert function.ended() == 64


def test_localhost_is_an_address(api, start):
    api.address = api.address.replace("127.0.0.1", "localhost")
    start(mapping("events"))
    assert [x[0] for x in ask(api, [b"{}"])] == ["Ok"]


def test_the_mapping_may_be_elsewhere(api, start, tmp_path):
    (tmp_path / "m.yaml").write_text("format: line\n")
    start(None, TAILRACE_MAPPING=str(tmp_path / "m.yaml"))
    assert ask(api, [b"a\nb"]) == [("Ok", b"a\nb\n")]


# --- mappings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAPPINGS)
def test_the_tool_checks_a_mapping(name, tmp_path):
    assert harness.tool("check", "--mapping", MAPPINGS[name]) == (0, f"{MAPPINGS[name]}: ok\n", "")
    (tmp_path / "m.yaml").write_text("flaten: x\n")
    status, _, told = harness.tool("check", "--mapping", tmp_path / "m.yaml")
    assert (status, told) == (1, f"{tmp_path}/m.yaml:1:1: flaten: unknown option; the nearest known one is flatten\n")


def test_a_reload_reads_the_mapping_again_and_keeps_the_old_one_if_it_is_bad(daemon, fake, tmp_path):
    file, m = tmp_path / "in", tmp_path / "m.yaml"
    file.write_text("")
    m.write_text("format: json\n")
    d = daemon(fake.url).source("a", file, start_at="beginning", mapping=m).start()

    def add(n):
        with file.open("a") as f:
            f.write(json.dumps({"a": {"b": n}}) + "\n")
        harness.wait_until(lambda: len(fake.data("s")) == n)

    add(1)
    m.write_text("format: json\nflatten: '.'\n")
    d.reload()
    d.wait_log("sources.a.flatten: .not set. -> [.]")
    add(2)
    m.write_text("format: jsn\n")
    d.reload()
    d.wait_log(r"m\.yaml:1:9: format")
    add(3)
    d.terminate()
    assert sorted(fake.data("s")) == [b'{"a": {"b": 1}}', b'{"a.b":2}', b'{"a.b":3}']


# --- the program --------------------------------------------------------------------------------------


@pytest.mark.skipif("san" in harness.BUILD.name, reason="the sanitizers are no part of what is deployed")
def test_it_needs_no_library_of_the_machine():
    told = subprocess.run(["readelf", "-d", "-l", BOOTSTRAP], capture_output=True, text=True, check=True).stdout
    assert "NEEDED" not in told and "INTERP" not in told


def test_the_zip_is_the_same_however_often_it_is_made(tmp_path):
    made = []
    for name in "one", "two":
        subprocess.run(
            ["python3", harness.ROOT / "conf/aws/package.py", BOOTSTRAP, MAPPINGS["crimes"], tmp_path / name], check=True
        )
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    folder = tmp_path / "task"
    folder.mkdir()
    subprocess.run(["python3", "-m", "zipfile", "-t", tmp_path / "one"], check=True)
    listed = subprocess.run(["python3", "-c", "import sys, zipfile; [print(oct(i.external_attr >> 16), i.filename) "
                             "for i in zipfile.ZipFile(sys.argv[1]).infolist()]", tmp_path / "one"],
                            check=True, capture_output=True, text=True).stdout
    assert listed == "0o100755 bootstrap\n0o100644 mapping.yaml\n"


def test_a_day_of_events_does_not_grow(api, start):
    function = start(mapping("crimes"))
    rows, _ = pipe_rows()
    event = json.dumps(firehose(rows[:500])).encode()
    for _ in range(20):
        api.ask(event)
    _, before = function.usage()
    for _ in range(300):
        api.ask(event)
    _, after = function.usage()
    assert after - before <= (64 if "san" not in harness.BUILD.name else 8192), f"{before} -> {after} KiB"
