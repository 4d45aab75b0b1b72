"""What a start finds: files read before, files never seen, files that are gone, checkpoints."""

import os
import re
import threading

import pytest

import faults
from files import (
    append,
    counters,
    delivered,
    entries,
    following,
    holds_open,
    in_order,
    lines,
    offsets,
    settled,
    text,
    totals,
    wait_offsets,
)
from harness import ROOT, tool, wait_until


def rotated(directory, ages):
    """Rotated files, each with ten lines of its own, written so many seconds ago."""
    for name, age in ages.items():
        append(directory / name, lines(0, 10, name))
        os.utime(directory / name, (1_700_000_000 - age,) * 2)
    return [r for name in sorted(ages, key=ages.get, reverse=True) for r in lines(0, 10, name)]


# Never started before.


def test_rotated_files_are_caught_up_with_oldest_first_whatever_their_names(daemon, fake, tmp_path):
    expected = rotated(tmp_path, {"a.log": 1, "a.log.1": 30, "a.log.2": 20, "a.log.0": 90})
    d = in_order(following(daemon, fake, tmp_path / "a.log*")).start()
    assert delivered(fake, 40) == expected
    d.terminate()
    assert fake.data("s") == expected


def test_start_at_end_sends_nothing_of_rotated_files_that_are_there(daemon, fake, tmp_path):
    rotated(tmp_path, {"a.log": 1, "a.log.1": 30, "a.log.2": 20})
    d = following(daemon, fake, tmp_path / "a.log*", start_at="end").start()
    os.rename(tmp_path / "a.log", tmp_path / "a.log.3")
    append(tmp_path / "a.log", lines(0, 10))
    settled(d, fake, lines(0, 10))


def test_a_missing_directory_is_no_error(daemon, fake, tmp_path):
    d = following(daemon, fake, tmp_path / "not" / "there" / "*.log")
    assert d.once() == 0
    assert not re.search("level=(warn|error)", d.log())


def test_only_what_the_glob_says_is_read_and_nothing_that_was_packed(daemon, fake, tmp_path):
    inside = ["app.log.01", "app.log.19", "x/app.log.02", "x/y/z/web.log.13"]
    outside = ["app.log.20", "app.log.10.gz", "app.log.0", "app.log.1", "app.log.011"]
    outside += ["app.log.05.old", "x/other.log.02", "x/skip/app.log.03", "x/app.log.18"]
    packed = ["app.log.gz", "web.log.bz2", "x/app.log.xz", "app.log.zst", "app.log.zip"]
    for name in inside + outside + packed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        append(tmp_path / name, [name.encode()])
    d = following(daemon, fake, tmp_path / "**" / "{app,web}.log.[01][1-9]")
    d.settings["sources"]["a"]["exclude"] = ["*.18", f"{tmp_path}/x/skip/*"]
    d.source("b", tmp_path / "**" / "*.{gz,bz2,xz,zst,zip}", start_at="beginning")
    assert d.once() == 0, d.log()
    assert sorted(fake.data("s")) == sorted(name.encode() for name in inside)


def test_files_that_were_last_written_long_ago_are_left_out_but_not_what_is_added(
    daemon, fake, tmp_path
):
    append(tmp_path / "old.log", lines(0, 10, "old"))
    os.utime(tmp_path / "old.log", (1_700_000_000,) * 2)
    append(tmp_path / "new.log", lines(0, 10, "new"))
    d = following(daemon, fake, tmp_path / "*.log", ignore_older="24h").start()
    delivered(fake, 10)
    append(tmp_path / "old.log", lines(10, 15, "old"))
    settled(d, fake, lines(0, 10, "new") + lines(10, 15, "old"))


def test_a_second_name_that_comes_later_is_no_second_file(daemon, fake, tmp_path):
    append(tmp_path / "a.log", lines(0, 5))
    d = following(daemon, fake, tmp_path / "*.log").start()
    delivered(fake, 5)
    os.link(tmp_path / "a.log", tmp_path / "b.log")
    append(tmp_path / "b.log", lines(5, 10))
    delivered(fake, 10)
    (tmp_path / "a.log").unlink()
    append(tmp_path / "b.log", lines(10, 15))
    settled(d, fake, lines(0, 15))


# Started again.


