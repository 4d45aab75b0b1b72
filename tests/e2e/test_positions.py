"""Which bytes of which files are read, and from where after a stop, a kill or a rotation."""

import os
import pathlib
import random
import shutil
import subprocess
import tempfile

import pytest

import harness
from files import append, bytes_read, delivered, following, holds_open, lines, settled, text
from harness import wait_until


# Following.


def test_appended_lines_arrive_soon_and_in_order(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    path.touch()
    d = following(daemon, fake, path).start()
    sent = []
    for i in range(20):
        append(path, lines(i, i + 1))
        sent += lines(i, i + 1)
        assert delivered(fake, len(sent), timeout=5) == sent
    d.terminate()
    assert fake.data("s") == sent


def test_a_line_is_sent_when_it_is_whole_and_never_split(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntw")
    d = following(daemon, fake, path).start()
    assert delivered(fake, 1) == [b"one"]
    with open(path, "ab", buffering=0) as out:
        out.write(b"o")
        out.write(b" parts\nthree\n")
    assert delivered(fake, 3) == [b"one", b"two parts", b"three"]
    d.terminate()
    assert fake.count("s") == 3


def test_every_match_is_followed_and_so_are_files_that_come_later(daemon, fake, tmp_path):
    for name in "abc":
        append(tmp_path / f"{name}.log", lines(0, 10, name))
    (tmp_path / "other.txt").write_text("not matched\n")
    d = following(daemon, fake, tmp_path / "*.log").start()
    delivered(fake, 30)
    append(tmp_path / "d.log", lines(0, 10, "d"))
    for name in "abcd":
        append(tmp_path / f"{name}.log", lines(10, 20, name))
    settled(d, fake, [r for name in "abcd" for r in lines(0, 20, name)])


def test_two_sources_may_follow_the_same_file_into_two_streams(daemon, fakes, tmp_path):
    fake = fakes({"s": 1, "t": 1})
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = daemon(
        fake.url,
        streams={
            "s": {"kinesis": "s"},
            "t": {"kinesis": "arn:aws:kinesis:us-east-1:123456789012:stream/t"},
        },
    )
    d.source("a", path, start_at="beginning").source("b", path, stream="t", start_at="beginning")
    assert d.once() == 0, d.log()
    assert fake.data("s") == fake.data("t") == lines(0, 10)


def test_a_directory_that_comes_later_is_found(daemon, fake, tmp_path):
    d = following(daemon, fake, tmp_path / "later" / "*.log").start()
    (tmp_path / "later").mkdir()
    append(tmp_path / "later" / "a.log", lines(0, 5))
    settled(d, fake, lines(0, 5))


# Where reading begins.


def test_start_at_end_sends_only_what_is_appended(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = following(daemon, fake, path, start_at="end").start()
    wait_until(lambda: "a.log" in d.checkpoint(), what="the saved place where reading begins")
    append(path, lines(10, 15))
    settled(d, fake, lines(10, 15))


def test_start_at_end_is_the_default(daemon, fake, tmp_path):
    append(tmp_path / "a.log", lines(0, 10))
    assert daemon(fake.url).source("a", tmp_path / "a.log").once() == 0
    assert fake.count("s") == 0


def test_start_at_end_sends_a_half_written_line_whole_when_it_is_finished(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"old\nhalf")
    d = following(daemon, fake, path, start_at="end").start()
    wait_until(lambda: "a.log" in d.checkpoint(), what="the saved place where reading begins")
    append(path, [b" and half"])
    settled(d, fake, [b"half and half"])


def test_a_file_that_appears_later_is_read_from_its_beginning(daemon, fake, tmp_path):
    d = following(daemon, fake, tmp_path / "*.log", start_at="end").start()
    (tmp_path / "new").write_bytes(text(lines(0, 10)))
    os.rename(tmp_path / "new", tmp_path / "new.log")
    settled(d, fake, lines(0, 10))


def test_the_place_where_reading_begins_is_saved_before_anything_is_delivered(
    daemon, fake, tmp_path
):
    """Killed at once: what is written while the daemon is away is not skipped later."""
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = following(daemon, fake, path, start_at="end").start()
    wait_until(lambda: "a.log" in d.checkpoint(), what="the saved place where reading begins")
    d.kill()
    append(path, lines(10, 20))
    d.start()
    settled(d, fake, lines(10, 20))


def test_start_at_end_counts_only_for_a_source_never_started(daemon, fake, tmp_path):
    append(tmp_path / "a.log", lines(0, 10, "a"))
    d = following(daemon, fake, tmp_path / "*.log", start_at="end").start()
    wait_until(lambda: "a.log" in d.checkpoint(), what="the saved place where reading begins")
    d.terminate()
    append(tmp_path / "b.log", lines(0, 10, "b"))
    d.start()
    settled(d, fake, lines(0, 10, "b"))


# Stops.


def test_a_restart_resumes_exactly(daemon, fake, tmp_path):
    """Nothing twice after a clean stop, whatever the moment of the stop."""
    path, r, n = tmp_path / "a.log", random.Random(5), 0
    d = following(daemon, fake, path)
    for _ in range(6):
        d.start()
        more = r.randrange(1, 3000)
        append(path, lines(n, n + more))
        n += more
        wait_until(lambda: fake.count("s") > r.randrange(n), what="some records")
        d.terminate()
    d.start()
    settled(d, fake, lines(0, n))


def test_sigterm_delivers_what_was_read_without_waiting_for_linger(daemon, fake, tmp_path):
    path, big = tmp_path / "a.log", [b"%d " % i + b"x" * 20_000 for i in range(200)]
    append(path, big)
    d = following(daemon, fake, path)
    d.settings["streams"]["s"]["linger"] = "10m"
    d.start()
    wait_until(lambda: bytes_read(d) >= path.stat().st_size, what="the file to be read")
    assert fake.count("s") == 0
    d.terminate()
    assert fake.count("s") > 0
    assert d.once() == 0, d.log()
    assert sorted(fake.data("s")) == sorted(big)


def test_twenty_kills_during_a_long_run_lose_nothing(daemon, fake, tmp_path):
    n, path = 200_000, tmp_path / "a.log"
    append(path, lines(0, n // 2))
    d = following(daemon, fake, path)
    for i in range(20):
        seen, saved = fake.count("s"), d.checkpoint()
        d.start()
        # A different moment each time: at once, after some records, after a checkpoint.
        wait_until(lambda: fake.count("s") >= seen + (i % 5) * 2500, 60, "some more records")
        append(path, lines(n // 2 + i * n // 40, n // 2 + (i + 1) * n // 40))
        if i % 5 == 4:
            wait_until(lambda: d.checkpoint() != saved, what="a checkpoint")
        d.kill()
    assert d.once() == 0, d.log()
    assert set(fake.data("s")) == set(lines(0, n))


def test_a_checkpoint_that_cannot_be_understood_stops_the_start_and_is_not_overwritten(
    daemon, fake, tmp_path
):
    append(tmp_path / "a.log", lines(0, 3))
    d = following(daemon, fake, tmp_path / "a.log")
    for bad in ("", "{", '{"version": 99}'):
        (d.state / "checkpoint.json").write_text(bad)
        d.spawn()
        assert d.wait_exit() == 78, d.log()
        assert "checkpoint.json" in d.log()
        assert (d.state / "checkpoint.json").read_text() == bad
    assert fake.count("s") == 0


# Rotation.


def test_rename_and_create_loses_nothing_and_sends_nothing_twice(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 100))
    d = following(daemon, fake, path).start()
    for i in range(1, 6):
        os.rename(path, tmp_path / f"a.log.{i}")
        append(path, lines(i * 100, (i + 1) * 100))
        delivered(fake, (i + 1) * 100)
    settled(d, fake, lines(0, 600))


def test_bytes_written_to_the_old_name_after_a_rename_are_read(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    with open(path, "ab", buffering=0) as old:
        old.write(text(lines(0, 10)))
        d = following(daemon, fake, path).start()
        delivered(fake, 10)
        os.rename(path, tmp_path / "a.log.1")
        append(path, lines(20, 30))
        old.write(text(lines(10, 20)))
        delivered(fake, 30)
    settled(d, fake, lines(0, 30))


def test_a_rename_within_the_glob_reads_nothing_again(daemon, fake, tmp_path):
    append(tmp_path / "a.log", lines(0, 100))
    d = following(daemon, fake, tmp_path / "*.log").start()
    delivered(fake, 100)
    os.rename(tmp_path / "a.log", tmp_path / "b.log")
    append(tmp_path / "b.log", lines(100, 110))
    delivered(fake, 110)
    d.terminate()
    append(tmp_path / "b.log", lines(110, 120))
    d.start()
    settled(d, fake, lines(0, 120))


def test_a_rotation_while_stopped_is_understood(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 100))
    d = following(daemon, fake, tmp_path / "a.log*").start()
    delivered(fake, 100)
    d.terminate()
    append(path, lines(100, 150))
    os.rename(path, tmp_path / "a.log.1")
    append(path, lines(150, 200))
    d.start()
    settled(d, fake, lines(0, 200))


def test_a_new_file_under_an_old_name_is_read_from_its_beginning(daemon, fake, tmp_path):
    """Also if it is longer than the old one was, begins with the same bytes and has its inode."""
    path, header = tmp_path / "a.log", [b"the,same,header" * 80]
    append(path, header + lines(0, 50, "old"))
    d = following(daemon, fake, path).start()
    delivered(fake, 51)
    d.terminate()
    with open(path, "r+b") as same_inode:
        same_inode.truncate()
        same_inode.write(text(header + lines(0, 100, "new")))
    d.start()
    delivered(fake, 152)
    d.terminate()
    assert fake.data("s")[51:] == header + lines(0, 100, "new")


def test_a_truncated_file_is_read_again_from_its_beginning(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 100, "old"))
    d = following(daemon, fake, path).start()
    delivered(fake, 100)
    path.write_bytes(text(lines(0, 10, "new")))
    delivered(fake, 110)
    d.terminate()
    assert fake.data("s")[100:] == lines(0, 10, "new")


def test_a_deleted_file_is_read_to_its_end(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    fake.go_away()
    append(path, lines(0, 5000))
    d = following(daemon, fake, path).start()
    wait_until(lambda: holds_open(d, path), what="the file to be open")
    path.unlink()
    fake.come_back()
    settled(d, fake, lines(0, 5000))


# What is opened at all.


def test_only_regular_files_are_opened(daemon, fake, tmp_path):
    (tmp_path / "d.log").mkdir()
    os.mkfifo(tmp_path / "f.log")
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling.log")
    os.symlink("/dev/zero", tmp_path / "z.log")
    append(tmp_path / "a.log", lines(0, 5))
    d = following(daemon, fake, tmp_path / "*.log").start()
    settled(d, fake, lines(0, 5))


def test_a_second_name_of_a_file_is_not_sent_twice(daemon, fake, tmp_path):
    append(tmp_path / "a.log", lines(0, 5))
    os.link(tmp_path / "a.log", tmp_path / "b.log")
    os.symlink(tmp_path / "a.log", tmp_path / "c.log")
    assert following(daemon, fake, tmp_path / "*.log").once() == 0
    assert fake.data("s") == lines(0, 5)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_a_link_is_followed_only_if_root_or_the_owner_of_its_target_made_it(daemon, fake, tmp_path):
    """Otherwise whoever may write into the directory could have any file sent."""
    targets = tmp_path / "targets"
    targets.mkdir()
    for name, file_owner, link_owner in [("root", 1, 0), ("same", 1, 1), ("other", 0, 1)]:
        append(targets / name, [name.encode()])
        os.chown(targets / name, file_owner, -1)
        os.symlink(targets / name, tmp_path / f"{name}.log")
        os.chown(tmp_path / f"{name}.log", link_owner, -1, follow_symlinks=False)
    d = following(daemon, fake, tmp_path / "*.log")
    d.once()
    assert sorted(fake.data("s")) == [b"root", b"same"]
    assert "other.log" in d.log()


def as_nobody(d):
    """The same daemon, run by a user who may read what others may."""
    os.chown(d.state, 65534, 65534)
    d.env["HOME"] = "/nonexistent"
    return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads everything; another user is needed")
def test_an_unreadable_file_is_told_and_the_others_are_read(daemon, fake, request):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tailrace-e2e-"))
    request.addfinalizer(lambda: shutil.rmtree(directory))
    directory.chmod(0o755)
    append(directory / "a.log", lines(0, 5))
    append(directory / "secret.log", lines(5, 10))
    (directory / "secret.log").chmod(0o600)
    d = daemon(fake.url, directory=directory).source("a", directory / "*.log", start_at="beginning")
    d.write()
    d.file.chmod(0o644)
    if subprocess.run([*as_nobody(d), "test", "-x", harness.BUILD / "tailraced"]).returncode:
        pytest.skip("the program is where only root may go")
    done = subprocess.run(
        [*as_nobody(d), harness.BUILD / "tailraced", "--once", "-c", d.file],
        env=d.env,
        capture_output=True,
        timeout=60,
    )
    assert fake.data("s") == lines(0, 5)
    assert b"secret.log" in done.stderr and done.returncode == 75  # not all could be read
