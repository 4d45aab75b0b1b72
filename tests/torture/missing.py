"""What the daemon says it could not have, beside what the campaign knows.

When it starts, the daemon counts what a file that is gone was known to hold beyond the checkpoint: from
the offset up to the size, both as the checkpoint says. While it runs, it counts what a deleted file
still held when it is stopped, and what was cut off before it was read. Here each of these is laid over
the lines of the file that it speaks of, byte by byte. For files that are renamed, packed, deleted or
left by a link,

    missing = unknown + counted - delivered

must hold to the byte, with every term known by other means than the other three: missing are the bytes
of lines that were never stored; unknown, those of them beyond the largest size that any checkpoint has
given the file (written after the daemon looked last, or it never saw the file: so they must be young, measured by
the time that a daemon was there to look); counted, what the daemon
said, each byte once; delivered, those of the counted that were stored after all (after the checkpoint
that the count was made from). So a file that is passed over in silence, or counted twice, or though it
is there, makes the two sides differ.

For files that are copied and truncated there is a bound only: what is missing lies beyond what the last
checkpoint before the cut said was delivered. What was cut off is counted as far as it was seen, and what
was in the daemon's memory when it was killed is lost with it.
"""

import bisect
import collections
import re
import shlex

import truth

AT_START = "gone while tailraced was not running"
COUNTED = re.compile(rb'msg="bytes that were not read are gone"(.*)')

Count = collections.namedtuple("Count", "log why inode offset bytes entry life")


class Accounts:
    def __init__(self, logs, tally, log_path):
        self.logs, self.tally = {log.name: log for log in logs}, tally
        self.log_path = log_path
        self.read_at = 0
        self.life = 0
        self.entries, self.gone, self.there = {}, {}, {}
        self.counts = {}  # each once: (log, id, offset, bytes), or a number
        self.problems = []

    def before_start(self, checkpoint):
        self.life += 1
        self.entries, self.gone, self.there = collections.defaultdict(list), {}, {}
        for name, log in self.logs.items():
            for e in checkpoint.get(name, []):
                if e["size"] > e["offset"]:
                    key = name, e["id"], e["offset"], e["size"] - e["offset"]
                    self.entries[name, int(e["inode"]), *key[2:]].append((key, e))
                    (self.there if log.can_be_found(e) else self.gone)[key] = e

    def after_end(self):
        """Reads what the life that has ended said."""
        with open(self.log_path, "rb") as said:
            said.seek(self.read_at)
            text = said.read()
            self.read_at = said.tell()
        found = set()
        for line in COUNTED.findall(text):
            fields = dict(word.split("=", 1) for word in shlex.split(line.decode()))
            where = fields["source"], *(int(fields[name]) for name in ("inode", "offset", "bytes"))
            if fields["why"] == AT_START:
                found.update(self.note(where))
            else:
                count = Count(where[0], fields["why"], *where[1:], None, self.life)
                self.counts[len(self.counts), self.life] = count
        # A life that was ended before it came so far counts nothing, and the next one must.
        if b"msg=started" in text:
            self.problems += [f"not counted: {self.gone[key]}" for key in self.gone.keys() - found]
        # Gone in between it may have been, and only it knows; but not if it is there before and after.
        # A copy of so few bytes is not known, and read from its beginning.
        for key in found & self.there.keys():
            log, entry = self.logs[key[0]], self.there[key]
            short = max(entry["offset"], entry["head"]["n"]) < truth.COPY_BYTES_MIN
            if log.can_be_found(entry) and not (log.copied and short):
                self.problems.append(f"counted, but there: {self.there[key]}")

    def note(self, where):
        entries = self.entries.get(where, [])
        if not entries:
            self.problems.append(f"counted, but in no checkpoint: {where}")
        log, inode, offset, n = where
        for key, entry in entries:
            self.counts[key] = Count(log, AT_START, inode, offset, n, entry, self.life)
        return {key for key, _ in entries}

    # At the end.

    def content_of(self, count):
        """Whose bytes they are. Without first bytes to know it by, of those that have had the inode:
        the one that went in that life, and then the one that most of these bytes are missing of."""
        contents, end = self.logs[count.log].contents, count.offset + count.bytes
        if count.entry is not None and count.entry["head"]["n"] > 0:
            known = [c for c in contents if c.is_spoken_of(count.entry)]
        else:
            known = [c for c in contents if count.inode in c.inodes and c.gone]

        def likely(content):
            lives = [g.life.number for g in content.gone if g.life is not None]
            return count.life in lives, self.missing(content, count.offset, end)

        return max((c for c in known if end <= c.size), key=likely, default=None)

    def missing(self, content, low, high):
        """How many bytes between the two are of lines that were never stored."""
        n, last = 0, 0
        for end, writer, number in zip(content.ends, content.writers, content.numbers):
            if end > low and not self.tally.count(writer, number):
                n += max(0, min(end, high) - max(last, low))
            last = end
            if last >= high:
                break
        return n

    def old(self, content, top):
        """Where the lines end that were never stored, that no checkpoint knows of, and that were there
        too long for that."""
        first = bisect.bisect_right(content.ends, top)
        return [
            content.ends[i]
            for i in range(first, len(content.ends))
            if not self.tally.count(content.writers[i], content.numbers[i]) and content.could_be_known(i)
        ]

    def row(self, log, exact):
        """One log's bytes: see above."""
        row = collections.Counter()
        counted = collections.defaultdict(list)
        for count in self.counts.values():
            if count.log != log.name:
                continue
            content = self.content_of(count)
            if content is None:
                self.problems.append(f"counted, but never written: {count}")
                continue
            row["files"] += 1
            row["counted"] += count.bytes
            low, high = count.offset, count.offset + count.bytes
            row["delivered"] += count.bytes - self.missing(content, low, high)
            counted[content].append((low, high))
        for content in log.contents:
            top = max([content.seen, *(high for _, high in counted[content])])
            row["missing"] += self.missing(content, 0, content.size)
            row["unknown"] += self.missing(content, top, content.size)
            old = self.old(content, top) if exact else []
            if old:
                self.problems.append(f"{log.name}: known to no checkpoint, of {content.inode}: {old}")
            if content.gone:
                row["bound"] += content.size - min(content.delivered, content.size)
        row["off"] = row["missing"] - row["unknown"] - row["counted"] + row["delivered"]
        if exact and row["off"] != 0:
            self.problems.append(f"{log.name}: missing is not unknown + counted - delivered: {dict(row)}")
            self.tell(log, counted)
        if not exact and row["missing"] > row["bound"]:
            self.problems.append(f"{log.name}: more is missing than was not delivered: {dict(row)}")
        return row

    def tell(self, log, counted):
        """Which contents the figures differ for."""
        for content in log.contents:
            spans = counted[content]
            top = max([content.seen, *(high for _, high in spans)])
            known = self.missing(content, 0, top)
            if known != sum(self.missing(content, *span) for span in spans):
                print(
                    f"  {log.name}: inode {content.inode}, {content.size} bytes, seen {content.seen},"
                    f" delivered {content.delivered}, missing of what is known {known}, counted {spans},"
                    f" gone {[(g.low, g.why, g.life and g.life.number) for g in content.gone]}"
                )
