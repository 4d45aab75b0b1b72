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

import faults
import pushers
import spoolbytes
from fake_kinesis import FakeKinesis


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

    def permit(self, events):
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


class Swallow(list):
    """In place of a stream's records: only their number."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __len__(self):
        return self.n

    def __iadd__(self, records):
        self.n += len(records)
        return self


class Endpoint(FakeKinesis):
    """Keeps no record: tells the tally of each, which life of the daemon sent it, and whether the answer
    may have been lost."""

    EARLY_SECONDS = 1  # so long after a start a connection may still be the last life's
    LATE_SECONDS = 3  # an answer that is later than the daemon's patience less this may not be heard
    SPOILED = (faults.CutJson, faults.NotJson, faults.CutConnection, faults.DropAfterStoring)

    def __init__(self, streams, tally, life, patience, limits):
        super().__init__(streams)
        self.tally, self.patience = tally, patience
        self.limits = limits  # bytes a second, of some streams
        self.room, self.filled_at = dict(limits), {name: time.monotonic() for name in limits}
        self.life = life  # () -> (number, seconds since its start)
        self.answers_lost = 0  # records in them
        for stream in self.streams.values():
            stream.records = Swallow()

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
        body = super().store(request, stream, codes)
        kept = [data for (data, _), code in zip(request.records, codes) if code is None]
        request.kept = self.tally.store(kept, request.connection.number_of_life)
        request.records = []
        request.connection.last = request
        return body

    def handle(self, request, fault):
        since, request.kept = time.monotonic(), []
        self.find_life(request.connection)
        with self.lock:
            self.requests.clear()
        try:
            answer = super().handle(request, fault)
        except faults.Hangup:
            self.lose_answer(request)
            raise
        late = time.monotonic() - since > self.patience - self.LATE_SECONDS
        if late or hasattr(request.connection, "gone") or isinstance(fault, self.SPOILED):
            self.lose_answer(request)
        return answer

    def find_life(self, connection):
        if not hasattr(connection, "number_of_life"):
            number, age = self.life()
            connection.number_of_life = max(1, number - (age < self.EARLY_SECONDS))

    def lose_answer(self, request):
        self.answers_lost += self.tally.permit(request.kept)

    def go_away(self):
        with self.lock:
            cut = list(self.connections)
        for connection in cut:
            connection.gone = True
        super().go_away()
        for connection in cut:
            if getattr(connection, "last", None) is not None:
                self.lose_answer(connection.last)


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
