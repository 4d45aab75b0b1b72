"""The local socket from outside: what clients send arrives, and what they are told is true."""

import json
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import time

import pytest

import faults
import sockets
from harness import tool, wait_until
from sockets import Client


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.sock"


@pytest.fixture
def served(daemon, fake, path):
    """served(**options of the socket) -> a started daemon that listens on `path`."""

    def start(streams=None, endpoint=None, **options):
        more = {} if streams is None else {"streams": streams}
        d = daemon(endpoint or fake.url, **more)
        return sockets.source(d, path, **options).start()

    return start


def numbered(n, word="event"):
    return [f"{word} {i:06d}".encode() for i in range(n)]


def arrived(fake, records):
    wait_until(lambda: fake.count("s") >= len(records), what="all records")
    assert sorted(fake.data("s")) == sorted(records)


# What is sent arrives.


def test_lines_of_a_client_arrive(served, fake, path):
    d = served()
    Client(path).send(*numbered(1000)).end()
    arrived(fake, numbered(1000))
    d.terminate()


def test_several_clients_at_once(served, fake, path):
    served()
    clients = [Client(path) for _ in range(50)]
    for i in range(20):
        for k, c in enumerate(clients):
            c.send(b"%d/%d" % (k, i))
    for c in clients:
        c.end()
    arrived(fake, [b"%d/%d" % (k, i) for k in range(50) for i in range(20)])


def test_messages_with_a_length_hold_any_bytes(served, fake, path):
    served(framing="length32", ack="durable")
    blobs = [b"a\nb", b"\x00\x01\xff", bytes(range(256)) * 40]
    Client(path, length32=True).send(*blobs).wait_ok().end()
    arrived(fake, blobs)


def test_datagrams_are_records(served, fake, path):
    served(type="datagram", format="json", add={"uid": "{@peer.uid}", "pid": "{@peer.pid}"})
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect(str(path))
    for i in range(100):
        s.send(b'{"i":%d,"uid":4711}' % i)
    wait_until(lambda: fake.count("s") == 100)
    for i, record in enumerate(map(json.loads, fake.data("s"))):
        assert record["uid"] == os.getuid() and record["pid"] == os.getpid()
    assert sorted(json.loads(r)["i"] for r in fake.data("s")) == list(range(100))


@pytest.mark.skipif(not shutil.which("logger"), reason="no logger")
@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_logger_writes_syslog(served, fake, path, kind):
    served(type=kind, format="syslog", on_no_match="dead_letter")
    subprocess.run(["logger", "-u", path, "-t", "app", "hello from logger"], timeout=10, check=True)
    wait_until(lambda: fake.count("s") == 1)
    record = json.loads(fake.data("s")[0])
    assert record["message"] == "hello from logger"


def test_lines_that_are_no_syslog_are_told_now_and_then_and_sent_as_they_are(served, fake, path):
    d = served(format="syslog", ack="delivered")
    lines = [b"no syslog %d" % i for i in range(1000)]
    Client(path).send(*lines[:500]).wait_ok().send(*lines[500:]).wait_ok()
    assert sorted(fake.data("s")) == sorted(lines)
    d.wait_log("not of the format")
    d.terminate()
    assert "no_match=1000" in next(line for line in d.lines if "msg=totals" in line)
    assert 1 <= sum("not of the format" in line for line in d.lines) <= 3


def test_keys_come_from_fields_with_a_fallback(served, fake, path):
    served(format="json", key="{userId}", ack="delivered")
    Client(path).send_json({"userId": "u1"}, {"userId": {"x": 1}}, {"other": 1}).wait_ok()
    keys = {json.dumps(json.loads(r.data)): r.key for r in fake.records("s")}
    assert keys['{"userId": "u1"}'] == "u1"
    assert len(keys['{"other": 1}']) == 8


def test_an_array_of_a_hundred_events_becomes_a_hundred_records(served, fake, path):
    served(format="json", split_arrays=True, flatten=".", ack="delivered")
    events = [
        {"userId": {"id": i, "kind": "card"}, "event": "tap", "eventContext": {"ip": "10.0.0.1"}}
        for i in range(100)
    ]
    c = Client(path).send_json(events).wait_ok()
    assert c.sent == 1 and fake.count("s") == 100
    got = sorted(map(json.loads, fake.data("s")), key=lambda r: r["userId.id"])
    assert got[99] == {
        "userId.id": 99,
        "userId.kind": "card",
        "event": "tap",
        "eventContext.ip": "10.0.0.1",
    }


