"""What the campaigns share: lives of the daemon, one after another, an endpoint that keeps nothing, and
the command line.

tail.py and push.py each inherit Campaign and ForgetfulKinesis. A campaign takes so many kills, or so many
seconds; then comes fair weather, and what arrived is judged. The same seed gives the same schedule, as
far as timing allows.
"""

import argparse
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

import faults
from fake_kinesis import FakeKinesis

KILLS = 200
SECONDS_A_KILL = 12  # no campaign takes longer than this, on average
REQUEST_SECONDS = 10  # the daemon's request_timeout


class Failed(Exception):
    pass


class Campaign:
    """One kind of it has a `title`, makes `fake`, `daemon` and `weather`, and says how a life goes:
    start_daemon() begins one, live_once() lets it live and ends it, finish() waits for all that is owed,
    and judge() tells whether it came."""

    def __init__(self, options, directory):
        self.options, self.dir = options, pathlib.Path(directory)
        self.random = random.Random(f"{options.seed}/killer")
        self.stop = threading.Event()
        self.lives = self.kills = 0
        self.started = time.monotonic()
        self.stderr = open(self.dir / "daemon.log", "ab")

    def run(self):
        self.weather.start()
        self.start_daemon()
        while not self.enough():
            self.live_once()
            self.start_daemon()
        self.finish()

    def enough(self):
        spent = time.monotonic() - self.started
        if self.options.seconds:
            return spent > self.options.seconds
        return self.kills >= self.options.kills or spent > self.options.kills * SECONDS_A_KILL

    def find_too_few_kills(self):
        wanted = 1 if self.options.seconds else self.options.kills
        return [self.kills] if self.kills < wanted else []

    def seconds_of_life(self, seconds):
        """So many, or fewer if a campaign of so many seconds has no more for one life."""
        if self.options.seconds:
            rest = self.options.seconds - (time.monotonic() - self.started)
            seconds = min(seconds, self.options.seconds / 4, max(rest, 0))
        return seconds

    def look(self):
        if not self.daemon.running():
            raise Failed(f"the daemon ended by itself: {self.daemon.process.poll()}")

    def live(self, seconds):
        until = time.monotonic() + seconds
        while True:
            self.look()
            rest = until - time.monotonic()
            if rest <= 0:
                return
            time.sleep(min(0.2, rest))

    def close(self):
        self.stop.set()
        self.fake.stop()
        self.daemon.cleanup()
        self.stderr.close()


# --- the endpoint -------------------------------------------------------------------------------


class Swallow(list):
    """In place of a stream's records: only their number."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __len__(self):
        return self.n

    def __iadd__(self, records):
        self.n += len(records)
        return self


class ForgetfulKinesis(FakeKinesis):
    """Keeps no record: tells the tally of each, which life of the daemon sent it (an heir's life_of says
    that), and of those whose answer may not have arrived."""

    LATE_SECONDS = 3  # an answer that is later than the daemon's patience less this may not be heard
    SPOILED = (faults.CutJson, faults.NotJson, faults.CutConnection, faults.DropAfterStoring)

    def __init__(self, streams, tally):
        super().__init__(streams)
        self.tally = tally
        self.answers_lost = 0  # records in them
        for stream in self.streams.values():
            stream.records = Swallow()

    def store(self, request, stream, codes):
        body = super().store(request, stream, codes)
        kept = [data for (data, _), code in zip(request.records, codes) if code is None]
        request.kept = self.tally.store(kept, self.life_of(request))
        request.records = []
        request.connection.last = request
        return body

    def handle(self, request, fault):
        since, request.kept = time.monotonic(), []
        with self.lock:
            self.requests.clear()
        try:
            answer = super().handle(request, fault)
        except faults.Hangup:
            self.lose_answer(request)
            raise
        late = time.monotonic() - since > REQUEST_SECONDS - self.LATE_SECONDS
        if late or hasattr(request.connection, "gone") or isinstance(fault, self.SPOILED):
            self.lose_answer(request)
        return answer

    def lose_answer(self, request):
        self.answers_lost += self.tally.permit_unanswered(self.life_of(request), request.kept)

    def go_away(self):
        with self.lock:
            cut = list(self.connections)
        for connection in cut:
            connection.gone = True
        super().go_away()
        for connection in cut:
            if getattr(connection, "last", None) is not None:
                self.lose_answer(connection.last)


# --- the command line ---------------------------------------------------------------------------


def make_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--keep", type=pathlib.Path)
    return parser


def main(kind, options):
    """One campaign of this kind, in a directory of its own. Returns the exit status."""
    print(f"seed {options.seed}", flush=True)
    directory = tempfile.mkdtemp(prefix=f"tailrace-{kind.title}-", dir=options.keep)
    campaign, good = None, False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # clean up then, too
    try:
        campaign = kind(options, directory)
        campaign.run()
        good = campaign.judge()
    except Failed as failure:
        print(f"the campaign ended: {failure}: {failure.__cause__!r}")
        print("\n".join((pathlib.Path(directory) / "daemon.log").read_text().splitlines()[-20:]))
    finally:
        if campaign is not None:
            campaign.close()
        if options.keep is None:
            shutil.rmtree(directory)
    print(f"{kind.title}: seed {options.seed}: {'1 passed, 0 failed' if good else '0 passed, 1 failed'}")
    return 0 if good else 1
