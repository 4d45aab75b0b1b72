"""What powercut.c recorded, and the files as a power cut at some moment would have left them.

What was synced before the cut is there. Of what was not, each sector of 512 bytes holds what it held at
any moment since: so writes may be missing, torn, and in another order. Sizes and the names in a
directory go through their states in order, each directory for itself, and may be at any since its sync.
"""

import collections
import mmap
import os
import pathlib
import random
import struct
import subprocess

SECTOR = 512
ENTRY = struct.Struct("<QIiQQ")
OPEN, CLOSE, WRITE, TRUNCATE, ALLOCATE, SYNC, RENAME, UNLINK, MKDIR = range(9)
SOURCE = pathlib.Path(__file__).resolve().with_suffix(".c")

Entry = collections.namedtuple("Entry", "number op fd place data")


def build(directory):
    """Compiles the library that is preloaded."""
    library = directory / "powercut.so"
    command = [os.environ.get("CC", "gcc"), "-std=c11", "-O1", "-shared", "-fPIC", "-o", library, SOURCE]
    subprocess.run(command, check=True)
    return library


class Recording:
    """One life of a daemon: `env` makes it record what it does in `directory`."""

    def __init__(self, library, directory, path):
        self.directory, self.path = pathlib.Path(os.path.realpath(directory)), pathlib.Path(path)
        at = self.path.with_name(self.path.name + ".at")
        at.write_bytes(bytes(16))
        with open(at, "r+b") as file:
            self.counters = mmap.mmap(file.fileno(), 16)
        self.env = {
            "LD_PRELOAD": str(library),
            "POWERCUT_DIR": str(self.directory),
            "POWERCUT_LOG": str(self.path),
        }
        self.before = Disk(self.directory)

    def now(self):
        """The number of the last entry: what is seen before the call was done before the next one."""
        return struct.unpack_from("<Q", self.counters)[0]

    def entries(self):
        with open(self.path, "rb") as file:
            data = file.read(struct.unpack_from("<Q", self.counters, 8)[0])
        at = 0
        while at < len(data):
            number, op, fd, place, n = ENTRY.unpack_from(data, at)
            at += ENTRY.size
            yield Entry(number, op, fd, place, data[at : at + n])
            at += n

    def cut(self, number, seed, target):
        """Makes `target` what the directory would be after a power cut behind that entry."""
        disk = self.before.copy()
        replay = Replay(disk)
        for entry in self.entries():
            if entry.number > number:
                break
            replay.take(entry)
        disk.leave(random.Random(seed), pathlib.Path(target), self.directory)


class File:
    """What is on the disk for sure, and what may be."""

    def __init__(self, data=b""):
        self.sure = bytearray(data)
        self.size = len(data)  # as everybody sees it
        self.maybe = []  # (number, size afterwards, place, data)

    def change(self, number, size, place=0, data=b""):
        self.maybe.append((number, size, place, data))
        self.size = size

    def sync(self, number):
        left = []
        for change in self.maybe:
            if change[0] > number:
                left.append(change)
                continue
            _, size, place, data = change
            self.resize(self.sure, size)
            self.sure[place : place + len(data)] = data
        self.maybe = left

    @staticmethod
    def resize(data, size):
        if size < len(data):
            del data[size:]
        else:
            data.extend(bytes(size - len(data)))

    def leave(self, r):
        """The bytes after a cut: of each sector as much as luck has it."""
        kept = r.choice([0, 0.5, 0.9, 1])  # how likely a change got to the disk
        found = bytearray(self.sure)
        size = len(self.sure)
        stopped = set()  # sectors that no later change got to
        for _, after, place, data in self.maybe:
            if r.random() < kept:
                size = after
            if len(found) < place + len(data):
                found.extend(bytes(place + len(data) - len(found)))
            at = place
            while at < place + len(data):
                end = min(at - at % SECTOR + SECTOR, place + len(data))
                sector = at // SECTOR
                if sector not in stopped and r.random() < kept:
                    found[at:end] = data[at - place : end - place]
                else:
                    stopped.add(sector)
                at = end
        self.resize(found, size)
        return bytes(found)


