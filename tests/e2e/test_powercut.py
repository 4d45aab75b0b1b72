"""Power cuts: whatever was acknowledged before one is delivered after it.

A real daemon runs with powercut.c preloaded. Its clients note, with each ok, which entry of the record
was the last; then the files are rebuilt as a cut behind that entry would have left them, and a daemon
that knows nothing of it all starts on them.
"""

import base64
import json
import os
import random
import subprocess
import zlib

import pytest

import faults
import powercut
import sockets
from fake_kinesis import FakeKinesis
from harness import BUILD, wait_until
from sockets import Client
from test_socket import SMALL


SEEDS = range(1, 1 + int(os.environ.get("POWERCUT_SEEDS", "2")))


def is_sanitised():
    out = subprocess.run(["ldd", BUILD / "tailraced"], capture_output=True, text=True).stdout
    return "libasan" in out or "libubsan" in out


pytestmark = pytest.mark.skipif(is_sanitised(), reason="nothing can be preloaded under sanitizers")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return powercut.build(tmp_path_factory.mktemp("powercut"))


def make_record(r, i, size_max):
    body = b'{"i":%d,"x":"%s"' % (i, b"abcdefgh" * r.randint(0, size_max // 8))
    return b'%s,"crc":%d}' % (body, zlib.crc32(body))


def number_of(record):
    """Of a whole record, None of what is none."""
    body, _, check = record.rpartition(b',"crc":')
    if not check.endswith(b"}") or int(check[:-1]) != zlib.crc32(body):
        return None
    return json.loads(record)["i"]


class Noting(Client):
    """Notes, with each ok, up to which entry of the recording it was true for sure."""

    def __init__(self, path, recording):
        super().__init__(path)
        self.recording = recording
        self.notes = []  # (ok, entry)

    def hear(self):
        before = self.ok
        alive = super().hear()
        if self.ok > before:
            self.notes.append((self.ok, self.recording.now()))
        return alive

    def safe_at(self, entry):
        """How many frames were acknowledged before that entry was over."""
        return max((ok for ok, at in self.notes if at <= entry), default=0)


class NotingKinesis(FakeKinesis):
    """Notes of each record after which entry it was stored."""

    recording = None

    def __init__(self, streams):
        super().__init__(streams)
        self.notes = []  # (entry, data)

    def store(self, request, stream, codes):
        body = super().store(request, stream, codes)
        at = self.recording.now()
        kept = [data for (data, _), code in zip(request.records, codes) if code is None]
        self.notes += [(at, data) for data in kept]
        return body


def push(client, r, records):
    """All of it, waiting for answers now and then."""
    while records:
        n = r.choice([1, 2, 10, 40])
        client.send(*records[:n])
        del records[:n]
        if r.random() < 0.4:
            client.wait_ok(r.randint(client.ok, client.sent))
    client.wait_ok()


@pytest.mark.parametrize("sync", ["20ms", "always"])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_acknowledged_outlives_a_power_cut(daemon, fakes, library, tmp_path, sync, seed):
    r = random.Random(f"{seed}/{sync}")
    away = fakes()
    away.fault = faults.DropBeforeReading()
    streams = {"s": {**SMALL["s"], "sync": sync}}
    d = daemon(away.url, streams=streams)
    path = tmp_path / "events.sock"
    sockets.source(d, path, ack="durable", format="json")
    recording = powercut.Recording(library, d.state, tmp_path / "record")
    d.start(**recording.env)
    client = Noting(path, recording)
    records = [make_record(r, i, r.choice([100, 100, 1000, 20000])) for i in range(1500)]
    push(client, r, list(records))
    d.kill()
    cuts = [at for _, at in r.sample(client.notes, 6)] + [r.randint(0, recording.now()) for _ in range(4)]
    for k, cut in enumerate(cuts):
        again = fakes()
        folder = tmp_path / f"cut-{k}"
        folder.mkdir()
        recording.cut(cut, f"{seed}/{k}", folder / "state")
        fresh = sockets.source(daemon(again.url, directory=folder, streams=streams), path, ack="durable")
        fresh.start()
        fresh.terminate()
        found = [number_of(data) for data in again.data("s")]
        assert None not in found, "something that was never sent"
        assert len(set(found)) == len(found)
        safe = client.safe_at(cut)
        gone = sorted(set(range(safe)) - set(found))
        assert not gone, f"cut behind entry {cut}: {len(gone)} of {safe} acknowledged are lost: {gone[:20]}"


def lost(records):
    return sorted(int(data[5 : data.find(b",")]) for data in records)


def is_bad(data):
    return data.endswith(b"!")


def read_letters(d):
    """The records in the dead letters. A cut may leave a line that is none; its records come again."""
    for line in (d.state / "dead-letter" / "events.jsonl").read_bytes().splitlines():
        try:
            yield base64.b64decode(json.loads(line)["data"])
        except ValueError:
            assert b"\0" in line


@pytest.mark.parametrize("seed", SEEDS)
def test_several_cuts_while_records_are_delivered_and_the_spool_goes_round(
    daemon, library, tmp_path, seed, request
):
    r = random.Random(seed)
    fake = NotingKinesis({"s": 2})
    request.addfinalizer(fake.stop)
    fake.start()
    path = tmp_path / "events.sock"
    acked, delivered, sent = set(), set(), set()
    i = 0
    previous = None
    for life in range(4):
        folder = tmp_path / f"life-{life}"
        folder.mkdir()
        if previous is not None:
            previous[0].cut(previous[1], f"{seed}/{life}", folder / "state")
        d = daemon(fake.url, directory=folder, streams=SMALL)
        sockets.source(d, path, ack="durable", format="json")
        recording = fake.recording = powercut.Recording(library, d.state, folder / "record")
        fake.notes.clear()
        fake.fault = None
        d.start(**recording.env)
        client = Noting(path, recording)
        mine = []
        for _ in range(700):
            mine.append(make_record(r, i, 20000) + (b"!" if r.random() < 0.02 else b""))
            i += 1
        push(client, r, mine[:450])
        if life % 2:
            fake.fault = faults.Entries(share=0.5)
        push(client, r, mine[450:])
        if r.random() < 0.5:
            wait_until(lambda: len(fake.notes) > 600)
        cut = r.choice([recording.now(), r.choice(client.notes)[1]])
        d.kill()
        fake.go_away()
        fake.come_back()
        sent |= set(mine)
        acked |= set(mine[: client.safe_at(cut)])
        delivered |= {data for at, data in list(fake.notes) if at <= cut}
        previous = recording, cut
    folder = tmp_path / "last"
    folder.mkdir()
    previous[0].cut(previous[1], f"{seed}/last", folder / "state")
    fake.fault = None
    fake.notes.clear()
    d = sockets.source(daemon(fake.url, directory=folder, streams=SMALL), path, ack="durable")
    d.start()
    d.terminate()
    delivered |= {data for _, data in fake.notes}
    letters = set(read_letters(d))
    assert not (delivered | letters) - sent, "something that was never sent"
    assert lost(data for data in acked - delivered if not is_bad(data)) == []
    assert lost(data for data in acked - letters if is_bad(data)) == []
    assert fake.violations == []
