"""The daemon as a process: signals, systemd, exit codes, its state directory, its voice."""

import os
import pty
import re
import select
import signal
import socket
import ssl
import subprocess
import time

import pytest

import fake_kinesis
import faults
import files
import harness
from harness import wait_until


def lines(n, word="line"):
    return [f"{word} {i:06d}".encode() for i in range(n)]


def append(path, records):
    with open(path, "ab") as out:
        out.write(b"".join(r + b"\n" for r in records))


@pytest.fixture
def log_file(tmp_path):
    path = tmp_path / "a.log"
    append(path, lines(100))
    return path


@pytest.fixture
def d(daemon, fake, log_file):
    return daemon(fake.url).source("a", log_file, start_at="beginning")


# systemd.


def test_it_tells_systemd_ready_and_stopping(d, fake):
    d.start()
    assert not any("STOPPING=1" in m for m in d.messages)
    wait_until(lambda: fake.count("s") == 100)
    d.terminate()
    assert any("STOPPING=1" in m.splitlines() for m in d.messages)
    assert sum("READY=1" in m.splitlines() for m in d.messages) == 1


def test_a_reload_tells_systemd_the_clock_it_asks_for(d):
    d.start()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    d.reload()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    [message] = [m for m in d.messages if "RELOADING=1" in m.splitlines()]
    assert before <= int(re.search(r"MONOTONIC_USEC=(\d+)", message)[1]) <= after
    d.terminate()


def test_the_watchdog_is_fed(d):
    d.start(WATCHDOG_USEC="400000")
    wait_until(lambda: sum("WATCHDOG=1" in m for m in d.messages) >= 3)
    d.terminate()


def test_a_watchdog_meant_for_another_process_is_not_fed(d, fake):
    d.start(WATCHDOG_USEC="20000", WATCHDOG_PID="1")
    wait_until(lambda: fake.count("s") == 100)
    d.terminate()
    assert not any("WATCHDOG=1" in m for m in d.messages)


def test_the_log_under_journald_has_priorities_and_no_times(d):
    read, write = os.pipe()
    status = os.fstat(write)
    d.spawn(stderr=write, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}")
    os.close(write)
    d.wait_message("READY=1")
    d.terminate()
    with open(read) as text:
        found = text.read().splitlines()
    assert found and all(re.match(r"<[3-7]>level=", line) for line in found)


def test_log_lines_are_key_value_with_a_time(d):
    d.start()
    d.terminate()
    assert d.lines
    for line in d.lines:
        assert re.match(
            r'time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=\w+ msg=("[^"]*"|\S+)', line
        )


def test_a_file_name_cannot_forge_a_log_line(daemon, fake, tmp_path):
    name = "x\nlevel=error msg=forged \x1b[31m.log"
    append(tmp_path / name, lines(1))
    d = daemon(fake.url, log_level="debug").source("a", tmp_path / "*.log", start_at="beginning")
    assert d.once() == 0
    assert fake.count("s") == 1
    assert not any(line.startswith("level=error") or "\x1b" in line for line in d.lines)


# Stop.


def test_a_second_sigterm_ends_at_once(d, fake):
    fake.fault = faults.Error("AccessDeniedException")
    d.settings["stop_timeout"] = "10m"
    d.start()
    d.wait_log("AccessDeniedException")
    d.process.send_signal(signal.SIGTERM)
    d.wait_message("STOPPING=1")
    d.process.send_signal(signal.SIGTERM)
    d.wait_exit(5)
    fake.fault = None
    assert d.once() == 0
    assert set(fake.data("s")) == set(lines(100))


def test_a_stop_ends_at_its_deadline_and_what_is_left_is_sent_later(d, fake):
    fake.fault = faults.Error("AccessDeniedException")
    d.settings["stop_timeout"] = "3s"
    d.start()
    d.wait_log("AccessDeniedException")
    d.process.send_signal(signal.SIGTERM)
    d.wait_exit(8)
    fake.fault = None
    assert d.once() == 0
    assert sorted(fake.data("s")) == lines(100)


def test_sigint_stops_as_sigterm_does(d, fake):
    d.start()
    wait_until(lambda: fake.count("s") == 100)
    d.process.send_signal(signal.SIGINT)
    assert d.wait_exit() == 0


