"""What was written, and what may be missing or doubled at the end: the campaign's own bookkeeping.

It knows nothing of the daemon but its checkpoint, its process id and the names it may read. Every
line's place is known (which file, where its end is, when it was written), because each write goes
through `Log.append`. Every file that a name in the glob leads to is held open here as long as it has
such a name, so that its inode cannot be another file's meanwhile.

What cannot be had. A content (the bytes that a file was given between two truncations) can be read as
long as a name in the glob leads to it, or to a copy of it. When the last one goes, a `Gone` says which
part went, why, and which life of the daemon had the file open then: that life must still deliver it; if
none had, or that life is killed before it could, the lines may be missing. "Could" is measured on a
clock that runs only while the daemon is up and the endpoint answers: a line that is older than
HEALTHY_SECONDS on that clock must have been delivered, whatever came later.

What may be doubled. After each end of the daemon its checkpoint is read: the lines past what it says,
in files that are still there, may come once more. So may lines of which the answer was lost, and a
copy that ends before the file did when it was truncated: if the daemon had read beyond that, it may not
be able to prove that it knows the copy.
"""

import array
import bisect
import collections
import fnmatch
import hashlib
import json
import os
import threading
import time

HEALTHY_SECONDS = 5  # in which a line must be delivered when nothing is wrong
START_SECONDS = 2  # until a new process, or one that is no longer in trouble, is at its best
LATE_SECONDS = 4  # the daemon lets go of a nameless file after five quiet seconds
COPY_BYTES_MIN = 256  # a shorter file is never taken for a copy
PACKED = (".gz", ".bz2", ".zip", ".xz", ".zst", ".lz4")


class Health:
    """A clock that runs only while all is well: seconds in which the daemon could deliver.

    After bad weather it takes up to as long as the trouble lasted until the daemon tries again; bad
    weather in that time prolongs the trouble. A new process knows of no trouble."""

    def __init__(self):
        self.lock = threading.Lock()
        self.up, self.fair = False, True
        self.total = 0.0
        self.mark = self.good_from = self.trouble_since = time.monotonic()

    def _settle(self):
        now = time.monotonic()
        if self.up and self.fair:
            self.total += max(0.0, now - max(self.mark, self.good_from))
        self.mark = now
        return now

    def now(self):
        with self.lock:
            self._settle()
            return self.total

    def set_up(self, up):
        with self.lock:
            now = self._settle()
            self.up = up
            self.good_from, self.trouble_since = now + START_SECONDS, now

    def set_fair(self, fair):
        with self.lock:
            now = self._settle()
            if fair:
                self.good_from = now + now - self.trouble_since + START_SECONDS
            elif now > self.good_from:
                self.trouble_since = now
            self.fair = fair


class Life:
    """One process of the daemon, from its start to its end."""

    def __init__(self, number, pid):
        self.number, self.pid = number, pid
        self.started = time.monotonic()
        self.ended = None
        self.health_at_end = None

    def open_inodes(self):
        """The inodes that it has open; None when it cannot be asked any more."""
        found = set()
        try:
            for fd in os.listdir(f"/proc/{self.pid}/fd"):
                try:
                    found.add(os.stat(f"/proc/{self.pid}/fd/{fd}").st_ino)
                except OSError:
                    pass
        except OSError:
            return None
        return found


# Which part of a content went, why, when, on the healthy clock too; was the daemon up, and which life of
# it had the file open?
Gone = collections.namedtuple("Gone", "low high why at health up life")


class Content:
    def __init__(self, log, inode):
        self.log, self.inode = log, inode
        self.born = time.monotonic()
        self.size = 0
        self.ends = array.array("Q")
        self.writers = array.array("H")
        self.numbers = array.array("L")
        self.times = array.array("d")
        self.healths = array.array("d")
        self.gone = []

    def late(self, i, since):
        """Was the line, or one before it, written after a pause in which a nameless file is let go?"""
        last = since
        for j in range(bisect.bisect_right(self.times, since), i + 1):
            if self.times[j] - last > LATE_SECONDS:
                return True
            last = self.times[j]
        return False

    def excuse(self, i):
        """Why line i may be missing, or None."""
        end = self.ends[i]
        for gone in self.gone:
            if not gone.low < end <= gone.high:
                continue
            deadline = gone.health
            if gone.life is not None:
                deadline = gone.life.health_at_end
                if self.late(i, gone.at):
                    return f"{gone.why}, late"
                if deadline is None:
                    continue
            if deadline - self.healths[i] < HEALTHY_SECONDS:
                if gone.life is not None:
                    return f"{gone.why}, then killed"
                return f"{gone.why} {'before it was read' if gone.up else 'while down'}"
        return None


