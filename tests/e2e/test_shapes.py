"""What a record and its key become, from the file to the service."""

import base64
import hashlib
import json
import os
import stat

import pytest


def once(d, expect=0):
    status = d.once()
    assert status == expect, d.log()


def test_lines_arrive_byte_for_byte(daemon, fake, tmp_path):
    lines = [
        b"plain",
        b"\xff\x00\xfe not text",
        "ünï→code".encode(),
        b'{"a": 1}',
        b" blanks ",
        b"x" * 9999,
    ]
    (tmp_path / "a.log").write_bytes(b"\n".join(lines) + b"\n")
    once(daemon(fake.url).source("a", tmp_path / "a.log", start_at="beginning"))
    assert fake.data("s") == lines


def test_the_cr_of_a_crlf_and_empty_lines_are_no_data(daemon, fake, tmp_path):
    (tmp_path / "a.log").write_bytes(b"one\r\n\r\n\ntwo\r\nthree\rfour\n")
    once(daemon(fake.url).source("a", tmp_path / "a.log", start_at="beginning"))
    assert [x for x in fake.data("s") if x] == [b"one", b"two", b"three\rfour"]


def test_valid_json_passes_byte_for_byte_and_the_rest_becomes_dead_letters(daemon, fake, tmp_path):
    good = [
        b'{"a": 12345678901234567890123, "b": 1.000000000000000000001, "c": "\\u0000"}',
        b"[ ]",
        b'"text"',
        b" null ",
        b'{"a":1,"a":2}',
        b"-0.0e-5",
    ]
    bad = [b"{", b"{'a': 1}", b"01", b'{"a":1}}', b"\xff", b"nul", b'{"a":1,}', b'"\x01"']
    mixed = [x for pair in zip(good + [b"1", b"2"], bad) for x in pair]
    (tmp_path / "a.json").write_bytes(b"\n".join(mixed) + b"\n")
    d = daemon(fake.url).source("a", tmp_path / "a.json", start_at="beginning", format="json")
    once(d, expect=1)
    assert sorted(fake.data("s")) == sorted(good + [b"1", b"2"])
    assert [base64.b64decode(x["data"]) for x in d.dead_letters("a")] == bad


def test_a_dead_letter_says_where_it_came_from_and_why(daemon, fake, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": 1}\n{"a": tru}\n')
    d = daemon(fake.url).source("a", path, start_at="beginning", format="json")
    once(d, expect=1)
    [letter] = d.dead_letters("a")
    assert letter["source"] == "a" and letter["stream"] == "s" and letter["path"] == str(path)
    assert letter["offset"] == 9 and letter["size"] >= 10 and "JSON" in letter["reason"]
    assert base64.b64decode(letter["data"]) == b'{"a": tru}'
    directory = d.state / "dead-letter"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "a.jsonl").stat().st_mode) == 0o600


def test_without_a_template_all_columns_become_strings(daemon, fake, tmp_path):
    (tmp_path / "a.csv").write_bytes(
        b'\xef\xbb\xbfid,"na me",note\n1,Ann,"said ""hi"",\r\nleft"\n2,B\xc3\xb6b,\n\n3,"",x y\n'
    )
    once(daemon(fake.url).source("a", tmp_path / "a.csv", start_at="beginning", format="csv"))
    assert [json.loads(x) for x in fake.data("s")] == [
        {"id": "1", "na me": "Ann", "note": 'said "hi",\r\nleft'},
        {"id": "2", "na me": "Böb", "note": ""},
        {"id": "3", "na me": "", "note": "x y"},
    ]
    assert [list(json.loads(x)) for x in fake.data("s")] == [["id", "na me", "note"]] * 3


