"""The rows of `make bench` for the local socket: what an event costs from an application's write to
the service, with each kind of acknowledgement; beside it the floor program on the same bytes, and
what people have today: rsyslog with a queue on disk (imptcp on a Unix socket is not there: imuxsock),
and logger.

    python3 sockets.py [--build DIR] [--quick] [--runs N]

Full speed gives events a second and CPU an event; a second run at 5,000 events a second gives the
times from write to acknowledgement. All go to the bench's sink on loopback, which counts.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import run as base

LINE = 200
CALM_RATE = 5000
WINDOW = 8192
CLIENTS = 8
WARM = 400_000  # events: more than a lap of the spool
EVENTS_A_CORE = {"none": 300_000, "durable": 150_000}
TIMES_FLOOR_MAX = 2.0

SOURCE = """\
  events:
    socket: {path}
    stream: bench
    ack: {ack}
"""
SPOOL_MIB = 64

RSYSLOG = """\
global(workDirectory="{dir}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{path}" CreatePath="off" RateLimit.Interval="0" useSysTimeStamp="off")
template(name="raw" type="string" string="%rawmsg%\\n")
action(type="omfile" file="{dir}/out" template="raw" asyncWriting="off"
       queue.type="Disk" queue.filename="q" queue.syncQueueFiles="{sync}"
       queue.checkpointInterval="{every}" queue.saveOnShutdown="on" queue.maxDiskSpace="4g")
"""


def cpu_seconds(pid):
    """Of all its threads, to the nanosecond; of those that have ended, to the tick."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            pass
    return total / 1e9


