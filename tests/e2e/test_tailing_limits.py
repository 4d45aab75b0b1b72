"""Ten thousand files, too few descriptors, watches or bytes of disk, and a clock that jumps."""

import datetime
import json
import os
import re
import shutil
import subprocess
import time

import pytest

import harness
from files import (
    append,
    counters,
    delivered,
    descriptors,
    following,
    frozen,
    lines,
    settled,
    switches,
    wait_offsets,
)
from harness import wait_until

# Many files.


def cpu_seconds(d):
    with open(f"/proc/{d.process.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_quiet(d, seconds=1):
    """Waits for so many seconds in which no thread of it was woken."""
    seen = [(time.monotonic(), switches(d))]

    def quiet():
        seen.append((time.monotonic(), switches(d)))
        if seen[-1][1] != seen[0][1]:
            seen[:] = seen[-1:]
        return seen[-1][0] - seen[0][0] >= seconds

    wait_until(quiet, 20, f"{seconds} s without a wake-up")


def logs_open(d):
    return sum(to.endswith(".log") for to in descriptors(d).values())


def test_ten_thousand_quiet_files_cost_a_quick_start_few_descriptors_and_then_nothing(
    daemon, fake, tmp_path
):
    (tmp_path / "logs").mkdir()
    paths = [tmp_path / "logs" / f"{i:05}.log" for i in range(10_000)]
    for path in paths:
        path.write_bytes(b"old\n")
    d = following(daemon, fake, tmp_path / "logs" / "*.log", start_at="end", max_open_files=64)
    d.starter = ["prlimit", "--nofile=256:256"]
    d.start()
    assert cpu_seconds(d) < 1 * harness.PATIENCE
    assert logs_open(d) <= 64
    wait_until(lambda: d.checkpoint().count('"inode"') == 10_000, what="the checkpoint")
    wait_quiet(d)
    used, expected = cpu_seconds(d), []
    for i in range(0, 10_000, 50):
        append(paths[i], lines(i, i + 1))
        expected += lines(i, i + 1)
    delivered(fake, len(expected))
    wait_until(lambda: logs_open(d) <= 64, what="those that are delivered to be closed")
    assert cpu_seconds(d) - used < 0.5 * harness.PATIENCE, "the cost is that of those that changed"
    settled(d, fake, expected)
    assert not re.search("level=(warn|error)", d.log())


def test_fewer_descriptors_than_files_is_told_and_every_file_is_read_all_the_same(
    daemon, fake, tmp_path
):
    for i in range(300):
        append(tmp_path / f"{i}.log", lines(i, i + 1))
    d = following(daemon, fake, tmp_path / "*.log")
    d.starter = ["prlimit", "--nofile=100:100"]
    d.start()
    delivered(fake, 300)
    for i in range(300):
        append(tmp_path / f"{i}.log", lines(300 + i, 301 + i))
    settled(d, fake, lines(0, 600))


def closed_files(daemon, fake, tmp_path):
    """A daemon that follows eight files and has closed those that were not active last."""
    for i in range(8):
        append(tmp_path / f"{i}.log", lines(i, i + 1))
    d = following(daemon, fake, tmp_path / "*.log", max_open_files=2).start()
    delivered(fake, 8)
    wait_until(lambda: logs_open(d) <= 2, what="the others to be closed")
    open_now = {os.path.basename(to) for to in descriptors(d).values()}
    return d, [tmp_path / f"{i}.log" for i in range(8) if f"{i}.log" not in open_now]


def test_a_closed_file_is_opened_again_when_it_is_written_renamed_or_truncated(
    daemon, fake, tmp_path
):
    d, closed = closed_files(daemon, fake, tmp_path)
    with frozen(d):
        append(closed[0], lines(10, 20))
        append(closed[1], lines(20, 30))
        os.rename(closed[1], tmp_path / "inside.log")
        append(closed[2], lines(30, 40))
        os.rename(closed[2], tmp_path / "outside")
        append(closed[2], lines(40, 50))
        os.truncate(closed[3], 0)
        append(closed[3], lines(50, 60))
    settled(d, fake, lines(0, 8) + lines(10, 60))


def test_bytes_of_a_closed_file_that_was_deleted_are_said_and_counted(daemon, fake, tmp_path):
    """It was not open, and nobody can open it any more: the one thing that closing can cost."""
    d, closed = closed_files(daemon, fake, tmp_path)
    with frozen(d):
        append(closed[0], lines(10, 20))
        closed[0].unlink()
        closed[1].unlink()  # nothing of this one was unread
        append(closed[2], lines(20, 30))
    delivered(fake, 18)
    d.wait_log(f"gone.*{closed[0].name}|{closed[0].name}.*gone")
    assert counters(d)["missing_files"] == 1
    settled(d, fake, lines(0, 8) + lines(20, 30))


# Watches.


def live_a_little(d, fake, directory):
    """Appends, new files, a new directory, a rename and a delete, under a glob of */*.log."""
    n = 10 * len(list(directory.glob("*/")))
    delivered(fake, n)
    for path in directory.glob("*/a.log"):
        append(path, lines(n, n + 10))
        n += 10
    append(directory / "0" / "b.log", lines(n, n + 10))
    delivered(fake, n + 10)
    os.rename(directory / "0" / "b.log", directory / "0" / "b.old")
    append(directory / "0" / "b.log", lines(n + 10, n + 20))
    (directory / "1" / "a.log").unlink()
    (directory / "later").mkdir()
    append(directory / "later" / "a.log", lines(n + 20, n + 30))
    return lines(0, n + 30)


def make_directories(directory, count):
    for i in range(count):
        (directory / str(i)).mkdir(parents=True)
        append(directory / str(i) / "a.log", lines(i * 10, i * 10 + 10))


def with_watches(n):
    """The command that starts a program that may have so many inotify watches."""
    script = f'echo {n} >/proc/sys/user/max_inotify_watches; exec "$@"'
    starter = ["unshare", "-Ur", "sh", "-ec", script, "-"]
    if subprocess.run([*starter, "true"], capture_output=True).returncode != 0:
        pytest.skip("no user namespaces here")
    return starter


def test_without_watches_enough_it_warns_once_and_looks_by_itself(daemon, fake, tmp_path):
    make_directories(tmp_path / "logs", 10)
    d = following(daemon, fake, tmp_path / "logs" / "*" / "*.log")
    d.starter = with_watches(4)
    d.start()
    d.wait_log("level=warn.*max_user_watches")
    settled(d, fake, live_a_little(d, fake, tmp_path / "logs"))
    assert sum("max_user_watches" in line for line in d.lines) == 1


def test_with_watch_poll_the_kernel_need_not_tell_anything(daemon, fake, tmp_path):
    """As on a network file system: here it has no watches to give, and that is no matter."""
    make_directories(tmp_path / "logs", 3)
    d = following(daemon, fake, tmp_path / "logs" / "*" / "*.log", watch="poll")
    d.starter = with_watches(0)
    d.start()
    settled(d, fake, live_a_little(d, fake, tmp_path / "logs"))
    assert not re.search("level=(warn|error)", d.log())


# Disk.


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_with_the_disk_full_the_old_checkpoint_stays_and_delivery_goes_on(
    daemon, fake, tmp_path, request
):
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = following(daemon, fake, path)
    small = ["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "none", str(d.state)]
    if subprocess.run(small, capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    request.addfinalizer(lambda: subprocess.run(["umount", "-l", str(d.state)]))
    request.addfinalizer(d.cleanup)
    d.start()
    wait_offsets(d, {"a.log": path.stat().st_size})
    saved = d.checkpoint()
    with open(d.state / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass
    append(path, lines(10, 20))
    delivered(fake, 20)
    d.wait_log("the checkpoint cannot be saved.*No space left")
    append(path, lines(20, 30))
    delivered(fake, 30)
    assert d.checkpoint() == saved
    (d.state / "filler").unlink()
    wait_offsets(d, {"a.log": path.stat().st_size})
    settled(d, fake, lines(0, 30))


# Time.


SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now)
{
    long status = syscall(SYS_clock_gettime, clock, now);
    char text[32] = "";
    int fd = clock == CLOCK_REALTIME ? open(getenv("CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) > 0)
            now->tv_sec += atol(text);
        close(fd);
    }
    return (int)status;
}
"""


def test_a_clock_that_jumps_stops_nothing_and_wakes_nobody(daemon, fakes, tmp_path):
    """An hour forwards, then two back: what the daemon waits for is counted on another clock."""
    shim, offset = tmp_path / "shim.so", tmp_path / "offset"
    (tmp_path / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c"], check=True)
    offset.write_text("0")

    def now():
        shift = datetime.timedelta(seconds=int(offset.read_text()))
        return datetime.datetime.now(datetime.timezone.utc) + shift

    fake, path, n = fakes(now=now), tmp_path / "a.log", 10
    append(path, lines(0, 10))
    d = following(daemon, fake, path, flush_partial_after="100ms")
    d.env["ASAN_OPTIONS"] = d.env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    d.env |= {"LD_PRELOAD": str(shim), "CLOCK_OFFSET": str(offset)}
    d.start()
    delivered(fake, 10)
    for jump in (3600, -3600, 0):
        written = offset.with_suffix(".new")
        written.write_text(str(jump))
        os.rename(written, offset)
        append(path, lines(n, n + 5))
        delivered(fake, n + 5, timeout=5)
        with open(path, "ab") as out:
            out.write(b"without end %d" % jump)
        delivered(fake, n + 6, timeout=5)
        append(path, [b""])
        n += 6
        wait_offsets(d, {"a.log": path.stat().st_size})
        wait_quiet(d)
    d.terminate()
    assert fake.count("s") == n
    days = {r.headers["x-amz-date"][:11] for r in fake.puts()}
    assert len(days) == 3, "the clock did jump"


# Copies, with few descriptors.


def copytruncate(path, copy):
    shutil.copy(path, copy)
    os.truncate(path, 0)


@pytest.mark.parametrize("limit", [1, 2])
def test_copies_do_not_take_the_descriptors_that_their_originals_need(daemon, fake, tmp_path, limit):
    logs = [tmp_path / f"{n}.log" for n in range(8)]
    for n, log in enumerate(logs):
        append(log, lines(0, 30, f"f{n}"))
    d = following(daemon, fake, tmp_path / "*.log*", max_open_files=limit).start()
    delivered(fake, 240)
    for rotation in range(3):
        for n, log in enumerate(logs):
            copytruncate(log, f"{log}.{rotation}")
            append(log, lines(30 + 15 * rotation, 45 + 15 * rotation, f"f{n}"))
        wanted = 240 + 120 * (rotation + 1)
        wait_until(lambda: len(set(fake.data("s"))) == wanted, what=f"{wanted} lines", timeout=30)
    d.terminate()
    assert fake.count("s") == 600


def test_a_copy_that_was_found_empty_and_shut_is_no_new_file(daemon, fake, tmp_path):
    logs, copy = [tmp_path / "a.log", tmp_path / "b.log"], tmp_path / "a.log.1"
    for log in logs:
        append(log, lines(0, 50, log.name))
    d = following(daemon, fake, tmp_path / "*.log*", max_open_files=1).start()
    delivered(fake, 100)
    wait_offsets(d, {log.name: log.stat().st_size for log in logs})
    fake.go_away()
    for log in logs:
        append(log, lines(50, 60, log.name))
    d.wait_log("no answer")
    copy.touch()
    d.wait_log(r"a\.log\.1")
    time.sleep(0.2)  # for the daemon to be done with it
    shutil.copy(logs[0], copy)
    time.sleep(0.2)
    os.truncate(logs[0], 0)
    append(logs[0], lines(60, 70, logs[0].name))
    fake.come_back()
    wait_until(lambda: len(set(fake.data("s"))) == 130, what="130 lines", timeout=30)
    assert harness.tool("shipped", "--wait", "-c", d.file, copy, *logs)[0] == 0
    d.terminate()
    assert fake.count("s") == 130


def test_what_a_closed_file_has_grown_by_is_seen_to_be_behind(daemon, fake, tmp_path):
    logs = [tmp_path / f"{n}.log" for n in range(4)]
    for log in logs:
        append(log, lines(0, 50, log.name))
    d = following(daemon, fake, tmp_path / "*.log", max_open_files=1).start()
    delivered(fake, 200)
    wait_offsets(d, {log.name: log.stat().st_size for log in logs})
    fake.go_away()
    for log in logs:
        append(log, lines(50, 60, log.name))
    d.wait_log("no answer")
    status, out, _ = harness.tool("sources", "--json", "-c", d.file)
    rows = {row["path"]: row for row in map(json.loads, out.splitlines()) if "path" in row}
    assert status == 0
    assert {path: row["size"] for path, row in rows.items()} == {str(log): log.stat().st_size for log in logs}