# What clients are told.


@pytest.mark.parametrize("ack", ["durable", "delivered"])
def test_ok_is_told_up_to_the_last_frame(served, fake, path, ack):
    served(ack=ack)
    c = Client(path).send(*numbered(5000)).wait_ok()
    assert c.bad == {}
    if ack == "delivered":
        assert sorted(fake.data("s")) == sorted(numbered(5000))
    c.send(b"one more").wait_ok()
    arrived(fake, numbered(5000) + [b"one more"])


def test_durable_is_told_while_the_service_is_away(served, fake, path):
    fake.fault = faults.DropBeforeReading()
    served(ack="durable")
    Client(path).send(*numbered(1000)).wait_ok()
    assert fake.count("s") == 0
    fake.fault = None
    arrived(fake, numbered(1000))


def test_delivered_is_not_told_while_the_service_is_away(served, fake, path):
    fake.fault = faults.DropBeforeReading()
    served(ack="delivered")
    c = Client(path).send(*numbered(10))
    c.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        c.hear()
    c.socket.settimeout(20)
    fake.fault = None
    c.wait_ok()
    assert sorted(fake.data("s")) == sorted(numbered(10))


def test_bad_frames_are_named_and_become_dead_letters(served, fake, path):
    d = served(format="json", ack="durable")
    c = Client(path).send(b'{"a":1}', b"{nope", b"[2]").wait_ok()
    assert list(c.bad) == [2] and c.bad[2].startswith("not JSON")
    wait_until(lambda: fake.count("s") == 2)
    letter = wait_until(lambda: d.dead_letters("events"))[0]
    assert letter["source"] == "events" and letter["reason"].startswith("not JSON")


def test_half_a_line_at_the_end(served, fake, path):
    served(ack="durable")
    c = Client(path)
    c.socket.sendall(b"whole\nhalf")
    c.sent = 1
    c.end()
    assert c.ok == 1
    arrived(fake, [b"whole"])


def test_half_a_line_at_the_end_is_a_record_for_who_is_not_answered(served, fake, path):
    served()
    c = Client(path)
    c.socket.sendall(b"whole\nhalf")
    c.end()
    arrived(fake, [b"whole", b"half"])


# Crashes.


def test_what_was_acknowledged_outlives_kill_9(served, fake, path):
    fake.fault = faults.DropBeforeReading()
    d = served(ack="durable")
    Client(path).send(*numbered(20_000)).wait_ok()
    d.kill()
    fake.fault = None
    d.start()
    wait_until(lambda: fake.count("s") >= 20_000)
    assert set(fake.data("s")) == set(numbered(20_000))
    d.wait_log("the spool holds records to deliver")


def test_a_clean_stop_and_start_sends_nothing_twice(served, fake, path):
    d = served(ack="durable")
    Client(path).send(*numbered(1000)).wait_ok()
    d.terminate()
    assert sorted(fake.data("s")) == sorted(numbered(1000))
    assert not path.exists()
    d.start()
    Client(path).send(b"after").wait_ok()
    wait_until(lambda: fake.count("s") > 1000)
    d.terminate()
    assert sorted(fake.data("s")) == sorted(numbered(1000) + [b"after"])


def test_a_stop_in_an_outage_keeps_the_rest_for_the_next_start(served, fake, path):
    fake.fault = faults.DropBeforeReading()
    d = served(ack="durable")
    d.settings["stop_timeout"] = "3s"
    d.reload()
    Client(path).send(*numbered(1000)).wait_ok()
    d.terminate()
    fake.fault = None
    d.start()
    arrived(fake, numbered(1000))


def test_the_leftovers_of_a_removed_socket_are_delivered(served, fake, path, tmp_path):
    fake.fault = faults.DropBeforeReading()
    d = served(ack="durable")
    Client(path).send(*numbered(100)).wait_ok()
    d.kill()
    del d.settings["sources"]["events"]
    d.source("files", tmp_path / "x.log")
    fake.fault = None
    d.start()
    arrived(fake, numbered(100))