class Held:
    """A file that a name in the glob leads to. `high`: how much of the content a copy holds."""

    def __init__(self, fd, content, high=None):
        self.fd, self.content = fd, content
        self.inode = os.fstat(fd).st_ino
        self.high = high

    def top(self):
        return self.content.size if self.high is None else self.high


class Log:
    """One followed log: its directory, the names in it, and all contents there ever were."""

    def __init__(self, name, directory, pattern, health):
        self.name, self.dir, self.pattern, self.health = name, directory, pattern, health
        self.dir.mkdir(parents=True, mode=0o755)
        self.path = self.dir / "app.log"
        self.lock = threading.RLock()
        self.held = {}
        self.left = {}  # those that the glob no longer matches, and that still have a name
        self.contents = []
        self.truncated = []  # (held, old content) not yet settled
        self.copied = False  # copytruncate, with the copy in the glob
        self.doubtful = []  # (content, how much of it was copied): perhaps read again
        self.events = []
        self.rotations = 0
        self.serial = 0  # counts the rotations after which writers open anew

    def note(self, text):
        self.events.append((time.monotonic(), text))

    def _content(self, inode):
        content = Content(self, inode)
        self.contents.append(content)
        return content

    def names(self):
        """What the glob leads to: {inode: (name, size)}."""
        found = {}
        for entry in os.scandir(self.dir):
            if fnmatch.fnmatch(entry.name, self.pattern) and not entry.name.endswith(PACKED):
                try:
                    st = entry.stat()
                except FileNotFoundError:
                    continue
                found[st.st_ino] = (entry.name, st.st_size)
        return found

    # Writing.

    def open(self):
        """The live file, made if it is missing: (descriptor, Held)."""
        with self.lock:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            inode = os.fstat(fd).st_ino
            if inode not in self.held:
                self._hold(str(self.path), inode)
            return fd, self.held[inode]

    def _hold(self, path, inode, content=None, high=None):
        fd = os.open(path, os.O_RDONLY)
        if os.fstat(fd).st_ino != inode:
            os.close(fd)
            raise RuntimeError(f"{path} is another file already")
        self.held[inode] = Held(fd, content or self._content(inode), high)
        self.copied |= high is not None
        self.note(f"{os.path.basename(path)} is inode {inode}, {os.fstat(fd).st_size} bytes")

    def append(self, fd, held, data, lines):
        """Writes the bytes; lines: (writer, number, where in data it ends) of each that ends there."""
        with self.lock:
            if os.write(fd, data) != len(data):
                raise RuntimeError("a short write")
            end = os.lseek(fd, 0, os.SEEK_CUR)
            start = end - len(data)
            if start != held.content.size:
                self._truncated(held)
            content = held.content
            if start != content.size:
                raise RuntimeError(f"{self.name}: at {start}, not at {content.size}")
            now, health = time.monotonic(), self.health.now()
            for writer, number, at in lines:
                content.ends.append(start + at)
                content.writers.append(writer)
                content.numbers.append(number)
                content.times.append(now)
                content.healths.append(health)
            content.size = end

    def _truncated(self, held):
        self.truncated.append((held, held.content))
        self.note(f"inode {held.inode} truncated at {held.content.size}")
        held.content = self._content(held.inode)

    # Rotating.

    def rotate(self, how, life, why, reopen):
        """Calls how(), and works out what that did to the files."""
        at, health = time.monotonic(), self.health.now()
        before = self.names()
        opened = life.open_inodes() if life is not None else None
        self.note(f"rotation begins, the daemon {'is down' if opened is None else 'has open: '}"
                  f"{'' if opened is None else sorted(set(before) & opened)}")
        with self.lock:
            source = {inode: held.content for inode, held in self.held.items()}
        how()
        with self.lock:
            self.rotations += 1
            after = self.names()
            live = before_of(before, self.path.name)
            for inode, (name, size) in after.items():
                if inode in self.held:
                    continue
                copied = source.get(live) if live in after and name != self.path.name else None
                high = size if copied is not None else None
                if copied is not None and size < COPY_BYTES_MIN:
                    self.doubtful.append((copied, size))
                self._hold(str(self.dir / name), inode, copied, high)
            up = opened is not None
            self._settle_truncations(after, Gone(0, 0, "truncated", at, health, up, None))
            for inode in set(self.held) - set(after):
                has = life if up and inode in opened else None
                self._drop(inode, Gone(0, 0, why, at, health, up, has))
            if reopen:
                self.serial += 1

    def _settle_truncations(self, after, gone):
        for inode, held in self.held.items():
            alive = inode in after and held.high is None
            if alive and os.fstat(held.fd).st_size < held.content.size:
                self._truncated(held)
        for _, old in self.truncated:
            self._lose(old, old.size, gone)
            for copy in self.held.values():
                if copy.content is old and COPY_BYTES_MIN <= copy.high < old.size:
                    self.doubtful.append((old, copy.high))
        self.truncated = []

    def _drop(self, inode, gone):
        held = self.held.pop(inode)
        self.note(f"inode {inode} is gone at {held.top()}: {gone.why}"
                  f"{'' if gone.life is None else f', open in life {gone.life.number}'}")
        high = held.top() if held.high is not None else 1 << 62  # its writers may go on
        self._lose(held.content, high, gone)
        for other in [i for i, h in self.left.items() if os.fstat(h.fd).st_nlink == 0]:
            os.close(self.left.pop(other).fd)
        if os.fstat(held.fd).st_nlink > 0:
            self.left[inode] = held
        else:
            os.close(held.fd)

    def beside(self):
        """The inodes in the directory that are not packed: a daemon that starts finds them again."""
        return {e.inode() for e in os.scandir(self.dir) if not e.name.endswith(PACKED)}

    def every_held(self):
        return [*self.held.values(), *self.left.values()]

    def _lose(self, content, high, gone):
        low = max((h.top() for h in self.held.values() if h.content is content), default=0)
        if low < high:
            content.gone.append(gone._replace(low=low, high=high))

    def release(self):
        with self.lock:
            for held in self.every_held():
                os.close(held.fd)
            self.held, self.left = {}, {}


