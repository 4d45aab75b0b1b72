"""The checkpoint of many files: what moves is written, not what is known; and a kill finds all of it again."""

import json

from harness import wait_until


def lines(first, last, word):
    return [f"{word} {i:05d}".encode() for i in range(first, last)]


def append(path, records):
    with open(path, "ab") as out:
        out.write(b"".join(r + b"\n" for r in records))


def offsets(path):
    """By path; empty when the document is not there."""
    if not path.exists():
        return {}
    sources = json.loads(path.read_text())["sources"]
    return {f["path"]: f["offset"] for s in sources for f in s["files"]}


def test_of_many_files_only_those_that_moved_are_written_and_a_kill_repeats_nothing(daemon, fake, tmp_path):
    logs, sent = tmp_path / "logs", []
    logs.mkdir()
    for i in range(400):
        sent += lines(0, 3, f"file {i}")
        append(logs / f"{i}.log", lines(0, 3, f"file {i}"))
    d = daemon(fake.url).source("a", logs / "*.log", start_at="beginning")
    whole, recent = d.state / "checkpoint.json", d.state / "checkpoint-recent.json"
    d.start()
    wait_until(lambda: fake.count("s") == len(sent), what="all records")
    wait_until(lambda: len({**offsets(whole), **offsets(recent)}) == 400, what="all files in the checkpoint")
    wait_until(lambda: min({**offsets(whole), **offsets(recent)}.values()) > 0, what="all offsets")
    for round_ in range(3):
        moving = logs / f"{round_}.log"
        more = lines(3, 3 + 5, f"round {round_}")
        append(moving, more)
        sent += more
        size = moving.stat().st_size
        wait_until(lambda: {**offsets(whole), **offsets(recent)}[str(moving)] == size, what="the save")
        assert len(offsets(recent)) < 100  # whatever was late at the start, it is not all of them
        d.kill()
        d.start()
    wait_until(lambda: "following" in d.log(), what="the start")
    d.terminate()
    assert sorted(fake.data("s")) == sorted(sent)