def test_a_spool_without_a_stream_is_told(served, fake, path):
    fake.fault = faults.DropBeforeReading()
    d = served(ack="durable")
    Client(path).send(b"x").wait_ok()
    d.kill()
    fake.fault = None
    spool = d.state / "spool" / "s.spool"
    spool.rename(spool.with_name("gone.spool"))
    d.start()
    assert "stream=gone" in d.wait_log("a spool belongs to no stream")


# A full spool.


def big(n, word=b"b"):
    return [word + b"%06d" % i + b"x" * 9993 for i in range(n)]


SMALL = {"s": {"kinesis": "s", "linger": "20ms", "spool": "16MiB", "buffer": "8MiB"}}


def test_a_full_spool_blocks_its_clients_and_nothing_is_lost(served, fake, path):
    fake.fault = faults.DropBeforeReading()
    served(streams=SMALL)
    c = Client(path)
    c.socket.setblocking(False)
    records = big(3000)
    data = b"".join(c.frame(r) for r in records)
    sent = 0

    def push():
        nonlocal sent
        try:
            sent += c.socket.send(data[sent : sent + 65536])
        except BlockingIOError:
            return False
        return sent < len(data)

    def push_far():
        while push():
            pass
        return sent > 10_000_000

    wait_until(push_far, timeout=60)  # the disk may be slow
    idle = 0
    while idle < 20:
        idle = 0 if push() else idle + 1
        if idle:
            time.sleep(0.05)
    assert sent < len(data)
    fake.fault = None
    c.socket.setblocking(True)
    c.socket.sendall(data[sent:])
    c.end()
    wait_until(lambda: fake.count("s") >= 3000, timeout=60)
    assert sorted(fake.data("s")) == sorted(records)


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_what_is_dropped_is_counted_exactly(served, fake, path, policy):
    fake.fault = faults.DropBeforeReading()
    d = served(streams=SMALL, on_full=policy)
    records = big(4000)
    Client(path).send(*records).end()
    fake.fault = None
    last = records[-1] if policy == "drop_oldest" else records[0]
    wait_until(lambda: last in fake.data("s"), timeout=60)
    d.terminate()
    totals = next(line for line in d.lines if "msg=totals" in line)
    dropped = int(totals.split("spool_dropped=")[1].split()[0])
    assert dropped > 1000
    assert len(fake.data("s")) + dropped == 4000
    told = [line for line in d.lines if "records were dropped" in line]
    assert 1 <= len(told) <= 10, "told at a bounded rate"
    assert set(fake.data("s")) <= set(records)
    assert len(set(fake.data("s"))) == len(fake.data("s"))


# The socket as a file.


def test_the_mode_is_as_configured_and_others_cannot_connect(served, path):
    served(mode="0600")
    found = path.stat()
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600


def test_a_dead_path_is_taken_over_and_a_living_one_is_not(served, daemon, fake, path, tmp_path):
    d = served()
    d.kill()
    assert path.exists()
    d.start()
    other = tmp_path / "other"
    other.mkdir()
    second = sockets.source(daemon(fake.url, directory=other), path).spawn()
    assert second.wait_exit() == 78
    assert "another process listens there" in second.log()
    Client(path).send(b"x").end()
    arrived(fake, [b"x"])


def nobody():
    return pwd.getpwnam("nobody")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_only_who_is_allowed_may_write(served, fake, path, tmp_path):
    d = served(mode="0666", allow={"users": ["nobody"]}, ack="durable")
    for p in [tmp_path, *tmp_path.parents][:4]:
        if p.stat().st_uid == os.getuid() and str(p) != "/" and str(p) != "/tmp":
            p.chmod(p.stat().st_mode | 0o011)
    refused = Client(path)
    refused.socket.settimeout(10)
    try:
        refused.send(b"from root")
        assert refused.hear() is False
    except (BrokenPipeError, ConnectionResetError):
        pass
    d.wait_log("refused")
    script = (
        "import socket;s=socket.socket(socket.AF_UNIX);s.connect(%r);"
        "s.sendall(b'from nobody\\n');assert s.recv(99)==b'ok 1\\n'" % str(path)
    )
    subprocess.run(["python3", "-c", script], user=nobody().pw_uid, check=True, timeout=20)
    arrived(fake, [b"from nobody"])


