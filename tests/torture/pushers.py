"""The clients of the campaign of sockets: a few processes, each with many connections in one loop.

    pushers.py SPEC.json        then on standard input: "stop"; its end means: leave at once

A client sends numbered events, in frames of several kinds and sizes. It keeps what was not acknowledged,
and sends it again after it has connected anew. Every sending of an event has a serial of its own, so
that it can be told later which of them was stored. After "stop" nothing new is sent, and a client is
done when all of its events are acknowledged. Then everything that is known of each serial is written to
the spec's `out`, as a pickle.

An event is "CLIENT SERIAL NUMBER PADDING CRC", as a line or in {"e":"..."}.
"""

import array
import collections
import json
import pickle
import random
import selectors
import socket
import struct
import sys
import time
import zlib

PADDING = bytes(c for c in (33 + i * 7919 % 94 for i in range(1 << 17)) if c not in b'"\\')
OUT_MAX = 128 << 10  # bytes that wait to be given to the kernel
FRAMES_MAX = 400  # that wait to be acknowledged
TRUNCATED = b"...[truncated]"

# What a frame is meant to be.
GOOD, NOT_JSON, LONG = range(3)
REASONS = {
    NOT_JSON: b"not JSON",  # the last element of an array, or a frame alone: a dead letter
    LONG: (b"too large", b"longer", b"data and key are longer"),  # cut short, or a dead letter
}
# What becomes of one serial.
RECORD, DEAD, SHORT = range(3)

Frame = collections.namedtuple("Frame", "end serial n meant")


def make_event(client, serial, number, pad, start):
    body = b"%d %d %d %s" % (client, serial, number, PADDING[start : start + pad])
    return b"%s %08x" % (body, zlib.crc32(body))


def read_event(data):
    """(client, serial), or None when it is not an event as one was made."""
    if data.startswith(b'{"e":"'):
        data = data[6 : data.find(b'"', 6)]
    elif data.startswith(b'"'):
        data = data[1:-1]
    try:
        if data.endswith(TRUNCATED):
            client, serial, _ = data.split(b" ", 2)
            return int(client), int(serial)
        body, _, check = data.rpartition(b" ")
        if int(check, 16) != zlib.crc32(body):
            return None
        client, serial, _ = body.split(b" ", 2)
        return int(client), int(serial)
    except ValueError:
        return None


