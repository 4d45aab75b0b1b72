"""Files that are gone: their inodes come back, and what was in them is missed once."""

import json
import os
import re
import shutil
import signal
import time

import pytest

from harness import wait_until


def lines(first, last):
    return [f"line {i:06d} of a log that is copied and truncated".encode() for i in range(first, last)]


def append(path, records):
    with open(path, "ab") as out:
        out.write(b"".join(r + b"\n" for r in records))


def give_inode(daemon, path, inode):
    """The entries of this path speak of another inode now."""
    where = daemon.state / "checkpoint.json"
    document = json.loads(where.read_text())
    entries = [f for s in document["sources"] for f in s["files"] if f["path"] == str(path)]
    assert entries
    for entry in entries:
        entry["inode"] = str(inode)
    where.write_text(json.dumps(document))


@pytest.mark.parametrize("last", [350, 500], ids=["the log is shorter", "the log is longer"])
def test_a_copy_with_the_inode_of_a_file_long_gone_is_still_the_copy(daemon, fake, tmp_path, last):
    log, copy = tmp_path / "app.log", tmp_path / "app.log.1"
    append(copy, lines(0, 100))
    append(log, lines(100, 200))
    d = daemon(fake.url).source("a", f"{log}*", start_at="beginning").start()
    wait_until(lambda: fake.count("s") == 200)
    d.terminate()
    copy.unlink()
    append(log, lines(200, 300))
    shutil.copyfile(log, copy)
    os.utime(copy, (1, 1))  # looked at first
    os.truncate(log, 0)
    append(log, lines(300, last))
    give_inode(d, copy, copy.stat().st_ino)
    d.start()
    wait_until(lambda: fake.count("s") >= last)
    d.terminate()
    assert sorted(fake.data("s")) == lines(0, last)


def test_what_a_deleted_file_still_held_at_a_stop_is_counted_once(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    append(log, lines(0, 100))
    size = log.stat().st_size
    fake.go_away()
    d = daemon(fake.url, stop_timeout="3s").source("a", log, start_at="beginning").start()
    d.wait_log("no answer")
    log.unlink()
    d.terminate()
    said = d.lines
    d.start()
    fake.come_back()
    d.terminate()
    counted = [re.search(r"are gone.* bytes=(\d+)", line) for line in said + d.lines]
    assert [int(c[1]) for c in counted if c] == [size]
    assert fake.count("s") == 0


def test_what_is_read_in_an_outage_is_known_to_the_checkpoint_and_counted_when_it_is_gone(
    daemon, fake, tmp_path
):
    log = tmp_path / "app.log"
    append(log, lines(0, 100))
    fake.go_away()
    d = daemon(fake.url).source("a", log, start_at="beginning").start()
    d.wait_log("no answer")
    append(log, lines(100, 300))
    size = log.stat().st_size
    wait_until(lambda: f'"size": {size}' in d.checkpoint() or f'"size":{size}' in d.checkpoint())
    d.kill()
    log.unlink()
    fake.come_back()
    d.start()
    d.terminate()
    assert [line for line in d.lines if f"offset=0 bytes={size} " in line and "are gone" in line]


def test_a_file_that_was_empty_when_it_was_found_is_known_by_what_it_was_given(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    log.touch()
    fake.go_away()
    d = daemon(fake.url).source("a", log, start_at="beginning").start()
    append(log, lines(0, 100))
    d.wait_log("no answer")
    wait_until(lambda: '"n":1024' in d.checkpoint().replace(" ", ""), what="a fingerprint")
    d.kill()
    log.rename(tmp_path / "app.log.1")
    fake.come_back()
    d.start()
    wait_until(lambda: fake.count("s") == 100, what="100 records")
    d.terminate()
    assert not [line for line in d.lines if "are gone" in line]


def test_what_is_written_to_a_deleted_file_during_a_stop_is_not_counted_twice(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    append(log, lines(0, 100))
    fake.go_away()
    d = daemon(fake.url, stop_timeout="3s").source("a", log, start_at="beginning").start()
    d.wait_log("no answer")
    with open(log, "ab") as out:
        log.unlink()
        d.process.send_signal(signal.SIGTERM)
        while d.running():
            out.write(b"written while it stops\n")
            out.flush()
            time.sleep(0.001)
        size = out.tell()
    d.wait_exit()
    said = d.lines
    d.start()
    fake.come_back()
    d.terminate()
    spans = [re.search(r"are gone.* offset=(\d+) bytes=(\d+)", line) for line in said + d.lines]
    spans = sorted((int(s[1]), int(s[1]) + int(s[2])) for s in spans if s)
    assert spans[0][0] == 0 and spans[-1][1] <= size, spans
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:])), spans


def test_a_copy_with_the_inode_of_a_file_long_gone_waits_for_the_truncation(daemon, fake, tmp_path):
    log, copy = tmp_path / "app.log", tmp_path / "app.log.1"
    append(copy, lines(0, 100))
    append(log, lines(100, 200))
    d = daemon(fake.url).source("a", f"{log}*", start_at="beginning").start()
    wait_until(lambda: fake.count("s") == 200)
    d.terminate()
    copy.unlink()
    shutil.copyfile(log, copy)
    os.utime(copy, (1, 1))  # looked at first
    give_inode(d, copy, copy.stat().st_ino)
    d.start()  # between the copy and the truncation
    append(log, lines(200, 210))
    wait_until(lambda: fake.count("s") == 210)
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    append(log, lines(210, 220))
    wait_until(lambda: fake.count("s") >= 220)
    d.terminate()
    assert sorted(fake.data("s")) == lines(0, 220)


def test_a_copy_with_the_inode_of_a_file_that_was_empty_is_still_the_copy(daemon, fake, tmp_path):
    log, copy, empty = (tmp_path / name for name in ("app.log", "app.log.1", "app.log.2"))
    empty.touch()
    append(log, lines(0, 100))
    d = daemon(fake.url).source("a", f"{log}*", start_at="beginning").start()
    wait_until(lambda: fake.count("s") == 100)
    d.terminate()
    empty.unlink()
    append(log, lines(100, 110))
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    append(log, lines(110, 300))
    give_inode(d, empty, copy.stat().st_ino)
    d.start()
    wait_until(lambda: fake.count("s") >= 300)
    d.terminate()
    assert sorted(fake.data("s")) == lines(0, 300)
    assert not [line for line in d.lines if "are gone" in line]


def test_a_short_file_is_missed_when_its_inode_is_another_s(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    append(log, lines(0, 3))
    size = log.stat().st_size
    fake.go_away()
    d = daemon(fake.url).source("a", log, start_at="beginning").start()
    d.wait_log("no answer")
    d.kill()
    with open(log, "r+b") as again:  # the same inode
        again.write(b"".join(record + b"\n" for record in lines(500, 600)))
    fake.come_back()
    d.start()
    wait_until(lambda: fake.count("s") == 100)
    d.terminate()
    assert [line for line in d.lines if f"offset=0 bytes={size} " in line and "are gone" in line]
