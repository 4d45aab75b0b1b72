"""What is a record and what is not, in files that are cut, broken, headed or far too long."""

import base64
import json
import os

import pytest

from files import (
    append,
    counters,
    delivered,
    following,
    in_order,
    lines,
    settled,
    text,
    totals,
)
from harness import wait_until


def reading(daemon, fake, path, **more):
    return in_order(following(daemon, fake, path, **more))


def objects(fake):
    return [json.loads(data) for data in fake.data("s")]


# Line ends and bytes of every kind.


def test_rows_are_the_same_whatever_ends_them(daemon, fake, tmp_path):
    rows = ["id,name", *(f'{i},"n{i}, ""x"""' for i in range(50))]
    mixed = "".join(row + end for row, end in zip(rows, ["\r", "\n", "\r\n"] * 17))
    forms = {"lf": "\n".join(rows) + "\n", "cr": "\r".join(rows) + "\r"}
    forms |= {"crlf": "\r\n".join(rows) + "\r\n", "mixed": mixed}
    for name, form in forms.items():
        (tmp_path / f"{name}.csv").write_bytes(form.encode())
    d = reading(daemon, fake, tmp_path / "*.csv", format="csv").start()
    delivered(fake, 50 * 4)
    d.terminate()
    expected = [{"id": str(i), "name": f'n{i}, "x"'} for i in range(50)]
    assert sorted(objects(fake), key=lambda x: int(x["id"])) == [x for x in expected for _ in forms]


BROKEN = [
    b"\xef\xbb\xbfmarked",
    b"nul \x00 inside",
    b"not utf-8: \xff\xfe\xc3",
    b"cut \xe2\x82",
    b"surrogate \xed\xa0\x80",
]


def test_lines_keep_byte_order_marks_nuls_and_what_is_not_utf_8(daemon, fake, tmp_path):
    (tmp_path / "a.log").write_bytes(text(BROKEN))
    assert reading(daemon, fake, tmp_path / "a.log").once() == 0
    assert fake.data("s") == BROKEN


def test_json_stays_valid_whatever_bytes_it_is_made_of_and_they_are_counted(daemon, fake, tmp_path):
    content = b"\xef\xbb\xbfid,what\n" + b"".join(b'1,"%s"\n' % x for x in BROKEN[1:])
    (tmp_path / "a.csv").write_bytes(content)
    d = reading(daemon, fake, tmp_path / "a.csv", format="csv")
    assert d.once() == 0
    assert [x["id"] for x in objects(fake)] == ["1"] * 4  # the mark is no part of the first name
    assert objects(fake)[0]["what"] == "nul \x00 inside"
    assert all(x["what"].startswith(w) for x, w in zip(objects(fake)[1:], ["not", "cut", "surr"]))
    assert all("\ufffd" in x["what"] for x in objects(fake)[1:])
    assert totals(d)["bytes_replaced"] >= 5


# Rows of CSV.


def test_a_quoted_cell_is_one_row_wherever_a_read_ends(daemon, fake, tmp_path):
    """One file for each place at which its bytes may be cut in two."""
    content = b'id,what\r\n7,"a, ""b""\r\n,\n""c"""\r\n8,x\n'
    for i in range(len(content)):
        (tmp_path / f"{i}.csv").write_bytes(content[:i])
    d = reading(daemon, fake, tmp_path / "*.csv", format="csv").start()
    wait_until(lambda: counters(d)["records_in"] >= 2, what="the longest beginnings to be read")
    for i in range(len(content)):
        with open(tmp_path / f"{i}.csv", "ab") as out:
            out.write(content[i:])
    delivered(fake, 2 * len(content))
    d.terminate()
    one, two = {"id": "7", "what": 'a, "b"\r\n,\n"c"'}, {"id": "8", "what": "x"}
    n = len(content)
    assert sorted(objects(fake), key=lambda x: x["id"]) == [one] * n + [two] * n


def test_a_quote_that_is_never_closed_costs_one_record_and_not_the_file(daemon, fake, tmp_path):
    good = b"".join(b"%d,good\n" % i for i in range(2000))
    (tmp_path / "a.csv").write_bytes(b'id,what\n1,ok\n2,"never closed\n' + good)
    d = reading(daemon, fake, tmp_path / "a.csv", format="csv", max_record="1KiB")
    d.start()
    last = {"id": "1999", "what": "good"}
    wait_until(lambda: fake.count("s") and last in objects(fake), what="the end of the file")
    [letter] = wait_until(lambda: d.dead_letters("a"), what="the dead letter")
    assert letter["offset"] == 13 and letter["path"] == str(tmp_path / "a.csv")
    assert base64.b64decode(letter["data"]).startswith(b'2,"never closed\n')
    d.terminate()
    found = objects(fake)
    first = int(found[1]["id"])  # the quote has swallowed max_record, and up to a line's end
    assert found[0] == {"id": "1", "what": "ok"}
    assert found[1:] == [{"id": str(i), "what": "good"} for i in range(first, 2000)]
    assert first < 140


