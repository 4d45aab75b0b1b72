"""What the daemon says it could not have, beside what the campaign knows.

The daemon counts, when it starts, what a file that is gone was known to hold beyond the checkpoint: its
size when it was last seen, less the offset. That differs from what is missing in two ways, both known
here: lines written after the daemon looked last (unseen), and lines that were delivered after the last
checkpoint (delivered). So, for each such file,

    missing = counted + unseen - delivered

must hold to the byte, every such file must be counted by a life that came as far as "started", and
nothing else may be. What it counts while it runs (files truncated before they were read, or deleted and
then left at a stop) is a lower bound, and so is everything for logs of which copies are followed.
"""

import bisect
import collections
import re
import shlex

import truth

AT_START = "gone while tailraced was not running"
COUNTED = re.compile(rb'msg="bytes that were not read are gone"(.*)')

Entry = collections.namedtuple("Entry", "log id path inode offset size")


class Accounts:
    def __init__(self, logs, tally, log_path):
        self.logs, self.tally = {log.name: log for log in logs}, tally
        self.log_path = log_path
        self.read_at = 0
        self.entries, self.gone = {}, []
        self.counted = {}  # (log, id, offset): Entry
        self.running = collections.Counter()  # log: bytes counted while running
        self.problems = []

    def before_start(self, checkpoint):
        self.entries, self.gone = collections.defaultdict(list), []
        for name, log in self.logs.items():
            for e in checkpoint.get(name, []):
                entry = Entry(name, e["id"], e["path"], int(e["inode"]), e["offset"], e["size"])
                if entry.size > entry.offset:
                    self.entries[entry.path, entry.size - entry.offset].append(entry)
                    if not self.is_there(log, e):
                        self.gone.append(entry)

    @staticmethod
    def is_there(log, e):
        with log.lock:
            beside = log.beside()
            return any(
                (held.inode == int(e["inode"]) or log.copied) and truth.speaks_of(e, held.fd)
                for held in log.every_held()
                if held.inode in beside
            )

    def after_end(self):
        """Reads what the life that has ended said."""
        with open(self.log_path, "rb") as said:
            said.seek(self.read_at)
            text = said.read()
            self.read_at = said.tell()
        found = set()
        for line in COUNTED.findall(text):
            fields = dict(word.split("=", 1) for word in shlex.split(line.decode()))
            if fields["why"] == AT_START:
                found.update(self.note(fields))
            else:
                self.running[fields["source"]] += int(fields["bytes"])
        if b"msg=started" in text:
            self.problems += [f"not counted: {e}" for e in self.gone if e not in found]

    def note(self, fields):
        entries = self.entries.get((fields["path"], int(fields["bytes"])), [])
        if not entries:
            self.problems.append(f"counted, but not known to be missing: {fields}")
        for entry in entries:
            self.counted[entry.log, entry.id, entry.offset] = entry
        return entries

    # At the end.

    def content_of(self, entry):
        """The last content of that inode in which the offset is where a line ends."""
        for content in reversed(self.logs[entry.log].contents):
            i = bisect.bisect_left(content.ends, entry.offset)
            ends = entry.offset == 0 or (i < len(content.ends) and content.ends[i] == entry.offset)
            if content.inode == entry.inode and ends and entry.size <= content.size:
                return content
        return None

    def bytes_of(self, content, since=0):
        """(missing, delivered) bytes of the lines that end after `since`."""
        missing = delivered = last = 0
        for end, writer, number in zip(content.ends, content.writers, content.numbers):
            if end > since:
                if self.tally.count(writer, number):
                    delivered += end - last
                else:
                    missing += end - last
            last = end
        return missing, delivered

    def rows(self):
        """Of each log: what is missing, what was counted, and how the two go together, in bytes."""
        for name, log in self.logs.items():
            row = collections.Counter(missing=sum(self.bytes_of(c)[0] for c in log.contents))
            row["running"] = self.running[name]
            for entry in self.counted.values():
                if entry.log == name:
                    self.settle(entry, row)
            yield name, row

    def settle(self, entry, row):
        row["files"] += 1
        row["counted"] += entry.size - entry.offset
        if self.logs[entry.log].copied:
            return  # a part may be in a copy of it
        content = self.content_of(entry)
        if content is None:
            self.problems.append(f"counted, but never written: {entry}")
            return
        missing, delivered = self.bytes_of(content, entry.offset)
        unseen = content.size - entry.size
        row["of them"] += missing
        row["unseen"] += unseen
        row["delivered"] += delivered
        if missing != entry.size - entry.offset + unseen - delivered:
            self.problems.append(f"{missing} bytes missing, {unseen} unseen, {delivered} delivered: {entry}")
