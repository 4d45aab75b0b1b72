"""The programs of docs/sockets.md, as they stand there, against the daemon that it configures.

Each fenced block is a program; only the directory of its sockets is another one.
"""

import json
import os
import re
import socket
import subprocess
import threading

import pytest

import harness
from harness import PATIENCE, ROOT, wait_until

PAGE = (ROOT / "docs" / "sockets.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)
EVENTS = [{"userId": "ann", "event": "login"}, {"userId": "bob", "event": "logout"}]


def blocks(language, word):
    return [text for found, text in BLOCKS if found == language and word in text]


def named(language, word, *more):
    """The one block of this language with these words in it."""
    [text] = [t for t in blocks(language, word) if all(w in t for w in more)]
    return pytest.param(language, text, id=f"{language}-{word}")


ANSWERED = [
    named("sh", "nc -N"),
    named("sh", "socat -t"),
    named("c", "main"),
    named("python", "json"),
    named("js", "net"),
]
PUSHED = [named("sh", "tailrace push")]
PATIENT = [named("python", "stdin")]
LOGGED = [named("sh", "logger"), named("python", "SysLogHandler"), named("sh", "UNIX-SENDTO")]


def command(tmp_path, language, text):
    """How to run it, with its sockets in a directory of the test."""
    text = text.replace("/run/tailrace", str(tmp_path))
    program = tmp_path / f"client.{language}"
    program.write_text(text)
    if language == "c":
        compiled = tmp_path / "client"
        subprocess.run(
            ["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o", compiled, program],
            check=True,
        )
        return [compiled]
    return {"sh": ["bash", "-eo", "pipefail"], "python": ["python3"], "js": ["node"]}[language] + [program]


def run(tmp_path, language, text, stdin=b""):
    done = subprocess.run(
        command(tmp_path, language, text),
        input=stdin,
        capture_output=True,
        timeout=60 * PATIENCE,
        env={**os.environ, "PATH": f"{harness.BUILD}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0 and done.stderr == b"", done
    return done.stdout.decode()


@pytest.fixture
def served(daemon, fakes, tmp_path):
    """The daemon of the page's own configuration, and its Kinesis."""
    fake = fakes({"events": 2})
    d = daemon(fake.url, streams={"events": {"kinesis": "events", "linger": "20ms"}})
    [(_, sources)] = [block for block in BLOCKS if block[0] == "yaml"]
    del d.settings["sources"]
    d.text = harness.yaml(d.settings) + "\n" + sources.replace("/run/tailrace", str(tmp_path))
    d.write(d.text)
    return d.start(write=False), fake


def test_every_program_of_the_page_is_run():
    tested = [p.values[1] for p in ANSWERED + PUSHED + PATIENT + LOGGED]
    assert sorted(tested) == sorted(text for language, text in BLOCKS if language != "yaml")


@pytest.mark.parametrize("language,text", ANSWERED)
def test_a_client_is_told_that_its_events_are_safe_and_they_arrive(served, tmp_path, language, text):
    d, fake = served
    said = run(tmp_path, language, text).splitlines()
    assert said[-1] == "ok 2" and set(said) <= {"ok 1", "ok 2"}
    wait_until(lambda: fake.count("events") >= 2, what="the events")
    assert sorted(map(json.loads, fake.data("events")), key=str) == EVENTS
    assert {r.key for r in fake.records("events")} == {"ann", "bob"}
    d.terminate()


@pytest.mark.parametrize("language,text", ANSWERED)
def test_a_client_that_finds_nobody_fails(tmp_path, language, text):
    done = subprocess.run(
        command(tmp_path, language, text), stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert done.returncode != 0 and done.stderr != b"" and b"ok" not in done.stdout


@pytest.mark.parametrize("language,text", [p for p in ANSWERED if p.values[0] != "sh"])
def test_a_program_that_is_not_told_that_all_is_safe_fails(tmp_path, language, text):
    def goes_early():
        connection, _ = listener.accept()
        with connection:
            while connection.recv(4096).count(b"\n") < 2:
                pass
            connection.sendall(b"ok 1\n")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "events.sock"))
        listener.listen()
        threading.Thread(target=goes_early, daemon=True).start()
        done = subprocess.run(
            command(tmp_path, language, text), stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
    assert done.returncode != 0 and done.stdout == b"ok 1\n"


@pytest.mark.parametrize("language,text", PUSHED)
def test_push_says_that_all_is_safe(served, tmp_path, language, text):
    d, fake = served
    assert run(tmp_path, language, text) == "safe\n"
    wait_until(lambda: fake.count("events") >= 2, what="the events")
    assert sorted(map(json.loads, fake.data("events")), key=str) == EVENTS
    d.terminate()


@pytest.mark.parametrize("language,text", PATIENT)
def test_a_client_that_sends_again_loses_nothing_when_the_daemon_is_killed(served, tmp_path, language, text):
    d, fake = served
    n = 20000
    lines = [b'{"userId":"u%d"}' % i for i in range(n)]
    with subprocess.Popen(
        command(tmp_path, language, text), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as p:
        p.stdin.write(b"\n".join(lines[: n // 2]) + b"\n\n" + b"\r\n".join(lines[n // 2 :]))
        p.stdin.close()
        for _ in range(3):
            before = fake.count("events")
            wait_until(lambda: p.poll() is not None or fake.count("events") > before, what="progress")
            d.kill()
            d.start(write=False)
        assert p.wait(60 * PATIENCE) == 0
        assert p.stdout.read().decode() == f"{n} lines are safe\n"
    wait_until(lambda: len(set(fake.data("events"))) >= n, what="all lines")
    assert set(fake.data("events")) == set(lines)
    d.terminate()


@pytest.mark.parametrize("language,text", LOGGED)
def test_a_writer_of_syslog_is_understood(served, tmp_path, language, text):
    d, fake = served
    assert run(tmp_path, language, text) == ""
    wait_until(lambda: fake.count("events") >= 1, what="the message")
    [record] = [json.loads(x) for x in fake.data("events")]
    assert record["program"] == "app" and record["message"] == "ann has logged in"
    assert record["timestamp"] and record["pri"]
    d.terminate()