@pytest.mark.parametrize("rotations", [1, 2, 4])
def test_rotations_while_stopped_are_sorted_out_by_content(daemon, fake, tmp_path, rotations):
    """The file that was read half goes on where it was, whatever its name; the newer ones follow."""
    path = tmp_path / "a.log"
    append(path, lines(0, 100))
    d = in_order(following(daemon, fake, tmp_path / "a.log*")).start()
    delivered(fake, 100)
    d.terminate()
    append(path, lines(100, 150))
    for i in range(rotations):
        os.utime(path, (1_700_000_000 + i,) * 2)
        for k in range(rotations, 0, -1):
            if (tmp_path / f"a.log.{k}").exists():
                os.rename(tmp_path / f"a.log.{k}", tmp_path / f"a.log.{k + 1}")
        os.rename(path, tmp_path / "a.log.1")
        append(path, lines(150 + i * 10, 160 + i * 10))
    d.start()
    expected = lines(0, 150 + rotations * 10)
    delivered(fake, len(expected))
    d.terminate()
    assert fake.data("s") == expected


def test_a_file_that_is_gone_does_not_disturb_the_others(daemon, fake, tmp_path):
    for name in "abc":
        append(tmp_path / f"{name}.log", lines(0, 10, name))
    d = following(daemon, fake, tmp_path / "*.log").start()
    delivered(fake, 30)
    d.terminate()
    (tmp_path / "b.log").unlink()
    append(tmp_path / "a.log", lines(10, 20, "a"))
    append(tmp_path / "d.log", lines(0, 20, "d"))
    d.start()
    expected = [*lines(0, 20, "a"), *lines(0, 10, "b"), *lines(0, 10, "c"), *lines(0, 20, "d")]
    settled(d, fake, expected)
    assert "b.log" in offsets(d), "kept, for the case that it comes back"


def left_undelivered(daemon, fake, tmp_path, names):
    """Files of which ten lines are delivered and ten more were seen, and the service is away."""
    for name in names:
        append(tmp_path / f"{name}.log", lines(0, 10, name))
    d = following(daemon, fake, tmp_path / "*.log*")
    d.settings["stop_timeout"] = "3s"
    d.start()
    delivered(fake, 10 * len(names))
    wait_offsets(d, {p.name: p.stat().st_size for p in tmp_path.glob("*.log")})
    fake.go_away()
    for name in names:
        append(tmp_path / f"{name}.log", lines(10, 20, name))
    wait_until(lambda: counters(d)["records_in"] == 20 * len(names), what="all to be read")
    return d


def test_undelivered_bytes_of_files_that_went_while_stopped_are_said_and_counted_once(
    daemon, fake, tmp_path
):
    d = left_undelivered(daemon, fake, tmp_path, "abcd")
    d.terminate()
    fake.come_back()
    (tmp_path / "a.log").unlink()
    os.rename(tmp_path / "b.log", tmp_path / "b.log.gz")  # as if it were packed
    (tmp_path / "elsewhere").mkdir()
    os.rename(tmp_path / "c.log", tmp_path / "elsewhere" / "c.log")
    d.start()
    delivered(fake, 50)
    assert counters(d)["missing_files"] == 3
    assert counters(d)["missing_bytes"] == 3 * len(text(lines(10, 20, "a")))
    assert sum("msg=\"bytes that were not read are gone\"" in line for line in d.lines) == 3
    d.terminate()
    os.rename(tmp_path / "elsewhere" / "c.log", tmp_path / "c.log")
    d.start()
    delivered(fake, 60)
    assert counters(d)["missing_files"] == 0
    settled(d, fake, [r for n in "abcd" for r in lines(0, 20 if n in "cd" else 10, n)])


def test_bytes_of_a_deleted_file_that_a_stop_leaves_behind_are_said_and_counted(
    daemon, fake, tmp_path
):
    d = left_undelivered(daemon, fake, tmp_path, "ab")
    (tmp_path / "a.log").unlink()
    d.terminate()
    assert totals(d)["missing_files"] == 1
    assert totals(d)["missing_bytes"] == len(text(lines(10, 20, "a")))
    fake.come_back()
    assert d.once() == 0
    assert set(fake.data("s")) == set(lines(0, 10, "a") + lines(0, 20, "b"))


