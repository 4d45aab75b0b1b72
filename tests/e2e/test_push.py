"""tailrace push: lines to a socket, with a peer that keeps to the protocol, and with ones that do not."""

import base64
import os
import pathlib
import pty
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import harness
from harness import PATIENCE, tool, wait_until

OK, USAGE, DATA, NO_INPUT, SHUT_OUT, TRY_LATER, NONSENSE = 0, 64, 65, 66, 69, 75, 76
FRAMES_MAX, BYTES_MAX, LINE_MAX = 65536, 8 << 20, 16 << 20
READ_MAX = 65536


class Peer:
    """A stream socket at `path`, and one function for each connection that comes.

    The last function serves all further ones. What each has received stays in `received`.
    """

    def __init__(self, path, *serve):
        self.path, self.serve = str(path), list(serve)
        self.received = []
        self.failures = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.received.append(bytearray())
            serve = self.serve.pop(0) if len(self.serve) > 1 else self.serve[0]
            talk = Talk(self, len(self.received) - 1, connection)
            threading.Thread(target=self.run, args=(serve, talk), daemon=True).start()

    def run(self, serve, talk):
        try:
            serve(talk)
        except OSError:
            pass  # the tool has gone
        except Exception as e:
            self.failures.append(e)
        talk.connection.close()

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        assert self.failures == []

    def lines(self, i=0):
        return self.received[i].splitlines()


class Talk:
    """One connection, as its function sees it."""

    def __init__(self, peer, number, connection):
        self.peer, self.number, self.connection = peer, number, connection
        self.ends = 0

    def read(self, n=READ_MAX):
        """The next bytes; empty at the end."""
        got = self.connection.recv(n)
        self.peer.received[self.number] += got
        self.ends += got.count(b"\n")
        return got

    def read_lines(self, n):
        """Until n whole lines are there, or the end."""
        while self.frames() < n and self.read():
            pass
        return self.frames()

    def frames(self):
        return self.ends

    def say(self, text):
        self.connection.sendall(text if isinstance(text, bytes) else text.encode())

    def to_the_end(self):
        while self.read():
            pass


def acknowledge(talk):
    """As the daemon does, at its best."""
    told = 0
    while talk.read():
        if talk.frames() > told:
            told = talk.frames()
            talk.say(f"ok {told}\n")


def swallow(talk):
    talk.to_the_end()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.sock"


@pytest.fixture
def peers(path, request):
    def make(*serve, at=path):
        made = Peer(at, *serve)
        request.addfinalizer(made.close)
        return made

    return make


