"""Files that are gone: their inodes come back, and what was in them is missed once."""

import json
import os
import re
import shutil

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


def test_a_copy_with_the_inode_of_a_file_long_gone_is_still_the_copy(daemon, fake, tmp_path):
    log, copy = tmp_path / "app.log", tmp_path / "app.log.1"
    append(copy, lines(0, 100))
    append(log, lines(100, 200))
    d = daemon(fake.url).source("a", f"{log}*", start_at="beginning").start()
    wait_until(lambda: fake.count("s") == 200)
    d.terminate()
    copy.unlink()
    append(log, lines(200, 300))
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    append(log, lines(300, 350))
    give_inode(d, copy, copy.stat().st_ino)
    d.start()
    wait_until(lambda: fake.count("s") >= 350)
    d.terminate()
    assert sorted(fake.data("s")) == lines(0, 350)


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