def before_of(names, wanted):
    return next((inode for inode, (name, _) in names.items() if name == wanted), None)


# --- the daemon's checkpoint ---------------------------------------------------------------------


def read_checkpoint(state):
    """{source: [entry]}, of the whole document and the recent one together."""
    try:
        whole = json.loads((state / "checkpoint.json").read_text())
    except FileNotFoundError:
        return {}
    sources = {s["name"]: {f["id"]: f for f in s["files"]} for s in whole["sources"]}
    try:
        recent = json.loads((state / "checkpoint-recent.json").read_text())
    except FileNotFoundError:
        recent = {"generation": None, "sources": []}
    if recent["generation"] == whole["generation"]:
        for source in recent["sources"]:
            sources.setdefault(source["name"], {}).update({f["id"]: f for f in source["files"]})
    return {name: list(files.values()) for name, files in sources.items()}


def fingerprint(fd, at, n):
    found = os.pread(fd, n, at)
    return hashlib.sha256(found).hexdigest()[:32] if len(found) == n else None


def speaks_of(entry, fd):
    """Are these the bytes that the entry was made from?"""
    offset, head, tail = entry["offset"], entry["head"], entry["tail"]
    return (
        offset <= os.fstat(fd).st_size
        and (head["n"] == 0 or fingerprint(fd, 0, head["n"]) == head["hash"])
        and (tail["n"] == 0 or fingerprint(fd, offset - tail["n"], tail["n"]) == tail["hash"])
    )


def durable(log, entries):
    """{content: the offset up to which the checkpoint says it is delivered}, of what is held."""
    found = {}
    for held in log.every_held():
        best = found.get(held.content, 0)
        for entry in entries:
            mine = int(entry["inode"]) == held.inode or log.copied
            if mine and entry["offset"] > best and speaks_of(entry, held.fd):
                best = entry["offset"]
        found[held.content] = best
    return found


def past_checkpoint(log, entries, at):
    """The (writer, number) of every line written by `at` that the checkpoint does not cover."""
    with log.lock:
        tops = collections.Counter()
        for held in log.every_held():
            tops[held.content] = max(tops[held.content], held.top())
        for content, offset in durable(log, entries).items():
            first = bisect.bisect_right(content.ends, offset)
            last = bisect.bisect_right(content.ends, tops[content])
            last = min(last, bisect.bisect_right(content.times, at))
            for i in range(first, last):
                yield content.writers[i], content.numbers[i]
