"""Files that are renamed, deleted, made anew, linked and packed while they are followed."""

import collections
import gzip
import os
import random
import re
import threading
import time

import pytest

from files import (
    append,
    delivered,
    descriptors,
    entries,
    following,
    frozen,
    in_order,
    lines,
    settled,
    text,
)
from harness import wait_until


def rotate(path, keep=9):
    """As logrotate does it: a.log.1 becomes a.log.2, and so on; a.log becomes a.log.1."""
    for k in range(keep, 0, -1):
        older = path.with_name(f"{path.name}.{k}")
        if older.exists():
            os.rename(older, path.with_name(f"{path.name}.{k + 1}"))
    if path.exists():
        os.rename(path, path.with_name(f"{path.name}.1"))


def small_buffer(d):
    d.settings["streams"]["s"]["buffer"] = "8MiB"
    return d


# Which comes first.


def test_a_rotated_file_goes_out_before_the_first_record_of_its_successor(daemon, fake, tmp_path):
    """Although the old one has far more to give than there is room for in memory."""
    path = tmp_path / "a.log"
    old = [b"old %04d " % i + b"x" * 200_000 for i in range(100)]
    append(path, old)
    d = small_buffer(in_order(following(daemon, fake, path)))
    fake.go_away()
    d.start()
    d.wait_log("level=(warn|error)")
    os.rename(path, tmp_path / "a.log.1")
    append(path, lines(0, 100))
    fake.come_back()
    delivered(fake, 200, timeout=60)
    d.terminate()
    assert fake.data("s") == old + lines(0, 100)


def test_several_rotations_at_once_keep_the_files_apart_and_in_order(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 100))
    d = in_order(following(daemon, fake, tmp_path / "a.log*")).start()
    delivered(fake, 100)
    with frozen(d):
        append(path, lines(100, 150))
        now = time.time_ns()
        for i in range(4):
            os.utime(path, ns=(now - (9 - i) * 1_000_000,) * 2)  # the clock of files is coarse
            rotate(path)
            append(path, lines(150 + 10 * i, 160 + 10 * i))
    expected = lines(0, 190)
    delivered(fake, len(expected))
    d.terminate()
    assert fake.data("s") == expected


def test_each_record_is_tagged_with_the_file_it_came_from(daemon, fake, tmp_path):
    """The key tells path and offset: also of what is read of the old file after its rotation."""
    path = tmp_path / "a.log"
    append(path, lines(0, 10, "old"))
    d = following(daemon, fake, path, key="{@file.path} {@file.offset}").start()
    delivered(fake, 10)
    with frozen(d):
        append(path, lines(10, 20, "old"))
        os.rename(path, tmp_path / "a.log.1")
        append(path, lines(0, 20, "new"))
    delivered(fake, 40)
    d.terminate()
    contents = {b"old": (tmp_path / "a.log.1").read_bytes(), b"new": path.read_bytes()}
    for record in fake.records("s"):
        name, _, offset = record.key.rpartition(" ")
        assert name == str(path)  # the name under which both were found
        content = contents[record.data[:3]]
        assert content[int(offset) :].startswith(record.data + b"\n")


def test_rotations_during_an_outage_lose_nothing(daemon, fake, tmp_path):
    """The old files are deleted before anybody could have sent them."""
    path = tmp_path / "a.log"
    append(path, lines(0, 1000))
    d = following(daemon, fake, path).start()
    delivered(fake, 1000)
    fake.go_away()
    for i in range(1, 5):
        append(path, lines(i * 1000, i * 1000 + 500))
        wait_until(lambda: str(path) in descriptors(d).values(), what="the file to be found")
        rotate(path, keep=2)
        append(path, lines(i * 1000 + 500, (i + 1) * 1000))
        (tmp_path / "a.log.2").unlink(missing_ok=True)
    fake.come_back()
    wait_until(lambda: len(set(fake.data("s"))) == 5000, what="all lines")
    d.terminate()
    assert set(fake.data("s")) == set(lines(0, 5000))
    assert fake.count("s") <= 6000  # the answer to the first may have been lost


# Nothing changes when nothing has happened.


