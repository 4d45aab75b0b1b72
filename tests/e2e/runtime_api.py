"""The Lambda runtime API, as a custom runtime sees it, on a loopback port; it can also misbehave.

An event is put with `api.put(body)`, and its outcome comes back from `api.outcome(id)`: an Outcome with
the kind of call ("response", "error"), its body, and its headers. How an event is given is one of HOWS;
what a POST is told is taken from `api.statuses` (202 when that is empty): a status, "close" or "take and
close", without a word in both.

Written on sockets and not on http.server, so that each byte of an answer is ours.
"""

import dataclasses
import json
import pathlib
import queue
import re
import socket
import subprocess
import threading
import time
import uuid

PREFIX = "/2018-06-01/runtime/"
WAIT_SECONDS = 30


@dataclasses.dataclass
class Event:
    body: bytes
    id: str
    how: str = "plain"
    invocation_id: str | None = None


@dataclasses.dataclass
class Outcome:
    kind: str
    body: bytes
    headers: dict
    seconds: float  # since the event was given


def head(status, headers):
    lines = [f"HTTP/1.1 {status} X"] + [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def give_plain(c, headers, body):
    c.sendall(head(200, {**headers, "Content-Length": len(body)}) + body)


def give_chunked(c, headers, body):
    c.sendall(head(200, {**headers, "transfer-encoding": "Chunked"}))
    for at in range(0, len(body), 1000):
        part = body[at : at + 1000]
        c.sendall(f"{len(part):X};name=value\r\n".encode() + part + b"\r\n")
    c.sendall(b"0\r\nTrailer: x\r\n\r\n")


def give_slowly(c, headers, body):
    """A byte a packet, as far as the kernel lets it."""
    for byte in head(200, {**headers, "Content-Length": len(body)}) + body:
        c.sendall(bytes([byte]))


def give_chunked_slowly(c, headers, body):
    text = head(200, {**headers, "Transfer-Encoding": "chunked"})
    text += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    for byte in text:
        c.sendall(bytes([byte]))


def give_interim(c, headers, body):
    c.sendall(head(100, {}) + head(103, {"Link": "x"}))
    give_plain(c, headers, body)


def give_lower_case(c, headers, body):
    give_plain(c, {name.lower(): f" \t{value}\t" for name, value in headers.items()}, body)


def give_and_say_close(c, headers, body):
    give_plain(c, {**headers, "Connection": "close"}, body)
    raise ConnectionError


def give_and_close(c, headers, body):
    give_plain(c, headers, body)
    raise ConnectionError


def give_half(c, headers, body):
    c.sendall(head(200, {**headers, "Content-Length": len(body)}) + body[: len(body) // 2])
    raise ConnectionError


def give_half_a_chunk(c, headers, body):
    c.sendall(head(200, {**headers, "Transfer-Encoding": "chunked"}) + b"FF\r\nx")
    raise ConnectionError


def give_nothing(c, headers, body):
    raise ConnectionError


def give_huge_head(c, headers, body):
    c.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        c.sendall(b"X-Pad: " + b"x" * 1000 + b"\r\n")


def give_long_line(c, headers, body):
    c.sendall(b"HTTP/1.1 200 OK\r\nX-Pad: ")
    while True:
        c.sendall(b"x" * 4096)


def give_wide_head(c, headers, body):
    give_plain(c, {**headers, **{f"X-Pad-{i}": "x" * 500 for i in range(100)}}, body)


def give_text(text):
    def give(c, headers, body):
        c.sendall(text)
        raise ConnectionError

    return give


def give_status(status):
    def give(c, headers, body):
        c.sendall(head(status, {"Content-Length": 2}) + b"{}")

    return give


def give_header(**replaced):
    def give(c, headers, body):
        new = {**headers, "Content-Length": len(body), **{k.replace("_", "-"): v for k, v in replaced.items()}}
        c.sendall(head(200, {name: value for name, value in new.items() if value is not None}) + body)

    return give


ID_HEADER = "Lambda-Runtime-Aws-Request-Id"
HOWS = {
    "plain": give_plain,
    "chunked": give_chunked,
    "slow": give_slowly,
    "slow chunks": give_chunked_slowly,
    "interim": give_interim,
    "lower case": give_lower_case,
    "wide head": give_wide_head,
    "says close": give_and_say_close,
    "closes": give_and_close,
}
# The same event is given again, plainly, after one of these.
BROKEN_OFF = {"half": give_half, "half a chunk": give_half_a_chunk, "nothing": give_nothing}
# After one of these there is nobody to talk to.
HOPELESS = {
    "huge head": give_huge_head,
    "long line": give_long_line,
    "not HTTP": give_text(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "HTTP/2": give_text(b"HTTP/2 200 OK\r\n\r\n"),
    "bad status": give_text(b"HTTP/1.1 2x0 OK\r\n\r\n"),
    "a chunk of nothing": give_text(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;\r\n"),
    "a chunk too long": give_text(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n"),
    "a negative length": give_header(Content_Length="-1"),
    "a length of 2^64": give_header(Content_Length=str(2**64)),
    "a length that is none": give_header(Content_Length="12x"),
    "another encoding": give_header(Transfer_Encoding="gzip"),
    "no id": give_header(**{ID_HEADER.replace("-", "_"): None}),
    "an id with a path": give_header(**{ID_HEADER.replace("-", "_"): "../x"}),
    "an id with a blank": give_header(**{ID_HEADER.replace("-", "_"): "a b"}),
    "an id without end": give_header(**{ID_HEADER.replace("-", "_"): "a" * 129}),
    "only interim": give_text(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "status 500": give_status(500),
    "status 403": give_status(403),
}


class RuntimeApi:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.events = queue.Queue()
        self.outcomes = {}
        self.statuses = []
        self.paths = []  # of every request, in order
        self.connections = 0
        self.broken = []  # what was wrong with what we were sent
        self.news = threading.Condition()
        self.first_next = None  # when it was asked for, by time.monotonic()
        self.given = {}
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.close()
        for _ in range(self.connections + 1):
            self.events.put(None)

    # -- the test's side

    def put(self, body, how="plain", id=None, invocation_id=None):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        id = id or str(uuid.uuid4())
        self.events.put(Event(body, id, how, invocation_id))
        return id

    def outcome(self, id, seconds=WAIT_SECONDS):
        with self.news:
            assert self.news.wait_for(lambda: id in self.outcomes, seconds), f"no outcome of {id}"
            return self.outcomes.pop(id)

    def ask(self, body, how="plain", **more):
        return self.outcome(self.put(body, how, **more))

    # -- the function's side

    def accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        try:
            with c, c.makefile("rb", buffering=1 << 16) as lines:
                while self.serve_one(c, lines):
                    pass
        except (ConnectionError, BrokenPipeError):
            pass

    def serve_one(self, c, lines):
        request = lines.readline().decode("latin-1")
        if request == "":
            return False
        headers = {}
        while (line := lines.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = lines.read(int(headers.get("content-length", 0)))
        found = re.fullmatch(r"(GET|POST) " + re.escape(PREFIX) + r"(\S+) HTTP/1\.1\r\n", request)
        if found is None or headers.get("host") != self.address:
            self.broken.append((request, headers))
            raise ConnectionError
        method, path = found.groups()
        self.paths.append(path)
        if (method, path) == ("GET", "invocation/next"):
            return self.give(c)
        return self.take(c, path, headers, body)

    def give(self, c):
        if self.first_next is None:
            self.first_next = time.monotonic()
        event = self.events.get()
        if event is None:
            return False
        headers = {
            ID_HEADER: event.id,
            "Lambda-Runtime-Deadline-Ms": int(time.time() * 1000) + 60000,
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:crimes",
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
            "Content-Type": "application/json",
        }
        if event.invocation_id is not None:
            headers["Lambda-Runtime-Invocation-Id"] = event.invocation_id
        self.given[event.id] = time.monotonic()
        if event.how in BROKEN_OFF:
            self.events.put(dataclasses.replace(event, how="plain"))
        {**HOWS, **BROKEN_OFF, **HOPELESS}[event.how](c, headers, event.body)
        return True

    def take(self, c, path, headers, body):
        found = re.fullmatch(r"(?:invocation/([^/]+)/(response|error)|(init)/error)", path)
        if found is None:
            self.broken.append((path, headers))
            raise ConnectionError
        id, kind = found.group(1) or "init", found.group(2) or "error"
        status = self.statuses.pop(0) if self.statuses else 202
        if status == "close":
            raise ConnectionError
        outcome = Outcome(kind, body, headers, time.monotonic() - self.given.get(id, 0))
        if status == "take and close":
            self.tell(id, outcome)
            raise ConnectionError
        text = b'{"status":"OK"}'
        c.sendall(head(status, {"Content-Type": "application/json", "Content-Length": len(text)}) + text)
        if 200 <= status <= 299:
            self.tell(id, outcome)
        return True

    def tell(self, id, outcome):
        with self.news:
            self.outcomes[id] = outcome
            self.news.notify_all()


class Function:
    """A process that asks `api` for events; its stderr in `log`."""

    def __init__(self, command, api, folder, **environment):
        self.log = folder / "log"
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                env={"AWS_LAMBDA_RUNTIME_API": api.address, "LAMBDA_TASK_ROOT": str(folder), **environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def usage(self):
        """Its CPU-seconds, and the most memory it has had, in KiB."""
        proc = pathlib.Path("/proc") / str(self.process.pid)
        seconds = sum(int((task / "schedstat").read_text().split()[0]) for task in (proc / "task").iterdir()) / 1e9
        return seconds, int(re.search(r"VmHWM:\s+(\d+) kB", (proc / "status").read_text()).group(1))

    def ended(self, seconds=WAIT_SECONDS):
        return self.process.wait(seconds)

    def lines(self):
        return self.log.read_text().splitlines()

    def stop(self):
        """Alive until now, or it has crashed."""
        alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        assert alive, self.log.read_text()
        assert "Sanitizer" not in self.log.read_text()
