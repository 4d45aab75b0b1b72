"""What the end-to-end tests hold in their hands: a real daemon, a real tool, a local Kinesis.

Nothing here waits for a while and hopes: `wait_until` looks at a condition until it holds, and a
test's patience is its limit, not its length. TAILRACE_PATIENCE stretches it on slow machines and
under sanitizers.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import uuid

import boto3
from botocore.config import Config

import fake_kinesis

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(os.environ.get("TAILRACE_BUILD", ROOT / "build")).absolute()
PATIENCE = float(os.environ.get("TAILRACE_PATIENCE", "1"))


def wait_until(condition, timeout=20, what="the condition"):
    """Looks until the condition gives something true, and gives that back."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.01)


# --- configuration ------------------------------------------------------------------------------


def scalar(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if isinstance(value, int) or re.fullmatch(
        r"[A-Za-z][A-Za-z0-9_-]*|\d+(ms|s|m|h|KiB|MiB)", text
    ):
        return text
    return json.dumps(text)


def yaml(value, indent=""):
    """Block YAML for dicts, flow for lists; scalars quoted when there is any doubt."""
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            lines += [f"{indent}{key}:", yaml(inner, indent + "  ")]
        elif isinstance(inner, list):
            lines.append(f"{indent}{key}: [{', '.join(map(scalar, inner))}]")
        else:
            lines.append(f"{indent}{key}: {scalar(inner)}")
    return "\n".join(lines)


def credentials(session_token=None, secret=fake_kinesis.SECRET_KEY):
    found = {"AWS_ACCESS_KEY_ID": fake_kinesis.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": secret}
    if session_token is not None:
        found["AWS_SESSION_TOKEN"] = session_token
    return found


def environment(home, **more):
    """A small world: nothing of the machine's AWS settings or proxies gets in."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if k in ("PATH", "LANG", "TZ", "TMPDIR")
        or k.endswith("SAN_OPTIONS")
        or k == "LLVM_PROFILE_FILE"
    }
    return {**kept, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **more}


# --- the daemon ---------------------------------------------------------------------------------


class Daemon:
    """A tailraced process of one test, with everything it reads and writes under `dir`.

    d = Daemon(tmp_path, fake.url)
    d.source("a", file=..., start_at="beginning")
    d.start()                   waits for READY=1
    d.wait_log("file opened")   waits for a line on stderr
    d.terminate()               SIGTERM, and the exit status must be 0
    """

    def __init__(self, directory, endpoint, **top):
        self.dir = pathlib.Path(directory)
        self.state = self.dir / "state"
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.file = self.dir / "tailrace.yaml"
        self.settings = {
            "region": "us-east-1",
            "endpoint": endpoint,
            "state_dir": str(self.state),
            "streams": {"s": {"kinesis": "s", "linger": "20ms"}},
            "sources": {},
            **top,
        }
        self.env = environment(self.dir, **credentials())
        self.starter = []  # a command that ends by starting the one that follows it
        self.pass_fds = ()  # descriptors that it inherits
        self.process = None
        self.lines = []
        self.messages = []
        self.threads = []
        self.notify = None

    def source(self, name, file, stream="s", **more):
        self.settings["sources"][name] = {"file": str(file), "stream": stream, **more}
        return self

    def write(self, text=None):
        self.file.write_text(yaml(self.settings) + "\n" if text is None else text)

    # Life.

    def spawn(self, *arguments, stderr=subprocess.PIPE, write=True, **more):
        """Starts it without waiting for anything."""
        if write:
            self.write()
        self.lines, self.messages, self.threads = [], [], []
        env = dict(self.env, **self.listen(), **more)
        self.process = subprocess.Popen(
            [*self.starter, str(BUILD / "tailraced"), *arguments, "-c", str(self.file)],
            env=env,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=self.pass_fds,
        )
        if stderr == subprocess.PIPE:
            self.follow(self.read_stderr, self.process.stderr)
        return self

    def start(self, *arguments, **more):
        self.spawn(*arguments, **more)
        self.wait_message("READY=1")
        return self

    def once(self, *arguments, timeout=60):
        """tailraced --once, to its end: the exit status."""
        self.spawn("--once", *arguments)
        return self.wait_exit(timeout)

    def wait_exit(self, timeout=20):
        status = self.process.wait(timeout * PATIENCE)
        self.unlisten()
        self.check_sanitizers()
        return status

    def terminate(self, expect=0, timeout=20):
        self.process.send_signal(signal.SIGTERM)
        status = self.wait_exit(timeout)
        assert status == expect, f"exit status {status}\n{self.log()}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.unlisten()

    def reload(self, text=None):
        """Writes the settings anew and waits until the daemon says that it is done with them."""
        self.write(text)
        before = len(self.messages)
        self.process.send_signal(signal.SIGHUP)
        self.wait_message("RELOADING=1", since=before)
        at = next(i for i, m in enumerate(self.messages) if i >= before and "RELOADING=1" in m)
        self.wait_message("READY=1", since=at + 1)

    def running(self):
        return self.process is not None and self.process.poll() is None

    # What it says.

    def follow(self, read, *arguments):
        thread = threading.Thread(target=read, args=arguments, daemon=True)
        thread.start()
        self.threads.append(thread)

    def read_stderr(self, pipe):
        for line in pipe:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))
        pipe.close()

    def listen(self):
        """An abstract datagram socket stands in for systemd's."""
        name = f"tailrace-test-{uuid.uuid4().hex}"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind("\0" + name)
        self.follow(self.read_messages, self.notify)
        return {"NOTIFY_SOCKET": "@" + name}

    def unlisten(self):
        """The process is gone: what it said before is read to its end."""
        if self.notify is not None:
            self.notify.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        self.threads = []
        if self.notify is not None:
            self.notify.close()
            self.notify = None

    def read_messages(self, notify):
        while True:
            try:
                message = notify.recv(65536)
            except OSError:
                return
            if not message:
                return
            self.messages.append(message.decode())

    def log(self):
        """What it said last (a daemon that has gone mad may have said a million lines)."""
        return "\n".join(self.lines[-200:])

    def still_running(self):
        assert self.running(), f"ended by itself: {self.process.poll()}\n{self.log()}"

    def wait_log(self, pattern, timeout=20, since=0):
        """Waits for a line that the expression is found in, and gives that line."""

        def find():
            for line in self.lines[since:]:
                if re.search(pattern, line):
                    return line
            return None

        return wait_until(find, timeout, f"/{pattern}/ in\n{self.log()}")

    def wait_message(self, text, timeout=20, since=0):
        def find():
            if any(text in m.splitlines() for m in self.messages[since:]):
                return True
            self.still_running()
            return False

        wait_until(find, timeout, f"{text} among {self.messages}\n{self.log()}")

    def check_sanitizers(self):
        bad = [
            line for line in self.lines if re.search(r"Sanitizer|runtime error:|Assertion", line)
        ]
        assert not bad, self.log()

    # What it keeps.

    def checkpoint(self):
        try:
            return (self.state / "checkpoint.json").read_text()
        except FileNotFoundError:
            return ""

    def dead_letters(self, source):
        """What is in the file of dead letters; a line that is being written does not count."""
        path = self.state / "dead-letter" / f"{source}.jsonl"
        try:
            whole = path.read_text().rpartition("\n")[0]
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in whole.splitlines()]

    def status_kib(self, name):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise AssertionError(name)

    def cleanup(self):
        if self.running():
            self.kill()
        self.unlisten()


def tool(*arguments, env=None, timeout=60):
    """The command-line tool, to its end: status, standard output, standard error."""
    done = subprocess.run(
        [str(BUILD / "tailrace"), *map(str, arguments)],
        capture_output=True,
        env=env,
        timeout=timeout * PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    stderr = done.stderr.decode(errors="replace")
    assert "Sanitizer" not in stderr and "runtime error:" not in stderr, stderr
    return done.returncode, done.stdout.decode(), stderr


# --- Kinesis by strangers -----------------------------------------------------------------------


class Kinesalite:
    """tests/parts/kinesis.js, and boto3 to look into it."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            ["node", str(HERE.parent / "parts" / "kinesis.js"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        word, _, port = self.process.stdout.readline().partition(" ")
        assert word == "ready", "the local Kinesis did not start"
        self.url = f"http://127.0.0.1:{int(port)}"
        self.client = boto3.client(
            "kinesis",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 4}),
        )

    def create(self, stream, shards=2):
        self.client.create_stream(StreamName=stream, ShardCount=shards)
        wait_until(
            lambda: self.client.describe_stream_summary(StreamName=stream)[
                "StreamDescriptionSummary"
            ]["StreamStatus"]
            == "ACTIVE",
            what="the stream",
        )
        return stream

    def records(self, stream):
        """Everything in the stream, shard by shard (dicts as boto3 gives them)."""
        found = []
        for shard in self.client.list_shards(StreamName=stream)["Shards"]:
            iterator = self.client.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            while True:
                reply = self.client.get_records(ShardIterator=iterator, Limit=10000)
                if not reply["Records"]:
                    break
                found += reply["Records"]
                iterator = reply["NextShardIterator"]
        return found

    def data(self, stream):
        return [r["Data"] for r in self.records(stream)]

    def stop(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)