def test_an_unknown_user_is_an_error_at_the_start(served, daemon, fake, path):
    d = sockets.source(daemon(fake.url), path, allow={"users": ["no-such-user-here"]}).spawn()
    assert d.wait_exit() == 78
    assert "no user" in d.log()


# Reload.


def test_a_reload_keeps_clients_and_changes_what_records_become(served, fake, path):
    d = served(format="json", ack="delivered", add={"v": "one"})
    c = Client(path).send_json({"i": 1}).wait_ok()
    d.settings["sources"]["events"]["add"] = {"v": "two"}
    d.reload()
    c.send_json({"i": 2}).wait_ok()
    assert [json.loads(r) for r in fake.data("s")] == [{"i": 1, "v": "one"}, {"i": 2, "v": "two"}]


def test_a_reload_adds_moves_and_removes_sockets(served, fake, path, tmp_path):
    d = served(ack="delivered")
    other = tmp_path / "other.sock"
    sockets.source(d, other, name="more", ack="delivered")
    d.reload()
    Client(other).send(b"other").wait_ok()
    Client(path).send(b"first").wait_ok()
    d.settings["sources"]["events"]["mode"] = "0600"
    d.reload()
    wait_until(lambda: path.exists() and stat.S_IMODE(path.stat().st_mode) == 0o600)
    Client(path).send(b"second").wait_ok()
    del d.settings["sources"]["more"]
    d.reload()
    wait_until(lambda: not other.exists())
    assert sorted(fake.data("s")) == [b"first", b"other", b"second"]


def test_a_stream_that_was_removed_comes_back_before_it_is_empty(served, fake, path, tmp_path):
    d = served(ack="durable")
    fake.fault = faults.Status(503)
    Client(path).send(b"before").wait_ok()
    settings = d.settings["streams"], d.settings["sources"]
    d.settings["streams"] = {"other": {"kinesis": "s"}}
    d.settings["sources"] = {"a": {"file": str(tmp_path / "a.log"), "stream": "other"}}
    d.reload()
    wait_until(lambda: not path.exists())
    d.settings["streams"], d.settings["sources"] = settings
    for _ in range(2):
        d.reload()
    assert not any("not reloaded" in line for line in d.lines), d.log()
    Client(path).send(b"after").wait_ok()
    fake.fault = None
    wait_until(lambda: sorted(fake.data("s")) == [b"after", b"before"])
    for i in range(50):
        Client(path).send(b"%d" % i).wait_ok()
    d.terminate()
    assert len(fake.data("s")) == 52


@pytest.mark.parametrize("ack", ["durable", "delivered"])
def test_a_frame_without_a_record_is_ok_though_nothing_else_moves(served, path, ack):
    served(ack=ack, format="json", split_arrays=True)
    Client(path).send(b"[]").wait_ok().send(b"[]").end()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace to make a sync fail")
def test_clients_of_a_failed_spool_wait_without_costing_anything(served, path):
    d = served(ack="durable")
    c = Client(path).send(b"one").wait_ok()
    inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]
    command = ["strace", "-f", "-p", str(d.process.pid), "-o", os.devnull, *inject]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        wait_until(lambda: b"attached" in tracer.stderr.readline())
        c.send(b"two")
        d.wait_log("the spool has failed")
        tracer.terminate()
    wait_until(lambda: any("nothing is acknowledged" in m for m in d.messages), what="the status")
    c.send(b"three")
    time.sleep(0.2)
    before = cpu_seconds(d.process.pid)
    time.sleep(1)
    assert cpu_seconds(d.process.pid) - before < 0.2
    c.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        c.hear()
    assert c.ok == 1


