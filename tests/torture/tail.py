"""make torture-tail: rotations of every kind, kills without end, and a count of what arrived.

    tail.py [--seed N] [--kills N | --seconds N] [--only LOG,...] [--rate X] [--keep DIR]

Writers append numbered lines to several logs; logrotate's own binary, mv, rm and a switched link rotate
them; the daemon is killed with kill -9 and started again, at any moment; the endpoint is slow, throttles,
breaks and is away for stretches. Afterwards every line must have been stored, but for those that could
not be had (truth.py says which), and no line may have come more often than the checkpoints at the kills
and the lost answers allow. Prints a table; the exit status is 0 only if both hold.

The seed is printed, and gives the same schedule again, as far as timing allows. Everything happens on
the loopback interface and in one temporary directory, which is removed at the end unless --keep names it.
"""

import collections
import pathlib
import re
import shutil
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import actors  # noqa: E402
import campaign  # noqa: E402
import harness  # noqa: E402
import missing as missing_bytes  # noqa: E402
import truth  # noqa: E402

DRAIN_SECONDS = 60
SHOWN = 10  # of the lines that should not be missing or doubled

# name, pattern, writers, how: directives for logrotate, or what does it instead
LOGS = [
    ("create", "app.log*", 2, ["rotate 4", "create 0644"]),
    ("create-live", "app.log", 2, ["rotate 4", "create 0644"]),
    ("nocreate", "app.log*", 1, ["rotate 6", "nocreate", "missingok"]),
    ("dated", "app.log*", 1, ["rotate 5", "create 0644", "dateext", "dateformat -%Y%m%d-%s"]),
    ("compress", "app.log*", 2, ["rotate 3", "create 0644", "compress"]),
    ("compress-live", "app.log", 1, ["rotate 3", "create 0644", "compress"]),
    ("delay", "app.log*", 2, ["rotate 4", "create 0644", "compress", "delaycompress"]),
    ("copy-live", "app.log", 2, ["rotate 3", "copytruncate"]),
    ("copy", "app.log*", 2, ["rotate 4", "copytruncate"]),
    ("copy-delay", "app.log*", 1, ["rotate 4", "copytruncate", "compress", "delaycompress"]),
    ("mv", "app.log*", 1, actors.Move),
    ("mv-away", "app.log", 2, actors.MoveAway),
    ("rm", "app.log", 1, actors.Delete),
    ("link", "app.log", 1, actors.SwitchLink),
]
STREAMS = {"fast": "20ms", "lazy": "300ms"}


