"""Sockets when something beneath them is in trouble: what waits is said, who may drop does not wait,
and nobody waits for good."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest

import faults
import sockets
from harness import PATIENCE, tool, wait_until
from sockets import Client

SMALL = {"s": {"kinesis": "s", "linger": "20ms", "spool": "16MiB", "buffer": "8MiB"}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.sock"


@contextlib.contextmanager
def syncs_that_fail(d):
    inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]
    command = ["strace", "-f", "-p", str(d.process.pid), "-o", os.devnull, *inject]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        wait_until(lambda: b"attached" in tracer.stderr.readline())
        yield
        tracer.terminate()


def totals(d):
    line = next(line for line in d.lines if "msg=totals" in line)
    return dict(pair.split("=", 1) for pair in line.split() if "=" in pair)


# Dead letters without room.


def fill_dead_letters(d):
    folder = d.state / "dead-letter"
    folder.mkdir(mode=0o700, parents=True)
    (folder / "old.jsonl").write_bytes(b'{"x":"%s"}\n' % (b"y" * 1_048_500))


def test_a_spool_that_waits_for_room_in_the_dead_letters_says_so_and_goes_on(daemon, fake, path):
    d = daemon(fake.url, dead_letter_max="1MiB")
    fill_dead_letters(d)
    sockets.source(d, path, ack="durable", format="json").start()
    Client(path, timeout=5).send(b"{bad", b'{"good":1}').wait_ok()
    d.wait_log("the spool waits")
    wait_until(lambda: any("waits for room in the dead letters" in m for m in d.messages), what="the status")
    assert "waiting" in tool("sources", "-c", d.file)[1]
    assert fake.data("s") == []
    (d.state / "dead-letter" / "old.jsonl").unlink()
    wait_until(lambda: fake.data("s") == [b'{"good":1}'], what="what came behind it")
    wait_until(lambda: "waits" not in d.messages[-1], what="the status")
    d.terminate()
    assert [letter["reason"] for letter in d.dead_letters("events")] == ["not JSON at byte 1"]


def test_why_a_dead_letter_cannot_be_stored_is_said_and_the_letter_but_once(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(b"".join(b"{bad%06d" % i + b"x" * 900 + b"\n" for i in range(1500)))
    d = daemon(fake.url, dead_letter_max="1MiB")
    d.source("a", log, format="json", start_at="beginning").start()
    d.wait_log("a dead letter cannot be stored")
    wait_until(lambda: any("dead letters cannot be stored" in m for m in d.messages), what="the status")
    told = [line for line in d.lines if 'msg="dead letter"' in line]
    time.sleep(2.5)
    assert [line for line in d.lines if 'msg="dead letter"' in line] == told
    d.kill()


# Several sockets of one stream.


class Floods:
    """Clients that write as fast as they may, until the end of the block."""

    def __init__(self, path, clients):
        self.path, self.over = path, threading.Event()
        self.threads = [threading.Thread(target=self.flood) for _ in range(clients)]

    def flood(self):
        lines = (b"f" * 999 + b"\n") * 200
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s, contextlib.suppress(OSError):
            s.connect(str(self.path))
            s.settimeout(0.2)
            while not self.over.is_set():
                with contextlib.suppress(TimeoutError):
                    s.send(lines)

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("kind", ["stream", "datagram"])
@pytest.mark.parametrize("first", ["flooded", "quiet"])
def test_a_flood_on_one_socket_does_not_starve_another_of_the_stream(daemon, fake, tmp_path, first, kind):
    fake.fault = faults.Slow(0.2)
    d = daemon(fake.url, streams=SMALL)
    flooded, quiet = tmp_path / "a.sock", tmp_path / "b.sock"
    named = [("flooded", flooded, {}), ("quiet", quiet, {"type": kind})]
    for name, where, options in named if first == "flooded" else named[::-1]:
        sockets.source(d, where, name=name, **options)
    d.start()
    with Floods(flooded, 60):
        wait_until(lambda: fake.count("s") > 20_000, what="more than the spool holds", timeout=60)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM) as s:
            s.connect(str(quiet))
            s.settimeout(20 * PATIENCE)
            s.send(b"here I am\n")
            wait_until(lambda: b"here I am" in fake.data("s"), what="the quiet one", timeout=30)
    d.kill()


@pytest.mark.parametrize("sync", ["always", "5ms", "1s"])
def test_many_quiet_clients_do_not_wait_for_an_endpoint_that_is_slow(daemon, fake, path, sync):
    """The spool has room, and its disk is fast: so all of them are safe long before it answers."""
    fake.fault = faults.Slow(15 * PATIENCE)
    streams = {"s": {"kinesis": "s", "linger": "20ms", "spool": "64MiB", "buffer": "8MiB", "sync": sync}}
    d = sockets.source(daemon(fake.url, streams=streams), path, ack="durable", max_clients=400).start()
    clients = [Client(path) for _ in range(300)]
    begun = time.monotonic()
    for c in clients:
        c.send(*[b"%04d" % i + b"x" * 990 for i in range(45)])
    for c in clients:
        c.wait_ok()
    assert time.monotonic() - begun < 8 * PATIENCE
    d.kill()


# A spool that has failed.


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace to make a sync fail")
@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_who_may_drop_does_not_wait_when_the_spool_has_failed_and_the_endpoint_is_away(daemon, fake, path, policy):
    fake.fault = faults.DropBeforeReading()
    d = sockets.source(daemon(fake.url, streams=SMALL), path, on_full=policy).start()
    c = Client(path).send(b"one")
    with syncs_that_fail(d):
        c.send(b"two")
        d.wait_log("the spool has failed")
    wait_until(lambda: "retrying" in "".join(d.messages), what="the trouble")
    records = [b"%06d" % i + b"x" * 9993 for i in range(3000)]
    c.send(*records).end()
    fake.fault = None
    wait_until(lambda: records[0] in fake.data("s"), what="what was in memory")
    d.wait_log("records were dropped")
    d.terminate()
    dropped = int(totals(d)["spool_dropped"])
    assert dropped > 500
    assert len(fake.data("s")) + dropped == 3002


def test_what_was_dropped_last_is_told_at_the_stop(daemon, fake, path):
    fake.fault = faults.DropBeforeReading()
    d = sockets.source(daemon(fake.url, streams=SMALL, stop_timeout="3s"), path, on_full="drop_newest").start()
    for _ in range(2):
        Client(path).send(*[b"%06d" % i + b"x" * 9993 for i in range(2500)]).end()
    d.terminate()
    told = [int(line.split("records=")[1].split()[0]) for line in d.lines if "records were dropped" in line]
    assert sum(told) == int(totals(d)["spool_dropped"]) > 2000
