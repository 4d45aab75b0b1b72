"""tailrace spool: files that are written here, byte by byte, so that the format is seen from outside."""

import base64
import fcntl
import json
import os
import struct

import pytest

import spoolbytes
from harness import tool
from spoolbytes import DATA, HEAD, KIND_DATA, KIND_DEAD, PAD, PAGE, crc32c

CAPACITY = 64 * 1024
ID = 0x0123456789ABCDEF
SEED = crc32c(0, struct.pack("<Q", ID))


def header(version=1):
    body = b"tailrace spool\n\0" + struct.pack("<IIQQ", version, DATA, CAPACITY, ID)
    return body + struct.pack("<I", crc32c(0, body))


def state(generation, saved, written, clean=False):
    body = struct.pack("<QQQI16x", generation, saved, written, int(clean))
    return body + struct.pack("<I", crc32c(SEED, body))


def record(position, data, key=b"k", kind=KIND_DATA, flags=1):
    fields = struct.pack("<QIHBB", position, len(data), len(key), kind, flags)
    head_crc = crc32c(SEED, fields)
    body = key + data
    body += bytes(-(HEAD.size + len(body)) % 8)
    return struct.pack("<II", head_crc, crc32c(head_crc, body)) + fields + body


class Maker:
    """A spool with its records one after the other."""

    def __init__(self, begin=0, saved=None):
        self.bytes = bytearray(DATA + CAPACITY)
        self.bytes[: len(header())] = header()
        self.bytes[2 * PAGE + 2048 : 2 * PAGE + 2048 + len(header())] = header()
        self.end = begin
        self.saved = begin if saved is None else saved
        self.places = []

    def put(self, data, **more):
        text = record(self.end, data, **more)
        rest = CAPACITY - self.end % CAPACITY
        if len(text) > rest:
            if rest >= HEAD.size:
                fields = struct.pack("<QIHBB", self.end, rest - HEAD.size, 0, PAD, 0)
                crc = crc32c(SEED, fields)
                self.write(struct.pack("<II", crc, crc) + fields)
            self.end += rest
            text = record(self.end, data, **more)
        self.places.append(DATA + self.end % CAPACITY)
        self.write(text)
        self.end += len(text)
        return self

    def write(self, text):
        place = DATA + self.end % CAPACITY
        self.bytes[place : place + len(text)] = text

    def save(self, path, written=None, clean=True, generation=7):
        text = state(generation, self.saved, self.end if written is None else written, clean)
        place = PAGE if generation % 2 == 0 else 2 * PAGE
        self.bytes[place : place + len(text)] = text
        path.write_bytes(self.bytes)
        return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.spool"


def test_a_good_spool_is_told_and_dumped(path):
    made = Maker().put(b"one").put(b"two\0\xff").put(b"raw", key=b"\0src\0no good\0", kind=KIND_DEAD)
    made.save(path)
    before = path.read_bytes()
    status, out, err = tool("spool", "check", path)
    assert status == 0 and err == ""
    assert "3 records wait" in out and "1 of them are dead letters" in out and "damaged" not in out
    status, out, err = tool("spool", "dump", "--json", path)
    assert status == 0 and err == ""
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["position"] for line in lines] == [0, 32, 64]
    assert [base64.b64decode(line["data"]) for line in lines] == [b"one", b"two\0\xff", b"raw"]
    assert lines[0]["kind"] == "data" and lines[0]["key"] == "k"
    assert lines[2] == dict(lines[2], kind="dead", source="src", reason="no good")
    assert path.read_bytes() == before


def test_records_are_dumped_as_lines(path):
    Maker().put(b"one").put("z\u00fc".encode()).save(path)
    assert tool("spool", "dump", path) == (0, "one\nz\u00fc\n", "")


def test_only_what_was_not_delivered_counts(path):
    made = Maker().put(b"delivered")
    made.saved = made.end
    made.put(b"waits").save(path)
    assert tool("spool", "dump", path)[1] == "waits\n"


