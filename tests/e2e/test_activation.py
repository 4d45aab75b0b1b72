"""Sockets that the service manager has opened: a Python process stands in for systemd."""

import os
import pathlib
import socket
import sys

import pytest

import sockets
from harness import wait_until
from sockets import Client

# What systemd does between fork and exec: the descriptors stand from 3 on, and the variables say so.
STARTER = """
import fcntl, os, sys
passed = [int(fd) for fd in sys.argv[1].split(",")]
fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in passed]
for fd in passed:
    os.close(fd)
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


def listening(path, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    if kind == socket.SOCK_DGRAM:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    s.bind(str(path))
    if kind == socket.SOCK_STREAM:
        s.listen(64)
    return s


def activated(daemon, endpoint, *held):
    d = daemon(endpoint)
    d.pass_fds = [s.fileno() for s in held]
    fds = ",".join(str(s.fileno()) for s in held)
    d.starter = [sys.executable, "-c", STARTER, fds, ":".join("x" for _ in held)]
    return d


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.sock"


def test_who_came_before_the_start_is_served(daemon, fake, path):
    with listening(path) as held:
        early = Client(path).send(b"before the start")
        d = sockets.source(activated(daemon, fake.url, held), path, ack="durable").start()
        early.wait_ok().end()
        wait_until(lambda: fake.data("s") == [b"before the start"])
        assert not [line for line in d.lines if "no source has this socket" in line]
        d.terminate()
        assert path.is_socket()  # it is the manager's


def test_nobody_is_refused_while_the_daemon_restarts(daemon, fake, path):
    with listening(path) as held:
        d = sockets.source(activated(daemon, fake.url, held), path, ack="durable")
        for i in range(10):
            waiting = Client(path).send(b"came while it was away, %d" % i)
            d.start()
            Client(path).send(b"came while it was there, %d" % i).wait_ok().end()
            waiting.wait_ok().end()
            if i % 2 == 0:
                d.kill()
            else:
                d.terminate()
        d.start()
        wait_until(lambda: len(set(fake.data("s"))) == 20)
        d.terminate()


def test_what_the_manager_has_passed_goes_to_no_other_program(daemon, fake, path):
    with listening(path) as held:
        d = sockets.source(activated(daemon, fake.url, held), path).start()
        named = pathlib.Path(f"/proc/{d.process.pid}/fd")
        ours = os.readlink(named / "3")
        same = [fd for fd in os.listdir(named) if os.readlink(named / fd) == ours]
        assert len(same) == 2  # the one that is kept, and the one that is used
        for fd in same:
            info = pathlib.Path(f"/proc/{d.process.pid}/fdinfo/{fd}").read_text()
            assert int(info.split("flags:")[1].split()[0], 8) & os.O_CLOEXEC
        d.terminate()


def test_datagrams_from_before_the_start_are_records_of_their_sender(daemon, fake, path):
    with listening(path, socket.SOCK_DGRAM) as held:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.connect(str(path))
        s.send(b'{"when":"before"}')
        d = activated(daemon, fake.url, held)
        sockets.source(d, path, type="datagram", format="json", add={"pid": "{@peer.pid}"}).start()
        s.send(b'{"when":"after"}')
        wait_until(lambda: fake.count("s") == 2)
        assert sorted(fake.data("s")) == [
            b'{"when":"%s","pid":%d}' % (when, os.getpid()) for when in (b"after", b"before")
        ]
        d.terminate()
        assert path.is_socket()


def test_a_socket_that_no_source_has_is_told_and_a_reload_may_bring_the_source(
    daemon, fake, path, tmp_path
):
    other = tmp_path / "other.sock"
    with listening(path) as held, listening(other) as held_too:
        d = sockets.source(activated(daemon, fake.url, held, held_too), path, ack="durable").start()
        d.wait_log(f"no source has this socket.*{other}")
        waits = Client(other).send(b"for the other one")
        sockets.source(d, other, name="more", ack="durable").reload()
        waits.wait_ok().end()
        del d.settings["sources"]["more"]
        d.reload()
        waits = Client(other).send(b"for the other one, again")
        sockets.source(d, other, name="more", ack="durable").reload()
        waits.wait_ok().end()
        Client(path).send(b"for the first").wait_ok().end()
        wait_until(lambda: fake.count("s") == 3)
        d.terminate()


def test_a_stream_is_not_taken_for_datagrams(daemon, fake, path):
    with listening(path) as held:
        d = sockets.source(activated(daemon, fake.url, held), path, type="datagram")
        d.spawn()
        assert d.wait_exit() != 0
        assert "another process listens there" in d.log()
        assert path.is_socket()