def test_each_file_goes_by_its_own_header_also_after_a_restart(daemon, fake, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,what\n1,one\n")
    d = reading(daemon, fake, path, format="csv").start()
    delivered(fake, 1)
    os.rename(path, tmp_path / "a.csv.1")
    path.write_text("what,more,id\ntwo,x,2\n")
    delivered(fake, 2)
    d.terminate()
    with open(path, "a") as out:
        out.write("three,y,3\n")
    d.start()
    delivered(fake, 3)
    d.terminate()
    assert objects(fake) == [
        {"id": "1", "what": "one"},
        {"what": "two", "more": "x", "id": "2"},
        {"what": "three", "more": "y", "id": "3"},
    ]


# Lines that are not records.


def test_the_first_lines_are_skipped_in_each_new_file_and_never_in_the_middle(
    daemon, fake, tmp_path
):
    """Also when they are longer than what is read at a time, or all that there is so far."""
    path = tmp_path / "a.log"
    head = [b"# " + b"h" * 400_000, b"# second", b"# third"]
    append(path, head[:2])
    d = reading(daemon, fake, tmp_path / "a.log*", skip_lines=3).start()
    append(path, head[2:] + lines(0, 10))
    delivered(fake, 10)
    os.rename(path, tmp_path / "a.log.1")
    append(path, head + lines(10, 20))
    delivered(fake, 20)
    d.terminate()
    append(path, lines(20, 30))
    append(tmp_path / "a.log.2", [b"# only this"])
    d.start()
    delivered(fake, 30)
    append(tmp_path / "a.log.2", [b"#", b"# and these"] + lines(30, 40))
    settled(d, fake, lines(0, 40))


# Several lines that are one record.


def test_a_multi_line_record_is_held_until_the_next_begins_and_no_byte_is_between_them(
    daemon, fake, tmp_path
):
    path = tmp_path / "a.log"
    records = [b"2026-01-%02d error\n  at one\n\n  at two" % (i + 1) for i in range(20)]
    append(path, records)
    multiline = {"start": r"\d{4}-\d\d-\d\d ", "timeout": "1h"}
    d = reading(daemon, fake, path, multiline=multiline, key="{@file.offset}").start()
    delivered(fake, 19)
    append(path, [b"  at three"])
    wait_until(lambda: counters(d)["records_in"] == 19, what="the daemon to look")
    assert fake.data("s") == records[:19]
    append(path, [b"2026-02-01 the next"])
    delivered(fake, 20)
    d.terminate()
    found = fake.records("s")
    assert found[19].data == records[19] + b"\n  at three"
    for one, two in zip(found, found[1:]):
        assert int(one.key) + len(one.data) + 1 == int(two.key)


# Records that are too long.


def test_a_line_that_is_too_long_goes_as_it_is_asked_for_and_its_neighbours_untouched(
    daemon, fakes, tmp_path
):
    fake = fakes({"truncate": 1, "split": 1, "dead_letter": 1})
    big = b"".join(b"%04d " % i for i in range(2000))
    (tmp_path / "a.log").write_bytes(text([b"before", big, b"after", big, b"last"]))
    streams = {name: {"kinesis": name, "in_flight": 1} for name in fake.streams}
    d = daemon(fake.url, streams=streams)
    for name in fake.streams:
        more = {"start_at": "beginning", "max_record": "1KiB", "on_oversize": name}
        d.source(name, tmp_path / "a.log", stream=name, **more)
    assert d.once() == 1, d.log()
    one, cut, two, again, three = fake.data("truncate")
    assert [one, two, three] == [b"before", b"after", b"last"] and cut == again
    begin, _, rest = cut.partition(b"...[truncated]")
    assert rest == b"" and big.startswith(begin) and 900 < len(begin) < 1024
    parts = fake.data("split")
    assert all(len(part) <= 1024 for part in parts)
    assert b"|".join(parts).replace(b" |", b" ").startswith(b"before|0000 0001")
    assert b"".join(parts) == b"before" + big + b"after" + big + b"last"
    assert fake.data("dead_letter") == [b"before", b"after", b"last"]
    letters = d.dead_letters("dead_letter")
    assert [x["offset"] for x in letters] == [7, 7 + len(big) + 1 + 6]
    assert all(big.startswith(base64.b64decode(x["data"])) for x in letters)
    assert all(totals(d, name)["oversize"] >= 2 for name in fake.streams)


def test_the_rest_of_a_line_that_was_cut_is_never_taken_for_a_line(daemon, fake, tmp_path):
    """Stopped in the middle of a line that is too long, and killed there."""
    path = tmp_path / "a.log"
    path.write_bytes(b"first\n" + b"x" * 5000)
    d = reading(daemon, fake, path, max_record="1KiB").start()
    delivered(fake, 2)
    for end in (d.terminate, d.kill):
        wait_until(lambda: '"mid_record": true' in d.checkpoint().replace('":t', '": t'))
        end()
        with open(path, "ab") as out:
            out.write(b"y" * 5000)
        d.start()
    with open(path, "ab") as out:
        out.write(b"z\nlast\n")
    delivered(fake, 3)
    d.terminate()
    assert [data[:5] for data in fake.data("s")] == [b"first", b"xxxxx", b"last"]


# Other encodings.


@pytest.mark.parametrize("form", ["utf-16le", "utf-16be", "latin1"])
def test_other_encodings_are_cut_into_lines_before_they_are_converted(
    daemon, fake, tmp_path, form
):
    """In UTF-16 the byte of a line feed is in many characters, and half a character may be read."""
    path = tmp_path / "a.log"
    words = ["\u00fcber", "\u00e9t\u00e9", "\u0a0a\u0d0a \U0001f600"]
    words = words[:2] if form == "latin1" else words
    whole = "".join(word + "\n" for word in words).encode(form)
    path.write_bytes(b"")
    d = reading(daemon, fake, path, encoding=form).start()
    for i in range(len(whole)):
        with open(path, "ab") as out:
            out.write(whole[i : i + 1])
    assert delivered(fake, len(words)) == [word.encode() for word in words]
    d.terminate()