def test_laps_and_their_pads_are_followed(path):
    made = Maker(begin=10 * CAPACITY - 1000)
    for i in range(100):
        made.put(b"%d " % i + b"x" * (i % 37))
    made.save(path, clean=False)
    status, out, err = tool("spool", "dump", path)
    assert status == 0 and [line.split()[0] for line in out.splitlines()] == [str(i) for i in range(100)]


@pytest.mark.parametrize("rest", [8, 16])
def test_a_rest_too_small_for_a_header_is_passed(path, rest):
    made = Maker(begin=CAPACITY - rest - 32)
    made.put(b"one").put(b"two").save(path)
    assert tool("spool", "dump", path)[:2] == (0, "one\ntwo\n")


def test_an_earlier_lap_is_not_taken_for_new(path):
    made = Maker()
    for i in range(500):
        made.put(b"old %d" % i)
    behind = Maker(begin=CAPACITY)
    behind.bytes = made.bytes
    behind.put(b"new").save(path, clean=False)
    assert tool("spool", "dump", path)[:2] == (0, "new\n")


def test_a_record_of_another_file_is_not_taken(path):
    made = Maker().put(b"one")
    foreign = crc32c(0, b"another file's id")
    fields = struct.pack("<QIHBB", made.end, 3, 0, KIND_DATA, 0)
    crc = crc32c(foreign, fields)
    made.write(struct.pack("<II", crc, crc32c(crc, b"two\0\0\0\0\0")) + fields + b"two\0\0\0\0\0")
    made.save(path, clean=False)
    assert tool("spool", "dump", path)[:2] == (0, "one\n")


@pytest.mark.parametrize("offset", [0, 5, 9, 17, 21, 22, 23, 24, 30])
def test_a_damaged_record_costs_only_itself(path, offset):
    made = Maker().put(b"one").put(b"number two").put(b"three")
    made.bytes[made.places[1] + offset] ^= 0x40
    made.save(path)
    status, out, err = tool("spool", "dump", path)
    assert status == 1 and out == "one\nthree\n"
    assert "position 32: 40 damaged bytes" in err
    status, out, _ = tool("spool", "check", path)
    assert status == 1 and "40 bytes are damaged, in 1 places" in out and "2 records wait" in out


def test_a_damaged_end_is_told_as_such(path):
    made = Maker().put(b"one").put(b"two")
    made.bytes[made.places[1] + 25] ^= 1
    made.save(path)
    status, out, _ = tool("spool", "check", path)
    assert status == 1 and "behind the last good record 32 bytes are damaged" in out


def test_the_newer_good_state_counts(path):
    made = Maker().put(b"one").put(b"two")
    made.save(path, generation=8)
    made.saved = 32
    made.save(path, generation=9)
    assert tool("spool", "dump", path)[1] == "two\n"
    made.bytes[2 * PAGE + 3] ^= 1
    path.write_bytes(made.bytes)
    assert tool("spool", "dump", path)[:2] == (0, "one\ntwo\n")


def test_without_any_state_all_that_is_found_counts(path):
    made = Maker(begin=3 * CAPACITY - 200)
    for i in range(30):
        made.put(b"%d" % i)
    path.write_bytes(made.bytes)
    status, out, err = tool("spool", "dump", path)
    assert status == 1 and out.split() == [str(i) for i in range(30)]
    assert "both copies of its state are damaged" in err


def test_a_damaged_header_has_its_copy(path):
    made = Maker().put(b"one")
    made.bytes[20] ^= 1
    made.save(path)
    status, out, err = tool("spool", "dump", path)
    assert status == 1 and out == "one\n" and "header is damaged" in err
    assert tool("spool", "repair", "--yes", path)[0] == 0
    assert tool("spool", "check", path)[0] == 0


