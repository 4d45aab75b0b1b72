"""Who makes the trouble: writers, rotators, the weather at the endpoint, and a Kinesis that counts.

Each has a random generator of its own, seeded by the campaign's seed and its name: the same seed makes
the same schedule, as far as timing allows.
"""

import array
import bisect
import collections
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import zlib

import campaign
import faults

LOGROTATE = shutil.which("logrotate", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
PADDING = bytes(33 + i * 7919 % 94 for i in range(1 << 17))


# --- lines --------------------------------------------------------------------------------------


def make_line(writer, number, pad, start):
    body = b"%d %d %s" % (writer, number, PADDING[start : start + pad])
    return b"%s %08x\n" % (body, zlib.crc32(body))


def read_line(data):
    """(writer, number), or None when it is not a line as one was written."""
    body, _, check = data.rpartition(b" ")
    try:
        if int(check, 16) != zlib.crc32(body):
            return None
        writer, number, _ = body.split(b" ", 2)
        return int(writer), int(number)
    except ValueError:
        return None


class Tally:
    """How often each line was stored, by which lives of the daemon, when on the healthy clock it was
    for the first time, and which repeats are allowed."""

    def __init__(self, writers, health):
        self.lock, self.health = threading.Lock(), health
        self.copies = [bytearray() for _ in range(writers)]
        self.first = [array.array("f") for _ in range(writers)]
        self.first_life = [array.array("H") for _ in range(writers)]
        self.again = {}  # (writer, number): [(when, in which life) it came again]
        self.unsaved = {}  # life: the lines that its last checkpoint does not cover
        self.unanswered = collections.Counter()  # (life, line): answers to it that were lost
        self.doubtful = collections.Counter()  # line: copies that it may be read again from
        self.mangled = []

    def _grow(self, rows, writer, number):
        row = rows[writer]
        if number >= len(row):
            row.extend(bytes(number + 1024 - len(row)))
        return row

    def _note_first(self, writer, number, now, life):
        row, lives = self.first[writer], self.first_life[writer]
        if number >= len(row):
            row.extend([0.0] * (number + 1024 - len(row)))
            lives.extend([0] * (number + 1024 - len(lives)))
        row[number], lives[number] = now, life

    def store(self, records, life):
        found = [read_line(data) for data in records]
        now = self.health.now()
        with self.lock:
            for line, data in zip(found, records):
                if line is None or line[0] >= len(self.copies):
                    self.mangled.append(data[:120])
                    continue
                row = self._grow(self.copies, *line)
                if row[line[1]] == 0:
                    self._note_first(*line, now, life)
                else:
                    self.again.setdefault(line, []).append((time.monotonic(), life))
                row[line[1]] = min(row[line[1]] + 1, 255)
        return [line for line in found if line is not None]

    def permit_unsaved(self, life, lines):
        """That life has ended: whoever stored them, a later one may again."""
        found = self.unsaved.setdefault(life, set())
        found.update(lines)
        return len(found)

    def permit_unanswered(self, life, lines):
        with self.lock:
            self.unanswered.update((life, line) for line in lines)
        return len(lines)

    def permit_doubtful(self, lines):
        self.doubtful.update(lines)

    def count(self, writer, number):
        row = self.copies[writer]
        return row[number] if number < len(row) else 0

    def lives(self, line):
        """Which lives have stored it, the first life first, each as often as it did."""
        return sorted([self.first_life[line[0]][line[1]], *(life for _, life in self.again[line])])

    def repeats(self):
        """Of every line that came more than once, by the reason for which it may have: Counter; and
        the lines for which there is none. A repeat by a later life needs an end between the two whose
        checkpoint did not cover the line; one by the same life needs an answer that was lost."""
        reasons, found = collections.Counter(), []
        for line in self.again:
            lives, doubtful = self.lives(line), self.doubtful[line]
            lost = {life: self.unanswered[life, line] for life in set(lives)}
            for before, after in zip(lives, lives[1:]):
                if before == after and lost[after] > 0:
                    lost[after] -= 1
                    reasons["answer lost"] += 1
                elif any(line in self.unsaved.get(life, ()) for life in range(before, after)):
                    reasons["not saved at an end"] += 1
                elif doubtful > 0:
                    doubtful -= 1
                    reasons["read again in a copy"] += 1
                else:
                    found.append(line)
                    break
        return reasons, found


# --- the endpoint -------------------------------------------------------------------------------


class CountingKinesis(campaign.ForgetfulKinesis):
    """Tells lives by the order in which connections were accepted."""

    def __init__(self, streams, tally):
        super().__init__(streams, tally)
        self.lives = []  # the number of the last connection before each life of the daemon began

    def life_of(self, request):
        return bisect.bisect_left(self.lives, request.connection.number)

    def begin_life(self):
        """What connects from now on is a new process. Connections are accepted in the order in which
        they were made: once one of our own has been, there is none left of the process before."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as own:
                name = own.getsockname()
                until = time.monotonic() + 5
                while not self.has_accepted(name) and time.monotonic() < until:
                    time.sleep(0.001)
        except OSError:
            pass  # it is away: nobody is connected
        with self.lock:
            self.lives.append(self.connections_n)

    def has_accepted(self, name):
        with self.lock:
            for connection in self.connections:
                try:
                    if connection.raw.getpeername() == name:
                        return True
                except OSError:
                    pass
        return False


class Weather(threading.Thread):
    """Fair and bad stretches at the endpoint."""

    def __init__(self, fake, health, seed, stop):
        super().__init__(daemon=True)
        self.fake, self.health, self.stop = fake, health, stop
        self.random = random.Random(f"{seed}/weather")
        self.stretches = {}
        self.bad_seconds = 0.0

    def run(self):
        while not self.stop.wait(self.random.choice([1, 2, 4, 8, 16]) * self.random.random()):
            self.storm()

    def storm(self):
        kind = self.random.choice(["away", "slow", "throttling", "broken"])
        seconds = self.random.choice([0.3, 1, 2, 6]) * self.random.uniform(0.5, 1)
        self.stretches[kind] = self.stretches.get(kind, 0) + 1
        self.bad_seconds += seconds
        self.health.set_fair(False)
        if kind == "away":
            self.fake.go_away()
            self.stop.wait(seconds)
            self.fake.come_back()
        else:
            self.fake.fault = self.fault(kind)
            until = time.monotonic() + seconds
            while time.monotonic() < until and not self.stop.wait(0.1):
                if kind == "broken":
                    self.fake.fault = self.fault(kind)
            self.fake.fault = None
        self.health.set_fair(True)

    def fault(self, kind):
        r = self.random
        if kind == "slow":
            return faults.Slow(r.choice([0.05, 0.2, 1]))
        if kind == "throttling":
            share = r.choice([0.05, 0.5, 1])
            return r.choice(
                [
                    faults.Entries(share=share, seed=r.random()),
                    faults.Error("ProvisionedThroughputExceededException"),
                ]
            )
        return r.choice(
            [
                faults.Status(500),
                faults.Status(503),
                faults.CutJson(),
                faults.CutConnection(),
                faults.DropAfterStoring(),
                faults.DropBeforeStoring(),
                faults.DropBeforeReading(),
            ]
        )


# --- writers ------------------------------------------------------------------------------------


class Writer(threading.Thread):
    """Appends lines at rates that change, and opens the log anew some time after a rotation."""

    MOODS = [("idle", 0, 1.0), ("trickle", 1, 0.05), ("steady", 4, 0.03), ("flood", 60, 0.02)]

    def __init__(self, index, log, halves, rate, seed, stop):
        super().__init__(daemon=True)
        self.index, self.log, self.halves, self.rate, self.stop = index, log, halves, rate, stop
        self.random = random.Random(f"{seed}/writer {index}")
        self.number = 0
        self.bytes = 0
        self.failure = None

    def run(self):
        try:
            self.serial, self.open_at = self.log.serial, None
            self.fd, self.held = self.log.open()
            while not self.stop.is_set():
                self.mood()
            os.close(self.fd)
        except Exception as error:  # told at the end of the campaign
            self.failure = error

    def mood(self):
        r = self.random
        _, burst, pause = r.choices(self.MOODS, [3, 4, 3, 1])[0]
        until = time.monotonic() + r.uniform(0.1, 0.5 if burst > 9 else 3)
        while time.monotonic() < until and not self.stop.is_set():
            self.open_anew()
            if burst:
                self.write(r.randint(1, max(1, int(burst * self.rate))))
            self.stop.wait(pause * r.uniform(0.2, 1.8))

    def open_anew(self):
        now = time.monotonic()
        if self.open_at is None and self.serial != self.log.serial:
            self.open_at = now + self.random.choice([0, 0.05, 0.5, 2.5]) * self.random.random()
        if self.open_at is not None and now >= self.open_at:
            self.serial, self.open_at = self.log.serial, None
            os.close(self.fd)
            self.fd, self.held = self.log.open()

    def write(self, n):
        r, data, ends = self.random, bytearray(), []
        for _ in range(n):
            pad = r.randint(0, 200) if r.random() < 0.98 else r.randint(200, 20000)
            data += make_line(self.index, self.number, pad, r.randrange(1 << 16))
            ends.append((self.index, self.number, len(data)))
            self.number += 1
        self.bytes += len(data)
        cut = r.randrange(1, len(data)) if self.halves and r.random() < 0.3 else 0
        if cut:
            self.log.append(self.fd, self.held, bytes(data[:cut]), [e for e in ends if e[2] <= cut])
            self.stop.wait(r.choice([0, 0.02, 0.3]) * r.random())
        rest = [(w, i, end - cut) for w, i, end in ends if end > cut]
        self.log.append(self.fd, self.held, bytes(data[cut:]), rest)


# --- rotators -----------------------------------------------------------------------------------


class Rotator(threading.Thread):
    """Rotates one log in one way, now and then several times in a row."""

    def __init__(self, log, way, life, seed, stop):
        super().__init__(daemon=True)
        self.log, self.way, self.life, self.stop = log, way, life, stop
        self.random = random.Random(f"{seed}/rotator {log.name}")
        self.failure = None

    def run(self):
        try:
            while not self.stop.wait(self.pause()):
                self.way.rotate(self.log, self.life(), self.random)
        except Exception as error:  # told at the end of the campaign
            self.failure = error

    def pause(self):
        low, high = self.random.choices([(0, 0.1), (0.3, 3), (3, 12)], [2, 5, 3])[0]
        return max(self.way.pause_min, self.random.uniform(low, high))


class Logrotate:
    """logrotate itself, forced, with a configuration and a state file of the log's own."""

    def __init__(self, log, directives, directory):
        self.conf = directory / f"{log.name}.conf"
        self.state = directory / f"{log.name}.state"
        lines = "".join(f"    {d}\n" for d in directives)
        self.conf.write_text(f"{log.path} {{\n{lines}}}\n")
        self.conf.chmod(0o644)
        self.copies = "copytruncate" in directives
        self.pause_min = 1.1 if "dateext" in directives else 0
        self.why = "compressed" if "compress" in directives else "deleted"
        if log.pattern == "app.log":
            self.why = f"left the glob, {self.why}" if "compress" in directives else "left the glob"

    def rotate(self, log, life, _random):
        log.rotate(self.run, life, self.why, reopen=not self.copies)

    def run(self):
        done = subprocess.run(
            [LOGROTATE, "-f", "-s", str(self.state), str(self.conf)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        if done.returncode != 0:
            raise RuntimeError(f"logrotate: {done.stderr.decode(errors='replace')}")


class ByHand:
    """What a shell script does: an heir's run()."""

    pause_min = 0
    why = "left the glob"
    keep = 4

    def __init__(self, log):
        self.log = log

    def rotate(self, log, life, _random):
        log.rotate(self.run, life, self.why, reopen=True)


class Move(ByHand):
    """mv app.log.1 app.log.2; mv app.log app.log.1."""

    why = "deleted"

    def run(self):
        names = [self.log.path] + [self.log.dir / f"app.log.{i + 1}" for i in range(self.keep)]
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(reversed(names), reversed(names[:-1])):
            if newer.exists():
                newer.rename(older)


class Away(ByHand):
    """Numbered files in a directory that nobody follows."""

    def __init__(self, log):
        super().__init__(log)
        self.n = 0
        self.away = log.dir.with_name(f"{log.name}.away")
        self.away.mkdir()

    def next(self):
        self.n += 1
        return self.away / str(self.n)

    def drop_oldest(self):
        (self.away / str(self.n - self.keep)).unlink(missing_ok=True)


class MoveAway(Away):
    """mv to a directory that nobody follows."""

    def run(self):
        if self.log.path.exists():
            self.log.path.rename(self.next())
            self.drop_oldest()


class Delete(ByHand):
    """rm, and sometimes a new file at once, which may well get the same inode."""

    why = "deleted"

    def rotate(self, log, life, r):
        super().rotate(log, life, r)
        if r.random() < 0.5:
            fd, _ = log.open()
            os.close(fd)

    def run(self):
        self.log.path.unlink(missing_ok=True)


class SwitchLink(Away):
    """app.log is a symbolic link to the newest of several files, and is switched to the next one."""

    def __init__(self, log):
        super().__init__(log)
        self.run()

    def run(self):
        target, new = self.next(), self.log.dir / "next"
        target.touch(mode=0o644)
        new.symlink_to(target)
        new.rename(self.log.path)
        self.drop_oldest()