class Disk:
    """Directories, each with its names for sure and the changes to them that may be on the disk."""

    def __init__(self, root=None):
        self.sure, self.seen, self.maybe = {}, {}, {}
        if root is not None:
            for path, _, names in os.walk(root):
                self.make_directory(path)
                for name in names:
                    self.seen[path][name] = File(pathlib.Path(path, name).read_bytes())
                self.sure[path] = dict(self.seen[path])
            for path in self.sure:
                self.sure[path].update({n: os.path.join(path, n) for n in next(os.walk(path))[1]})
                self.seen[path] = dict(self.sure[path])

    def copy(self):
        made = Disk()
        for path, names in self.sure.items():
            made.make_directory(path)
            made.sure[path] = {n: f if isinstance(f, str) else File(f.sure) for n, f in names.items()}
            made.seen[path] = dict(made.sure[path])
        return made

    def make_directory(self, path):
        self.sure[path], self.seen[path], self.maybe[path] = {}, {}, []

    def change(self, number, path, old, new, what):
        """In a directory: the name `old` goes (or None), `new` comes and is `what` (or None)."""
        self.maybe[path].append((number, old, new, what))
        self.apply(self.seen[path], old, new, what)

    @staticmethod
    def apply(names, old, new, what):
        if old is not None:
            names.pop(old, None)
        if new is not None:
            names[new] = what

    def sync(self, path, number):
        changes, self.maybe[path] = self.maybe[path], []
        for change in changes:
            if change[0] <= number:
                self.apply(self.sure[path], *change[1:])
            else:
                self.maybe[path].append(change)

    def leave(self, r, target, path):
        target.mkdir(mode=0o700)
        path = str(path)
        names = dict(self.sure[path])
        for _, old, new, what in self.maybe[path][: r.randint(0, len(self.maybe[path]))]:
            self.apply(names, old, new, what)
        for name, what in sorted(names.items()):
            if isinstance(what, str):
                self.leave(r, target / name, what)
            else:
                (target / name).write_bytes(what.leave(r))
                (target / name).chmod(0o600)


class Replay:
    """Takes entries in order and does to a disk what they tell."""

    def __init__(self, disk):
        self.disk = disk
        self.open = {}  # descriptor: File, or the path of a directory
        self.calls = {
            OPEN: self.do_open,
            CLOSE: lambda e: self.open.pop(e.fd, None),
            WRITE: self.do_write,
            TRUNCATE: lambda e: self.open[e.fd].change(e.number, e.place),
            ALLOCATE: self.do_allocate,
            SYNC: self.do_sync,
            RENAME: self.do_rename,
            UNLINK: self.do_unlink,
            MKDIR: self.do_mkdir,
        }

    def take(self, entry):
        self.calls[entry.op](entry)

    def do_open(self, e):
        path = e.data.decode()
        if path in self.disk.seen:
            self.open[e.fd] = path
            return
        folder, name = os.path.split(path)
        if name not in self.disk.seen[folder] and e.place & os.O_CREAT:
            self.disk.change(e.number, folder, None, name, File())
        file = self.open[e.fd] = self.disk.seen[folder].get(name)  # None: a socket
        if e.place & os.O_TRUNC:
            file.change(e.number, 0)

    def do_write(self, e):
        file = self.open[e.fd]
        file.change(e.number, max(file.size, e.place + len(e.data)), e.place, e.data)

    def do_allocate(self, e):
        file = self.open[e.fd]
        file.change(e.number, max(file.size, e.place))

    def do_sync(self, e):
        what = self.open[e.fd]
        if isinstance(what, str):
            self.disk.sync(what, e.place)
        else:
            what.sync(e.place)

    def do_rename(self, e):
        old, new = (os.path.split(p.decode()) for p in e.data.split(b"\0"))
        assert old[0] == new[0], "only within a directory"
        if old[1] in self.disk.seen[old[0]]:
            self.disk.change(e.number, old[0], old[1], new[1], self.disk.seen[old[0]][old[1]])

    def do_unlink(self, e):
        folder, name = os.path.split(e.data.decode())
        self.disk.change(e.number, folder, name, None, None)

    def do_mkdir(self, e):
        path = e.data.decode()
        folder, name = os.path.split(path)
        self.disk.make_directory(path)
        self.disk.change(e.number, folder, None, name, path)