class Sockets(base.Bench):
    def __init__(self, build, directory, count):
        super().__init__(build, directory, count)
        self.pusher = build / "tests/bench/pusher"
        self.path = directory / "events.sock"
        self.files = {"lines": directory / "events.log"}

    def prepare(self):
        line = bytes(ord("a") + i * 7 % 26 for i in range(LINE - 1)) + b"\n"
        with open(self.files["lines"], "wb") as file:
            for _ in range(0, self.count, 1000):
                file.write(line * 1000)

    def push(self, count, *arguments):
        done = subprocess.run([self.pusher, self.path, str(count), *map(str, arguments)],
                              capture_output=True, text=True, timeout=base.RUN_SECONDS_MAX)
        if done.returncode != 0:
            raise base.Failed(done.stderr)
        return json.loads(done.stdout)

    def start(self, command):
        process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL,
                                   stderr=sys.stderr)
        until = time.monotonic() + 20
        while not self.answers():
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                raise base.Failed(f"{command[0]} does not listen")
            time.sleep(0.02)
        return process

    def answers(self):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_UNIX, kind) as s:
                try:
                    s.connect(str(self.path))
                    return True
                except OSError:
                    pass
        return False

    def await_all(self, sink, count):
        stuck = base.Stuck(sink, count)
        while not stuck():
            time.sleep(0.01)
        self.expect(sink, count, "tailraced")

    def run_socket(self, ack):
        """Measured from the spool's second lap on, as a daemon runs: on the first, the kernel finds
        memory for the file's pages."""
        window = 0 if ack == "none" else WINDOW
        with base.Sink(self, False) as sink:
            config = self.write_config(sink, SOURCE.format(path=self.path, ack=ack))
            text = config.read_text()
            config.write_text(text.replace("in_flight: 4", f"in_flight: 4\n    spool: {SPOOL_MIB}MiB"))
            process = self.start([self.tailraced, "-c", config])
            try:
                self.push(WARM, CLIENTS, window)
                self.await_all(sink, WARM)
                before, begun = cpu_seconds(process.pid), time.monotonic()
                pushed = self.push(self.count, CLIENTS, window)
                self.await_all(sink, WARM + self.count)
                wall, cpu = time.monotonic() - begun, cpu_seconds(process.pid) - before
                calm = self.push(self.count // 100, CLIENTS, WINDOW, CALM_RATE) if window else {}
                rss = next(int(line.split()[1]) / 1024 for line in
                           pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
                           if line.startswith("VmHWM"))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        return {"cpu": cpu, "wall": wall, "rss": rss, "busy": pushed, "calm": calm}

    def run_rsyslog(self, sync):
        """imuxsock is a datagram socket, so the events come one by one."""
        work = self.directory / "rsyslog"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        self.path.unlink(missing_ok=True)
        (work / "conf").write_text(RSYSLOG.format(
            dir=work, path=self.path, sync="on" if sync else "off", every=1 if sync else 0))
        count = self.count // (1000 if sync else 10)
        process = self.start(["/usr/sbin/rsyslogd", "-n", "-f", work / "conf", "-i", work / "pid"])
        line = b"<13>Nov 23 08:00:00 app: " + b"x" * (LINE - 25)
        try:
            before, begun = cpu_seconds(process.pid), time.monotonic()
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.connect(str(self.path))
                for _ in range(count):
                    s.send(line)
            out, until = work / "out", time.monotonic() + 120
            while not out.exists() or out.stat().st_size < count * (LINE - 40):
                if time.monotonic() > until:
                    raise base.Failed("rsyslog: not all arrived")
                time.sleep(0.05)
            wall, cpu = time.monotonic() - begun, cpu_seconds(process.pid) - before
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        return {"events": count, "cpu": cpu, "wall": wall}

    def run_logger(self):
        """A process an event, as shell scripts do."""
        count = max(200, self.count // 5000)
        with base.Sink(self, False) as sink:
            config = self.write_config(sink, SOURCE.format(path=self.path, ack="none") +
                                       "    type: datagram\n")
            process = self.start([self.tailraced, "-c", config])
            try:
                begun, before = time.monotonic(), os.times()
                for _ in range(count):
                    subprocess.run(["logger", "-u", self.path, "-t", "app", "x" * LINE], check=True)
                wall, after = time.monotonic() - begun, os.times()
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        cpu = after.children_user - before.children_user + after.children_system - \
            before.children_system
        return {"events": count, "cpu": cpu, "wall": wall}


def median(rows, *path):
    def pick(row):
        for step in path:
            row = row[step]
        return row
    return statistics.median(map(pick, rows))


def table(bench, costs, floor):
    print(f"\n{bench.count:,} events of {LINE} bytes from {CLIENTS} clients; medians; "
          f"floor {floor / bench.count * 1e9:,.0f} ns an event")
    print(f"{'':18}{'events/s':>11}{'CPU ns/event':>14}{'events/core-s':>15}{'x floor':>9}"
          f"{'RSS MiB':>9}{'p50 ms':>8}{'p99 ms':>8}{'calm p50':>10}{'calm p99':>10}")
    for ack, rows in costs.items():
        cpu = median(rows, "cpu")
        times = ["-"] * 4
        if ack != "none":
            times = [f"{median(rows, how, which) / 1000:.1f}" for how in ("busy", "calm")
                     for which in ("p50_us", "p99_us")]
        print(f"{'ack: ' + ack:18}{bench.count / median(rows, 'wall'):11,.0f}"
              f"{cpu / bench.count * 1e9:14,.0f}{bench.count / cpu:15,.0f}{cpu / floor:9.2f}"
              f"{median(rows, 'rss'):9.1f}{times[0]:>8}{times[1]:>8}{times[2]:>10}{times[3]:>10}")


def others(bench):
    rows = {"logger": bench.run_logger} if shutil.which("logger") else {}
    if pathlib.Path("/usr/sbin/rsyslogd").exists():
        rows["rsyslog"] = lambda: bench.run_rsyslog(False)
        rows["rsyslog, synced"] = lambda: bench.run_rsyslog(True)
    else:
        print("rsyslog is not installed: no row for it")
    for name, measure in rows.items():
        try:
            r = measure()
        except base.Failed as why:
            print(f"no row for {name}: {why}")
            continue
        print(f"{name:18}{r['events'] / r['wall']:11,.0f}{r['cpu'] / r['events'] * 1e9:14,.0f}"
              f"{r['events'] / max(r['cpu'], 1e-9):15,.0f}   ({r['events']:,} events)")


def goals(bench, costs, floor):
    print()
    for ack, wanted in EVENTS_A_CORE.items():
        reached = bench.count / median(costs[ack], "cpu")
        print(f"ack: {ack}: {reached:,.0f} events/s on one core (to reach: {wanted:,})  "
              f"{'reached' if reached >= wanted else 'MISSED'}")
        base.goal(f"ack: {ack}, x floor", median(costs[ack], "cpu") / floor, TIMES_FLOOR_MAX, "x")


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=root / "build")
    parser.add_argument("--quick", action="store_true", help="100,000 events")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--idle", help="for run.py alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as directory:
        bench = Sockets(options.build.resolve(), pathlib.Path(directory),
                        100_000 if options.quick else 1_000_000)
        bench.prepare()
        try:
            floors, costs = [], {"none": [], "durable": [], "delivered": []}
            for _ in range(max(1, options.runs)):
                floors.append(bench.run_floor("lines", False))
                for ack, rows in costs.items():
                    rows.append(bench.run_socket(ack))
            floor = median(floors, "cpu")
            table(bench, costs, floor)
            others(bench)
            goals(bench, costs, floor)
        except base.Failed as why:
            sys.exit(f"bench: {why}")


if __name__ == "__main__":
    main()