def test_a_file_that_comes_back_goes_on_where_it_was(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = following(daemon, fake, path).start()
    delivered(fake, 10)
    d.terminate()
    os.rename(path, tmp_path / "away")
    assert d.once() == 0
    os.rename(tmp_path / "away", path)
    append(path, lines(10, 20))
    d.start()
    settled(d, fake, lines(0, 20))


def test_with_all_files_gone_it_starts_and_finds_a_later_one(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = following(daemon, fake, path).start()
    delivered(fake, 10)
    d.terminate()
    path.unlink()
    d.start()
    assert not holds_open(d, path)
    assert not re.search("level=(warn|error)", d.log())
    append(path, lines(10, 20))
    settled(d, fake, lines(0, 20))


def test_touched_or_with_another_owner_and_mode_a_file_is_the_same(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = following(daemon, fake, path).start()
    delivered(fake, 10)
    os.utime(path, (1_700_000_000, 1_800_000_000))
    path.chmod(0o640)
    append(path, lines(10, 20))
    delivered(fake, 20)
    d.terminate()
    os.utime(path)
    path.chmod(0o644)
    d.start()
    append(path, lines(20, 30))
    settled(d, fake, lines(0, 30))


def test_a_reboot_that_renumbers_the_devices_changes_nothing(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = following(daemon, fake, path).start()
    delivered(fake, 10)
    d.terminate()
    saved = d.checkpoint()
    renumbered = re.sub(r'("device": ?)"\d+"', r'\1"9999"', saved)
    assert renumbered != saved
    (d.state / "checkpoint.json").write_text(renumbered)
    append(path, lines(10, 20))
    d.start()
    settled(d, fake, lines(0, 20))


def test_the_usual_place_of_checkpoints_outlives_a_reboot():
    status, out, _ = tool("check", "--print-options")
    assert status == 0 and "state_dir: text; default /var/lib/tailrace;" in out
    unit = (ROOT / "systemd" / "tailraced.service").read_text()
    assert re.search("(?m)^StateDirectory=tailrace$", unit)


def test_offsets_past_four_gibibytes_are_kept(daemon, fake, tmp_path):
    """A file with a hole, so that it takes no room."""
    path, far = tmp_path / "a.log", 5 * 2**30
    with open(path, "wb") as out:
        out.seek(far)
        out.write(b"\n")
    d = following(daemon, fake, path, start_at="end").start()
    for i in range(3):
        append(path, lines(i * 10, i * 10 + 10))
        delivered(fake, i * 10 + 10)
        d.terminate()
        assert offsets(d) == {"a.log": path.stat().st_size}
        d.start()
    append(path, lines(30, 40))
    settled(d, fake, lines(0, 40))


def test_a_save_that_was_cut_short_stops_the_start_and_is_left_alone(daemon, fake, tmp_path):
    """Such a file cannot come from the daemon, which renames whole ones; so a person must look."""
    append(tmp_path / "a.log", lines(0, 10))
    d = following(daemon, fake, tmp_path / "a.log").start()
    delivered(fake, 10)
    d.terminate()
    whole = d.checkpoint()
    for n in (1, len(whole) // 2, len(whole) - 3):
        (d.state / "checkpoint.json").write_text(whole[:n])
        d.spawn()
        assert d.wait_exit() == 78
        assert "checkpoint.json" in d.log() and d.checkpoint() == whole[:n]
    (d.state / "checkpoint.json").write_text(whole)
    assert d.once() == 0
    assert fake.data("s") == lines(0, 10)


# How far the checkpoint says.


def test_an_idle_checkpoint_says_the_end_of_each_file_across_a_rotation(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(0, 100))
    d = following(daemon, fake, tmp_path / "a.log*").start()
    delivered(fake, 100)
    os.rename(path, tmp_path / "a.log.1")
    append(path, lines(100, 130))
    delivered(fake, 130)
    wait_offsets(d, {p.name: p.stat().st_size for p in tmp_path.glob("a.log*")})
    d.kill()
    d.start()
    settled(d, fake, lines(0, 130))


def test_a_checkpoint_does_not_count_half_a_line(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\nthr")
    d = following(daemon, fake, path).start()
    delivered(fake, 2)
    d.terminate()
    assert offsets(d) == {"a.log": 8}
    with open(path, "ab") as out:
        out.write(b"ee\n")
    d.start()
    settled(d, fake, [b"one", b"two", b"three"])


@pytest.mark.parametrize(
    "fault",
    [faults.Status(500), faults.Entries("InternalFailure"), faults.DropBeforeStoring()],
    ids=["whole", "each", "dropped"],
)
def test_while_nothing_is_accepted_the_checkpoint_stays_where_reading_began(
    daemon, fake, tmp_path, fault
):
    path = tmp_path / "a.log"
    append(path, lines(0, 10))
    d = following(daemon, fake, path, start_at="end")
    d.settings["stop_timeout"] = "3s"
    d.start()
    wait_offsets(d, {"a.log": path.stat().st_size})
    begun = path.stat().st_size
    fake.fault = fault
    append(path, lines(10, 2000))
    wait_until(lambda: len(fake.puts()) >= 2, what="requests")
    d.terminate()
    assert offsets(d) == {"a.log": begun}
    fake.fault = None
    assert d.once() == 0
    assert set(fake.data("s")) == set(lines(10, 2000))


class SlowIf(faults.Fault):
    """Holds back the answer to whoever brings this record, until it is let go."""

    def __init__(self, data, event):
        self.data, self.event = data, event

    def answer(self, request, status, body):
        if any(data == self.data for data, _ in request.records):
            self.event.wait(30)
        return status, body


def test_a_later_answer_that_comes_first_moves_no_checkpoint_and_a_kill_sends_again(
    daemon, fakes, tmp_path
):
    fake, path, n = fakes({"s": 1, "t": 1}), tmp_path / "a.log", 1500
    let_go = threading.Event()
    path.touch()
    d = following(daemon, fake, path)
    d.settings["streams"]["t"] = {"kinesis": "t", "linger": "20ms"}
    d.source("b", tmp_path / "b.log", stream="t", start_at="beginning").start()
    fake.fault = SlowIf(lines(0, 1)[0], let_go)
    append(path, lines(0, n))
    wait_until(lambda: fake.count("s") == n, what="all records to be stored")
    assert len(fake.puts()) >= 3
    first = next(r for r in fake.puts() if lines(0, 1)[0] in [data for data, _ in r.records])
    # What another stream delivers is saved meanwhile.
    append(tmp_path / "b.log", [b"other"])
    wait_offsets(d, {"b.log": 6}, source="b")
    d.kill()
    assert offsets(d) == {"a.log": 0}
    fake.fault = None
    let_go.set()
    d.start()
    delivered(fake, n + len(first.records))
    d.terminate()
    assert set(fake.data("s")) == set(lines(0, n))
    assert offsets(d) == {"a.log": path.stat().st_size}


def test_a_checkpoint_never_goes_backwards(daemon, fake, tmp_path):
    path, seen = tmp_path / "a.log", []
    fake.fault = faults.Entries("InternalFailure", share=0.2, seed=7)
    append(path, lines(0, 10))
    d = following(daemon, fake, path).start()

    def look():
        seen.extend(offsets(d).values())
        return len(set(fake.data("s"))) >= n

    n = 10
    for i in range(1, 5):
        append(path, lines(n, n + 3000))
        n += 3000
        wait_until(look, 30, "the lines")
    d.terminate()
    seen.extend(offsets(d).values())
    assert seen == sorted(seen) and seen[-1] == path.stat().st_size
    assert fake.count("s") == n


def test_two_sources_on_a_file_keep_checkpoints_of_their_own(daemon, fakes, tmp_path):
    """One stream is not there yet: its source waits, and misses nothing; the other goes on."""
    fake, path = fakes({"s": 1}), tmp_path / "a.log"
    append(path, lines(0, 100))
    streams = {"s": {"kinesis": "s", "linger": "20ms"}, "t": {"kinesis": "t", "linger": "20ms"}}
    d = daemon(fake.url, streams=streams, stop_timeout="3s")
    d.source("a", path, start_at="beginning").source("b", path, stream="t", start_at="beginning")
    d.start()
    delivered(fake, 100)
    d.wait_log("stream=t.*ResourceNotFound|ResourceNotFound.*stream=t")
    d.terminate()
    assert offsets(d, "a") == {"a.log": path.stat().st_size} and offsets(d, "b") == {"a.log": 0}
    fake.streams["t"] = type(fake.streams["s"])("t", 1)
    append(path, lines(100, 110))
    d.start()
    wait_until(lambda: fake.count("t") >= 110 and fake.count("s") >= 110, what="all lines")
    d.terminate()
    assert fake.data("s") == fake.data("t") == lines(0, 110)
    assert [len(entries(d, s)) for s in "ab"] == [1, 1]
