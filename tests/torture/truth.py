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

Two things leave no excuse. A line that a checkpoint said is delivered must have been stored. And a file
that was only renamed, to a name in its directory that the glob does not match, is found again by a
daemon that starts, if its checkpoint knows the file: what is in it by then is owed, if that life lasts
long enough and the file stays.

What may be doubled. After each end of the daemon its checkpoint is read: the lines past what it says,
in files that are still there, may be stored by a later life though this one or an earlier one has
stored them; each end allows one such repeat. A line of which the answer was lost may be stored again by
the life that lost it. A file of which so little has been read that it could be anybody's is not known in
its copy, and that little may come again. And a copy that ends before the file did when it was truncated
may be read again as a whole: if the daemon had read beyond that, it may not be able to prove that it
knows the copy. So may one that a daemon finds at its start together with the file,
before the truncation, if no checkpoint knows of either.
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
HEAD_BYTES = 1024  # what a checkpoint knows a file by
COPY_BYTES_MIN = 256  # a shorter file is never taken for a copy
PACKED = (".gz", ".bz2", ".zip", ".xz", ".zst", ".lz4")


class Health:
    """A clock that runs only while all is well: seconds in which the daemon could deliver.

    After bad weather it takes up to as long as the trouble lasted until the daemon tries again; bad
    weather in that time prolongs the trouble. A new process knows of no trouble."""

    def __init__(self, of_weather=True):
        self.lock = threading.Lock()
        self.up, self.fair = False, True
        # In which the daemon could look at files, and save what it saw, in whatever weather.
        self.presence = Health(of_weather=False) if of_weather else None
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
        if self.presence is not None:
            self.presence.set_up(up)
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
        self.health_at_end = self.presence_at_end = None

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


# Which part of a content went, why, when, on the healthy clock and that of the daemon's presence too; was
# the daemon up, and which life of it had the file open?
Gone = collections.namedtuple("Gone", "low high why at health presence up life")