def resident_kib(d):
    with open(f"/proc/{d.process.pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])


def test_half_lines_of_clients_that_have_left_are_bounded_while_the_spool_is_full(
    daemon, fake, path
):
    fake.fault = faults.DropBeforeReading()
    d = sockets.source(daemon(fake.url, streams=SMALL), path, max_clients=10)
    # What is freed is free: a sanitiser would keep it, up to a quarter of a gigabyte.
    keep_nothing = "quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
    d.env["ASAN_OPTIONS"] = d.env.get("ASAN_OPTIONS", "") + ":" + keep_nothing
    d.start()
    flood = Client(path)
    flood.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        while True:
            flood.send(*big(100))

    def leave_half_lines(clients):
        for _ in range(clients):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.connect(str(path))
                try:
                    s.sendall(b"y" * 60000)
                    s.shutdown(socket.SHUT_WR)
                    s.settimeout(0.02)
                    s.recv(1)
                except OSError:
                    pass

    leave_half_lines(200)  # ten of them are held; an allocator has what it wants to keep, too
    before = resident_kib(d)
    leave_half_lines(1000)
    assert resident_kib(d) - before < 8 * 1024


@pytest.mark.parametrize("option", [{"group": "no-such-group"}, {"allow": {"users": ["nobody-9"]}}])
def test_a_reload_that_names_nobody_changes_nothing(served, fake, path, option):
    d = served(ack="delivered")
    d.settings["sources"]["events"].update(option)
    d.reload()
    d.wait_log("not reloaded")
    Client(path).send(b"one").wait_ok()


# Bad input.


def test_nuls_are_bytes_like_others(served, fake, path):
    served()
    Client(path).send(b"a\0b", b"\0").end()
    arrived(fake, [b"a\0b", b"\0"])


def maps(d):
    with open(f"/proc/{d.process.pid}/maps") as f:
        return f.read()


def test_a_hundred_megabytes_without_a_line_end_cost_little(served, fake, path):
    d = served(ack="durable")
    c = Client(path)
    piece = b"y" * (1 << 20)
    for _ in range(100):
        c.socket.sendall(piece)
    c.socket.sendall(b"\n")
    c.sent = 1
    c.wait_ok()
    assert list(c.bad) == [1]
    peak = d.status_kib("VmHWM")
    assert peak < 80_000 or "asan" in maps(d), f"{peak} KiB"
    c.send(b"after").wait_ok()
    wait_until(lambda: b"after" in fake.data("s"))


def test_a_client_that_never_reads_harms_nobody(served, fake, path):
    served(format="json", ack="durable")
    deaf = Client(path)
    deaf.socket.setblocking(False)
    try:
        while True:
            deaf.socket.send(b"!\n" * 10_000)
    except BlockingIOError:
        pass
    Client(path).send_json({"i": 1}).wait_ok()
    wait_until(lambda: b'{"i": 1}' in fake.data("s"))


def test_a_client_that_dies_in_a_record(served, fake, path):
    served(ack="durable")
    for _ in range(20):
        c = Client(path)
        c.socket.sendall(b"half a rec")
        c.close()
    Client(path).send(b"whole").wait_ok()
    arrived(fake, [b"whole"])


def test_too_many_clients_are_turned_away(served, fake, path):
    d = served(max_clients=3, ack="durable")
    kept = [Client(path) for _ in range(3)]
    for c in kept:
        c.send(b"x").wait_ok()
    more = Client(path)
    assert more.hear() is False
    d.wait_log("turned away")
    kept.pop().close()
    wait_until(lambda: _gets_in(path))


def _gets_in(path):
    c = Client(path)
    try:
        return c.send(b"y").wait_ok().ok == 1
    except (AssertionError, BrokenPipeError, ConnectionResetError):
        return False
    finally:
        c.close()


# What the tool says.


def test_sources_lists_sockets(served, path):
    d = served(ack="delivered")
    c = Client(path).send(b"x").wait_ok()
    status, out, _ = tool("sources", "--json", "-c", d.file)
    assert status == 0
    rows = [json.loads(line) for line in out.splitlines()]
    row = next(r for r in rows if r.get("source") == "events")
    assert row["path"] == str(path) and row["state"] == "listening"
    assert row["read"] == row["delivered"] == row["size"] > 0
    counts = next(r for r in rows if r.get("socket") == "events")
    assert counts["clients"] == 1 and counts["accepted"] == 1
    c.close()
