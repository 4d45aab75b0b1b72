"""Clients of a tailraced socket, as a test wants them: numbered frames, answers read back."""

import json
import re
import socket
import struct

import harness


class Client:
    """One connection. send() numbers what it sends; ok is how far the daemon has said ok."""

    def __init__(self, path, length32=False, timeout=20):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))  # which waits while the kernel's queue is full
        self.socket.settimeout(timeout * harness.PATIENCE)
        self.length32 = length32
        self.sent = 0
        self.ok = 0
        self.bad = {}
        self.rest = b""

    def frame(self, data):
        return struct.pack(">I", len(data)) + data if self.length32 else data + b"\n"

    def send(self, *frames):
        self.socket.sendall(b"".join(self.frame(f) for f in frames))
        self.sent += len(frames)
        return self

    def send_json(self, *events):
        return self.send(*(json.dumps(e).encode() for e in events))

    def hear(self):
        """One read of answers; False when the daemon has closed."""
        data = self.socket.recv(65536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if found := re.fullmatch(rb"ok (\d+)", line):
                assert self.ok < int(found[1]) <= self.sent, line
                self.ok = int(found[1])
            else:
                found = re.fullmatch(rb"bad (\d+) (.+)", line)
                assert found, line
                assert self.ok < int(found[1]) <= self.sent, line
                assert int(found[1]) not in self.bad, line
                self.bad[int(found[1])] = found[2].decode()
        return bool(data)

    def wait_ok(self, n=None):
        n = self.sent if n is None else n
        while self.ok < n:
            assert self.hear(), f"closed at ok {self.ok} of {n}"
        return self

    def end(self):
        """No more from us; reads to the end of what the daemon says."""
        self.socket.shutdown(socket.SHUT_WR)
        while self.hear():
            pass
        self.socket.close()
        return self

    def close(self):
        self.socket.close()


def source(daemon, path, name="events", stream="s", **more):
    """A socket among the daemon's sources."""
    daemon.settings["sources"][name] = {"socket": str(path), "stream": stream, **more}
    return daemon
