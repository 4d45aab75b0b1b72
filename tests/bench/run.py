"""make bench: what a record costs, beside the least that it can cost.

    python3 run.py [--build DIR] [--quick] [--runs N] [--idle SECONDS]

Generates 1,000,000 log lines and 1,000,000 CSV rows (--quick: a tenth), delivers each file to a
local sink with the floor program (floor.c), with `tailraced --once`, and with Fluent Bit when
it is in PATH; over plain HTTP and over TLS; each several times, in turn, so that a slow minute
of the machine is shared by all. The numbers are medians. CPU is user + system of that one
process, as wait4 tells it, and so is the RSS, at its peak. Every run gets a sink of its own, which counts the records: a run
that loses one fails the bench. Then tailraced follows the files with nothing to do, and its
wake-ups are counted.
"""

import argparse
import ctypes
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "demo"))
import crime_table  # noqa: E402
import gen  # noqa: E402

RUN_SECONDS_MAX = 600
BUFFER_MIB = 64
RSS_OVER_BUFFER_MIB = 24
LINES_TIMES_FLOOR_MAX = 1.8
CSV_NANOSECONDS_MAX = 1500

CONFIG = """\
region: us-east-1
endpoint: {endpoint}
{ca_bundle}state_dir: {state}
log_level: warn
streams:
  bench:
    kinesis: bench
    linger: 100ms
    buffer: {buffer}MiB
    in_flight: 4
sources:
"""

LINES_SOURCE = """\
  lines:
    file: {file}
    stream: bench
    start_at: beginning
    format: line
"""

ROWS_SOURCE = """\
  rows:
    file: {file}
    stream: bench
    start_at: beginning
    format: csv
    key: "{{district}}"
    record:
{record}
"""

FLUENT_BIT = """\
[SERVICE]
    Flush 0.1
    Log_Level error
[INPUT]
    Name tail
    Path {file}
    Read_from_Head true
    Buffer_Chunk_Size 1M
    Buffer_Max_Size 1M
    Mem_Buf_Limit {buffer}M
[OUTPUT]
    Name kinesis_streams
    Match *
    stream bench
    region us-east-1
    endpoint 127.0.0.1
    port {port}
    log_key log
    tls {tls}
    tls.ca_file {cert}
"""


# Linux: orphans of our children become ours, instead of going to process 1.
PR_SET_CHILD_SUBREAPER = 36


class Failed(Exception):
    pass