def test_repair_keeps_the_good_records_and_the_old_file(path):
    made = Maker(begin=5 * CAPACITY - 904)
    for i in range(60):
        made.put(b"%d " % i + b"y" * i, key=b"key%d" % i, kind=KIND_DEAD if i == 7 else KIND_DATA)
    for i in (3, 4, 40):
        made.bytes[made.places[i] + 26] ^= 0x10
    made.save(path)
    os.chmod(path, 0o600)
    before = path.read_bytes()
    status, out, err = tool("spool", "repair", path)
    assert status == 1 and "--yes" in err and path.read_bytes() == before
    status, out, err = tool("spool", "repair", "--yes", path)
    assert status == 0 and err == "" and "repaired, with 57 records" in out
    assert (path.parent / "s.spool.damaged").read_bytes() == before
    assert sorted(os.listdir(path.parent)) == ["s.spool", "s.spool.damaged"]
    assert path.stat().st_mode & 0o7777 == 0o600
    good = [i for i in range(60) if i not in (3, 4, 40)]
    found = list(spoolbytes.Spool(path).records())
    assert [r.data for r in found] == [b"%d " % i + b"y" * i for i in good]
    assert [r.key for r in found] == [b"key%d" % i for i in good]
    assert [r.kind for r in found] == [KIND_DEAD if i == 7 else KIND_DATA for i in good]
    assert tool("spool", "check", path)[0] == 0
    status, out, _ = tool("spool", "repair", path)
    assert status == 0 and "nothing is damaged" in out


def test_repair_never_writes_over_an_old_damaged_file(path):
    made = Maker().put(b"one").put(b"two").put(b"three")
    made.bytes[made.places[1] + 25] ^= 1
    made.save(path)
    (path.parent / "s.spool.damaged").write_text("precious")
    status, _, err = tool("spool", "repair", "--yes", path)
    assert status == 1 and "in the way" in err
    assert (path.parent / "s.spool.damaged").read_text() == "precious"
    assert sorted(os.listdir(path.parent)) == ["s.spool", "s.spool.damaged"]


def test_a_file_that_was_cut_short_gives_what_it_has(path):
    Maker().put(b"one").put(b"two").save(path)
    os.truncate(path, DATA + 40)
    status, out, err = tool("spool", "dump", path)
    assert status == 1 and out == "one\n" and "cut short by" in err
    assert tool("spool", "repair", "--yes", path)[0] == 0
    assert tool("spool", "dump", path) == (0, "one\n", "")


def test_a_newer_version_is_refused_and_untouched(path):
    made = Maker().put(b"one")
    made.bytes[: len(header())] = header(version=2)
    made.save(path)
    before = path.read_bytes()
    for verb in (["check"], ["dump"], ["repair", "--yes"]):
        status, out, err = tool("spool", *verb, path)
        assert status == 66 and "newer" in err and out == ""
    assert path.read_bytes() == before


def test_what_is_no_spool_is_refused(tmp_path):
    (tmp_path / "text").write_text("hello\n" * 10000)
    (tmp_path / "empty").write_text("")
    os.mkfifo(tmp_path / "fifo")
    os.symlink(tmp_path / "text", tmp_path / "link")
    (tmp_path / "random").write_bytes(os.urandom(100000))
    for name in ("text", "empty", "fifo", "link", "random", "missing", "no/such"):
        status, _, err = tool("spool", "check", tmp_path / name)
        assert status == 66 and err.startswith("tailrace: "), name
    assert tool("spool", "check", tmp_path)[0] == 66


def test_a_spool_in_use_is_left_alone(path):
    Maker().put(b"one").save(path)
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for verb in (["check"], ["dump"], ["repair", "--yes"]):
            status, _, err = tool("spool", *verb, path)
            assert status == 75 and "in use" in err


def test_wrong_usage_is_told(path):
    for arguments in ([], ["check"], ["mend", path], ["check", "--json", path], ["dump", "--yes", path],
                      ["check", path, path]):
        assert tool("spool", *arguments)[0] == 64
    status, out, _ = tool("spool", "--help")
    assert status == 0 and "repair" in out