def test_appends_are_no_rotation_and_the_descriptor_is_kept(daemon, fake, tmp_path):
    append(tmp_path / "a.log", lines(0, 10))
    d = following(daemon, fake, tmp_path / "*.log").start()
    delivered(fake, 10)
    before = {fd: to for fd, to in descriptors(d).items() if to.endswith(".log")}
    for i in range(1, 11):
        append(tmp_path / "a.log", lines(i * 10, i * 10 + 10))
        os.utime(tmp_path / "a.log")
        delivered(fake, i * 10 + 10)
    assert {fd: to for fd, to in descriptors(d).items() if to.endswith(".log")} == before
    settled(d, fake, lines(0, 110))
    assert sum("msg=following" in line for line in d.lines) == 1
    assert not re.search("msg=renamed|truncated|copied", d.log())


def test_the_oldest_rotated_file_may_go(daemon, fake, tmp_path):
    for i, name in enumerate(["a.log.2", "a.log.1", "a.log"]):
        append(tmp_path / name, lines(i * 10, i * 10 + 10))
    d = following(daemon, fake, tmp_path / "a.log*").start()
    delivered(fake, 30)
    (tmp_path / "a.log.2").unlink()
    append(tmp_path / "a.log.1", lines(30, 35))
    append(tmp_path / "a.log", lines(35, 40))
    settled(d, fake, lines(0, 40))
    assert not re.search("level=(warn|error)", d.log())


def test_files_that_vanish_before_they_can_be_opened_harm_nothing(daemon, fake, tmp_path):
    append(tmp_path / "a.log", lines(0, 10))
    d = following(daemon, fake, tmp_path / "*.log").start()
    delivered(fake, 10)
    with frozen(d):
        for i in range(200):
            append(tmp_path / f"gone-{i}.log", [b"nobody can have read this"])
            (tmp_path / f"gone-{i}.log").unlink()
        append(tmp_path / "a.log", lines(10, 20))
    delivered(fake, 20)
    append(tmp_path / "gone-7.log", lines(20, 30))
    settled(d, fake, lines(0, 30))
    assert not re.search("level=(warn|error)", d.log())


# Renamed, moved, deleted.


@pytest.mark.parametrize("away", ["a.old", "elsewhere/a.log"])
def test_unread_bytes_of_a_file_that_left_the_glob_are_read(daemon, fake, tmp_path, away):
    path = tmp_path / "a.log"
    (tmp_path / "elsewhere").mkdir()
    append(path, lines(0, 10))
    d = following(daemon, fake, tmp_path / "*.log").start()
    delivered(fake, 10)
    with frozen(d):
        append(path, lines(10, 5000))
        os.rename(path, tmp_path / away)
        append(path, lines(5000, 5010))
    settled(d, fake, lines(0, 5010))


def test_deleted_and_made_anew_it_is_another_file(daemon, fake, tmp_path):
    """Although it begins with the same bytes and has grown past where the old one was read to."""
    path, header = tmp_path / "a.log", [b"the,same,header" * 80]
    append(path, header + lines(0, 10, "old"))
    d = following(daemon, fake, path).start()
    delivered(fake, 11)
    with frozen(d):
        append(path, lines(10, 20, "old"))
        path.unlink()
        append(path, header + lines(0, 30, "new"))
    settled(d, fake, header * 2 + lines(0, 20, "old") + lines(0, 30, "new"))


def test_made_anew_with_the_same_inode_while_stopped_the_old_offset_does_not_count(
    daemon, fake, tmp_path
):
    path, header = tmp_path / "a.log", [b"the,same,header" * 80]
    append(path, header + lines(0, 10, "old"))
    inode = path.stat().st_ino
    d = following(daemon, fake, path).start()
    delivered(fake, 11)
    d.terminate()
    path.unlink()
    for i in range(100):
        append(path, header + lines(0, 30, "new"))
        if path.stat().st_ino == inode:
            break
        os.rename(path, tmp_path / f"other.{i}")  # keeps an inode that is not wanted
    else:
        pytest.skip("this file system does not use inodes again so soon")
    d.start()
    settled(d, fake, header * 2 + lines(0, 10, "old") + lines(0, 30, "new"))


