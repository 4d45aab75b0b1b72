"""How bytes become records: events of several lines, records that are too long, lines to skip,
records without an end, and UTF-16."""

import base64
import json
import time

import pytest

from files import delivered, following, in_order
from harness import wait_until

MARK = b"...[truncated]"
TRACE = b"2026-11-23 ERROR it broke\njava.lang.Error: x\n\tat a.b(C.java:1)\n\n\tat d.e(F.java:2)\n"


def put(path, *parts, mode="ab"):
    with open(path, mode) as out:
        for part in parts:
            out.write(part)
            out.flush()


def once(d, expect=0):
    assert d.once() == expect, d.log()


def test_a_stack_trace_is_one_record(daemon, fake, tmp_path):
    put(tmp_path / "a.log", b"2026-11-23 INFO one\n", TRACE, b"2026-11-23 INFO two\nhalf")
    once(following(daemon, fake, tmp_path / "a.log", multiline={"start": r"\d{4}-"}))
    assert fake.data("s") == [
        b"2026-11-23 INFO one",
        TRACE.rstrip(b"\n"),
        b"2026-11-23 INFO two\nhalf",
    ]


def test_indented_lines_go_on_with_the_one_before_in_every_file(daemon, fake, tmp_path):
    for name in ("a.log", "b.log"):
        put(tmp_path / name, b"x\n y\n z\nlast\r\n w\r\n")
    once(following(daemon, fake, tmp_path / "*.log", multiline={"continue": r"\s"}))
    assert sorted(fake.data("s")) == [b"last\r\n w"] * 2 + [b"x\n y\n z"] * 2


def test_the_last_event_is_sent_when_the_file_has_been_quiet_and_not_before(daemon, fake, tmp_path):
    log = tmp_path / "a.log"
    put(log, b"1 a\n b\n")
    d = following(daemon, fake, log, multiline={"start": r"\d", "timeout": "2s"}).start()
    d.wait_log("following")
    began = time.monotonic()
    put(log, b" c\n")
    assert delivered(fake, 1) == [b"1 a\n b\n c"]
    assert time.monotonic() - began >= 2
    put(log, b"2\n", b"3\n c")
    assert delivered(fake, 3)[1:] == [b"2", b"3"]  # half a line does not keep the whole ones
    d.terminate()
    assert fake.count("s") == 3


def test_an_event_with_the_daemon_killed_in_its_middle_is_sent_whole(daemon, fake, tmp_path):
    log = tmp_path / "a.log"
    put(log, b"1\n2 a\n b\n")
    d = following(daemon, fake, log, multiline={"start": r"\d", "timeout": "10m"})
    in_order(d).start()
    assert delivered(fake, 1) == [b"1"]
    d.kill()
    put(log, b" c\n3\n")
    d.start()
    data = wait_until(lambda: b"2 a\n b\n c" in fake.data("s") and fake.data("s"))
    assert set(data) == {b"1", b"2 a\n b\n c"}
    d.terminate()


def test_an_event_is_taken_apart_as_a_whole(daemon, fake, tmp_path):
    put(tmp_path / "a.log", b"7 first\n second\n8 x\n")
    once(
        following(
            daemon,
            fake,
            tmp_path / "a.log",
            format="regex",
            pattern=r"(?s)(?<n>\d+) (?<text>.*)",
            multiline={"start": r"\d"},
        )
    )
    assert [json.loads(x) for x in fake.data("s")] == [
        {"n": "7", "text": "first\n second"},
        {"n": "8", "text": "x"},
    ]


def test_a_line_over_the_limit_is_truncated_and_its_neighbours_are_not(daemon, fake, tmp_path):
    big = bytes(range(ord("0"), ord("z"))) * 100
    put(tmp_path / "a.log", b"one\n", big, b"\ntwo\n")
    d = following(daemon, fake, tmp_path / "a.log", max_record="1KiB")
    once(d)
    one, cut, two = fake.data("s")
    assert (one, two) == (b"one", b"two")
    assert cut.endswith(MARK) and big.startswith(cut[: -len(MARK)])
    assert [len(r.data) + len(r.key) for r in fake.records("s")][1] == 1024
    assert d.dead_letters("a") == []
    d.wait_log(r"oversize=1\b")