def test_each_file_has_its_own_header(daemon, fake, tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("y,z,x\n2,9,1\n")
    record = {"x": {"from": "x", "type": "int"}, "y": {"from": "y", "type": "int"}}
    once(
        daemon(fake.url).source(
            "a", tmp_path / "*.csv", start_at="beginning", format="csv", record=record
        )
    )
    assert [json.loads(x) for x in fake.data("s")] == [{"x": 1, "y": 2}] * 2


def test_columns_name_the_cells_of_a_file_without_a_header(daemon, fake, tmp_path):
    (tmp_path / "a.tsv").write_text("1\t2\n3\t4\n")
    once(
        daemon(fake.url).source(
            "a",
            tmp_path / "a.tsv",
            start_at="beginning",
            format="csv",
            columns=["x", "y"],
            delimiter="\t",
        )
    )
    assert [json.loads(x) for x in fake.data("s")] == [{"x": "1", "y": "2"}, {"x": "3", "y": "4"}]


def test_a_template_gives_types_constants_objects_and_metadata_in_order(daemon, fake, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("n,d,b,t\n007,1.50,Yes,x\n")
    record = {
        "number": {"from": "n", "type": "int"},
        "decimal": {"from": "d", "type": "double"},
        "flag": {"from": "b", "type": "bool"},
        "kind": {"const": "crime"},
        "inner": {"text": {"from": "t"}, "version": {"const": 3}},
        "path": {"from": "@file.path"},
        "at": {"from": "@file.offset", "type": "int"},
    }
    once(daemon(fake.url).source("a", path, start_at="beginning", format="csv", record=record))
    assert fake.data("s") == [
        json.dumps(
            {
                "number": 7,
                "decimal": "D",
                "flag": True,
                "kind": "crime",
                "inner": {"text": "x", "version": 3},
                "path": str(path),
                "at": 8,
            },
            separators=(",", ":"),
        )
        .replace('"D"', "1.50")
        .encode()
    ]


BAD = "n,t\n1,1/1/06 0:00\nsome,1/1/06 0:00\n2,soon\n"
BAD_RECORD = {
    "n": {"from": "n", "type": "int"},
    "t": {"from": "t", "parse": "%m/%d/%y %H:%M", "print": "%Y"},
}


def test_a_bad_value_is_null_and_counted(daemon, fake, tmp_path):
    (tmp_path / "a.csv").write_text(BAD)
    d = daemon(fake.url).source(
        "a",
        tmp_path / "a.csv",
        start_at="beginning",
        format="csv",
        record=BAD_RECORD,
        on_bad_value="set_null",
    )
    once(d)
    assert [json.loads(x) for x in fake.data("s")] == [
        {"n": 1, "t": "2006"},
        {"n": None, "t": "2006"},
        {"n": 2, "t": None},
    ]
    d.wait_log(r"bad_values=2\b")


def test_a_bad_value_can_make_a_dead_letter_that_does_not_show_it_in_its_reason(
    daemon, fake, tmp_path
):
    (tmp_path / "a.csv").write_text(BAD)
    d = daemon(fake.url).source(
        "a",
        tmp_path / "a.csv",
        start_at="beginning",
        format="csv",
        record=BAD_RECORD,
        on_bad_value="dead_letter",
    )
    once(d, expect=1)
    assert [json.loads(x) for x in fake.data("s")] == [{"n": 1, "t": "2006"}]
    letters = d.dead_letters("a")
    assert [base64.b64decode(x["data"]) for x in letters] == [b"some,1/1/06 0:00", b"2,soon"]
    assert "n" in letters[0]["reason"] and "some" not in letters[0]["reason"]
    assert "t" in letters[1]["reason"] and "soon" not in letters[1]["reason"]


def test_a_record_over_the_limit_can_become_a_dead_letter_and_its_neighbours_arrive(
    daemon, fake, tmp_path
):
    big = b"b" * 5000
    (tmp_path / "a.log").write_bytes(b"one\n" + big + b"\ntwo\n")
    d = daemon(fake.url).source(
        "a",
        tmp_path / "a.log",
        start_at="beginning",
        max_record="1KiB",
        on_oversize="dead_letter",
    )
    once(d, expect=1)
    assert sorted(fake.data("s")) == [b"one", b"two"]
    [letter] = d.dead_letters("a")
    assert letter["offset"] == 4 and letter["size"] >= 1024
    assert big.startswith(base64.b64decode(letter["data"])) and len(letter["data"]) >= 1024


def test_records_of_a_mebibyte_go_in_requests_of_at_most_five(daemon, fake, tmp_path):
    lines = [os.urandom(300_000).hex().encode() for _ in range(20)]
    (tmp_path / "a.log").write_bytes(b"\n".join(lines) + b"\n")
    once(daemon(fake.url).source("a", tmp_path / "a.log", start_at="beginning"))
    assert sorted(fake.data("s")) == sorted(lines)
    assert max(len(r.records) for r in fake.puts()) > 1


# Keys.


def keys(daemon, fake, tmp_path, text, **source):
    (tmp_path / "a.in").write_bytes(text)
    d = daemon(fake.url).source("a", tmp_path / "a.in", start_at="beginning", **source)
    once(d)
    return [r.key for r in sorted(fake.records("s"), key=lambda r: text.find(r.data))], d


def test_random_keys_spread_over_the_shards(daemon, fakes, tmp_path):
    fake = fakes({"s": 4})
    found, _ = keys(daemon, fake, tmp_path, b"".join(b"%d\n" % i for i in range(2000)))
    assert len(set(found)) > 1900
    counts = [
        sum(r.shard == shard for r in fake.records("s")) for shard in fake.streams["s"].shards
    ]
    assert min(counts) > 400


def test_the_hash_key_is_the_records_own(daemon, fake, tmp_path):
    found, _ = keys(daemon, fake, tmp_path, b"one\ntwo\none\n", key="hash")
    assert len(set(found)) == 2
    for r in fake.records("s"):
        assert r.key == hashlib.sha256(r.data).hexdigest()[:32]


def test_a_template_key_takes_columns_and_text(daemon, fake, tmp_path):
    found, _ = keys(
        daemon, fake, tmp_path, 'a,b\n1,é\n2,"x,y"\n'.encode(), format="csv", key="k-{a}/{b}{{}}"
    )
    assert sorted(found) == ["k-1/é{}", "k-2/x,y{}"]


def test_a_template_key_takes_paths_of_a_json_record(daemon, fake, tmp_path):
    found, _ = keys(
        daemon,
        fake,
        tmp_path,
        b'{"user": {"id": 7, "name": "A\\u00e9"}}\n',
        format="json",
        key="{user.name}:{user.id}",
    )
    assert found == ["Aé:7"]


@pytest.mark.parametrize("cell", ["", "k" * 257, "é" * 300])
def test_a_key_that_cannot_be_is_replaced_and_counted(daemon, fake, tmp_path, cell):
    found, d = keys(
        daemon,
        fake,
        tmp_path,
        f"a,b\n{cell},1\n".encode(),
        format="csv",
        key="{a}",
        key_fallback="random",
    )
    assert len(found) == 1 and 1 <= len(found[0]) <= 32
    d.wait_log(r"key_fallbacks=1\b")


def test_a_key_of_256_characters_is_taken_however_many_bytes(daemon, fake, tmp_path):
    found, _ = keys(
        daemon, fake, tmp_path, ("a\n" + "日" * 256 + "\n").encode(), format="csv", key="{a}"
    )
    assert found == ["日" * 256]


def test_metadata_can_be_the_key(daemon, fake, tmp_path):
    found, _ = keys(daemon, fake, tmp_path, b"one\ntwo\n", key="{@file.path}:{@file.offset}")
    assert sorted(found) == [f"{tmp_path}/a.in:0", f"{tmp_path}/a.in:4"]


def flattened(value, name=""):
    """An independent flattening: nested objects to dotted names, the rest as it is."""
    if isinstance(value, dict) and (value or not name):
        return {
            k: v
            for key, inner in value.items()
            for k, v in flattened(inner, f"{name}.{key}" if name else key).items()
        }
    return {name: value}


def card_event(n):
    return {
        "userId": {"id": f"user-{n % 7}", "segment": {"name": "gold", "since": 2017.5}},
        "event": "purchase",
        "timestamp": f"2019-0{n % 9 + 1}-02T03:04:05" + (".678Z" if n % 2 else "Z"),
        "eventContext": {"ip": f"10.0.0.{n}", "device": {}, "note": 'a "b" \u00e9\n'},
        "items": [{"sku": n, "price": {"amount": 1.25}}, []],
        "ok": n % 3 == 0,
        "nothing": None,
        "event_day": "forged",
    }


ISO = "%Y-%m-%dT%H:%M:%S%.f%z"


def test_an_array_of_card_events_becomes_flat_records_with_their_dates(daemon, fake, tmp_path):
    events = [card_event(n) for n in range(200)]
    (tmp_path / "a.json").write_text(
        json.dumps(events[:100]) + "\n[]\n" + json.dumps(events[100]) + "\n"
        # the same, as another program might write it
        + json.dumps(events[101:], ensure_ascii=False, separators=(" ,", " : ")) + "\n"
    )
    add = {
        f"event_{part}": {"from": "timestamp", "parse": ISO, "print": f"%{code}", "type": "int"}
        for part, code in (("year", "Y"), ("month", "m"), ("day", "d"))
    }
    once(
        daemon(fake.url).source(
            "a",
            tmp_path / "a.json",
            start_at="beginning",
            format="json",
            split_arrays=True,
            flatten=".",
            key="{userId.id}",
            add={**add, "path": "{@file.path}", "peer": "{@peer.pid}"},
        )
    )
    expected = []
    for n, event in enumerate(events):
        want = flattened({k: v for k, v in event.items() if k != "event_day"})
        want |= {"event_year": 2019, "event_month": n % 9 + 1, "event_day": 2}
        expected.append(want | {"path": str(tmp_path / "a.json"), "peer": None})
    assert [json.loads(x) for x in fake.data("s")] == expected
    assert [list(json.loads(x)) for x in fake.data("s")] == [list(x) for x in expected]
    assert all(x.count(b'"event_day"') == 1 and b"\n" not in x for x in fake.data("s"))
    assert {r.key for r in fake.records("s")} == {f"user-{n}" for n in range(7)}


def test_a_template_over_json_takes_and_converts_what_it_names(daemon, fake, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(card_event(5)) + "\n" + '{"a.b": 1, "n": "x"}\n')
    record = {
        "user": {"from": "userId.id"},
        "context": {"from": "eventContext"},
        "since": {"from": "userId.segment.since", "type": "string"},
        "day": {"from": "timestamp", "parse": ISO, "print": "%F"},
        "dotted": {"from": "a.b"},
        "number": {"from": "n", "type": "int"},
    }
    d = daemon(fake.url).source(
        "a", tmp_path / "a.json", start_at="beginning", format="json", record=record
    )
    once(d)
    assert [json.loads(x) for x in fake.data("s")] == [
        {
            "user": "user-5",
            "context": card_event(5)["eventContext"],
            "since": "2017.5",
            "day": "2019-06-02",
            "dotted": None,
            "number": None,
        },
        {"user": None, "context": None, "since": None, "day": None, "dotted": 1, "number": None},
    ]


def test_rows_of_pipes_may_hold_quotes_like_any_other_character(daemon, fake, tmp_path):
    (tmp_path / "a.txt").write_text('1|5" PIPE|"x\n2||"\n3|"a|b"|c\n')
    once(
        daemon(fake.url).source(
            "a",
            tmp_path / "a.txt",
            start_at="beginning",
            format="csv",
            quote="none",
            delimiter="|",
            columns=["n", "what", "rest"],
            record={"n": {"from": "n", "type": "int"}, "what": {"from": "what"},
                    "rest": {"from": "rest"}},
        )
    )
    assert [json.loads(x) for x in fake.data("s")] == [
        {"n": 1, "what": '5" PIPE', "rest": '"x'},
        {"n": 2, "what": "", "rest": '"'},
        {"n": 3, "what": '"a', "rest": 'b"'},
    ]
