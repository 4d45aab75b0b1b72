"""make torture-socket: clients push, the daemon is killed without end, and nothing acknowledged is lost.

    push.py [--seed N] [--kills N | --seconds N] [--clients N] [--rate X] [--keep DIR]

Clients in a few processes (pushers.py) send numbered events through sockets of several kinds; the daemon
is killed with kill -9 and started again at any moment: while it starts, while it reloads, while it stops;
the endpoint throttles, is slow, breaks and is away for stretches. Clients keep what was not acknowledged
and send it again. Afterwards every sending that was acknowledged must have been stored (or be a dead
letter, if it was told to be bad), none more often than lost answers and the spools at the ends of the
daemon's lives allow (stored.py), and no answer may have said what cannot be. Prints a table; the exit
status is 0 only if all of that holds.

The seed is printed, and gives the same schedule again, as far as timing allows. Everything happens on
the loopback interface and in one temporary directory, which is removed at the end unless --keep names it.
"""

import collections
import json
import pathlib
import pickle
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import actors  # noqa: E402
import campaign  # noqa: E402
import harness  # noqa: E402
import pushers  # noqa: E402
import spoolbytes  # noqa: E402
import stored  # noqa: E402

CLIENTS, PROCESSES = 64, 4
CLIENTS_SECONDS, DRAIN_SECONDS = 120, 120
MAX_RECORD = 64 << 10

# socket, share of the clients, how many of their events are large, kind of the frames, stream, options
SPLIT = {"format": "json", "split_arrays": True, "add": {"pid": "{@peer.pid}"}}
SOCKETS = [
    ("lines", 16, 0.01, "lines", "fast", {"ack": "durable"}),
    ("json", 20, 0.01, "json", "fast", {"ack": "durable", **SPLIT}),
    ("long", 12, 0.2, "length32", "lazy", {"ack": "durable", "framing": "length32"}),
    ("sent", 8, 0.01, "lines", "lazy", {"ack": "delivered"}),
    ("drops", 8, 0.5, "json", "small", {"ack": "durable", "on_full": "drop_newest", **SPLIT}),
]
STREAMS = {
    "fast": {"linger": "20ms", "spool": "32MiB", "buffer": "8MiB"},
    "lazy": {"linger": "200ms", "spool": "16MiB", "buffer": "8MiB", "sync": "100ms"},
    "small": {"linger": "20ms", "spool": "16MiB", "buffer": "8MiB", "sync": "always"},
}
LIMITS = {"lazy": 3_000_000, "small": 800_000}  # bytes a second that the service takes


class Calm:
    """In place of a clock of good weather."""

    def set_fair(self, fair):
        pass