def start_apart(command, environment, complaints):
    """Starts a command through a shell that ends at once, adopts it, and returns its process id. What
    ru_maxrss counts survives exec, and begins with the size of the process that forked: Python is larger
    than what is measured here, a shell is smaller."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    shell = subprocess.run(["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints,
                           env=environment)
    return int(shell.stdout)


class Sink:
    """A sink process; `with` starts and ends it. totals() asks it what it has counted."""

    def __init__(self, bench, tls):
        self.tls, self.check = tls, bench.directory / "sink.json"
        self.check.unlink(missing_ok=True)
        command = [bench.sink, "--check", self.check]
        if tls:
            command += ["--cert", bench.cert, "--key", bench.key]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            self.port = int(self.process.stdout.readline())
        except ValueError:
            raise Failed("the sink did not start") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def totals(self):
        self.check.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + 10
        while not self.check.exists():
            if time.monotonic() > until or self.process.poll() is not None:
                raise Failed("the sink does not answer")
            time.sleep(0.005)
        return json.loads(self.check.read_text())

    @property
    def endpoint(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


class Bench:
    """Where everything is, and the measured runs."""

    def __init__(self, build, directory, count):
        self.directory, self.count = directory, count
        self.floor, self.sink = build / "tests/bench/floor", build / "tests/bench/sink"
        self.tailraced = build / "tailraced"
        self.fluent_bit = shutil.which("fluent-bit")
        self.cert, self.key = directory / "cert.pem", directory / "key.pem"
        self.files = {"lines": directory / "lines.log", "rows": directory / "rows.csv"}
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "AWS_ACCESS_KEY_ID": "AKIDBENCH",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        }

    def prepare(self):
        for kind, path in self.files.items():
            gen.write(path, kind, self.count)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.key, "-out", self.cert],
            check=True, stderr=subprocess.DEVNULL)

    def measure(self, command, until=None):
        """Runs a command to its end, or until until() is true and then stopped; its costs."""
        with open(self.directory / "complaints", "w+") as complaints:
            begun = time.monotonic()
            pid = start_apart(command, self.environment, complaints)
            deadline = threading.Timer(RUN_SECONDS_MAX, os.kill, (pid, signal.SIGKILL))
            deadline.start()
            status = None
            try:
                if until is not None:
                    while not until() and time.monotonic() - begun < RUN_SECONDS_MAX:
                        time.sleep(0.1)
                    wall = time.monotonic() - begun
                    os.kill(pid, signal.SIGTERM)
                _, status, usage = os.wait4(pid, 0)
                if until is None:
                    wall = time.monotonic() - begun
            finally:
                deadline.cancel()
                if status is None:
                    os.kill(pid, signal.SIGKILL)
            exit_code = os.waitstatus_to_exitcode(status)
            complaints.seek(0)
            if exit_code != 0 and until is None:
                raise Failed(f"{pathlib.Path(command[0]).name} ended with {exit_code}: "
                             f"{complaints.read()[-2000:]}")
        return {"cpu": usage.ru_utime + usage.ru_stime, "wall": wall, "rss": usage.ru_maxrss / 1024}

    def expect(self, sink, records, who):
        got = sink.totals()["records"]
        if got != records:
            raise Failed(f"{who}: {got} of {records} records arrived")

    def run_floor(self, kind, tls):
        with Sink(self, tls) as sink:
            command = [self.floor, str(sink.port), self.files[kind]] + [self.cert] * tls
            costs = self.measure(command)
            self.expect(sink, self.count + (kind == "rows"), "floor")  # it sends the header, too
        return costs

    def write_config(self, sink, sources):
        shutil.rmtree(self.directory / "state", ignore_errors=True)
        (self.directory / "state").mkdir(mode=0o700)
        path = self.directory / "bench.yaml"
        path.write_text(CONFIG.format(
            endpoint=sink.endpoint, state=self.directory / "state", buffer=BUFFER_MIB,
            ca_bundle=f"ca_bundle: {self.cert}\n" if sink.tls else "") + sources)
        return path

    def source(self, kind, file):
        return {"lines": LINES_SOURCE, "rows": ROWS_SOURCE}[kind].format(file=file, record=crime_table.RECORD)

    def run_tailraced(self, kind, tls):
        with Sink(self, tls) as sink:
            config = self.write_config(sink, self.source(kind, self.files[kind]))
            costs = self.measure([self.tailraced, "--once", "-c", config])
            self.expect(sink, self.count, "tailraced")
        return costs

    def run_fluent_bit(self, kind, tls):
        with Sink(self, tls) as sink:
            path = self.directory / "fluent-bit.conf"
            path.write_text(FLUENT_BIT.format(file=self.files[kind], port=sink.port,
                                              buffer=BUFFER_MIB, cert=self.cert,
                                              tls="On" if tls else "Off"))
            stuck = Stuck(sink, self.count)
            costs = self.measure([self.fluent_bit, "-c", path], until=stuck)
            self.expect(sink, self.count, "fluent-bit")
        return costs


class Stuck:
    """True when all records have arrived, or none any more for 20 seconds."""

    def __init__(self, sink, wanted):
        self.sink, self.wanted, self.seen, self.since = sink, wanted, 0, time.monotonic()

    def __call__(self):
        records = self.sink.totals()["records"]
        if records != self.seen:
            self.seen, self.since = records, time.monotonic()
        return records >= self.wanted or time.monotonic() - self.since > 20


def median(costs, what):
    return statistics.median(c[what] for c in costs)


def table(bench, jobs, costs):
    print(f"\n{bench.count:,} records a run; medians")
    print(f"{'':28}{'CPU ns/record':>14}{'records/s':>12}{'MB/CPU-s':>10}{'RSS MiB':>9}"
          f"{'x floor':>9}")
    for job in jobs:
        if not costs[job]:
            continue
        who, kind, tls = job
        cpu, floor = median(costs[job], "cpu"), median(costs["floor", kind, tls], "cpu")
        size = bench.files[kind].stat().st_size
        print(f"{who + ', ' + kind + (', TLS' if tls else ', plain'):28}"
              f"{cpu / bench.count * 1e9:14,.0f}{bench.count / median(costs[job], 'wall'):12,.0f}"
              f"{size / 1e6 / cpu:10,.0f}{median(costs[job], 'rss'):9.1f}{cpu / floor:9.2f}")


def goal(name, value, limit, unit):
    print(f"{name:28}{value:10.2f}{unit:4} (to reach: {limit}{unit})  "
          f"{'reached' if value <= limit else 'MISSED'}")


def goals(bench, costs):
    lines, rows = costs["tailraced", "lines", False], costs["tailraced", "rows", False]
    print()
    goal("lines, plain, x floor",
         median(lines, "cpu") / median(costs["floor", "lines", False], "cpu"),
         LINES_TIMES_FLOOR_MAX, "x")
    goal("CSV to JSON, plain, a row", median(rows, "cpu") / bench.count * 1e9,
         CSV_NANOSECONDS_MAX, "ns")
    worst = max(c["rss"] for (who, _, _), all_ in costs.items() if who == "tailraced" for c in all_)
    goal(f"peak RSS, buffer {BUFFER_MIB} MiB", worst, BUFFER_MIB + RSS_OVER_BUFFER_MIB, "MiB")


def wake_ups(pid):
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


def ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def wait_until_quiet(process):
    """No wake-up for three seconds, or the end of patience."""
    quiet, before = 0, -1
    for _ in range(60):
        time.sleep(1)
        if process.poll() is not None:
            raise Failed(f"tailraced ended by itself with {process.returncode}")
        now = wake_ups(process.pid)
        quiet = quiet + 1 if now == before else 0
        before = now
        if quiet == 3:
            return


def idle(bench, seconds):
    with Sink(bench, False) as sink:
        sources = ""
        for kind, path in bench.files.items():
            few = bench.directory / f"few-{path.name}"
            with open(path, "rb") as whole:
                few.write_bytes(b"".join(next(whole) for _ in range(1001)))
            sources += bench.source(kind, few)
        config = bench.write_config(sink, sources)
        process = subprocess.Popen([bench.tailraced, "-c", config], env=bench.environment,
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until_quiet(process)
            bench.expect(sink, 2001, "tailraced, following")
            before = wake_ups(process.pid), ticks(process.pid)
            time.sleep(seconds)
            after = wake_ups(process.pid), ticks(process.pid)
        finally:
            process.terminate()
            process.wait(30)
        print(f"\nidle, following two files, {seconds:g} s: {after[0] - before[0]} wake-ups, "
              f"{after[1] - before[1]} ticks of CPU (to reach: 0)")


def bench_all(bench, runs, idle_seconds):
    programs = {"floor": bench.run_floor}
    if bench.tailraced.exists():
        programs["tailraced"] = bench.run_tailraced
    jobs = [(who, kind, tls) for kind in ("lines", "rows") for tls in (False, True)
            for who in programs]
    costs = {job: [] for job in jobs}
    for _ in range(runs):
        for who, kind, tls in jobs:
            costs[who, kind, tls].append(programs[who](kind, tls))
    if bench.fluent_bit:
        jobs += [("fluent-bit", "lines", False), ("fluent-bit", "lines", True)]
        for job in jobs[-2:]:
            try:  # its options differ from version to version; without a row the rest still stands
                costs[job] = [bench.run_fluent_bit(*job[1:])]
            except Failed as why:
                costs[job] = []
                print(f"no row for {job[0]}{', TLS' if job[2] else ''}: {why}")
    table(bench, jobs, costs)
    if "tailraced" in programs:
        goals(bench, costs)
        if idle_seconds > 0:
            idle(bench, idle_seconds)


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=root / "build")
    parser.add_argument("--quick", action="store_true", help="100,000 records, 10 s of idleness")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--idle", type=float, help="seconds; 0: not at all; default 60")
    options = parser.parse_args()
    idle_seconds = options.idle if options.idle is not None else 10 if options.quick else 60
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as directory:
        bench = Bench(options.build.resolve(), pathlib.Path(directory),
                      100_000 if options.quick else 1_000_000)
        bench.prepare()
        try:
            bench_all(bench, max(1, options.runs), idle_seconds)
        except Failed as why:
            sys.exit(f"bench: {why}")


if __name__ == "__main__":
    main()
