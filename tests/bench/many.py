"""make bench-many: what ten thousand followed files cost, quiet and with one of them busy.

    python3 many.py [--build DIR] [--files N] [--idle SECONDS] [--seconds SECONDS]

Starts tailraced on N files that hold a line each, and measures: the time to READY, wake-ups and CPU
while all is quiet, open descriptors, resident memory. Then one of the files is written at 10,000 and at
100,000 lines a second, and the daemon's CPU is held against the same with that file alone. Everything
is delivered to the bench's sink on loopback.
"""

import argparse
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

LINE = b"2026-11-23T06:00:00.000Z host app[4711]: level=info msg=\"request served\" path=/api/v2/orders "

CONFIG = """\
region: us-east-1
endpoint: http://127.0.0.1:{port}
state_dir: {state}
log_level: warn
streams:
  bench:
    kinesis: bench
    linger: 100ms
sources:
  many:
    file: {files}/*.log
    stream: bench
"""


class Daemon:
    def __init__(self, build, folder, files, port):
        self.folder = folder
        state = folder / "state"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(mode=0o700)
        config = folder / "tailrace.yaml"
        config.write_text(CONFIG.format(port=port, state=state, files=files))
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = folder / "notify.sock"
        path.unlink(missing_ok=True)
        self.notify.bind(str(path))
        self.notify.settimeout(30)
        env = {**os.environ, "NOTIFY_SOCKET": str(path), "AWS_ACCESS_KEY_ID": "bench",
               "AWS_SECRET_ACCESS_KEY": "bench"}
        started = time.monotonic()
        self.process = subprocess.Popen([str(build / "tailraced"), "-c", str(config)], env=env)
        while b"READY=1" not in self.notify.recv(4096):
            pass
        self.ready_seconds = time.monotonic() - started

    def proc(self, name):
        return pathlib.Path(f"/proc/{self.process.pid}/{name}").read_text()

    def cpu_ms(self):
        fields = self.proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def cpu_ns(self):
        """Of all its threads, to the nanosecond."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

    def wake_ups(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if "ctxt_switches" in line:
                    total += int(line.split()[1])
        return total

    def rss_mib(self):
        for line in self.proc("status").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def settle(self):
        """Until it has not run for a second."""
        before = -1
        while before != self.wake_ups():
            before = self.wake_ups()
            time.sleep(1)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.notify.close()


def write_at(path, lines_a_second, seconds):
    """Ten times a millisecond-free 10 ms slice; returns how many lines were written."""
    slice_lines = lines_a_second // 100
    text = b"".join(LINE + b"n=%08d\n" % i for i in range(slice_lines))
    started = time.monotonic()
    written = 0
    with open(path, "ab", buffering=0) as f:
        for i in range(seconds * 100):
            f.write(text)
            written += slice_lines
            pause = started + (i + 1) / 100 - time.monotonic()
            if pause > 0:
                time.sleep(pause)
    return written


def busy(daemon, path, rate, seconds):
    daemon.settle()
    before = daemon.cpu_ns()
    written = write_at(path, rate, seconds)
    daemon.settle()
    return (daemon.cpu_ns() - before) / written


def make_files(folder, n):
    folder.mkdir()
    for i in range(n):
        (folder / f"{i:05d}.log").write_bytes(LINE + b"%d\n" % i)


def start_sink(build):
    sink = subprocess.Popen([str(build / "tests/bench/sink")], stdout=subprocess.PIPE)
    return sink, int("".join(c for c in sink.stdout.readline().decode() if c.isdigit()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default="build", type=pathlib.Path)
    parser.add_argument("--files", default=10000, type=int)
    parser.add_argument("--idle", default=60, type=int)
    parser.add_argument("--seconds", default=10, type=int)
    parser.add_argument("--rounds", default=3, type=int)
    o = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tailrace-many-"))
    sink, port = start_sink(o.build)
    costs = {}
    try:
        make_files(folder / "many", o.files)
        make_files(folder / "one", 1)
        daemon = Daemon(o.build, folder, folder / "many", port)
        print(f"{o.files} files: ready after {daemon.ready_seconds:.2f} s", flush=True)
        daemon.settle()
        wakes, cpu = daemon.wake_ups(), daemon.cpu_ns()
        time.sleep(o.idle)
        print(f"quiet for {o.idle} s: {daemon.wake_ups() - wakes} wake-ups, {(daemon.cpu_ns() - cpu) / 1e6:.1f} ms of CPU")
        print(f"descriptors: {daemon.descriptors()}, resident: {daemon.rss_mib():.1f} MiB", flush=True)
        daemon.stop()
        for _ in range(o.rounds):
            for name in ("many", "one"):
                daemon = Daemon(o.build, folder, folder / name, port)
                for rate in (10000, 100000):
                    cost = busy(daemon, folder / name / "00000.log", rate, o.seconds)
                    costs.setdefault((rate, name), []).append(cost)
                daemon.stop()
        for rate in (10000, 100000):
            many, one = (sorted(costs[rate, name])[o.rounds // 2] for name in ("many", "one"))
            print(f"one file at {rate} lines/s: {many:.0f} ns a line among {o.files}, {one:.0f} alone, ratio {many / one:.2f}")
    finally:
        sink.terminate()
        sink.wait(10)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