class Campaign(campaign.Campaign):
    title = "torture-socket"

    def __init__(self, options, directory):
        super().__init__(options, directory)
        self.counts = collections.Counter()
        self.life_since = time.monotonic()
        self.unsettled = 0
        self.kinds = {}  # client: socket
        self.tally = stored.Tally(options.clients)
        streams = {name: 2 for name in STREAMS}
        self.fake = stored.Endpoint(streams, self.tally, self.life, LIMITS).start()
        self.daemon = harness.Daemon(
            self.dir,
            self.fake.url,
            request_timeout=f"{campaign.REQUEST_SECONDS}s",
            stop_timeout="1s",
            streams={name: {"kinesis": name, **more} for name, more in STREAMS.items()},
        )
        for name, _, _, _, stream, more in SOCKETS:
            self.daemon.settings["sources"][name] = {
                "socket": str(self.dir / f"{name}.sock"),
                "stream": stream,
                "max_record": "64KiB",
                **more,
            }
        self.daemon.write()
        self.weather = actors.Weather(self.fake, Calm(), options.seed, self.stop)
        self.pushers = self.make_pushers()

    def life(self):
        return self.lives, time.monotonic() - self.life_since

    def make_pushers(self):
        """The clients, dealt to the processes one by one; every kind of socket gets its share."""
        shares = [s for s in SOCKETS for _ in range(s[1])]
        hands = [[] for _ in range(PROCESSES)]
        for i in range(self.options.clients):
            name, _, heavy, kind, _, more = shares[i * len(shares) // self.options.clients]
            self.kinds[i] = name
            hands[i % PROCESSES].append(
                {
                    "id": i,
                    "path": str(self.dir / f"{name}.sock"),
                    "kind": kind,
                    "max_record": MAX_RECORD,
                    "drops": more.get("on_full") == "drop_newest",
                    "heavy": heavy,
                }
            )
        return [Pushers(self.dir, self.options, i, hand) for i, hand in enumerate(hands) if hand]

    # The daemon's lives.

    def start_daemon(self):
        self.lives += 1
        self.life_since = time.monotonic()
        self.daemon.spawn(stderr=self.stderr, write=False)

    def after_end(self, status):
        if status not in (0, 75, -signal.SIGTERM, -signal.SIGKILL):
            raise campaign.Failed(f"the daemon ended with {status}")
        paths = [self.daemon.state / "spool" / f"{name}.spool" for name in STREAMS]
        self.unsettled += self.tally.after_life(self.lives, paths)

    def kill(self):
        self.kills += 1
        self.daemon.kill()
        self.after_end(-signal.SIGKILL)

    def end_kindly(self):
        """SIGTERM, and sometimes no patience."""
        self.daemon.process.send_signal(signal.SIGTERM)
        if self.random.random() < 0.5:
            time.sleep(self.random.choice([0.02, 0.2, 0.8]) * self.random.random())
            self.counts["kills in a stop"] += 1
            self.kill()
            return
        self.counts["stops"] += 1
        self.after_end(self.daemon.wait_exit(30))

    def change(self):
        """Another configuration, and the word to read it (which it understands once it is ready)."""
        r = self.random
        streams, sources = self.daemon.settings["streams"], self.daemon.settings["sources"]
        streams["fast"]["sync"] = r.choice(["20ms", "5ms", "always", "200ms"])
        streams["lazy"]["linger"] = r.choice(["200ms", "20ms"])
        sources["json"]["add"] = {**SPLIT["add"], "v": str(r.randrange(10))}
        sources["lines"]["max_clients"] = r.choice([8, 1024])
        sources["long"]["mode"] = r.choice(["0660", "0600"])
        aside = self.dir / "tailrace.new"
        aside.write_text(harness.yaml(self.daemon.settings) + "\n")
        aside.rename(self.daemon.file)  # it may be reading just now
        if any("READY=1" in m for m in self.daemon.messages):
            self.counts["reloads"] += 1
            self.daemon.process.send_signal(signal.SIGHUP)

    def look(self):
        super().look()
        for pushers_ in self.pushers:
            if pushers_.process.poll() not in (None, 0):
                raise campaign.Failed(f"clients ended: {pushers_.process.poll()}")

    def live_once(self):
        r = self.random
        spans = [(0, 0.05), (0.05, 0.5), (0.5, 3), (3, 8), (15, 25)]
        low, high = r.choices(spans, [20, 25, 32, 20, 3])[0]
        seconds = self.seconds_of_life(r.uniform(low, high))
        self.live(seconds * r.random())
        if r.random() < 0.3:
            self.change()
            seconds = min(seconds, 0.1)
        self.live(seconds * r.random())
        if r.random() < 0.2:
            self.end_kindly()
        else:
            self.kill()
        time.sleep(r.choices([0, 0.3, 2, 5], [5, 4, 3, 1])[0] * r.random())

    def finish(self):
        """Fair weather, nothing new: what clients have kept is acknowledged, and all is delivered."""
        self.stop.set()
        self.weather.join(30)
        self.fake.limits = {}
        for pushers_ in self.pushers:
            pushers_.stop()
        until = time.monotonic() + CLIENTS_SECONDS
        while any(p.process.poll() is None for p in self.pushers) and time.monotonic() < until:
            self.live(0.2)
        self.clients = {}
        for pushers_ in self.pushers:
            self.clients.update(pushers_.end())
        while self.find_lost() and time.monotonic() < until + DRAIN_SECONDS:
            self.live(1)
        self.daemon.process.send_signal(signal.SIGTERM)
        status = self.daemon.wait_exit(30)
        if status != 0:
            raise campaign.Failed(f"the daemon stopped with {status}, with nothing left to do")
        left = [name for name in STREAMS if self.is_left(name)]
        if left:
            raise campaign.Failed(f"after a clean stop something is left in the spools of {left}")
        self.dead, self.dead_unknown = stored.read_dead_letters(self.daemon.state / "dead-letter")

    def is_left(self, name):
        spool = spoolbytes.Spool(self.daemon.state / "spool" / f"{name}.spool")
        return spool.saved != spool.written or not spool.clean or list(spool.records())

    # Counting.

    def find_lost(self):
        """Serials that were acknowledged as records, and not stored."""
        return [
            (client, serial)
            for client, known in self.clients.items()
            for serial, (acked, fate) in enumerate(zip(known["acked"], known["fates"]))
            if acked and fate != pushers.DEAD and not self.tally.count(client, serial)
        ]

    def find_lost_letters(self):
        return [
            (client, serial)
            for client, known in self.clients.items()
            for serial, (acked, fate) in enumerate(zip(known["acked"], known["fates"]))
            if acked and fate == pushers.DEAD and not self.dead[client, serial]
        ]

    def find_repeated(self):
        return [
            (client, serial)
            for client, copies in enumerate(self.tally.copies)
            for serial, n in enumerate(copies)
            if n > 1 and n > self.tally.allowed(client, serial)
        ]

    def find_unsent(self):
        """Stored, and never sent; or stored as a record although it is none."""
        return [
            (client, serial)
            for client, copies in enumerate(self.tally.copies)
            for serial, n in enumerate(copies)
            if n and (serial >= len(self.clients[client]["fates"])
                      or self.clients[client]["fates"][serial] == pushers.DEAD)
        ]  # fmt: skip

    def row_of(self, client):
        known, copies = self.clients[client], self.tally.copies[client]
        numbers = known["numbers"]
        stored_serials = [s for s, n in enumerate(copies[: len(numbers)]) if n]
        events = {numbers[s] for s in stored_serials}
        row = collections.Counter(known["counts"])
        row["clients"] = 1
        row["connections"] = max(known["connections"], default=0)
        row["acked"] = sum(known["acked"])
        row["delivered"] = len(events)
        row["dead"] = sum(a and f == pushers.DEAD for a, f in zip(known["acked"], known["fates"]))
        row["sendings twice"] = len(stored_serials) - len(events)
        row["records twice"] = sum(copies) - len(stored_serials)
        row["allowed"] = sum(self.tally.allowed(client, s) - 1 for s in stored_serials)
        row["disorder"] = self.count_disorder(client)
        return row

    def count_disorder(self, client):
        """How many came, the first time, after one that was sent later on the same connection."""
        known, highest, n = self.clients[client]["connections"], {}, 0
        for serial in self.tally.order[client]:
            if serial < len(known):
                connection = known[serial]
                n += serial < highest.get(connection, 0)
                highest[connection] = max(serial, highest.get(connection, 0))
        return n

    def table(self, lost):
        print(f"{'socket':8}" + "".join(f"{title:>{width}}" for _, title, width in COLUMNS))
        sums, lost_of = collections.Counter(), collections.Counter(self.kinds[c] for c, _ in lost)
        for name, *_ in SOCKETS:
            row = collections.Counter()
            for client, kind in self.kinds.items():
                if kind == name:
                    row.update(self.row_of(client))
            row["lost"] = lost_of[name]
            sums.update(row)
            self.print_row(name, row)
        self.print_row("all", sums)
        return sums

    @staticmethod
    def print_row(name, row):
        print(f"{name:8}" + "".join(f"{row[key]:>{width}}" for key, _, width in COLUMNS))

    def judge(self):
        lost = self.find_lost()
        sums = self.table(lost)
        spent = time.monotonic() - self.started
        counts = {"kills": self.kills, **dict(sorted(self.counts.items()))}
        print(
            f"{counts} in {spent:.0f} s; bad weather for {self.weather.bad_seconds:.0f} s:"
            f" {dict(sorted(self.weather.stretches.items()))}; dead letters: {sum(self.dead.values())};\n"
            f"unsettled in the spools at those ends: {self.unsettled}, in per cent of the room at most"
            f" {dict(self.tally.fullest)};"
            f" records whose answer was lost: {self.fake.answers_lost}"
        )
        problems = [p for known in self.clients.values() for p in known["problems"]]
        owed = [c for c, known in self.clients.items() if not known["done"]]
        checks = [
            ("acknowledged and not delivered", lost),
            ("acknowledged, bad and no dead letter", self.find_lost_letters()),
            ("stored too often", self.find_repeated()),
            ("stored and never sent", self.find_unsent()),
            ("sendings stored twice, beyond what was sent again",
             [sums["sendings twice"]] if sums["sendings twice"] > sums["sent again"] else []),
            ("wrong answers", problems),
            ("clients that were not done", [(c, self.clients[c]["owed"]) for c in owed]),
            ("not an event that was sent", self.tally.mangled),
            ("dead letters of nothing that was sent", [self.dead_unknown] if self.dead_unknown else []),
            ("the service was asked wrongly", self.fake.violations),
            ("too few kills", self.find_too_few_kills()),
        ]  # fmt: skip
        for what, found in checks:
            if found:
                print(f"{what}: {len(found)}, like {found[:5]}")
        for client, serial in (lost + self.find_repeated())[:5]:
            self.tell(client, serial)
        return not any(found for _, found in checks)

    def tell(self, client, serial):
        known = self.clients[client]
        print(
            f"  {self.kinds[client]}: client {client}, serial {serial}, event {known['numbers'][serial]}, on"
            f" connection {known['connections'][serial]}, stored {self.tally.count(client, serial)} times of"
            f" {self.tally.allowed(client, serial)}, unsettled up to the end of life"
            f" {self.tally._at(self.tally.past_life[client], serial)}"
        )

    def close(self):
        for pushers_ in self.pushers:
            pushers_.process.kill()
            pushers_.process.wait()
            pushers_.process.stdin.close()
        super().close()


COLUMNS = [
    ("clients", "clients", 8),
    ("connections", "connected", 10),
    ("sent", "sent", 9),
    ("sent again", "again", 8),
    ("acked", "acked", 9),
    ("delivered", "delivered", 10),
    ("dead", "dead", 6),
    ("lost", "lost", 6),
    ("sendings twice", "resent twice", 13),
    ("records twice", "twice", 8),
    ("allowed", "allowed", 8),
    ("bad: rightly", "bad", 7),
    ("bad: dropped", "dropped", 8),
    ("bad: wrongly", "wrongly", 8),
    ("disorder", "disorder", 9),
]


class Pushers:
    """One process of clients."""

    def __init__(self, directory, options, number, clients):
        spec = directory / f"pushers-{number}.json"
        self.out = directory / f"pushers-{number}.pickle"
        spec.write_text(
            json.dumps(
                {"seed": options.seed, "rate": options.rate, "out": str(self.out), "clients": clients}
            )
        )
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "pushers.py"), str(spec)], stdin=subprocess.PIPE, text=True
        )

    def stop(self):
        try:
            self.process.stdin.write("stop\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def end(self):
        self.process.stdin.close()
        if self.process.wait(30) != 0:
            raise campaign.Failed("clients ended badly")
        with open(self.out, "rb") as file:
            return pickle.load(file)


def main():
    parser = campaign.make_parser()
    parser.add_argument("--clients", type=int, default=CLIENTS)
    return campaign.main(Campaign, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