def test_a_closed_standard_error_does_not_end_it(d, fake, log_file):
    read, write = os.pipe()
    d.spawn(stderr=write)
    os.close(write)
    os.close(read)
    d.wait_message("READY=1")
    append(log_file, lines(10))
    wait_until(lambda: fake.count("s") == 110)
    d.terminate()


# Reload.


def test_a_reload_adds_and_removes_sources(d, fake, log_file, tmp_path):
    append(tmp_path / "b.log", lines(50, "b"))
    d.start()
    wait_until(lambda: fake.count("s") == 100)
    d.source("b", tmp_path / "b.log", start_at="beginning")
    d.reload()
    wait_until(lambda: fake.count("s") == 150)
    del d.settings["sources"]["a"]
    d.reload()
    append(log_file, lines(7, "not now"))
    append(tmp_path / "b.log", lines(5, "more"))
    wait_until(lambda: fake.count("s") == 155)
    d.source("a", log_file, start_at="beginning")
    d.reload()
    wait_until(lambda: fake.count("s") == 162)
    d.terminate()
    assert sorted(fake.data("s")) == sorted(
        lines(100) + lines(50, "b") + lines(5, "more") + lines(7, "not now")
    )


def test_a_source_that_a_reload_adds_reads_nothing_before_a_checkpoint_says_where_it_began(
    d, fake, log_file, tmp_path
):
    append(tmp_path / "b.log", lines(50, "old"))
    d.start()
    files.wait_offsets(d, {"a.log": log_file.stat().st_size})
    (d.state / "checkpoint.json.new").mkdir()  # in the way of every save
    d.source("b", tmp_path / "b.log")
    d.reload()
    append(tmp_path / "b.log", lines(10, "new"))
    append(log_file, lines(5, "other"))
    d.wait_log("checkpoint cannot be saved")
    wait_until(lambda: set(lines(5, "other")) <= set(fake.data("s")))
    assert fake.count("s") == 105
    (d.state / "checkpoint.json.new").rmdir()
    wait_until(lambda: fake.count("s") == 115)
    d.terminate()
    assert set(lines(10, "new")) <= set(fake.data("s"))