class Client:
    """One client: at most one connection at a time, and all that is known of its serials."""

    # name, events a second, weight
    MOODS = [("idle", 0, 3), ("trickle", 30, 4), ("steady", 300, 4), ("flood", 5000, 1)]

    def __init__(self, spec, options, loop):
        self.id, self.path, self.kind = spec["id"], spec["path"], spec["kind"]
        self.max_record, self.drops = spec["max_record"], spec["drops"]
        self.heavy = spec["heavy"]  # how many of its events are large
        self.rate, self.loop = options["rate"], loop
        self.random = random.Random(f"{options['seed']}/client {self.id}")
        self.socket = None
        self.connect_at = time.monotonic() + self.random.random()
        self.numbers, self.connections = array.array("L"), array.array("H")
        self.fates, self.acked = bytearray(), bytearray()  # RECORD, ...; of each serial
        self.number = self.connection = 0
        self.again = collections.deque()  # numbers
        self.stopping = False
        self.counts = collections.Counter()
        self.problems = []
        self.mood, self.mood_until, self.due, self.due_at = 0, 0, 0.0, 0.0
        self.reset()

    def reset(self):
        self.out, self.out_at = bytearray(), 0
        self.made = self.given = 0  # bytes of this connection
        self.rest = b""
        self.begun = self.heard = 0  # frames: made; up to the last ok
        self.frames = collections.deque()  # those from heard + 1 on
        self.named = {}  # frame: reason
        self.ending = None  # how this connection is to end, and when
        self.deaf_until = 0

    def problem(self, text):
        if len(self.problems) < 20:
            self.problems.append(f"client {self.id} ({self.kind}), connection {self.connection}: {text}")

    def done(self):
        return self.stopping and not self.again and not self.frames

    # Connections.

    def connect(self, now):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            made.connect(self.path)
        except OSError:  # nobody there, or too many before us
            made.close()
            self.connect_at = now + self.random.choice([0.01, 0.05, 0.3]) * self.random.random()
            return
        self.reset()
        self.socket = made
        self.connection += 1
        self.due_at = now
        if self.random.random() < 0.3 and not self.stopping:
            how = self.random.choice(["close", "half", "end"])
            self.ending = [how, now + self.random.choice([0.1, 1, 5]) * self.random.random()]
        self.loop.register(made, selectors.EVENT_READ, self)

    def disconnect(self, now):
        self.loop.unregister(self.socket)
        self.socket.close()
        self.socket = None
        back = []
        for frame in self.frames:
            back += self.numbers[frame.serial : frame.serial + frame.n]
        self.again.extendleft(reversed(back))
        self.frames.clear()
        self.out.clear()
        self.connect_at = now + self.random.choice([0, 0, 0.02, 0.3]) * self.random.random()

    def end_it(self, now):
        """Ends the connection in the way that was drawn for it."""
        how = self.ending[0]
        self.ending = None
        self.counts[f"ended by {how}"] += 1
        if how == "end":
            self.ending = ["ended", now + 1e9]
            if self.out_at == len(self.out):
                self.shut()
            return
        if how == "half" and self.out_at == len(self.out):
            half = b"\0\0\1\0half" if self.kind == "length32" else b'{"e":"half'
            try:
                self.socket.send(half)
            except OSError:
                pass
        self.disconnect(now)

    def shut(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    # Sending.

    def serial_for(self, number, fate=RECORD):
        serial = len(self.numbers)
        self.numbers.append(number)
        self.connections.append(self.connection)
        self.fates.append(fate)
        self.acked.append(0)
        return serial

    def next_number(self):
        if self.again:
            self.counts["sent again"] += 1
            return self.again.popleft()
        self.counts["sent"] += 1
        self.number += 1
        return self.number - 1

    def event(self, fate=RECORD, pad=None):
        r, number = self.random, self.next_number()
        if pad is None:
            sizes = [(0, 60), (60, 250), (250, 3000)]
            large = r.random() < self.heavy
            pad = r.randint(3000, 20000) if large else r.randint(*r.choices(sizes, [40, 55, 5])[0])
        serial = self.serial_for(number, fate)
        return make_event(self.id, serial, number, pad, r.randrange(1 << 15))

    def make_frame(self, room):
        """(bytes, how many events, what it is meant to be), with at most `room` events."""
        r = self.random
        if r.random() < 0.002 and not self.again:
            event = self.event(SHORT if self.kind != "json" else DEAD, self.max_record + 100)
            return (b'{"e":"%s"}' % event if self.kind == "json" else event), 1, LONG
        if self.kind != "json":
            return self.event(), 1, GOOD
        if r.random() < 0.6 or room < 2:
            if r.random() < 0.01:
                return b'{"e":"%s",' % self.event(DEAD), 1, NOT_JSON
            return b'{"e":"%s"}' % self.event(), 1, GOOD
        return self.make_array(r.randint(2, min(room, 100)))

    def make_array(self, n):
        """Of a bad one the last element is broken. A string is an element like an object."""
        r, elements = self.random, []
        meant = r.choices([GOOD, NOT_JSON], [98, 2])[0]
        for i in range(n):
            broken = meant != GOOD and i == n - 1
            event = self.event(DEAD if broken else RECORD, None if n < 20 else r.randint(0, 200))
            whole = b'{"e":"%s",' if broken else b'"%s"' if r.random() < 0.02 else b'{"e":"%s"}'
            elements.append(whole % event)
        return b"[" + b",".join(elements) + b"]", n, meant

    def push(self, now):
        if self.ending and self.ending[0] == "ended":
            self.give(now)
            return
        self.feel(now)
        while self.due >= 1 and len(self.out) - self.out_at < OUT_MAX and len(self.frames) < FRAMES_MAX:
            if self.stopping and not self.again:
                break
            serial = len(self.numbers)
            text, n, meant = self.make_frame(len(self.again) if self.stopping or self.again else 1000)
            data = struct.pack(">I", len(text)) + text if self.kind == "length32" else text + b"\n"
            self.out += data
            self.made += len(data)
            self.begun += 1
            self.frames.append(Frame(self.made, serial, n, meant))
            self.due -= n
        self.give(now)

    def feel(self, now):
        r = self.random
        if now > self.mood_until:
            name, self.mood, _ = r.choices(self.MOODS, [m[2] for m in self.MOODS])[0]
            self.mood *= self.rate * r.uniform(0.5, 1)
            self.mood_until = now + r.uniform(0.2, 0.8 if name == "flood" else 4)
            if r.random() < 0.05 and not self.stopping:
                self.deaf_until = now + r.uniform(0.2, 2)
        rate = 5000 if self.stopping else max(self.mood, 200 if self.again else 0)
        self.due = min(self.due + rate * (now - self.due_at), 300)
        self.due_at = now

    def give(self, now):
        try:
            while self.out_at < len(self.out):
                n = self.socket.send(memoryview(self.out)[self.out_at : self.out_at + 65536])
                self.out_at += n
                self.given += n
        except BlockingIOError:
            pass
        except OSError:
            self.hear(now)
            if self.socket is not None:
                self.disconnect(now)
            return
        if self.out_at == len(self.out):
            self.out.clear()
            self.out_at = 0
            if self.ending and self.ending[0] == "ended":
                self.shut()
        elif self.out_at > OUT_MAX:
            del self.out[: self.out_at]
            self.out_at = 0

    # Hearing.

    def hear(self, now):
        while self.socket is not None:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.disconnect(now)
                return
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                self.take(line)

    def take(self, line):
        word, _, rest = line.partition(b" ")
        n, _, reason = rest.partition(b" ")
        if word not in (b"ok", b"bad") or not n.isdigit() or (word == b"ok") != (not reason):
            self.problem(f"no answer: {line[:80]}")
            return
        n = int(n)
        if n <= self.heard:
            self.problem(f"{line[:80]} after ok {self.heard}")
        elif n - self.heard > len(self.frames) or self.frames[n - self.heard - 1].end > self.given:
            self.problem(f"{line[:80]}, and {self.begun} were begun, {self.given} of {self.made} bytes sent")
        elif word == b"bad":
            self.take_bad(n, reason)
        else:
            self.take_ok(n)

    def take_bad(self, n, reason):
        if n in self.named:
            self.problem(f"bad {n} twice: {reason[:80]}")
        self.named[n] = reason
        meant = self.frames[n - self.heard - 1].meant
        if self.drops and reason.startswith(b"dropped"):
            self.counts["bad: dropped"] += 1
        elif meant == GOOD or not reason.startswith(REASONS[meant]):
            self.counts["bad: wrongly"] += 1
            self.problem(f"bad {n}: {reason[:80]}, of a frame meant as {meant}")
        else:
            self.counts["bad: rightly"] += 1

    def take_ok(self, n):
        self.counts["answers"] += 1
        while self.heard < n:
            self.heard += 1
            frame = self.frames.popleft()
            reason = self.named.pop(self.heard, None)
            if reason is not None and reason.startswith(b"dropped"):
                self.again += self.numbers[frame.serial : frame.serial + frame.n]
                continue
            if reason is None and frame.meant != GOOD:
                self.problem(f"ok {n}, and frame {self.heard}, meant as {frame.meant}, was never bad")
            self.acked[frame.serial : frame.serial + frame.n] = b"\1" * frame.n

    # The loop's calls.

    def turn(self, now):
        if self.socket is None:
            if now >= self.connect_at and not self.done():
                self.connect(now)
            return
        if self.ending and now >= self.ending[1]:
            self.end_it(now)
        elif now >= self.deaf_until:
            self.hear(now)
        if self.socket is not None:
            self.push(now)

    def known(self):
        return {
            "numbers": self.numbers,
            "connections": self.connections,
            "fates": self.fates,
            "acked": self.acked,
            "events": self.number,
            "counts": self.counts,
            "problems": self.problems,
            "done": self.done(),
            "owed": len(self.again) + sum(f.n for f in self.frames),
        }


def main():
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    loop = selectors.DefaultSelector()
    clients = [Client(c, spec, loop) for c in spec["clients"]]
    loop.register(sys.stdin, selectors.EVENT_READ, None)
    going = True
    while going and not all(c.done() for c in clients):
        for key, _ in loop.select(0.01):
            if key.data is None:
                going = sys.stdin.readline() != ""
                for client in clients:
                    client.stopping, client.ending = True, None
        time.sleep(0.005)  # let some gather
        now = time.monotonic()
        for client in clients:
            client.turn(now)
    with open(spec["out"], "wb") as file:
        pickle.dump({c.id: c.known() for c in clients}, file)


if __name__ == "__main__":
    main()