def test_a_file_that_is_packed_is_read_first_and_its_packed_form_never(daemon, fake, tmp_path):
    """a.log.1 becomes a.log.1.gz, which the glob matches too, before its last bytes were read."""
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = following(daemon, fake, tmp_path / "a.log*").start()
    delivered(fake, 10)
    for i in range(1, 4):
        with frozen(d):
            append(path, lines(i * 100, i * 100 + 90))
            os.rename(path, tmp_path / "a.log.1")
            append(path, lines(i * 100 + 90, i * 100 + 100))
            with gzip.open(tmp_path / f"a.log.{i}.gz", "wb") as out:
                out.write((tmp_path / "a.log.1").read_bytes())
            (tmp_path / "a.log.1").unlink()
        delivered(fake, i * 100 + 10)
    settled(d, fake, lines(0, 10) + lines(100, 400))
    assert not any(f["path"].endswith(".gz") for f in entries(d))


def test_a_link_that_is_switched_drains_the_old_file_and_begins_the_new_one(daemon, fake, tmp_path):
    link = tmp_path / "current.log"
    (tmp_path / "logs").mkdir()

    def switch(day):
        os.symlink(f"logs/app-{day}", tmp_path / "next")
        os.rename(tmp_path / "next", link)

    append(tmp_path / "logs" / "app-1", lines(0, 10))
    switch(1)
    d = in_order(following(daemon, fake, link)).start()
    delivered(fake, 10)
    append(tmp_path / "logs" / "app-1", lines(10, 15))
    delivered(fake, 15)
    with frozen(d):
        append(tmp_path / "logs" / "app-1", lines(15, 30))
        append(tmp_path / "logs" / "app-2", lines(30, 40))
        switch(2)
    assert delivered(fake, 40) == lines(0, 40)
    switch(3)  # leads nowhere yet
    append(tmp_path / "logs" / "app-3", lines(40, 50))
    delivered(fake, 50)
    append(tmp_path / "logs" / "app-3", lines(50, 60))
    settled(d, fake, lines(0, 60))


# Everything at once.


class Writer(threading.Thread):
    """Appends numbered lines and rotates; notes of every line in which inode it ends, and where."""

    def __init__(self, path, seed):
        super().__init__()
        self.path, self.random = path, random.Random(seed)
        self.enough = threading.Event()
        self.ends = []  # of line i: (inode, offset behind it)

    def run(self):
        out = open(self.path, "ab", buffering=0)
        while not self.enough.wait(0.005):
            n = len(self.ends)
            more, at = lines(n, n + self.random.randrange(1, 40)), out.tell()
            inode = os.fstat(out.fileno()).st_ino
            out.write(text(more))
            self.ends += [(inode, at + (i + 1) * (len(more[0]) + 1)) for i in range(len(more))]
            if self.random.random() < 0.02 and not self.enough.is_set():
                rotate(self.path, keep=99)
                out.close()
                out = open(self.path, "ab", buffering=0)
        out.close()


def test_kills_while_files_are_rotated_lose_nothing_and_double_no_more_than_was_not_saved(
    daemon, fake, tmp_path
):
    """No file is deleted here; the long form, with deletes and more, is make torture-tail."""
    writer, r, permitted = Writer(tmp_path / "a.log", 11), random.Random(12), 0
    d = following(daemon, fake, tmp_path / "a.log*")
    writer.start()
    for i in range(8):
        seen = fake.count("s")
        d.start()
        wait_until(lambda: fake.count("s") > seen + r.randrange(0, 2000, 100), what="some records")
        if i % 3 == 2:
            saved = d.checkpoint()
            wait_until(lambda: d.checkpoint() != saved, what="a checkpoint")
        d.kill()
        fake.cut_off()
        wait_until(lambda: not fake.connections, what="the end of what it had sent")
        reached = {int(f["inode"]): f["offset"] for f in entries(d)}
        stored = [int(data.split()[1]) for data in set(fake.data("s"))]
        permitted += sum(writer.ends[n][1] > reached.get(writer.ends[n][0], 0) for n in stored)
    writer.enough.set()
    writer.join()
    assert d.once() == 0, d.log()
    counted = collections.Counter(fake.data("s"))
    assert set(counted) == set(lines(0, len(writer.ends)))
    assert sum(counted.values()) - len(counted) <= permitted
    assert len(list(tmp_path.glob("a.log*"))) > 5
