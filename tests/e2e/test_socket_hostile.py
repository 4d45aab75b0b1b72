"""The local socket and its spool when somebody, or the disk, means no good."""

import base64
import os
import pathlib
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

import faults
import sockets
import spoolbytes
from harness import BUILD, PATIENCE, wait_until
from sockets import Client
from test_socket import SMALL, arrived, maps, numbered, path, served  # noqa: F401

# Many clients.


CONNECTIONS = 10_000


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 1000:
        pytest.skip(f"the hard limit of descriptors is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_connections_at_once(many_descriptors, served, fake, path):
    d = served(ack="durable", max_clients=20_000)
    clients = [Client(path, timeout=60) for _ in range(CONNECTIONS)]
    for i, c in enumerate(clients):
        c.send(b"from %d" % i)
    for c in clients:
        c.wait_ok()
    assert d.status_kib("VmRSS") < 400_000 or "asan" in maps(d)
    for c in clients:
        c.close()
    arrived(fake, [b"from %d" % i for i in range(CONNECTIONS)])
    Client(path).send(b"after").wait_ok()
    d.terminate()


def drip(connections, stop):
    while not stop.wait(0.05):
        for c in connections:
            c.socket.send(b"x")


def test_many_who_send_single_bytes_hold_up_nobody(served, fake, path):
    d = served(ack="durable", framing="length32")
    slow = [Client(path, length32=True) for _ in range(500)]
    for c in slow:
        c.socket.sendall(struct.pack(">I", 1_000_000))
    stop = threading.Event()
    dripping = threading.Thread(target=drip, args=(slow, stop))
    dripping.start()
    c = Client(path, length32=True)
    before = d.status_kib("VmRSS")
    try:
        for i in range(200):
            c.send(b"%06d" % i).wait_ok()
    finally:
        stop.set()
        dripping.join()
    assert d.status_kib("VmRSS") < before + 30_000 or "asan" in maps(d)
    arrived(fake, [b"%06d" % i for i in range(200)])
    for s in slow:
        s.close()


class Flood(threading.Thread):
    """Sends a lot as fast as the daemon reads, and takes its answers."""

    LINES, BATCH = 600_000, 1000

    def __init__(self, path):
        super().__init__(daemon=True)
        self.socket = Client(path).socket
        self.rate = 0
        self.start()

    def run(self):
        hear = threading.Thread(target=self.hear, daemon=True)
        hear.start()
        since = time.monotonic()
        for _ in range(self.LINES // self.BATCH):
            self.socket.sendall((b"f" * 199 + b"\n") * self.BATCH)
        self.rate = self.LINES / (time.monotonic() - since)
        self.socket.shutdown(socket.SHUT_WR)
        hear.join()
        self.socket.close()

    def hear(self):
        while self.socket.recv(65536):
            pass


def test_who_floods_does_not_starve_another(served, fake, path):
    """The endpoint is away, so that all of it goes through the spool's file."""
    fake.fault = faults.DropBeforeReading()
    served(ack="durable")
    flood = Flood(path)
    c = Client(path)
    took = []
    while flood.is_alive():
        begun = time.monotonic()
        c.send(b"here I am").wait_ok()
        took.append(time.monotonic() - begun)
    assert flood.rate > 1000, f"no flood: {flood.rate} lines a second"
    assert max(took) < 2 * PATIENCE, f"{max(took)} s, beside {flood.rate} lines a second"
    assert len(took) >= 3


# A spool that is not ours, or cannot be.


def place(d):
    return d.state / "spool" / "s.spool"


def filled(served, fake, path, n=1000):
    """A daemon killed with n acknowledged records in its spool, none delivered."""
    fake.fault = faults.DropBeforeReading()
    d = served(ack="durable", streams=SMALL)
    Client(path).send(*numbered(n)).wait_ok()
    d.kill()
    fake.fault = None
    return d


def refuses(d, expect, *texts):
    d.spawn()
    assert d.wait_exit() == expect, d.log()
    for text in texts:
        assert text in d.log(), d.log()


def test_a_spool_of_a_newer_version_is_left_alone(served, fake, path):
    d = filled(served, fake, path)
    with open(place(d), "r+b") as file:
        file.seek(16)
        file.write(struct.pack("<I", 2))
    before = place(d).read_bytes()
    refuses(d, 78, "spool/s.spool", "newer")
    assert place(d).read_bytes() == before
    with open(place(d), "r+b") as file:
        file.seek(16)
        file.write(struct.pack("<I", 1))
    d.start()
    arrived(fake, numbered(1000))


@pytest.mark.parametrize("what", ["text", "empty", "directory", "fifo", "link"])
def test_something_else_in_the_spools_place_is_left_alone(daemon, fake, path, tmp_path, what):
    d = sockets.source(daemon(fake.url), path, ack="durable")
    (d.state / "spool").mkdir(mode=0o700)
    there = place(d)
    if what == "text":
        there.write_bytes(b"dear diary\n" * 1000)
    elif what == "empty":
        there.touch()
    elif what == "directory":
        there.mkdir()
    elif what == "fifo":
        os.mkfifo(there)
    else:
        (tmp_path / "elsewhere").write_bytes(b"precious")
        there.symlink_to(tmp_path / "elsewhere")
    before = there.lstat()
    refuses(d, 78, "spool/s.spool")
    after = there.lstat()
    assert (before.st_ino, before.st_size, before.st_mtime_ns) == (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
    )
    assert os.listdir(d.state / "spool") == ["s.spool"]
    if what == "link":
        assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_a_spool_in_use_is_not_opened_twice(served, daemon, fake, path, tmp_path):
    d = served(ack="durable", streams=SMALL)
    other = tmp_path / "other"
    (other / "state" / "spool").mkdir(parents=True, mode=0o700)
    os.link(place(d), other / "state" / "spool" / "s.spool")
    second = sockets.source(daemon(fake.url, directory=other, streams=SMALL), other / "x.sock")
    (other / "state").chmod(0o700)
    second.spawn()
    assert second.wait_exit() in (75, 78)
    assert "in use" in second.log()
    Client(path).send(b"fine").wait_ok()
    arrived(fake, [b"fine"])


# Disks.


@pytest.fixture
def disk(tmp_path):
    """disk(directory, size) mounts a small file system there."""
    mounted = []

    def mount(directory, options):
        directory.mkdir(mode=0o700, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", directory]
        if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("nothing can be mounted here")
        mounted.append(directory)
        return directory

    yield mount
    for directory in mounted:
        subprocess.run(["umount", "-l", directory], check=True)


def test_a_full_disk_is_an_error_at_the_start_and_leaves_nothing(daemon, disk, fake, path):
    d = sockets.source(daemon(fake.url, streams=SMALL), path, ack="durable")
    disk(d.state, "size=8m")
    refuses(d, 78, "spool/s.spool", "No space left")
    assert os.listdir(d.state / "spool") == []
    assert not path.exists()
    subprocess.run(["mount", "-o", "remount,size=40m", d.state], check=True)
    d.start()
    Client(path).send(b"now it fits").wait_ok()
    arrived(fake, [b"now it fits"])
    d.terminate()


def test_a_disk_that_fills_up_later_does_not_stop_the_spool(daemon, disk, fake, path):
    d = sockets.source(daemon(fake.url, streams=SMALL), path, ack="durable")
    disk(d.state, "size=40m")
    fake.fault = faults.DropBeforeReading()
    d.start()
    try:
        with open(d.state / "hog", "wb", buffering=0) as hog:
            while True:
                hog.write(bytes(1 << 16))
    except OSError:
        pass
    Client(path).send(*numbered(5000)).wait_ok()
    d.kill()
    fake.fault = None
    (d.state / "hog").unlink()
    d.start()
    wait_until(lambda: fake.count("s") >= 5000)
    assert set(fake.data("s")) == set(numbered(5000))


def test_a_read_only_disk_is_an_error_at_the_start(daemon, disk, fake, path):
    d = sockets.source(daemon(fake.url, streams=SMALL), path, ack="durable")
    disk(d.state / "spool", "size=40m")
    subprocess.run(["mount", "-o", "remount,ro", d.state / "spool"], check=True)
    refuses(d, 78, "spool/s.spool", "Read-only file system")
    assert os.listdir(d.state / "spool") == []
    assert not path.exists()


def test_an_existing_spool_on_a_read_only_disk_is_an_error_at_the_start(daemon, disk, fake, path):
    d = sockets.source(daemon(fake.url, streams=SMALL), path, ack="durable")
    disk(d.state / "spool", "size=40m")
    fake.fault = faults.DropBeforeReading()
    d.start()
    Client(path).send(*numbered(100)).wait_ok()
    d.kill()
    before = place(d).read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", d.state / "spool"], check=True)
    refuses(d, 78, "spool/s.spool", "Read-only file system")
    assert place(d).read_bytes() == before
    subprocess.run(["mount", "-o", "remount,rw", d.state / "spool"], check=True)
    fake.fault = None
    d.start()
    arrived(fake, numbered(100))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")
def test_a_directory_without_rights_is_an_error_at_the_start(daemon, fake, request):
    """The state directory is somebody's, and the directory of spools in it is not."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tailrace-rights-"))
    request.addfinalizer(lambda: shutil.rmtree(folder))
    d = sockets.source(daemon(fake.url, directory=folder, streams=SMALL), folder / "x.sock")
    (d.state / "spool").mkdir(mode=0o700)
    for mine in (folder, d.state):
        shutil.chown(mine, "nobody", "nogroup")
    shutil.copy(BUILD / "tailraced", folder / "tailraced")
    d.starter = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    refuses(d, 78, "spool", "Permission denied")
    assert os.listdir(d.state / "spool") == []


# Damage.


def flip(d, places):
    with open(place(d), "r+b") as file:
        for at in places:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("part", ["header", "length", "data"])
def test_damage_in_the_middle_costs_the_damaged_records_alone(served, fake, path, part):
    d = filled(served, fake, path)
    records = list(spoolbytes.Spool(place(d)).records())
    hurt = random.Random(part).sample(range(1, 999), 20)
    offset = {"header": 3, "length": 17, "data": records[0].size - 9}[part]
    flip(d, [records[i].place + offset for i in hurt])
    d.start()
    good = [x for i, x in enumerate(numbered(1000)) if i not in hurt]
    arrived(fake, good)
    line = d.wait_log("the spool is damaged")
    stretches = sum(1 for i in hurt if i - 1 not in hurt)
    assert int(re.search(r"places=(\d+)", line)[1]) == stretches
    assert int(re.search(r"bytes=(\d+)", line)[1]) == sum(records[i].size for i in hurt)
    Client(path).send(b"goes on").wait_ok()
    arrived(fake, good + [b"goes on"])
    d.terminate()


def test_a_torn_end_is_cut_at_the_last_good_record(served, fake, path):
    d = filled(served, fake, path)
    records = list(spoolbytes.Spool(place(d)).records())
    with open(place(d), "r+b") as file:
        file.seek(records[990].place + 30)
        file.write(bytes(records[-1].place + records[-1].size - records[990].place - 30))
    d.start()
    arrived(fake, numbered(1000)[:990])
    Client(path).send(b"goes on").wait_ok()
    arrived(fake, numbered(1000)[:990] + [b"goes on"])
    d.terminate()
    d.start()
    d.terminate()
    assert fake.count("s") == 991


@pytest.mark.parametrize("lost", ["one", "both"])
def test_a_spool_without_its_states_is_read_all_the_same(served, fake, path, lost):
    d = filled(served, fake, path)
    flip(d, [spoolbytes.PAGE + 9] + [2 * spoolbytes.PAGE + 9] * (lost == "both"))
    d.start()
    wait_until(lambda: set(numbered(1000)) <= set(fake.data("s")))
    assert set(fake.data("s")) == set(numbered(1000))
    Client(path).send(b"goes on").wait_ok()
    wait_until(lambda: b"goes on" in fake.data("s"))
    d.terminate()
    if lost == "both":
        d.wait_log("the spool's state is damaged")


def test_a_spool_full_of_noise_delivers_nothing_and_works(served, fake, path):
    d = filled(served, fake, path)
    size = place(d).stat().st_size
    with open(place(d), "r+b") as file:
        file.seek(spoolbytes.DATA)
        file.write(random.Random(1).randbytes(size - spoolbytes.DATA))
    d.start()
    Client(path).send(b"goes on").wait_ok()
    arrived(fake, [b"goes on"])
    d.terminate()


# What dead letters say.


def test_the_reason_of_a_dead_letter_holds_nothing_of_the_record(served, fake, path):
    d = served(format="json", ack="durable")
    Client(path).send(b"{secret").wait_ok()
    letter = wait_until(lambda: d.dead_letters("events"))[0]
    assert base64.b64decode(letter["data"]) == b"{secret"
    assert re.fullmatch(r"not JSON at byte \d+", letter["reason"])
    assert "secret" not in d.log()
