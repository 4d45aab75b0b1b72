"""Files that are gone: their inodes come back, and what was in them is missed once."""

import json
import os
import re
import shutil

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
    d = daemon(fake.url, stop_timeout="1s").source("a", log, start_at="beginning").start()
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
