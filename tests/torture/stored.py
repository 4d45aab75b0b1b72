"""What arrived of the events that clients pushed, and what may have arrived more than once.

A serial (one sending of one event, pushers.py) is one record in a spool. It may be stored once, and once
more for each of these: an answer of the service that may not have reached the daemon, and an end of a
life of the daemon at which its spool did not yet say that the record is settled. The spool's file is
read after each end for that (spoolbytes.py), by the campaign's own eyes.
"""

import array
import base64
import collections
import json
import threading
import time

import campaign
import pushers
import spoolbytes


class Tally:
    """All that was stored, by client and serial."""

    def __init__(self, clients):
        self.lock = threading.Lock()
        self.copies = [bytearray() for _ in range(clients)]
        self.lost_answers = [bytearray() for _ in range(clients)]
        self.first_life = [array.array("H") for _ in range(clients)]
        self.past_life = [array.array("H") for _ in range(clients)]  # the last at whose end it was unsettled
        self.order = [array.array("L") for _ in range(clients)]  # serials, when they came first
        self.mangled = []
        self.fullest = collections.Counter()  # per cent, of each spool, when a life ended

    @staticmethod
    def _grow(row, serial, zero):
        if serial >= len(row):
            row.extend(zero * (serial + 4096 - len(row)))

    def store(self, records, life):
        found = [pushers.read_event(data) for data in records]
        with self.lock:
            for event, data in zip(found, records):
                if event is None or event[0] >= len(self.copies):
                    self.mangled.append(data[:120])
                    continue
                client, serial = event
                copies, first = self.copies[client], self.first_life[client]
                self._grow(copies, serial, b"\0")
                self._grow(first, serial, [0])
                if copies[serial] == 0:
                    first[serial] = life
                    self.order[client].append(serial)
                copies[serial] = min(copies[serial] + 1, 255)
        return [event for event in found if event is not None]

    def permit_unanswered(self, _life, events):
        """Their answer may have been lost."""
        with self.lock:
            for client, serial in events:
                row = self.lost_answers[client]
                self._grow(row, serial, b"\0")
                row[serial] = min(row[serial] + 1, 254)
        return len(events)

    def after_life(self, life, paths):
        """What the spools still hold. Returns how many records."""
        n = 0
        for path in paths:
            if not path.exists():
                continue
            spool = spoolbytes.Spool(path)
            for record in spool.records():
                full = (record.position - spool.saved) / spool.capacity
                self.fullest[path.stem] = max(self.fullest[path.stem], round(100 * full))
                event = pushers.read_event(record.data) if record.kind == spoolbytes.KIND_DATA else None
                if event is not None:
                    row = self.past_life[event[0]]
                    self._grow(row, event[1], [0])
                    row[event[1]] = life
                    n += 1
        return n

    @staticmethod
    def _at(row, serial):
        return row[serial] if serial < len(row) else 0

    def count(self, client, serial):
        return self._at(self.copies[client], serial)

    def allowed(self, client, serial):
        """One, and one for each life after the first that found it unsettled, and lost answers."""
        lives = self._at(self.past_life[client], serial) + 1 - self._at(self.first_life[client], serial)
        return 1 + max(lives, 0) + self._at(self.lost_answers[client], serial)


class Endpoint(campaign.ForgetfulKinesis):
    """Takes only so many bytes a second, and tells lives by when a connection was made."""

    EARLY_SECONDS = 1  # so long after a start a connection may still be the last life's

    def __init__(self, streams, tally, life, limits):
        super().__init__(streams, tally)
        self.limits = limits  # bytes a second, of some streams
        self.room, self.filled_at = dict(limits), {name: time.monotonic() for name in limits}
        self.life = life  # () -> (number, seconds since its start)

    def limit(self, request, name, codes):
        """What is too much for one second is refused, record by record, as the service does it."""
        with self.lock:
            now, limit = time.monotonic(), self.limits[name]
            room = min(limit, self.room[name] + limit * (now - self.filled_at[name]))
            for i, (data, _) in enumerate(request.records):
                if codes[i] is None and len(data) > room:
                    codes[i] = "ProvisionedThroughputExceededException"
                elif codes[i] is None:
                    room -= len(data)
            self.room[name], self.filled_at[name] = room, now

    def store(self, request, stream, codes):
        if stream.name in self.limits:
            self.limit(request, stream.name, codes)
        return super().store(request, stream, codes)

    def handle(self, request, fault):
        self.find_life(request.connection)
        return super().handle(request, fault)

    def find_life(self, connection):
        if not hasattr(connection, "number_of_life"):
            number, age = self.life()
            connection.number_of_life = max(1, number - (age < self.EARLY_SECONDS))

    def life_of(self, request):
        return request.connection.number_of_life


def read_dead_letters(folder):
    """How often each event stands in a dead letter: {(client, serial): n}, and how many are not known."""
    found, unknown = collections.Counter(), 0
    for path in folder.glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                data = base64.b64decode(json.loads(line)["data"])
            except (ValueError, KeyError):
                unknown += 1
                continue
            event = read_dead(data)
            found[event] += event is not None
            unknown += event is None
    del found[None]
    return found, unknown


def read_dead(data):
    """The first event in it: a dead letter may be a part of an array, or the beginning of a long event."""
    data = data.lstrip(b",")
    start = 6 if data.startswith(b'{"e":"') else 1
    words = data[start : start + 60].split(b" ")
    try:
        return int(words[0]), int(words[1])
    except (ValueError, IndexError):
        return None
