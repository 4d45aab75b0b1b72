"""What is waited for: that files without a name are quiet, that a copy is none, that a line ends.

These waits last seconds, so all cases share one daemon, each with a directory and a source of its
own; the tests look at what came of them, and when.
"""

import os
import shutil
import time

import pytest

import fake_kinesis
import harness
from files import append, counters, descriptors, lines, text
from harness import wait_until

QUIET = 5  # seconds that a file without a name must have been quiet


class Story:
    """Everything that happens, in order; afterwards, `data` by case, and what was closed when."""

    CASES = "deleted all rotated moved late live copied outage steady".split()

    def __init__(self, directory):
        self.dir, self.closed, self.data_at = directory, {}, {}
        self.fake = fake_kinesis.FakeKinesis({case: 1 for case in self.CASES}).start()
        options = {"linger": "20ms", "in_flight": 1}
        streams = {case: {"kinesis": case, **options} for case in self.CASES}
        self.d = harness.Daemon(directory, self.fake.url, streams=streams)
        for case in self.CASES:
            (directory / case).mkdir()
            pattern = directory / case / ("*" if case == "copied" else "*.log")
            self.d.source(case, pattern, stream=case, start_at="beginning")

    def path(self, case, name="a.log"):
        return self.dir / case / name

    def data(self, case):
        return self.fake.data(case)

    def has(self, case, n):
        wait_until(lambda: self.fake.count(case) >= n, what=f"{n} records of {case}")

    def begin(self):
        for case in self.CASES:
            append(self.path(case), lines(0, 20, case))
        append(self.path("deleted", "b.log"), lines(0, 20, "b"))
        append(self.path("all", "b.log"), lines(0, 20, "b"))
        self.d.start()
        for case in self.CASES:
            self.has(case, 40 if case in ("deleted", "all") else 20)

    def act(self):
        self.writer = open(self.path("late"), "ab", buffering=0)
        for case in ("deleted", "rotated", "moved", "live"):
            with open(self.path(case), "ab") as out:
                out.write(b"without end")
        self.path("deleted").unlink()
        self.path("all").unlink()
        self.path("all", "b.log").unlink()
        os.rename(self.path("rotated"), self.path("rotated", "a.old"))
        (self.dir / "elsewhere").mkdir()
        os.rename(self.path("moved"), self.dir / "elsewhere" / "a.log")
        os.rename(self.path("late"), self.path("late", "a.old"))
        shutil.copyfile(self.path("copied"), self.path("copied", "a.copy"))
        self.fake.go_away()
        append(self.path("outage"), lines(20, 5000, "outage"))
        self.path("outage").unlink()
        append(self.path("steady"), lines(20, 40, "steady"))
        self.began = time.monotonic()
        self.fake.come_back()

    def watch(self):
        """Until nothing that has lost its name is open any more."""
        waits = {case: str(self.path(case)) for case in ("deleted", "all", "outage")}
        waits |= {c: str(self.path(c, "a.old")) for c in ("rotated", "late")}
        waits["moved"] = str(self.dir / "elsewhere" / "a.log")
        self.late_at = 0

        def look():
            now, held = time.monotonic(), descriptors(self.d).values()
            for case, path in waits.items():
                if path not in held:
                    self.closed.setdefault(case, now)
            if self.late_at == 0 and now - self.began > 3:
                self.writer.write(text(lines(20, 30, "late")))
                self.late_at = now
            for case in self.CASES:
                self.data_at.setdefault((case, self.fake.count(case)), now)
            return len(self.closed) == len(waits) and self.fake.count("copied") >= 40

        wait_until(look, 40, "all of them to be closed")
        self.held = list(descriptors(self.d).values())

    def end(self):
        append(self.path("rotated", "a.old"), [b"too late"])
        append(self.path("all", "c.log"), lines(0, 20, "c"))
        append(self.path("deleted", "b.log"), lines(20, 40, "b"))
        self.has("all", 60)
        self.has("deleted", 61)
        self.counters = {case: counters(self.d, case) for case in self.CASES}
        self.d.terminate()
        self.writer.close()


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    told = Story(tmp_path_factory.mktemp("quiet"))
    try:
        told.begin()
        told.act()
        told.watch()
        told.end()
        yield told
    finally:
        told.d.cleanup()
        told.fake.stop()
    assert told.fake.violations == []


def waited(story, case):
    return story.closed[case] - story.began


def test_a_deleted_file_is_drained_and_closed_and_the_others_go_on(story):
    expected = [*lines(0, 20, "deleted"), b"without end", *lines(0, 40, "b")]
    assert sorted(story.data("deleted")) == sorted(expected)
    assert waited(story, "deleted") > QUIET - 1


def test_with_all_files_deleted_they_are_closed_and_a_later_one_is_found(story):
    expected = [*lines(0, 20, "all"), *lines(0, 20, "b"), *lines(0, 20, "c")]
    assert sorted(story.data("all")) == sorted(expected)


@pytest.mark.parametrize("case", ["deleted", "rotated", "moved"])
def test_the_unterminated_last_line_of_a_file_without_a_name_goes_out_when_it_is_quiet(story, case):
    assert story.data(case).count(b"without end") == 1
    n = 40 if case == "deleted" else 20
    assert story.data_at[case, n + 1] - story.began > QUIET - 1


def test_the_unterminated_last_line_of_a_live_file_waits(story):
    assert story.data("live") == lines(0, 20, "live")


def test_what_is_written_to_a_file_that_was_let_go_is_nobodys(story):
    """It had left the glob and was quiet: the one thing that the quiet time can cost."""
    assert story.data("rotated") == [*lines(0, 20, "rotated"), b"without end"]


def test_late_bytes_in_a_rotated_file_are_read_and_it_is_closed_only_when_it_is_quiet(story):
    assert story.data("late") == lines(0, 30, "late")
    assert story.late_at - story.began < QUIET - 1
    assert story.closed["late"] - story.late_at > QUIET - 1


def test_a_file_deleted_with_unread_bytes_is_delivered_and_then_pins_no_disk_space(story):
    assert set(story.data("outage")) == set(lines(0, 5000, "outage"))
    assert "outage" in story.closed


def test_a_copy_of_a_file_that_is_not_truncated_is_a_file_like_others(story):
    """It might have been the first half of a truncation; in doubt, it is sent."""
    assert sorted(story.data("copied")) == sorted(lines(0, 20, "copied") * 2)


def test_a_file_with_a_name_is_kept_open_and_nothing_was_missed(story):
    assert story.data("steady") == lines(0, 40, "steady")
    assert {str(story.path(case)) for case in ("live", "steady")} <= set(story.held)
    assert all(c["missing_files"] == c["missing_bytes"] == 0 for c in story.counters.values())
