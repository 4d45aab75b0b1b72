"""Log files as their writers see them, and what the daemon made of them."""

import contextlib
import json
import os
import pathlib
import signal

from harness import tool, wait_until


def lines(first, last, word="line"):
    return [f"{word} {i:07d} of this test".encode() for i in range(first, last)]


def text(records):
    return b"".join(r + b"\n" for r in records)


def append(path, records):
    with open(path, "ab") as out:
        out.write(text(records))


def following(daemon, fake, path, **more):
    return daemon(fake.url).source("a", path, **{"start_at": "beginning", **more})


def in_order(d):
    """One request at a time, so that what the fake has is in the order of its reading."""
    d.settings["streams"]["s"]["in_flight"] = 1
    return d


def delivered(fake, n, timeout=30):
    wait_until(lambda: fake.count("s") >= n, timeout, f"{n} records, not {fake.count('s')}")
    return fake.data("s")


def settled(d, fake, records):
    """Waits until every record is delivered, then stops the daemon: exactly these, each once."""
    delivered(fake, len(records))
    d.terminate()
    assert sorted(fake.data("s")) == sorted(records)


# What the process does.


def bytes_read(d):
    """What the process has read so far, as the kernel counts it."""
    with open(f"/proc/{d.process.pid}/io") as io:
        return int(io.readline().removeprefix("rchar:"))


def descriptors(d):
    """The descriptors of the process, and what each leads to; of a deleted file the name it had."""
    directory, found = f"/proc/{d.process.pid}/fd", {}
    for fd in os.listdir(directory):
        with contextlib.suppress(OSError):
            found[int(fd)] = os.readlink(f"{directory}/{fd}").removesuffix(" (deleted)")
    return found


def holds_open(d, path):
    return str(path) in descriptors(d).values()


def switches(d):
    """How often all threads of the process were put to sleep so far."""
    total = 0
    for task in os.listdir(f"/proc/{d.process.pid}/task"):
        with open(f"/proc/{d.process.pid}/task/{task}/status") as status:
            total += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
    return total


@contextlib.contextmanager
def frozen(d):
    """The daemon sees nothing of what happens meanwhile, and then everything at once."""

    def is_stopped():
        tasks = pathlib.Path(f"/proc/{d.process.pid}/task")
        return all(
            (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
            for task in tasks.iterdir()
        )

    d.process.send_signal(signal.SIGSTOP)
    wait_until(is_stopped, what="the daemon to stand still")
    yield
    d.process.send_signal(signal.SIGCONT)


# What it says of them.


def entries(d, source="a"):
    """The files of a source in the checkpoint, in a list."""
    saved = d.checkpoint()
    sources = json.loads(saved)["sources"] if saved else []
    return [f for s in sources if s["name"] == source for f in s["files"]]


def offsets(d, source="a"):
    """How far each of them is delivered, as the checkpoint says: {name: offset}."""
    return {pathlib.Path(f["path"]).name: f["offset"] for f in entries(d, source)}


def wait_offsets(d, expected, source="a"):
    wait_until(
        lambda: offsets(d, source) == expected,
        what=f"the checkpoint to say {expected}, not {offsets(d, source)}",
    )


def counters(d, stream="s"):
    """The running daemon's counters of a stream."""
    status, out, err = tool("sources", "--json", "-c", d.file)
    assert (status, err) == (0, ""), err
    rows = [json.loads(line) for line in out.splitlines()]
    return next(row for row in rows if row.get("stream") == stream and "records_in" in row)


def totals(d, stream="s"):
    """The same, from the last words of a daemon that has ended."""
    line = next(x for x in reversed(d.lines) if "msg=totals" in x and f"stream={stream} " in x)
    return {k: int(v) for k, _, v in (w.partition("=") for w in line.split()) if v.isdigit()}
