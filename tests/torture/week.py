"""make week: seven days of rotation, an hour made short; memory and descriptors must stay flat.

    python3 week.py [--hour SECONDS] [--seed N]

Fifty logs: half are rotated every hour, half every day, as logrotate does it: rename to .1 and so on,
the oldest deleted, a new file created; some keep their writer's descriptor a little longer. Every line
has a number, and the fake Kinesis counts. After each day the daemon's resident memory, descriptors and
the checkpoint's size are written down. It fails if a line is lost or sent twice, if the last days
hold more than the second one did, beyond what the noise explains.
"""

import argparse
import collections
import pathlib
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from fake_kinesis import FakeKinesis  # noqa: E402
from harness import Daemon, wait_until  # noqa: E402

LOGS, DAYS, HOURS, KEPT = 50, 7, 24, 3
RSS_NOISE_KIB = 2048
DESCRIPTORS_MAX = LOGS + 40  # once the rotated files have been quiet for a while


class Log:
    def __init__(self, folder, number, hourly):
        self.path = folder / f"app{number:02d}.log"
        self.hourly = hourly
        self.number = number
        self.lines = 0
        self.late = None
        self.file = open(self.path, "ab", buffering=0)

    def write(self, n):
        out = self.late or self.file
        text = "".join(f"{self.number} {self.lines + i} {'x' * 80}\n" for i in range(n))
        out.write(text.encode())
        self.lines += n

    def rotate(self, keep_writer):
        for age in range(KEPT, 0, -1):
            old = self.path.with_name(f"{self.path.name}.{age}")
            if age == KEPT and old.exists():
                old.unlink()
            elif old.exists():
                old.rename(self.path.with_name(f"{self.path.name}.{age + 1}"))
        self.path.rename(self.path.with_name(f"{self.path.name}.1"))
        self.release()
        previous, self.file = self.file, open(self.path, "ab", buffering=0)
        if keep_writer:
            self.late = previous
        else:
            previous.close()

    def release(self):
        if self.late:
            self.late.close()
            self.late = None


def check(fake, logs):
    counts = collections.Counter()
    for data in fake.data("s"):
        number, line, _ = data.split(b" ", 2)
        counts[int(number), int(line)] += 1
    lost = sum(1 for log in logs for i in range(log.lines) if counts[log.number, i] == 0)
    twice = sum(n - 1 for n in counts.values())
    return sum(log.lines for log in logs), lost, twice


def descriptors(daemon):
    return len(list(pathlib.Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hour", default=0.4, type=float, help="how long an hour lasts, in seconds")
    parser.add_argument("--seed", default=int(time.time()), type=int)
    o = parser.parse_args()
    rng = random.Random(o.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tailrace-week-"))
    logs_folder = folder / "logs"
    logs_folder.mkdir()
    fake = FakeKinesis({"s": 2}).start()
    print(f"seed {o.seed}", flush=True)
    try:
        daemon = Daemon(folder, fake.url)
        daemon.source("s", logs_folder / "*.log", start_at="beginning")
        logs = [Log(logs_folder, n, n % 2 == 0) for n in range(LOGS)]
        daemon.start()
        days = []
        print("day  resident KiB  descriptors  checkpoint bytes  lines")
        for day in range(1, DAYS + 1):
            for hour in range(HOURS):
                until = time.monotonic() + o.hour
                for log in logs:
                    log.write(rng.randrange(1, 40))
                    if log.hourly or hour == 0:
                        log.rotate(rng.random() < 0.3)
                    elif rng.random() < 0.3:
                        log.release()
                time.sleep(max(0, until - time.monotonic()))
            total = sum(log.lines for log in logs)
            wait_until(lambda: fake.count("s") >= total, 60, f"{total} lines, not {fake.count('s')}")
            for log in logs:
                log.release()
            wait_until(lambda: descriptors(daemon) <= DESCRIPTORS_MAX, 60, f"{DESCRIPTORS_MAX} descriptors")
            days.append((daemon.status_kib("VmRSS"), descriptors(daemon)))
            size = (daemon.state / "checkpoint.json").stat().st_size
            print(f"{day:3}  {days[-1][0]:12}  {days[-1][1]:11}  {size:16}  {total:5}", flush=True)
        daemon.terminate()
        written, lost, twice = check(fake, logs)
    finally:
        fake.stop()
        shutil.rmtree(folder)
    flat = all(rss <= days[1][0] + RSS_NOISE_KIB for rss, _ in days[2:])
    print(f"lines {written}, lost {lost}, sent twice {twice}, {'flat' if flat else 'NOT FLAT'}")
    return 0 if flat and lost == 0 and twice == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