def test_a_reload_changes_what_records_become(daemon, fake, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x\n1\n")
    d = daemon(fake.url).source("a", path, start_at="beginning", format="csv").start()
    wait_until(lambda: fake.count("s") == 1)
    d.settings["sources"]["a"]["record"] = {"number": {"from": "x", "type": "int"}}
    d.reload()
    with open(path, "a") as out:
        out.write("2\n")
    wait_until(lambda: fake.count("s") == 2)
    d.terminate()
    assert fake.data("s") == [b'{"x":"1"}', b'{"number":2}']


def test_a_bad_reload_is_told_with_its_place_and_the_old_configuration_stays(d, fake, log_file):
    d.start()
    wait_until(lambda: fake.count("s") == 100)
    good = d.file.read_text()
    bad = good.replace("linger: 20ms", "linger: 20 monkeys")
    line = 1 + bad[: bad.index("20 monkeys")].count("\n")
    column = bad.splitlines()[line - 1].index("20 monkeys") + 1
    d.reload(bad)
    d.wait_log(re.escape(f"{d.file}:{line}:{column}:"))
    for broken in ("streams: [", "", "\x00", "region: us-east-1\n"):
        d.reload(broken)
    d.file.unlink()
    before = len(d.messages)
    d.process.send_signal(signal.SIGHUP)
    d.wait_message("READY=1", since=before)
    append(log_file, lines(10, "after"))
    wait_until(lambda: fake.count("s") == 110)
    d.terminate()


def test_a_reload_names_what_needs_a_restart(d, tmp_path):
    d.start()
    d.settings["streams"]["s"]["buffer"] = "32MiB"
    for _ in range(2):  # it is still so at the second one
        before = len(d.lines)
        d.reload()
        d.wait_log(r"buffer.*restart", since=before)
    d.terminate()


def test_a_reload_takes_up_new_credentials_and_endpoint(d, fakes, fake, log_file, tmp_path):
    other = fakes()
    d.start()
    wait_until(lambda: fake.count("s") == 100)
    d.settings["endpoint"] = other.url
    d.reload()
    append(log_file, lines(10, "other"))
    wait_until(lambda: other.count("s") == 10)
    d.terminate()
    assert fake.count("s") == 100


def test_a_reload_while_a_connection_is_made_leaves_the_waiting_request_whole(
    daemon, log_file, tmp_path
):
    """Its head is written when the connection is there: after two reloads, in this case."""
    bundle, key = fake_kinesis.make_certificate(str(tmp_path))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(bundle, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        d = daemon(f"https://{host}", ca_bundle=bundle, stop_timeout="3s")
        d.source("a", log_file, start_at="beginning").start()
        raw, _ = listener.accept()
        d.reload()
        d.reload()
        with tls.wrap_socket(raw, server_side=True) as connection:
            connection.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                assert piece, d.log()
                head += piece
    assert f"\r\nHost: {host}\r\n".encode() in head
    d.terminate()


def test_many_reloads_while_data_flows_lose_and_double_nothing(d, fake, log_file):
    d.start()
    for i in range(15):
        append(log_file, lines(200, f"round {i}"))
        d.settings["streams"]["s"]["linger"] = f"{10 + i}ms"
        d.reload()
    wait_until(lambda: fake.count("s") >= 100 + 15 * 200)
    d.terminate()
    assert len(fake.data("s")) == len(set(fake.data("s"))) == 100 + 15 * 200


# --once.


def test_once_delivers_an_unterminated_last_line_too(d, fake, log_file):
    with open(log_file, "ab") as out:
        out.write(b"the last one")
    assert d.once() == 0
    assert fake.data("s") == lines(100) + [b"the last one"]


def test_once_with_nothing_to_do_ends_well(daemon, fake, tmp_path):
    assert daemon(fake.url).source("a", tmp_path / "none*.log").once() == 0
    assert fake.requests == []


def test_once_resumes_where_the_last_run_ended(d, fake, log_file):
    assert d.once() == 0
    append(log_file, lines(5, "more"))
    assert d.once() == 0
    assert fake.data("s") == lines(100) + lines(5, "more")


def test_once_ends_with_75_when_its_time_is_over_and_keeps_the_data(d, fake):
    fake.fault = faults.Error("AccessDeniedException")
    assert d.once("--timeout", "1s", timeout=20) == 75, d.log()
    fake.fault = None
    assert d.once() == 0
    assert sorted(fake.data("s")) == lines(100)


def test_once_ends_with_1_after_dead_letters(daemon, fake, tmp_path):
    (tmp_path / "a.json").write_text("{}\nnot json\n[]\n")
    d = daemon(fake.url).source("a", tmp_path / "a.json", format="json", start_at="beginning")
    assert d.once() == 1
    assert sorted(fake.data("s")) == [b"[]", b"{}"]


def test_once_does_not_wait_for_more_when_all_is_read(d, fake):
    d.settings["streams"]["s"]["linger"] = "10m"
    assert d.once(timeout=20) == 0
    assert fake.data("s") == lines(100)


def test_once_ends_with_75_when_its_checkpoint_cannot_be_saved(d, fake):
    """The next run would deliver everything again: that is no success."""
    d.settings["stop_timeout"] = "3s"

    class Spoil(faults.Fault):
        def refuse(self, request):
            (d.state / "checkpoint.json.new").mkdir(exist_ok=True)  # in the way of every save

    fake.fault = Spoil()
    assert d.once() == 75, d.log()
    assert fake.data("s") == lines(100)
    assert "without the last checkpoint" in d.log()


def test_the_time_of_once_runs_before_the_first_checkpoint_too(d, fake):
    d.settings["stop_timeout"] = "3s"
    (d.state / "checkpoint.json.new").mkdir()
    assert d.once("--timeout", "1s", timeout=20) == 75, d.log()
    assert fake.requests == []


def test_once_reads_no_further_than_a_file_was_at_the_start(d, fake, log_file):
    """Otherwise it would never end on a file that grows all the time."""

    class Grow(faults.Fault):
        def refuse(self, request):
            append(log_file, lines(100, "grown"))

    fake.fault = Grow()
    assert d.once() == 0
    assert fake.data("s") == lines(100)


def test_once_shows_progress_on_a_terminal_only(d, fake, log_file):
    append(log_file, lines(50_000))
    master, slave = pty.openpty()
    d.spawn("--once", stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        select.select([master], [], [], 30)
        try:
            piece = os.read(master, 65536)
        except OSError:  # the terminal's other side is closed: it has ended
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert d.wait_exit() == 0
    assert re.search(rb"\r\[#+\.*\] 1/1 files .* 50100 records", shown), shown[-2000:]
    (d.state / "checkpoint.json").unlink()
    assert d.once() == 0
    assert "\r" not in d.log() and "1/1 files" not in d.log()


# The state directory.


def test_a_missing_state_directory_stops_the_start(d):
    d.settings["state_dir"] = str(d.dir / "nowhere")
    d.spawn()
    assert d.wait_exit() == 78
    assert "nowhere" in d.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_read_only_state_directory_stops_the_start(d):
    """Read-only for everyone, root too: in a mount namespace of its own."""
    d.write()
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, d.state, harness.BUILD / "tailraced", "-c", d.file],
        env=d.env,
        capture_output=True,
        timeout=20,
    )
    if b"unshare" in done.stderr or b"mount:" in done.stderr:
        pytest.skip(done.stderr.decode())
    assert done.returncode == 78
    assert str(d.state) in done.stderr.decode() and b"ead-only" in done.stderr


def test_a_state_directory_that_others_may_write_to_stops_the_start(d):
    d.state.chmod(0o777)
    d.spawn()
    assert d.wait_exit() == 78
    assert str(d.state) in d.log()


def test_a_second_instance_says_so_and_ends(d, daemon, fake, log_file):
    d.start()
    second = daemon(fake.url).source("a", log_file, start_at="beginning")
    second.spawn()
    assert second.wait_exit() in (75, 78)
    assert (
        re.search(r"(?i)another|already|in use", second.log())
        and str(d.process.pid) in second.log()
    )
    wait_until(lambda: fake.count("s") == 100)
    d.terminate()
    assert d.once() == 0
    assert fake.data("s") == lines(100)


# Configuration at start.


@pytest.mark.parametrize("text", ["", "[", "a: b: c", "\x00", "region: us-east-1\nsources: {}\n"])
def test_a_bad_configuration_stops_the_start_with_its_place(d, text):
    d.write(text)
    d.spawn(write=False)
    assert d.wait_exit() == 78
    assert re.search(re.escape(str(d.file)) + r":\d+:\d+: ", d.log())


def test_a_missing_configuration_file_is_told(d):
    d.spawn(write=False)
    assert d.wait_exit() in (66, 78)
    assert str(d.file) in d.log()


@pytest.mark.parametrize(
    "arguments", [["--wrong"], ["-c"], [], ["--timeout", "soon", "-c", "/x"], ["-c", "/x", "more"]]
)
def test_wrong_usage_is_told(arguments):
    done = subprocess.run(
        [harness.BUILD / "tailraced", *arguments], capture_output=True, timeout=20
    )
    assert done.returncode in (64, 66, 78) and done.stderr


@pytest.mark.parametrize("program", ["tailraced", "tailrace"])
def test_help_and_version(program):
    def run(option):
        return subprocess.run([harness.BUILD / program, option], capture_output=True, timeout=20)

    shown = run("--help")
    assert shown.returncode == 0 and b"usage" in shown.stdout.lower() and shown.stderr == b""
    shown = run("--version")
    assert shown.returncode == 0 and re.fullmatch(
        rb"%s \d+\.\d+\.\d+\n" % program.encode(), shown.stdout
    )


def test_it_sleeps_when_there_is_nothing_to_do(d, fake):
    d.start()
    wait_until(lambda: fake.count("s") == 100)
    wait_until(lambda: '"offset":' in d.checkpoint().replace(" ", "") or d.checkpoint())
    # The last checkpoint may still be on its way: a quiet second must come, not begin now.
    counted = [switches(d)]

    def quiet():
        begun = time.monotonic()
        while time.monotonic() - begun < 1:
            select.select([], [], [], 0.1)
            counted.append(switches(d))
            if counted[-1] != counted[-2]:
                return False
        return True

    wait_until(quiet, 15, "a second without a wake-up")
    d.terminate()


def switches(d):
    """How often all threads of the process were put to sleep so far."""
    total = 0
    for task in os.listdir(f"/proc/{d.process.pid}/task"):
        with open(f"/proc/{d.process.pid}/task/{task}/status") as status:
            total += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
    return total