class Campaign(campaign.Campaign):
    title = "torture-tail"

    def __init__(self, options, directory):
        super().__init__(options, directory)
        self.health = truth.Health()
        self.life = None
        self.stops = self.permitted = 0
        self.found_outside = {}  # log: what has left its glob, and is found again by this life
        specs = [s for s in LOGS if not options.only or s[0] in options.only]
        self.tally = actors.Tally(sum(s[2] for s in specs), self.health)
        self.fake = actors.CountingKinesis({name: 2 for name in STREAMS}, self.tally).start()
        self.daemon = harness.Daemon(
            self.dir,
            self.fake.url,
            request_timeout=f"{campaign.REQUEST_SECONDS}s",
            stop_timeout="1s",
            streams={
                name: {"kinesis": name, "linger": linger, "buffer": "8MiB"}
                for name, linger in STREAMS.items()
            },
        )
        self.logs, self.writers, self.rotators = [], [], []
        for number, spec in enumerate(specs):
            self.add(number, *spec)
        self.daemon.write()
        self.accounts = missing_bytes.Accounts(self.logs, self.tally, self.dir / "daemon.log")
        self.weather = actors.Weather(self.fake, self.health, options.seed, self.stop)

    def add(self, number, name, pattern, writers, how):
        log = truth.Log(name, self.dir / "logs" / name, pattern, self.health)
        way = actors.Logrotate(log, how, self.dir) if isinstance(how, list) else how(log)
        stream = list(STREAMS)[number % len(STREAMS)]
        self.daemon.source(name, log.dir / pattern, stream, start_at="beginning")
        self.logs.append(log)
        seed = self.options.seed
        self.rotators.append(actors.Rotator(log, way, lambda: self.life, seed, self.stop))
        halves = writers == 1 and "copy" not in name
        for _ in range(writers):
            n = len(self.writers)
            rate = self.options.rate
            self.writers.append(actors.Writer(n, log, halves, rate, seed, self.stop))

    # The daemon's lives.

    def start_daemon(self):
        self.lives += 1
        self.fake.begin_life()
        checkpoint = truth.read_checkpoint(self.daemon.state)
        self.accounts.before_start(checkpoint)
        for log in self.logs:
            log.life_began = time.monotonic()
            self.found_outside[log] = log.found_outside(checkpoint.get(log.name, []))
        self.health_at_start = self.health.now()
        self.daemon.spawn(stderr=self.stderr, write=False)
        self.life = truth.Life(self.lives, self.daemon.process.pid)
        self.health.set_up(True)

    def end_daemon(self, kill=True):
        life = self.life
        self.health.set_up(False)
        life.health_at_end = self.health.now()
        life.presence_at_end = self.health.presence.now()
        for log in self.logs:
            log.note(f"life {life.number} of the daemon {'is killed' if kill else 'stops'}")
        if kill:
            self.kills += 1
            self.daemon.kill()
            status = 0
        else:
            self.stops += 1
            self.daemon.process.send_signal(signal.SIGTERM)
            status = self.daemon.wait_exit(30)
        life.ended = time.monotonic()
        self.accounts.after_end()
        if status not in (0, 75, -signal.SIGTERM):  # it had not yet come so far as to listen
            raise campaign.Failed(f"the daemon stopped with {status}")
        if life.health_at_end - self.health_at_start >= truth.HEALTHY_SECONDS:
            for log, found in self.found_outside.items():
                log.owe(found)
        self.read_checkpoint(life.ended)
        return status

    def read_checkpoint(self, at):
        checkpoint = truth.read_checkpoint(self.daemon.state)
        if self.options.keep is not None:
            for path in self.daemon.state.glob("checkpoint*.json"):
                shutil.copy(path, self.dir / f"life-{self.lives}-{path.name}")
        for log in self.logs:
            entries = checkpoint.get(log.name, [])
            log.believe(entries)
            lines = truth.past_checkpoint(log, entries, at)
            self.permitted += self.tally.permit_unsaved(self.lives, lines)

    def look(self):
        super().look()
        for actor in self.writers + self.rotators:
            if actor.failure is not None:
                raise campaign.Failed(f"{type(actor).__name__} of {actor.log.name}") from actor.failure

    def run(self):
        for actor in self.writers + self.rotators:
            actor.start()
        super().run()

    def live_once(self):
        r = self.random
        low, high = r.choices([(0, 0.3), (0.3, 3), (3, 8), (20, 35)], [30, 40, 22, 6])[0]
        self.live(self.seconds_of_life(r.uniform(low, high)))
        self.end_daemon(kill=r.random() < 0.9)
        time.sleep(r.choices([0, 0.3, 2, 6], [4, 4, 3, 2])[0] * r.random())

    def finish(self):
        """Fair weather, no more lines: what can be delivered is, then the daemon stops."""
        self.stop.set()
        for actor in self.writers + self.rotators + [self.weather]:
            actor.join(30)
        until = time.monotonic() + DRAIN_SECONDS
        missing = None
        while time.monotonic() < until and missing != []:
            self.live(1)
            missing = self.find_missing()[0]
        if self.end_daemon(kill=False) != 0:
            raise campaign.Failed("the daemon could not stop in time, with nothing left to do")

    # Counting.

    def find_missing(self):
        """Lines that should have come, and those with an excuse, counted by log and excuse."""
        missing, excused = [], collections.defaultdict(collections.Counter)
        for log in self.logs:
            for content in log.contents:
                for i, (writer, number) in enumerate(zip(content.writers, content.numbers)):
                    if self.tally.count(writer, number):
                        continue
                    why = content.excuse(i)
                    if why is None:
                        missing.append((log, content, i))
                    else:
                        excused[log.name][why] += 1
        return missing, excused

    def find_repeated(self):
        """How often lines were stored again, by reason; and those for which there is none."""
        for log in self.logs:
            for content, high in log.doubtful:
                lines = zip(content.ends, content.writers, content.numbers)
                self.tally.permit_doubtful((w, n) for end, w, n in lines if end <= high)
        reasons, found = self.tally.repeats()
        found = set(found)
        places = [
            (log, content, i)
            for log in self.logs
            for content in log.contents
            for i, line in enumerate(zip(content.writers, content.numbers))
            if line in found
        ]
        return reasons, places

    def history(self, log, content, i):
        """What is known of one line, and what happened around it."""
        line = content.writers[i], content.numbers[i]
        again = [(round(t - self.started, 3), life) for t, life in self.tally.again.get(line, [])]
        unsaved = [life for life, lines in self.tally.unsaved.items() if line in lines]
        gone = [(g.low, g.high, g.why, round(g.at - self.started, 3)) for g in content.gone]
        print(
            f"  {log.name}: line {line[0]}/{line[1]}, which ends at {content.ends[i]} of {content.size} in"
            f" inode {content.inode}, written at {content.times[i] - self.started:.3f} s, stored"
            f" {self.tally.count(*line)} times, again at {again}, not saved at the ends of {unsaved};"
            f" delivered up to {content.delivered}, owed up to {content.owed}; gone: {gone}"
        )

    def tell_events(self, log, around):
        print(f"  what happened to {log.name} then:")
        for at, text in log.events:
            if around - 8 < at < around + 20:
                print(f"    {at - self.started:9.3f} {text}")

    def table(self, excused):
        print(
            f"{'log':14}{'rotations':>10}{'lines':>9}{'stored':>9}{'missing':>9}{'again':>8}{'slowest':>9}"
            "  of the missing"
        )
        sums = collections.Counter()
        for log in self.logs:
            lines = [(w, n) for c in log.contents for w, n in zip(c.writers, c.numbers)]
            copies = [self.tally.count(*line) for line in lines]
            row = {
                "rotations": log.rotations,
                "lines": len(lines),
                "stored": sum(c > 0 for c in copies),
                "missing": sum(c == 0 for c in copies),
                "again": sum(c - 1 for c in copies if c),
            }
            sums.update(row)
            row["slowest"] = f"{self.slowest(log):.1f} s"
            why = ", ".join(f"{n} {why}" for why, n in sorted(excused[log.name].items()))
            print(self.row(log.name, row) + "  " + why)
        print(self.row("all", {**sums, "slowest": ""}))

    def slowest(self, log):
        """How long a line took, on the clock that runs while all is well."""
        return max(
            (
                self.tally.first[w][n] - health
                for c in log.contents
                for w, n, health in zip(c.writers, c.numbers, c.healths)
                if self.tally.count(w, n)
            ),
            default=0,
        )

    @staticmethod
    def row(name, row):
        widths = (10, 9, 9, 9, 8, 9)
        return f"{name:14}" + "".join(f"{row[k]:>{w}}" for k, w in zip(ROW, widths))

    def tell_bytes(self):
        print(f"{'bytes of':14}" + "".join(f"{name:>11}" for name in BYTES))
        for log in self.logs:
            exact = "copy" not in log.name
            row = self.accounts.row(log, exact)
            shown = {**row, "bound": "" if exact else row["bound"]}
            sign = "=" if exact and row["off"] == 0 else "<=" if row["missing"] <= row["bound"] else "?"
            columns = "".join(f"{shown.get(column, 0):>11}" for column in BYTES)
            print(f"{log.name:14}{columns}  {sign}")

    def judge(self):
        missing, excused = self.find_missing()
        reasons, repeated = self.find_repeated()
        self.table(excused)
        self.tell_bytes()
        spent = time.monotonic() - self.started
        print(
            f"{self.kills} kills and {self.stops} stops in {spent:.0f} s;"
            f" bad weather for {self.weather.bad_seconds:.0f} s:"
            f" {dict(sorted(self.weather.stretches.items()))};"
            f" lines past the checkpoints at those ends: {self.permitted};"
            f" lines whose answer was lost: {self.fake.answers_lost};"
            f" stored again: {dict(sorted(reasons.items()))}"
        )
        for what, found in (("lost", missing), ("too often", repeated)):
            if found:
                print(f"{len(found)} lines {what}; the first of them:")
                for line in found[:SHOWN]:
                    self.history(*line)
                self.tell_events(found[0][0], found[0][1].times[found[0][2]])
        dead = list((self.daemon.state / "dead-letter").glob("*"))
        for what, found in (
            ("not a line that was written", self.tally.mangled),
            ("the service was asked wrongly", self.fake.violations),
            ("wrong accounts of what is missing", self.accounts.problems),
            ("a sanitizer spoke", self.sanitizers()),
            ("dead letters", [d for d in dead if d.stat().st_size > 0]),
            ("too few kills", self.find_too_few_kills()),
        ):
            if found:
                print(f"{what}: {len(found)}, like {found[:3]}")
                missing = missing or found
        return not missing and not repeated

    def sanitizers(self):
        said = (self.dir / "daemon.log").read_text(errors="replace")
        return re.findall(r".*(?:Sanitizer|runtime error:).*", said)

    def close(self):
        super().close()
        for actor in self.writers + self.rotators:
            if actor.is_alive():
                actor.join(10)
        for log in self.logs:
            log.release()


ROW = ("rotations", "lines", "stored", "missing", "again", "slowest")
# missing = unknown + counted - delivered, or, with copies, missing <= bound: missing.py says how. The
# files are those that the daemon counted bytes of.
BYTES = ("missing", "unknown", "counted", "delivered", "files", "bound")


def main():
    parser = campaign.make_parser()
    parser.add_argument("--only", type=lambda s: s.split(","))
    options = parser.parse_args()
    if actors.LOGROTATE is None:
        sys.exit("logrotate is not installed: tests/setup.sh does it")
    return campaign.main(Campaign, options)


if __name__ == "__main__":
    sys.exit(main())