class Content:
    def __init__(self, log, inode):
        self.log, self.inode = log, inode
        self.inodes = {inode}  # its copies' too
        self.born = time.monotonic()
        self.size = 0
        self.ends = array.array("Q")
        self.writers = array.array("H")
        self.numbers = array.array("L")
        self.times = array.array("d")
        self.healths = array.array("d")
        self.presences = array.array("d")
        self.gone = []
        self.head = bytearray()  # its first bytes, by which an entry of a checkpoint knows it
        self.delivered = 0  # as far as a checkpoint has ever said
        self.seen = 0  # the size that a checkpoint has ever given it
        self.owed = 0  # a life that had found it outside the glob must have delivered so much

    def is_spoken_of(self, entry):
        """Is this the content that the entry of a checkpoint was made from? So many first bytes are
        in one content only; with fewer, or none, the inode decides, and the latest content has it."""
        head = entry["head"]
        same = head["n"] <= len(self.head) and head["hash"] == hash_of(self.head[: head["n"]])
        mine = head["n"] >= 32 or int(entry["inode"]) in self.inodes
        return (same or head["n"] == 0) and mine and entry["offset"] <= self.size

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
        if end <= max(self.delivered, self.owed):
            return None
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


    def could_be_known(self, i):
        """Was line i there so long, with a daemon, that a checkpoint must know of it, were it only by
        the file's size?"""
        for gone in self.gone:
            if gone.low < self.ends[i] <= gone.high:
                until = gone.presence if gone.life is None else gone.life.presence_at_end
                if until - self.presences[i] < HEALTHY_SECONDS or self.late(i, gone.at):
                    return False
        return True


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
        self.life_began = 0  # when a daemon was started last
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
                self._hold(f"/proc/self/fd/{fd}", inode)  # its name may be another's by now
            return fd, self.held[inode]

    def _hold(self, path, inode, content=None, high=None):
        fd = os.open(path, os.O_RDONLY)
        if os.fstat(fd).st_ino != inode:
            os.close(fd)
            raise RuntimeError(f"{path} is another file already")
        self.held[inode] = Held(fd, content or self._content(inode), high)
        self.held[inode].content.inodes.add(inode)
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
            content.head += data[: HEAD_BYTES - len(content.head)]
            now, health, presence = time.monotonic(), self.health.now(), self.health.presence.now()
            for writer, number, at in lines:
                content.ends.append(start + at)
                content.writers.append(writer)
                content.numbers.append(number)
                content.times.append(now)
                content.healths.append(health)
                content.presences.append(presence)
            content.size = end

    def _truncated(self, held):
        self.truncated.append((held, held.content))
        self.note(f"inode {held.inode} truncated at {held.content.size}")
        held.content = self._content(held.inode)

    # Rotating.

    def rotate(self, how, life, why, reopen):
        """Calls how(), and works out what that did to the files."""
        at, health, presence = time.monotonic(), self.health.now(), self.health.presence.now()
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
                if copied is not None:
                    all_of_it = size < COPY_BYTES_MIN or self._found_together(copied, at)
                    self.doubtful.append((copied, size if all_of_it else COPY_BYTES_MIN - 1))
                self._hold(str(self.dir / name), inode, copied, high)
            up = opened is not None
            gone = Gone(0, 0, why, at, health, presence, up, None)
            self._settle_truncations(after, gone._replace(why="truncated"))
            for inode in set(self.held) - set(after):
                has = life if up and inode in opened else None
                self._drop(inode, gone._replace(life=has))
            if reopen:
                self.serial += 1

    def _found_together(self, content, since):
        """Has a daemon, perhaps, come upon the file and its copy, both whole, and knows neither?"""
        return content.delivered == 0 and since < self.life_began + START_SECONDS

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

    def can_be_found(self, entry):
        """Does a file that the entry speaks of have a name by which the daemon finds it: in the glob,
        or else in the directory that it has left the glob in? While something is being rotated, what
        is held may have no name any more, and what has a name may not be held yet: both count."""
        with self.lock:
            if any(self._is_it(entry, held.fd) for held in self.held.values()):
                return True
            if self._of_those_outside(entry) is not None:
                return True
        return any(self._is_named(entry, name) for name, _ in self.names().values())

    def _is_it(self, entry, fd):
        mine = os.fstat(fd).st_ino == int(entry["inode"])
        return (mine or (self.copied and entry["head"]["n"] > 0)) and speaks_of(entry, fd)

    def _is_named(self, entry, name):
        try:
            fd = os.open(self.dir / name, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return self._is_it(entry, fd)
        finally:
            os.close(fd)

    def _of_those_outside(self, entry):
        held = self.left.get(int(entry["inode"]))
        known = held is not None and held.high is None and is_certain(entry)
        return held if known and held.inode in self.beside() and speaks_of(entry, held.fd) else None

    def content_of(self, entry):
        """The content that the entry of a checkpoint speaks of, or None."""
        with self.lock:
            return next((c for c in reversed(self.contents) if c.is_spoken_of(entry)), None)

    def believe(self, entries):
        """What a checkpoint says of delivered bytes, and of sizes, it can be held to."""
        for entry in entries:
            content = self.content_of(entry)
            if content is not None and entry["head"]["n"] > 0:
                content.delivered = max(content.delivered, entry["offset"])
                content.seen = max(content.seen, min(entry["size"], content.size))

    def found_outside(self, entries):
        """{inode: (content, size)} of the files that have left the glob, and that a daemon which
        starts with this checkpoint finds in their directory."""
        with self.lock:
            found = [self._of_those_outside(entry) for entry in entries]
            return {held.inode: (held.content, held.content.size) for held in found if held}

    def owe(self, found):
        """They were still there when that life ended, long after it had found them."""
        with self.lock:
            beside = self.beside()
            for inode, (content, size) in found.items():
                if inode in self.left and inode in beside:
                    content.owed = max(content.owed, size)

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


def hash_of(data):
    return hashlib.sha256(data).hexdigest()[:32]


def fingerprint(fd, at, n):
    found = os.pread(fd, n, at)
    return hash_of(found) if len(found) == n else None


def is_certain(entry):
    """By a few first bytes alone the daemon takes no file that the glob does not match."""
    return entry["offset"] > 0 or entry["head"]["n"] >= COPY_BYTES_MIN


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
            # A copy is known by so many bytes only: with fewer, it is read from its beginning.
            enough = max(entry["offset"], entry["head"]["n"]) >= COPY_BYTES_MIN
            mine = enough if log.copied else int(entry["inode"]) == held.inode
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
        # Truncated, and the rotation is not over: what is in the copy is known only then.
        for _, content in log.truncated:
            yield from zip(content.writers, content.numbers)
