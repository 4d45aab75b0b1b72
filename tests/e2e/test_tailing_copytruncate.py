"""Files that are cut off under their readers: copied and truncated, truncated and filled again."""

import os
import shutil

import pytest

from files import (
    append,
    counters,
    delivered,
    entries,
    following,
    frozen,
    in_order,
    lines,
    settled,
    text,
)
from harness import wait_until


def copy_truncate(path, copy):
    """As logrotate does it; nobody writes meanwhile."""
    shutil.copyfile(path, copy)
    os.truncate(path, 0)


def shift(path, keep):
    for k in range(keep, 0, -1):
        older = path.with_name(f"{path.name}.{k}")
        if older.exists():
            os.rename(older, path.with_name(f"{path.name}.{k + 1}"))


# The copy is one of the files.


def test_reading_goes_on_in_the_copy_and_then_in_the_truncated_file(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 100))
    d = in_order(following(daemon, fake, tmp_path / "a.log*")).start()
    delivered(fake, 100)
    for i in range(1, 5):
        shift(path, keep=9)
        if i % 2 == 0:  # every other time with bytes that have not been read
            with frozen(d):
                append(path, lines(i * 100, i * 100 + 50))
                copy_truncate(path, tmp_path / "a.log.1")
                append(path, lines(i * 100 + 50, i * 100 + 100))
        else:
            append(path, lines(i * 100, i * 100 + 50))
            delivered(fake, i * 100 + 50)
            copy_truncate(path, tmp_path / "a.log.1")
            append(path, lines(i * 100 + 50, i * 100 + 100))
        delivered(fake, i * 100 + 100)
    d.terminate()
    assert fake.data("s") == lines(0, 500)


def test_three_copies_and_truncations_at_once_are_each_recognised(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 100))
    d = following(daemon, fake, tmp_path / "a.log*").start()
    delivered(fake, 100)
    with frozen(d):
        for i in range(1, 4):
            append(path, lines(i * 100, i * 100 + 50))
            shift(path, keep=9)
            copy_truncate(path, tmp_path / "a.log.1")
            append(path, lines(i * 100 + 50, i * 100 + 100))
    settled(d, fake, lines(0, 400))


def test_a_copy_made_while_stopped_takes_the_checkpoint_over(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 100))
    d = following(daemon, fake, tmp_path / "a.log*").start()
    delivered(fake, 100)
    d.terminate()
    append(path, lines(100, 150))
    copy_truncate(path, tmp_path / "a.log.1")
    append(path, lines(150, 300))
    d.start()
    settled(d, fake, lines(0, 300))


def test_a_copy_taken_over_at_a_start_is_known_by_its_own_inode_from_then_on(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 100))
    d = following(daemon, fake, tmp_path / "a.log*").start()
    delivered(fake, 100)
    d.terminate()
    copy_truncate(path, tmp_path / "a.log.1")
    append(path, lines(100, 110))
    d.start()
    delivered(fake, 110)
    d.terminate()
    append(path, lines(110, 300))  # the file is longer than the copy now, so nothing else tells them apart
    d.start()
    delivered(fake, 300)
    d.terminate()
    d.start()
    settled(d, fake, lines(0, 300))


@pytest.mark.parametrize("last", [110, 400], ids=["the log is shorter", "the log is longer"])
def test_a_copy_that_was_waiting_at_a_kill_takes_over_and_is_not_said_to_be_gone(daemon, fake, tmp_path, last):
    """Two entries speak of it then: what was read of its original, and that it was found."""
    path, copy = tmp_path / "a.log", tmp_path / "a.log.1"
    append(path, lines(0, 100))
    d = following(daemon, fake, tmp_path / "a.log*").start()
    delivered(fake, 100)
    shutil.copyfile(path, copy)
    wait_until(lambda: any(e["path"] == str(copy) for e in entries(d)), what="the copy in the checkpoint")
    d.kill()
    os.utime(copy, (1, 1))  # by its age it would be looked at first
    os.truncate(path, 0)
    append(path, lines(100, last))
    d.start()
    delivered(fake, last)
    d.terminate()
    shift(path, keep=1)
    d.start()
    append(path, lines(last, last + 10))
    settled(d, fake, lines(0, last + 10))
    assert not [line for line in d.lines if "are gone" in line]


