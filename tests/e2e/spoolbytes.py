"""The file of a spool, read by somebody who shares nothing with the daemon but lib/spoollog.h."""

import collections
import struct

PAGE = 4096
DATA = 3 * PAGE
HEAD = struct.Struct("<IIQIHBB")
STATE = struct.Struct("<QQQI16xI")
PAD, KIND_DATA, KIND_DEAD = 0, 1, 2

Record = collections.namedtuple("Record", "position place size kind key data")


def make_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


TABLE = list(make_table())


def crc32c(crc, data):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Spool:
    """A file as it is at this moment. saved: where records are read from after a start."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        assert self.bytes[:16] == b"tailrace spool\n\0", path
        self.version, _, self.capacity, self.id = struct.unpack_from("<IIQQ", self.bytes, 16)
        self.seed = crc32c(0, struct.pack("<Q", self.id))
        assert len(self.bytes) >= DATA + self.capacity
        self.generation, self.saved, self.written, self.clean = max(self.states())

    def states(self):
        for at in (PAGE, 2 * PAGE):
            generation, saved, written, flags, crc = STATE.unpack_from(self.bytes, at)
            if crc == crc32c(self.seed, self.bytes[at : at + STATE.size - 4]):
                yield generation, saved, written, flags & 1

    def records(self):
        """Those from `saved` on, as far as each stands at its own position."""
        position = self.saved
        while True:
            rest = self.capacity - position % self.capacity
            if rest < HEAD.size:
                position += rest
                continue
            place = DATA + position % self.capacity
            _, _, claim, data_n, key_n, kind, _ = HEAD.unpack_from(self.bytes, place)
            if claim != position or HEAD.size + key_n + (0 if kind == PAD else data_n) > rest:
                return
            size = (HEAD.size + key_n + data_n + 7) & ~7
            if kind != PAD:
                key = place + HEAD.size
                data = key + key_n
                yield Record(
                    position, place, size, kind, self.bytes[key:data], self.bytes[data : data + data_n]
                )
            position += size