def test_a_line_over_the_limit_can_be_split(daemon, fake, tmp_path):
    big = bytes(range(ord("0"), ord("z"))) * 100
    put(tmp_path / "a.log", b"one\n", big, b"\r\ntwo\n")
    d = in_order(
        following(daemon, fake, tmp_path / "a.log", max_record="1KiB", on_oversize="split")
    )
    once(d)
    data = fake.data("s")
    assert data[0] == b"one" and data[-1] == b"two" and b"".join(data[1:-1]) == big
    assert all(len(r.data) + len(r.key) <= 1024 for r in fake.records("s"))
    assert len(data) == 2 + -(-len(big) // 1016)


def test_a_line_of_the_service_s_own_limit_is_truncated_to_it(daemon, fake, tmp_path):
    put(tmp_path / "a.log", b"x" * (3 << 20), b"\ny\n")
    once(following(daemon, fake, tmp_path / "a.log", key="{@file.path}"))
    cut, y = fake.records("s")
    assert len(cut.data) + len(cut.key.encode()) == 1 << 20 and cut.data.endswith(b"x" + MARK)
    assert y.data == b"y"


def test_json_over_the_limit_is_a_dead_letter(daemon, fake, tmp_path):
    put(tmp_path / "a.log", b'"' + b"j" * 2000 + b'"\n5\n')
    d = following(daemon, fake, tmp_path / "a.log", format="json", max_record="1KiB")
    once(d, expect=1)
    assert fake.data("s") == [b"5"]
    [letter] = d.dead_letters("a")
    assert base64.b64decode(letter["data"]) == b'"' + b"j" * 1023


def test_lines_are_skipped_in_each_new_file_and_in_none_that_is_taken_up(daemon, fake, tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    report = b"report\n" + b"-" * 300_000 + b"\nn,m\n"  # more than one read
    d = following(daemon, fake, tmp_path / "*.csv", format="csv", skip_lines=2)
    put(a, report[:20_000])
    d.start()
    d.wait_log("following")
    d.terminate()
    assert fake.data("s") == []
    put(a, report[20_000:], b"1,2\n")
    d.start()
    assert delivered(fake, 1) == [b'{"n":"1","m":"2"}']
    d.terminate()
    put(a, b"3,4\n")
    put(b, b"x\ny\nm\n5\n")
    d.start()
    assert sorted(delivered(fake, 3)[1:]) == [b'{"m":"5"}', b'{"n":"3","m":"4"}']
    d.terminate()


def test_half_a_record_is_sent_after_a_while_if_that_is_asked(daemon, fake, tmp_path):
    log = tmp_path / "a.log"
    put(log, b"one\nhal")
    d = following(daemon, fake, log, flush_partial_after="2s").start()
    assert delivered(fake, 1) == [b"one"]
    put(log, b"f")
    assert delivered(fake, 2) == [b"one", b"half"]
    put(log, b"\ntwo\n")
    assert delivered(fake, 3) == [b"one", b"half", b"two"]
    d.terminate()


def test_half_a_record_waits_on_a_live_file_if_it_is_not(daemon, fake, tmp_path):
    log = tmp_path / "a.log"
    put(log, b"one\nhal")
    d = following(daemon, fake, log).start()
    assert delivered(fake, 1) == [b"one"]
    d.terminate()
    put(log, b"f\n")
    d.start()
    assert delivered(fake, 2) == [b"one", b"half"]
    d.terminate()


def test_utf_16_is_cut_at_its_own_line_ends_and_sent_as_utf_8(daemon, fake, tmp_path):
    words = ["één", "\u0a00\u0d0a\u0a0a", "𝄞 end", ""]
    for name, encoding in (("le", "utf-16le"), ("be", "utf-16be")):
        log = tmp_path / f"{name}.log"
        put(log, ("\ufeff" + "\r\n".join(words)).encode(encoding))
        once(following(daemon, fake, log, encoding=encoding))
    assert fake.data("s") == [w.encode() for w in words[:3]] * 2


def test_utf_16_begun_at_the_end_stays_on_whole_characters(daemon, fake, tmp_path):
    log = tmp_path / "a.log"
    put(log, "\ufeffold\nhalf".encode("utf-16le"), b"\x0a")
    d = following(daemon, fake, log, encoding="utf-16le", start_at="end").start()
    d.wait_log("following")
    put(log, b"\x0a!\x00\n\x00")
    assert delivered(fake, 1) == ["half\u0a0a!".encode()]
    d.terminate()


# Options that a reload changes.


@pytest.mark.parametrize(
    "before, after",
    [
        ({}, {"flush_partial_after": "1s"}),
        ({"multiline": {"start": "BEGIN", "timeout": "1h"}}, {"multiline": {"start": "BEGIN", "timeout": "1s"}}),
        ({"multiline": {"start": "BEGIN", "timeout": "1h"}}, {"multiline": None}),
    ],
    ids=["flush", "timeout", "no multiline"],
)
def test_what_waits_is_looked_at_again_when_a_reload_changes_how_long(daemon, fake, tmp_path, before, after):
    log = tmp_path / "a.log"
    put(log, b"BEGIN 1\n x\n")
    d = following(daemon, fake, log, **before).start()
    put(log, b"BEGIN 2\n y\n" if before else b"half")
    wait_until(lambda: fake.count("s") > 0, what="what does not wait")
    d.settings["sources"]["a"] |= after
    d.settings["sources"]["a"] = {k: v for k, v in d.settings["sources"]["a"].items() if v is not None}
    d.reload()
    last = {"flush_partial_after": b"half", "multiline": b"BEGIN 2\n y" if after.get("multiline") else b" y"}
    wait_until(lambda: last[next(iter(after))] in fake.data("s"), what="the rest", timeout=10)
    d.terminate()