def test_a_copy_does_not_stop_the_truncation_of_another_file(daemon, fake, tmp_path):
    """Two logs that begin with the same long header, each with its copy."""
    header = [b"# the same words in every file %03d" % i for i in range(40)]
    for name in "ab":
        append(tmp_path / f"{name}.log", header + lines(0, 50, name))
    d = following(daemon, fake, tmp_path / "*.log*").start()
    delivered(fake, 180)
    with frozen(d):
        for name in "ab":
            copy_truncate(tmp_path / f"{name}.log", tmp_path / f"{name}.log.1")
            append(tmp_path / f"{name}.log", header + lines(50, 70, name))
    settled(d, fake, header * 4 + lines(0, 70, "a") + lines(0, 70, "b"))


# The copy is elsewhere.


def test_truncated_with_its_copy_elsewhere_it_is_read_from_its_beginning(daemon, fake, tmp_path):
    path, n = tmp_path / "a.log", 0
    (tmp_path / "old").mkdir()
    path.touch()
    d = following(daemon, fake, path).start()
    for i in range(5):
        append(path, lines(n, n + 100 - 10 * i))
        n += 100 - 10 * i
        delivered(fake, n)
        copy_truncate(path, tmp_path / "old" / f"a.{i}")
        d.wait_log("truncated", since=len(d.lines) - 1)
    append(path, lines(n, n + 10))
    settled(d, fake, lines(0, n + 10))
    assert len(d.lines) < 40, "no loop of complaints"


# Truncated and filled again before anybody looked.


@pytest.mark.parametrize("n", [60, 100, 500], ids=["shorter", "the same size", "longer"])
def test_truncated_and_filled_again_it_is_noticed_by_its_content(daemon, fake, tmp_path, n):
    path = tmp_path / "a.log"
    append(path, lines(0, 100, "old"))
    d = following(daemon, fake, path).start()
    delivered(fake, 100)
    with frozen(d):
        with open(path, "r+b") as out:
            out.truncate()
            out.write(text(lines(0, n, "new")))
    settled(d, fake, lines(0, 100, "old") + lines(0, n, "new"))


def test_truncated_and_filled_again_while_stopped_it_is_noticed_too(daemon, fake, tmp_path):
    path, header = tmp_path / "a.log", [b"the,same,header" * 80]
    append(path, header + lines(0, 100, "old"))
    d = following(daemon, fake, path).start()
    delivered(fake, 101)
    d.terminate()
    with open(path, "r+b") as out:
        out.truncate()
        out.write(text(header + lines(0, 300, "new")))
    d.start()
    settled(d, fake, header * 2 + lines(0, 100, "old") + lines(0, 300, "new"))


# What nobody can have any more.


def full(daemon, fake, path):
    """A file of which only a part has been read, since there is no memory for more."""
    append(path, [b"%06d " % i + b"x" * 100_000 for i in range(300)])
    fake.go_away()
    d = in_order(following(daemon, fake, path))
    d.settings["streams"]["s"]["buffer"] = "8MiB"
    d.start()
    wait_until(lambda: counters(d)["pauses"] > 0, what="the stream's memory to be full")
    return d, path.stat().st_size


def test_bytes_truncated_before_they_could_be_read_are_said_and_counted(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    d, size = full(daemon, fake, path)
    os.truncate(path, 0)
    append(path, lines(0, 10))
    fake.come_back()
    wait_until(lambda: lines(9, 10)[0] in fake.data("s"), what="the new content")
    read = sum(len(data) + 1 for data in fake.data("s") if data.startswith(b"0"))
    counted = counters(d)
    assert (counted["missing_files"], counted["missing_bytes"]) == (1, size - read)
    d.wait_log("bytes that were not read are gone")
    d.terminate()
    assert fake.data("s")[-10:] == lines(0, 10)


def test_bytes_cut_off_behind_what_was_read_are_counted_too(daemon, fake, tmp_path):
    """Nothing that was read is gone, so reading goes on, up to the new end."""
    path = tmp_path / "a.log"
    d, size = full(daemon, fake, path)
    os.truncate(path, size // 300 * 250)
    fake.come_back()
    wait_until(lambda: counters(d)["missing_files"] == 1, what="the end of the file")
    assert counters(d)["missing_bytes"] == size // 300 * 50
    append(path, lines(0, 10))
    delivered(fake, 260)
    d.terminate()
    assert fake.count("s") == 260