def push(*arguments, stdin=b"", timeout=60):
    """Status, standard error; nothing is ever said on standard output."""
    done = subprocess.run(
        [str(harness.BUILD / "tailrace"), "push", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=timeout * PATIENCE,
    )
    stderr = done.stderr.decode(errors="replace")
    assert "Sanitizer" not in stderr and "runtime error:" not in stderr, stderr
    assert done.stdout == b""
    return done.returncode, stderr


def start_push(*arguments, **more):
    return subprocess.Popen(
        [str(harness.BUILD / "tailrace"), "push", *map(str, arguments)],
        **{"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
    )


def numbered(n, size=0):
    return b"".join((b"line %d" % i).ljust(size, b".") + b"\n" for i in range(n))


# --- what is sent -------------------------------------------------------------------------------


def test_lines_of_files_and_of_stdin_are_sent_in_order(peers, path, tmp_path):
    peer = peers(swallow)
    (tmp_path / "a").write_bytes(b"one\ntwo\n")
    (tmp_path / "b").write_bytes(b"five, without an end")
    assert push("--socket", path, tmp_path / "a", "-", tmp_path / "b", stdin=b"three\nfour\n") == (OK, "")
    assert peer.received == [b"one\ntwo\nthree\nfour\nfive, without an end\n"]
    assert push("--socket", path, stdin=b"x") == (OK, "")
    assert peer.received[1] == b"x\n"


def test_empty_lines_and_the_cr_of_a_crlf_are_not_sent(peers, path):
    peer = peers(swallow)
    stdin = b"\n\r\none\r\n\n\n two \r\r\n\0\n\r"
    assert push("--socket", path, stdin=stdin) == (OK, "")
    assert peer.received == [b"one\n two \r\n\0\n"]


def test_with_length32_each_line_has_its_length_before_it(peers, path):
    peer = peers(swallow)
    assert push("--length32", "--socket", path, stdin=b"one\n\n\r\ntwo\r\n" + b"x" * 70000) == (OK, "")
    frames = [b"one", b"two", b"x" * 70000]
    assert peer.received == [b"".join(struct.pack(">I", len(f)) + f for f in frames)]


def test_nothing_is_a_success_but_the_socket_must_be_there(peers, path, tmp_path):
    (tmp_path / "empty").touch()
    status, err = push("--socket", path, "--timeout", "100ms", tmp_path / "empty")
    assert status == TRY_LATER and "no line is written" in err
    peer = peers(acknowledge)
    assert push("--socket", path, tmp_path / "empty") == (OK, "")
    assert push("--socket", path, "--ack", tmp_path / "empty") == (OK, "")
    assert peer.received == [b"", b""]


def test_a_socket_beside_us_needs_no_slash(peers, path, tmp_path):
    peer = peers(swallow)
    done = subprocess.run(
        [harness.BUILD / "tailrace", "push", "-s", path.name], input=b"x\n", cwd=tmp_path, timeout=20
    )
    assert done.returncode == OK and peer.received == [b"x\n"]


def test_without_ack_it_ends_when_the_peer_has_read_all_and_closed(peers, path):
    go = threading.Event()

    def reads_late(talk):
        go.wait(20)
        talk.to_the_end()

    peer = peers(reads_late)
    with start_push("--socket", path) as p:
        p.stdin.write(b"x\n")
        p.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            p.wait(0.3)
        go.set()
        assert p.wait(20) == OK
    assert peer.received == [b"x\n"]


def test_without_ack_answers_are_passed_over(peers, path):
    def answers(talk):
        talk.say("ok 7\nbad 9 what\n\nhello" + "x" * 100000)
        talk.to_the_end()

    peer = peers(answers)
    assert push("--socket", path, stdin=numbered(50000)) == (OK, "")
    assert peer.received == [numbered(50000)]


def test_without_ack_a_peer_that_closes_early_leaves_it_open_what_has_arrived(peers, path):
    peer = peers(lambda talk: talk.read(10))
    status, err = push("--socket", path, stdin=numbered(100000))
    assert status == TRY_LATER and "closed the connection" in err and "not known" in err
    assert len(peer.received) == 1


def test_without_ack_a_peer_that_never_reads_is_not_waited_for_for_ever(peers, path):
    over = threading.Event()
    peers(lambda talk: over.wait(60))
    status, err = push("--socket", path, "--timeout", "300ms", stdin=numbered(200000))
    over.set()
    assert status == TRY_LATER and "does not read" in err


def test_what_is_typed_is_sent_at_once_and_silence_is_no_lack_of_progress(peers, path):
    peer = peers(acknowledge)
    with start_push("--ack", "--socket", path, "--timeout", "200ms") as p:
        for i in range(3):
            p.stdin.write(b"%d\n" % i)
            p.stdin.flush()
            wait_until(lambda: peer.received and peer.received[-1].endswith(b"%d\n" % i), what="the line")
            time.sleep(0.4)
            assert p.poll() is None
        p.stdin.close()
        assert p.wait(20) == OK and p.stderr.read() == b""
    assert peer.received == [b"0\n1\n2\n"]


def test_a_fifo_is_read_when_somebody_writes_to_it(peers, path, tmp_path):
    peer = peers(acknowledge)
    os.mkfifo(tmp_path / "fifo")
    with start_push("--ack", "--socket", path, tmp_path / "fifo", stdin=subprocess.DEVNULL) as p:
        wait_until(lambda: peer.received, what="the connection")
        with pytest.raises(subprocess.TimeoutExpired):
            p.wait(0.2)
        (tmp_path / "fifo").write_bytes(b"x\ny")
        assert p.wait(20) == OK
    assert peer.received == [b"x\ny\n"]


# --- acknowledgements ---------------------------------------------------------------------------


def test_with_ack_it_ends_only_when_all_is_acknowledged(peers, path):
    go = threading.Event()

    def holds_the_last(talk):
        talk.read_lines(1000)
        talk.say("ok 999\n")
        go.wait(20)
        talk.say("ok 1000\n")
        talk.to_the_end()

    peer = peers(holds_the_last)
    with start_push("--ack", "--socket", path) as p:
        p.stdin.write(numbered(1000))
        p.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            p.wait(0.3)
        go.set()
        assert p.wait(20) == OK
    assert peer.received == [numbered(1000)]


def test_answers_may_come_cut_anywhere(peers, path):
    def one_byte_at_a_time(talk):
        n = talk.read_lines(100)
        for byte in b"ok 3\nbad 7 no good\nok 7\nok 7\nok 2\nok %d\n" % n:
            talk.say(bytes([byte]))
        talk.to_the_end()

    peers(one_byte_at_a_time)
    status, err = push("--ack", "--socket", path, stdin=numbered(100))
    assert (status, err) == (DATA, "stdin:7: no good\ntailrace push: 1 of 100 lines refused\n")


def test_refused_lines_are_told_with_their_place(peers, path, tmp_path):
    def refuses(talk):
        talk.read_lines(5)
        talk.say("bad 2 too large: truncated\nbad 3 not JSON at byte 0\nok 4\nbad 5 \x1b[31mred\x7f\nok 5\n")
        talk.to_the_end()

    peers(refuses)
    (tmp_path / "a").write_bytes(b"\n1\n\r\n\n2\n\n")
    (tmp_path / "empty").write_bytes(b"\n\n\n")
    (tmp_path / "b").write_bytes(b"3\n4\n\n5")
    files = [tmp_path / "a", tmp_path / "empty", tmp_path / "b"]
    status, err = push("--ack", "--socket", path, *files)
    assert status == DATA
    assert err.splitlines() == [
        f"{tmp_path}/a:5: too large: truncated",
        f"{tmp_path}/b:1: not JSON at byte 0",
        f"{tmp_path}/b:4: ?[31mred?",
        "tailrace push: 3 of 5 lines refused",
    ]


def test_refused_lines_are_counted_and_not_all_of_them_told(peers, path):
    """Nor does it hang when both sides would write first."""

    def refuses_all(talk):
        told = 0
        while talk.read():
            n = talk.frames()
            talk.say("".join(f"bad {i} {'x' * 190}\n" for i in range(told + 1, n + 1)) + f"ok {n}\n")
            told = n

    peers(refuses_all)
    n = 100000
    began = time.monotonic()
    status, err = push("--ack", "--socket", path, stdin=numbered(n))
    seconds = time.monotonic() - began
    lines = err.splitlines()
    assert status == DATA
    assert lines[-1] == f"tailrace push: {n} of {n} lines refused, not all of them named here"
    assert lines[0] == "stdin:1: " + "x" * 190 and 20 <= len(lines) - 1 <= 20 * (seconds + 2)


def test_what_was_not_acknowledged_is_sent_again_in_order(peers, path):
    def closes_after(acknowledged, read):
        def serve(talk):
            talk.read_lines(read)
            if acknowledged > 0:
                talk.say(f"ok {acknowledged}\n")

        return serve

    peer = peers(closes_after(100, 300), closes_after(0, 200), closes_after(50, 50), acknowledge)
    (status, err), all_lines = push("--ack", "--socket", path, stdin=numbered(1000)), numbered(1000).splitlines()
    assert status == OK and err.count("trying again") == len(err.splitlines()) <= 3
    for i, first in enumerate([0, 100, 100, 150]):
        got = [line for line in peer.received[i].splitlines(keepends=True) if line.endswith(b"\n")]
        assert [line[:-1] for line in got] == all_lines[first : first + len(got)]
    assert peer.lines(3) == all_lines[150:]


def test_whatever_happens_to_the_connections_no_line_is_lost_or_out_of_order(peers, path):
    n, size = 5000, 100
    all_lines = numbered(n, size)
    whole = len(all_lines.splitlines(keepends=True)[0])
    state = {"safe": 0, "connections": 0}

    def breaks(talk):
        """Reads some bytes, acknowledges a part of the whole frames, and is gone."""
        first = state["safe"]
        state["connections"] += 1
        last = state["connections"] > 40
        want = 1 << 30 if last else (state["connections"] * 7919) % 20000
        told, told_n = 0, 0
        while len(talk.peer.received[talk.number]) < want and talk.read(min(want, 3000)):
            if talk.frames() > told and (last or state["connections"] % 3 > 0):
                told = talk.frames() if last else (told + talk.frames() + 1) // 2
                state["safe"] = first + told
                talk.say(f"ok {told}\n")
                told_n += 1
        got = bytes(talk.peer.received[talk.number])
        assert all_lines[first * whole :].startswith(got), "not what comes next"

    peer = peers(breaks)
    status, err = push("--ack", "--quiet", "--socket", path, stdin=all_lines)
    assert (status, err) == (OK, "")
    assert state["safe"] == n and len(peer.received) == 41


def test_a_line_that_is_refused_twice_counts_once(peers, path):
    def refuses_and_goes(talk):
        talk.read_lines(3)
        talk.say("bad 2 no\n")

    def refuses(talk):
        talk.read_lines(3)
        talk.say("bad 2 no\nok 3\n")
        talk.to_the_end()

    peer = peers(refuses_and_goes, refuses)
    status, err = push("--ack", "-q", "--socket", path, stdin=b"1\n2\n3\n")
    assert (status, err) == (DATA, "stdin:2: no\ntailrace push: 1 of 3 lines refused\n")
    assert peer.lines(1) == [b"1", b"2", b"3"]


def test_an_answer_to_the_beginning_of_a_line_does_not_leave_it_half_written(peers, path):
    """The daemon names a line that is too long before it has all of it."""

    def refuses_early(talk):
        talk.read(1000)
        talk.say("bad 1 too large: truncated\nok 1\n")
        talk.read_lines(2)
        talk.say("ok 2\n")
        talk.to_the_end()

    peer = peers(refuses_early)
    stdin = b"x" * 3000000 + b"\nnext\n"
    assert push("--ack", "--socket", path, stdin=stdin)[0] == DATA
    assert peer.received == [stdin]


def test_what_the_peer_says_before_it_goes_counts(peers, path):
    """It acknowledges, and closes with bytes unread, so that the next write fails."""

    def goes(talk):
        talk.read_lines(500)
        talk.say("ok 500\n")

    peer = peers(goes, acknowledge)
    assert push("--ack", "-q", "--socket", path, stdin=numbered(100000)) == (OK, "")
    assert peer.lines(1)[0] == b"line 500"


def test_a_connection_lost_in_silence_is_made_again_when_there_is_something_to_send(peers, path):
    def once(talk):
        talk.say(f"ok {talk.read_lines(1)}\n")

    peer = peers(once, acknowledge)
    with start_push("--ack", "--socket", path) as p:
        p.stdin.write(b"1\n")
        p.stdin.flush()
        wait_until(lambda: peer.received == [b"1\n"], what="the first line")
        time.sleep(0.3)
        assert len(peer.received) == 1
        p.stdin.write(b"2\n")
        p.stdin.close()
        assert p.wait(20) == OK
    assert peer.received == [b"1\n", b"2\n"]


def test_a_daemon_that_comes_late_is_waited_for(peers, path):
    with start_push("--ack", "--socket", path) as p:
        p.stdin.write(b"x\n")
        p.stdin.close()
        time.sleep(0.3)
        peer = peers(acknowledge)
        assert p.wait(20) == OK
        assert b"trying again for 60 s" in p.stderr.read()
    assert peer.received == [b"x\n"]


# --- giving up ----------------------------------------------------------------------------------


def test_it_gives_up_when_nobody_listens(path):
    status, err = push("--ack", "--socket", path, "--timeout", "200ms", stdin=b"x\n")
    assert status == TRY_LATER and str(path) in err and "no line is acknowledged" in err


def test_it_gives_up_when_nobody_answers_and_says_how_far_it_is(peers, path, tmp_path):
    def stops(talk):
        talk.read_lines(2)
        talk.say("ok 2\n")
        talk.to_the_end()

    peers(stops, swallow)
    (tmp_path / "a").write_bytes(b"1\n\n2\n3\n")
    status, err = push("--ack", "--socket", path, "--timeout", "300ms", tmp_path / "a")
    assert status == TRY_LATER
    assert f"does not answer; 2 lines are acknowledged, up to {tmp_path}/a:3" in err
    status, err = push("--ack", "--socket", path, "--timeout", "300ms", tmp_path / "a")
    assert status == TRY_LATER and "with ack: none it never does" in err and "no line is" in err


def test_it_gives_up_on_a_peer_that_always_closes(peers, path):
    peer = peers(lambda talk: talk.read(1))
    status, err = push("--ack", "-q", "--socket", path, "--timeout", "500ms", stdin=numbered(10))
    assert status == TRY_LATER and "closed the connection" in err
    assert 2 <= len(peer.received) <= 100  # again and again, but not in a frenzy


def test_a_peer_that_repeats_itself_makes_no_progress(peers, path):
    def repeats(talk):
        talk.read_lines(2)
        while True:
            talk.say("ok 1\nbad 2 no\n" * 100)
            time.sleep(0.01)

    peers(repeats)
    status, err = push("--ack", "--socket", path, "--timeout", "300ms", stdin=b"1\n2\n")
    assert status == TRY_LATER and err.count("stdin:2: no") == 1
    assert "1 line is acknowledged, up to stdin:1" in err


@pytest.mark.parametrize(
    "answer",
    [
        b"hello\n",
        b"\n",
        b"ok\n",
        b"ok \n",
        b"ok 0\n",
        b"ok 4\n",
        b"ok -1\n",
        b"ok 1 \n",
        b"ok 1\r\n",
        b"ok 1\0\n",
        b"OK 1\n",
        b"ok 18446744073709551617\n",
        b"ok 99999999999999999999999999\n",
        b"bad 4 no\n",
        b"bad 0 no\n",
        b"bad 1\n",
        b"bad x no\n",
        b"ok 1\nbad 1 no\n",
        b"\0" * 5000,
        b"ok 1" * 100000,
        b"\xff\xfe\n",
    ],
)
def test_a_peer_that_talks_nonsense_is_left(peers, path, answer):
    def answers(talk):
        talk.read_lines(3)
        talk.say(answer)
        talk.to_the_end()

    peer = peers(answers)
    status, err = push("--ack", "--socket", path, stdin=b"1\n2\n3\n")
    assert status == NONSENSE and "not an answer of tailraced" in err and len(err) < 1000
    assert all(" " <= c <= "~" or c == "\n" for c in err)
    assert len(peer.received) == 1


def test_a_socket_of_another_kind_is_no_use_waiting_for(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(path))
        status, err = push("--ack", "--socket", path, stdin=b"x\n")
    assert status == SHUT_OUT and str(path) in err


def test_a_killed_tool_leaves_whole_lines_only(peers, path):
    peer = peers(swallow)
    with start_push("--ack", "--socket", path) as p:
        p.stdin.write(b"one\ntwo\nthr")
        p.stdin.flush()
        wait_until(lambda: peer.received == [b"one\ntwo\n"], what="the lines")
        time.sleep(0.1)
        p.kill()
    assert peer.received == [b"one\ntwo\n"]


# --- bounds -------------------------------------------------------------------------------------


def peak_kib(p):
    status = pathlib.Path(f"/proc/{p.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1])


def fill(peer, p, block, times):
    """Writes until the tool takes no more: its window is full."""

    def write():
        try:
            for _ in range(times):
                p.stdin.write(block)
            p.stdin.close()
        except OSError:
            pass

    threading.Thread(target=write, daemon=True).start()
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 1:
        now = len(peer.received[0]) if peer.received else 0
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.02)
    return seen


@pytest.mark.parametrize("size,frames_max,bytes_max", [(2, FRAMES_MAX, 1 << 20), (1000, 9000, BYTES_MAX + 1000)])
def test_what_is_kept_is_bounded(peers, path, size, frames_max, bytes_max):
    peer = peers(swallow)
    line = b"x" * (size - 1) + b"\n"
    with start_push("--ack", "--socket", path) as p:
        sent = fill(peer, p, line * (100000 // size * 10), 40)  # 40 MB
        assert sent // size <= frames_max and sent <= bytes_max
        assert sent // size == frames_max or sent >= bytes_max - 1000
        if "ASAN_OPTIONS" not in os.environ:
            assert peak_kib(p) < 48 << 10
        p.kill()


def test_a_line_too_long_is_named_and_costs_no_memory(peers, path, tmp_path):
    peer = peers(acknowledge)
    big = tmp_path / "big"
    with open(big, "wb") as f:
        f.write(b"before\n")
        for _ in range(100):
            f.write(b"x" * 1000000)
        f.write(b"\nafter\n" + b"y" * LINE_MAX + b"\r\n" + b"z" * (LINE_MAX + 1))
    with start_push("--ack", "--socket", path, big, "-") as p:
        p.stdin.write(b"last\n")
        p.stdin.flush()
        wait_until(lambda: peer.received and peer.received[0].endswith(b"last\n"), what="the end")
        peak = peak_kib(p)
        p.stdin.close()
        err = p.stderr.read().decode()
        assert p.wait(20) == DATA
    assert err.splitlines() == [
        f"{big}:2: longer than 16 MiB: not sent",
        f"{big}:5: longer than 16 MiB: not sent",
        "tailrace push: 2 of 6 lines refused",
    ]
    assert peer.lines() == [b"before", b"after", b"y" * LINE_MAX, b"last"]
    if "ASAN_OPTIONS" not in os.environ:
        assert peak < 64 << 10


# --- arguments ----------------------------------------------------------------------------------


def write_config(tmp_path, **sources):
    settings = {
        "region": "us-east-1",
        "state_dir": str(tmp_path),
        "streams": {"s": {"kinesis": "s"}},
        "sources": {name: {"stream": "s", **options} for name, options in sources.items()},
    }
    (tmp_path / "c.yaml").write_text(harness.yaml(settings) + "\n")
    return tmp_path / "c.yaml"


def test_the_configuration_knows_the_socket_and_its_framing(peers, path, tmp_path):
    config = write_config(
        tmp_path,
        files={"file": "/srv/*.log"},
        log={"socket": str(tmp_path / "log.sock"), "type": "datagram"},
        events={"socket": str(path), "ack": "durable", "framing": "length32"},
    )

    def acknowledges_one(talk):
        talk.read()
        talk.say("ok 1\n")
        talk.to_the_end()

    peer = peers(acknowledges_one)
    for more in [[], ["--source", "events"], ["--socket", path], ["--length32"]]:
        assert push("--config", config, "--ack", *more, stdin=b"x\n") == (OK, "")
    assert peer.received == [b"\0\0\0\1x"] * 4


def test_what_does_not_fit_the_configuration_is_told_at_once(path, tmp_path):
    config = write_config(
        tmp_path,
        files={"file": "/srv/*.log"},
        log={"socket": str(tmp_path / "log.sock"), "type": "datagram"},
        events={"socket": str(path)},
        safe={"socket": str(tmp_path / "safe.sock"), "ack": "delivered"},
    )
    status, err = push("--config", config)
    assert status == USAGE and str(path) in err and "safe.sock" in err and "log.sock" not in err
    for arguments, words in [
        (["--source", "nobody"], "no source nobody"),
        (["--source", "files"], "follows files"),
        (["--source", "log"], "datagrams"),
        (["--source", "events", "--ack"], "does not acknowledge"),
        (["--source", "safe", "--ack", "--length32"], "framing: newline"),
        (["--socket", tmp_path / "other.sock"], "no source with the socket"),
        (["--socket", tmp_path / "log.sock"], "datagrams"),
    ]:
        status, err = push("--config", config, *arguments, stdin=b"x\n")
        assert status == USAGE and words in err, err


def test_a_configuration_without_a_stream_socket_or_a_bad_one_is_told(tmp_path):
    status, err = push("--config", write_config(tmp_path, files={"file": "/srv/*.log"}))
    assert status == 78 and "no source with a stream socket" in err
    (tmp_path / "c.yaml").write_text("sources: 5\n")
    assert push("--config", tmp_path / "c.yaml")[0] == 78
    status, err = push("--config", tmp_path / "none.yaml")
    assert status == NO_INPUT and "none.yaml" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["--socket"],
        ["--socket", "/a", "--source", "b"],
        ["--socket", "/a", "--timeout", "5"],
        ["--socket", "/a", "--timeout", "0s"],
    ],
)
def test_wrong_usage_is_told(arguments):
    status, err = push(*arguments)
    assert status == USAGE and "usage: tailrace push" in err


def test_help_says_what_there_is():
    status, out, err = tool("push", "--help")
    assert status == 0 and err == ""
    for option in ["--socket", "--config", "--source", "--ack", "--length32", "--timeout", "--quiet"]:
        assert option in out


def test_a_file_that_is_not_there_keeps_all_from_being_sent(peers, path, tmp_path):
    peer = peers(acknowledge)
    (tmp_path / "a").write_bytes(b"x\n")
    status, err = push("--ack", "--socket", path, tmp_path / "a", tmp_path / "none")
    assert status == NO_INPUT and f"{tmp_path}/none: No such file" in err
    assert peer.received == []


def test_what_stands_before_a_file_that_cannot_be_read_is_sent(peers, path, tmp_path):
    peer = peers(acknowledge)
    (tmp_path / "a").write_bytes(b"x\n")
    status, err = push("--ack", "--socket", path, tmp_path / "a", tmp_path, tmp_path / "a")
    assert status == NO_INPUT and f"{tmp_path}: Is a directory" in err
    assert peer.received == [b"x\n"]


# --- on a terminal ------------------------------------------------------------------------------


def on_terminal(*arguments, stdin=b""):
    ours, theirs = pty.openpty()
    seen = b""
    with start_push(*arguments, stderr=theirs) as p:
        os.close(theirs)
        p.stdin.write(stdin)
        p.stdin.close()
        while True:
            try:
                seen += os.read(ours, 4096)
            except OSError:  # nobody has the other side any more
                break
        status = p.wait(20)
    os.close(ours)
    return status, seen.decode()


def test_a_terminal_gets_a_progress_bar(peers, path, tmp_path):
    peers(acknowledge)
    (tmp_path / "a").write_bytes(numbered(1000))
    (tmp_path / "b").write_bytes(numbered(500))
    status, seen = on_terminal("--ack", "--socket", path, tmp_path / "a", tmp_path / "b")
    assert status == OK and "2/2 files" in seen and "1500 records" in seen and seen.endswith("\n")
    assert "[" + "#" * 20 + "]" in seen
    status, seen = on_terminal("--ack", "--socket", path, stdin=numbered(77))
    assert status == OK and "77 records" in seen and "#" not in seen
    assert on_terminal("--ack", "--quiet", "--socket", path, tmp_path / "a") == (OK, "")


# --- the daemon ---------------------------------------------------------------------------------


def test_with_ack_delivered_what_it_calls_done_is_in_kinesis(daemon, fake, path):
    d = daemon(fake.url)
    d.settings["sources"]["a"] = {"socket": str(path), "stream": "s", "ack": "delivered"}
    d.start()
    assert push("--config", d.file, "--ack", stdin=numbered(3000)) == (OK, "")
    assert sorted(fake.data("s")) == sorted(numbered(3000).splitlines())
    d.terminate()


@pytest.mark.parametrize("framing", ["newline", "length32"])
def test_without_ack_all_arrives_too(daemon, fake, path, framing):
    d = daemon(fake.url)
    d.settings["sources"]["a"] = {"socket": str(path), "stream": "s", "framing": framing}
    d.start()
    assert push("--config", d.file, stdin=numbered(3000) + b"\nthe last") == (OK, "")
    wait_until(lambda: fake.count("s") >= 3001, what="the lines")
    assert sorted(fake.data("s")) == sorted([*numbered(3000).splitlines(), b"the last"])
    d.terminate()


@pytest.mark.parametrize("framing", ["newline", "length32"])
def test_the_daemon_names_the_lines_that_are_no_records(daemon, fake, path, tmp_path, framing):
    d = daemon(fake.url)
    d.settings["sources"]["a"] = {
        "socket": str(path),
        "stream": "s",
        "format": "json",
        "ack": "durable",
        "framing": framing,
        "max_record": "2KiB",
    }
    d.start()
    bad = {3: b"{", 8: b'"' + b"x" * 100000 + b'"', 9: b"no"}
    lines = [bad.get(i, b'{"n":%d}' % i) for i in range(1, 13)]
    lines[4] = b""
    (tmp_path / "in.json").write_bytes(b"\n".join(lines) + b"\r\n")
    status, err = push("--config", d.file, "--ack", tmp_path / "in.json")
    assert status == DATA
    told = [line.removeprefix(f"{tmp_path}/in.json:") for line in err.splitlines()]
    assert [line.split(":")[0] for line in told[:-1]] == ["3", "8", "9"]
    assert told[-1] == "tailrace push: 3 of 11 lines refused"
    good = [line for i, line in enumerate(lines, 1) if i not in bad and line]
    wait_until(lambda: fake.count("s") >= len(good), what="the good ones")
    assert sorted(fake.data("s")) == sorted(good)
    wait_until(lambda: len(d.dead_letters("a")) >= 3, what="the dead letters")
    letters = [base64.b64decode(x["data"]) for x in d.dead_letters("a")]
    assert letters[0] == b"{" and letters[2] == b"no" and letters[1] == bad[8][: len(letters[1])]
    d.terminate()


def test_a_daemon_that_is_killed_again_and_again_loses_nothing(daemon, fake, path):
    d = daemon(fake.url)
    d.settings["sources"]["a"] = {"socket": str(path), "stream": "s", "ack": "durable"}
    d.start()
    n = 60000
    with start_push("--config", d.file, "--ack", "-q") as p:
        for i in range(6):
            p.stdin.write(b"".join(b"line %d\n" % k for k in range(i * n // 6, (i + 1) * n // 6)))
            p.stdin.flush()
            d.kill()
            d.start()
        p.stdin.close()
        assert p.wait(60 * PATIENCE) == OK, p.stderr.read()
    wait_until(lambda: len(set(fake.data("s"))) >= n, 60, what="all lines")
    assert set(fake.data("s")) == set(numbered(n).splitlines())
    d.terminate()


def test_a_daemon_that_is_stopped_and_started_is_waited_for(daemon, fake, path):
    d = daemon(fake.url)
    d.settings["sources"]["a"] = {"socket": str(path), "stream": "s", "ack": "durable"}
    d.start()
    with start_push("--config", d.file, "--ack") as p:
        p.stdin.write(numbered(1000))
        p.stdin.flush()
        wait_until(lambda: fake.count("s") >= 1000, what="the first lines")
        d.process.send_signal(signal.SIGTERM)
        assert d.wait_exit() == 0
        p.stdin.write(b"another\n")
        p.stdin.flush()
        d.start()
        p.stdin.close()
        assert p.wait(20 * PATIENCE) == OK
    wait_until(lambda: b"another" in fake.data("s"), what="the last line")
    assert set(fake.data("s")) == {b"another", *numbered(1000).splitlines()}
    d.terminate()
