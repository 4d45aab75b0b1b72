"""The control socket, and the three commands that ask over it: shipped, sources, rewind."""

import json
import os
import pathlib
import pty
import socket
import stat
import subprocess
import threading
import time

import pytest

import faults
import harness
from harness import BUILD, tool, wait_until

LINES = [b"line %06d of this test" % i for i in range(1000)]
TEXT = b"".join(line + b"\n" for line in LINES)


def append(path, data):
    with open(path, "ab") as out:
        out.write(data)


def following(daemon, fake, path, **more):
    return daemon(fake.url).source("a", path, **{"start_at": "beginning", **more})


def ask(d, command, *arguments, **more):
    return tool(command, "-c", d.file, *arguments, **more)


def shipped(d, *arguments, **more):
    status, out, err = ask(d, "shipped", *arguments, **more)
    assert err == "", err
    return status, out


def listed(d, *arguments):
    status, out, err = ask(d, "sources", "--json", *arguments)
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def files(d):
    return {pathlib.Path(row["path"]).name: row for row in listed(d) if "path" in row}


def talk(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20 * harness.PATIENCE)
    fd = os.open(pathlib.Path(path).parent, os.O_PATH)  # however long the path is
    s.connect(f"/proc/self/fd/{fd}/{pathlib.Path(path).name}")
    os.close(fd)
    return s


def answer(s, request):
    """The lines of an answer, the last one included."""
    s.sendall(request + b"\n")
    got = b""
    while not got.endswith((b'{"end":true}\n', b'"}\n')) or b'{"end"' not in got and b'"error"' not in got:
        more = s.recv(65536)
        assert more, got
        got += more
    return [json.loads(line) for line in got.splitlines()]


def wait_delivered(fake, n):
    wait_until(lambda: fake.count("s") >= n, 30, f"{n} records, not {fake.count('s')}")


# --- shipped ------------------------------------------------------------------------------------


def test_a_file_is_shipped_when_all_of_it_was_accepted_and_saved(daemon, fakes, tmp_path):
    fake = fakes({"s": 1})
    fake.fault = faults.Status(500)
    path = tmp_path / "a.log"
    append(path, TEXT)
    d = following(daemon, fake, path).start()
    wait_until(lambda: files(d)["a.log"]["read"] == len(TEXT))
    status, out = shipped(d, path)
    assert status == 1
    assert out == f"{path}: not shipped: source a: 0 of {len(TEXT)} bytes are delivered; 1000 records on the way\n"
    fake.fault = None
    status, out = shipped(d, "--wait", "--timeout", "60s", path)
    assert (status, out) == (0, f"{path}: shipped, {len(TEXT)} bytes\n")
    assert sorted(fake.data("s")) == sorted(LINES)
    assert str(len(TEXT)) in d.checkpoint()  # it is saved, too
    d.kill()
    assert shipped(d, path)[0] == 0
    d.start()
    assert shipped(d, path)[0] == 0
    d.terminate()
    assert fake.count("s") == len(LINES)


def test_a_wait_ends_with_its_time(daemon, fake, tmp_path):
    fake.fault = faults.Status(500)
    path = tmp_path / "a.log"
    append(path, TEXT)
    d = following(daemon, fake, path).start()
    begun = time.monotonic()
    status, out = shipped(d, "--wait", "--timeout", "300ms", path)
    assert status == 1 and "not shipped" in out
    assert 0.3 <= time.monotonic() - begun < 10 * harness.PATIENCE
    d.kill()


def test_a_wait_goes_on_while_the_daemon_is_started_again(daemon, fake, tmp_path):
    fake.fault = faults.Status(500)
    path = tmp_path / "a.log"
    append(path, TEXT)
    d = following(daemon, fake, path).start()
    wait_until(lambda: "a.log" in d.checkpoint())
    found = []
    waiting = threading.Thread(target=lambda: found.append(shipped(d, "--wait", path, timeout=120)))
    waiting.start()
    d.kill()
    fake.fault = None
    d.start()
    waiting.join()
    assert found == [(0, f"{path}: shipped, {len(TEXT)} bytes\n")]
    d.terminate()


def test_an_unfinished_line_is_not_shipped_and_that_is_said(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, b"whole\nhalf")
    d = following(daemon, fake, path).start()
    wait_delivered(fake, 1)
    wait_until(lambda: "6 of 10 bytes" in shipped(d, path)[1])
    status, out = shipped(d, path)
    assert status == 1 and out.endswith("6 of 10 bytes are delivered; the last line has no line end\n")
    d.terminate()
    status, out = shipped(d, path)
    assert status == 1 and "the last line has no line end (tailraced is not running)" in out
    append(path, b"\n")
    d.start()
    assert shipped(d, "--wait", path)[0] == 0
    d.terminate()


def test_bytes_that_were_not_read_yet_are_not_shipped(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, TEXT)
    d = following(daemon, fake, path).start()
    assert shipped(d, "--wait", path)[0] == 0
    d.terminate()
    append(path, b"more\n")
    status, out = shipped(d, path)
    assert status == 1
    assert f"{len(TEXT)} of {len(TEXT) + 5} bytes are delivered (tailraced is not running)" in out


@pytest.mark.parametrize("up", [True, False])
def test_a_renamed_file_is_still_known(daemon, fake, tmp_path, up):
    path, old = tmp_path / "a.log", tmp_path / "kept" / "app-20261123.old"
    old.parent.mkdir()
    append(path, TEXT)
    d = following(daemon, fake, path).start()
    assert shipped(d, "--wait", path)[0] == 0
    if not up:
        d.terminate()
    path.rename(old)
    append(path, b"unread" if up else b"new\n")
    assert shipped(d, "--wait" if up else "--quiet", old)[0] == 0
    status, out = shipped(d, old, path)
    assert status in (1, 2) and f"{old}: shipped" in out
    if up:
        d.terminate()


def test_a_file_nobody_follows_is_said_to_be_so(daemon, fake, tmp_path):
    path, other = tmp_path / "a.log", tmp_path / "other.txt"
    append(path, TEXT)
    append(other, TEXT)
    d = following(daemon, fake, path).start()
    assert shipped(d, other) == (2, f"{other}: no source follows it\n")
    assert shipped(d, "--wait", path)[0] == 0
    d.terminate()
    status, out = shipped(d, path, other)
    assert status == 2 and f"{path}: shipped" in out
    assert f"{other}: no source follows it, as far as the checkpoint says" in out
    # The same inode with other content is another file.
    path.write_bytes(b"x" * len(TEXT))
    assert shipped(d, path)[0] == 2


def test_several_sources_must_all_have_delivered(daemon, fakes, tmp_path):
    fake = fakes({"s": 1, "t": 1})
    fake.fault = faults.Entries(match=lambda data: False)
    path = tmp_path / "a.log"
    append(path, TEXT)
    d = daemon(fake.url, streams={"s": {"kinesis": "s", "linger": "20ms"}, "t": {"kinesis": "missing"}})
    d.source("a", path, start_at="beginning").source("b", path, stream="t", start_at="beginning")
    d.start()
    wait_delivered(fake, len(LINES))
    wait_until(lambda: "source a" not in shipped(d, path)[1])
    status, out = shipped(d, path)
    assert status == 1 and "source b: 0 of" in out
    del d.settings["sources"]["b"], d.settings["streams"]["t"]
    d.reload()
    assert shipped(d, path)[0] == 0  # nobody waits for b any more
    d.kill()
    assert shipped(d, path)[0] == 0


def test_an_empty_file_is_shipped_and_one_that_cannot_be_opened_is_not(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    path.touch()
    d = following(daemon, fake, path).start()
    assert shipped(d, path)[0] == 0
    for bad in (tmp_path / "missing.log", tmp_path):
        status, out, err = ask(d, "shipped", path, bad)
        assert status == 66 and str(bad) in err and f"{path}: shipped" in out
    d.terminate()


def test_dead_letters_count_as_settled_and_are_printed(daemon, fake, tmp_path):
    path = tmp_path / "a.jsonl"
    bad = b"{not json}\n"
    append(path, b'{"a":1}\n' + bad + b'{"a":2}\n')
    d = following(daemon, fake, path, format="json").start()
    status, out = shipped(d, "--wait", path)
    assert status == 0
    assert "dead letter: offset 8, 11 bytes: " in out
    assert f"1 dead letter of source a: {d.state}/dead-letter/a.jsonl\n" in out
    renamed = tmp_path / "renamed"
    path.rename(renamed)
    append(path, b'{"a":3}\n')
    assert "dead letter: offset 8" in shipped(d, "--wait", renamed)[1]
    assert "dead letter" not in shipped(d, "--wait", path)[1]
    d.terminate()
    assert "dead letter: offset 8" in shipped(d, renamed)[1]
    append(path, bad * 30)
    d.start()
    out = shipped(d, "--wait", path)[1]
    assert out.count("dead letter: ") == 20 and "and 10 more dead letters" in out
    d.terminate()


def test_lines_dropped_by_rule_count_as_settled_and_are_printed(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, b"k=1\nno\nk=2\nno\n")
    d = following(daemon, fake, path, format="regex", pattern="k=(?<k>[0-9]+)", on_no_match="drop").start()
    status, out = shipped(d, "--wait", path)
    assert status == 0 and "  2 lines dropped by on_no_match of source a" in out
    assert fake.data("s") == [b'{"k":"1"}', b'{"k":"2"}']
    d.terminate()


def test_shipped_wants_to_be_called_right(daemon, fake, tmp_path):
    for wrong in ([], ["--timeout", "5s", "x"], ["--wait", "--timeout", "5", "x"], ["--no", "x"]):
        status, out, err = tool("shipped", *wrong)
        assert (status, out) == (64, "") and "usage:" in err
    assert "Exit codes" in tool("shipped", "--help")[1]
    assert tool("shipped", "-c", tmp_path / "none.yaml", "x")[0] == 66
    status, out, err = tool("shipped", "--state-dir", tmp_path / "none", __file__)
    assert status == 66 and "none" in err


# --- sources ------------------------------------------------------------------------------------


def test_every_followed_file_is_listed(daemon, fake, tmp_path):
    for name in "ab":  # not copies of each other: those would be held back for a while
        append(tmp_path / f"{name}.log", TEXT.replace(b"test", b"%4s" % name.encode()))
    d = following(daemon, fake, tmp_path / "*.log").start()
    assert shipped(d, "--wait", tmp_path / "a.log", tmp_path / "b.log")[0] == 0
    rows = listed(d)
    for name in "ab":
        row = next(r for r in rows if r.get("path") == str(tmp_path / f"{name}.log"))
        assert row == {
            "source": "a", "path": str(tmp_path / f"{name}.log"), "state": "following",
            "size": len(TEXT), "read": len(TEXT), "delivered": len(TEXT), "behind": 0, "behind_ms": 0,
        }
    total = next(r for r in rows if "total" in r)
    assert (total["total"], total["files"], total["size"]) == ("a", 2, 2 * len(TEXT))
    stream = next(r for r in rows if "stream" in r)
    assert stream["stream"] == "s" and stream["records_delivered"] == 2 * len(LINES)
    status, out, _ = ask(d, "sources")
    table = [line.split() for line in out.splitlines()]
    assert status == 0
    assert table[0] == ["SOURCE", "PATH", "STATE", "SIZE", "READ", "DELIVERED", "BEHIND", "TIME"]
    n = str(len(TEXT))
    assert table[1] == ["a", str(tmp_path / "a.log"), "following", n, n, n, "0", "-"]
    assert table[3][:3] == ["a", "total", str(2 * len(TEXT))]
    d.terminate()


def test_how_far_behind_is_told_in_bytes_and_time(daemon, fake, tmp_path):
    fake.fault = faults.Status(500)
    path = tmp_path / "a.log"
    append(path, TEXT)
    d = following(daemon, fake, path).start()
    wait_until(lambda: files(d)["a.log"]["read"] == len(TEXT))
    first = files(d)["a.log"]
    assert first["behind"] == len(TEXT) and first["delivered"] == 0
    later = wait_until(lambda: (row := files(d)["a.log"])["behind_ms"] > 1000 and row)
    append(path, b"younger\n")
    assert files(d)["a.log"]["behind_ms"] >= later["behind_ms"]  # the oldest byte counts
    fake.fault = None
    assert shipped(d, "--wait", path)[0] == 0
    assert files(d)["a.log"]["behind_ms"] == 0
    d.terminate()


def test_without_the_daemon_the_checkpoint_is_listed(daemon, fake, tmp_path):
    for name in "ab":  # not copies of each other: those would be held back for a while
        append(tmp_path / f"{name}.log", TEXT.replace(b"test", b"%4s" % name.encode()))
    d = following(daemon, fake, tmp_path / "*.log").start()
    assert shipped(d, "--wait", tmp_path / "a.log", tmp_path / "b.log")[0] == 0
    d.terminate()
    append(tmp_path / "a.log", b"more\n")
    (tmp_path / "b.log").unlink()
    rows = files(d)
    assert list(rows) == ["a.log"]  # what was delivered and is gone is of no interest
    row = rows["a.log"]
    assert (row["state"], row["behind"]) == ("stopped", 5)
    assert "tailraced is not running" in ask(d, "sources")[1]


def test_a_rotated_file_and_a_source_that_waits_are_told(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    append(path, TEXT)
    d = following(daemon, fake, path).start()
    wait_delivered(fake, len(LINES))
    path.rename(tmp_path / "gone.txt")
    wait_until(lambda: [r["state"] for r in listed(d) if "path" in r] == ["rotated"])
    d.terminate()


def test_a_name_cannot_play_tricks_on_a_terminal(daemon, fake, tmp_path):
    bad = os.fsencode(tmp_path) + b"/a\x1b[2Jb\xff.log"
    append(bad, TEXT)
    d = following(daemon, fake, tmp_path / "*.log").start()
    assert subprocess.call([BUILD / "tailrace", "shipped", "-qw", "-c", d.file, bad]) == 0
    done = subprocess.run([BUILD / "tailrace", "sources", "-c", d.file], capture_output=True)
    assert done.returncode == 0 and b"\x1b" not in done.stdout and b"a?[2Jb" in done.stdout
    assert [row["size"] for row in listed(d) if "path" in row] == [len(TEXT)]
    d.terminate()


# --- rewind -------------------------------------------------------------------------------------


def delivered_once(daemon, fake, tmp_path, up):
    path = tmp_path / "a.log"
    append(path, TEXT)
    d = following(daemon, fake, path).start()
    assert shipped(d, "--wait", path)[0] == 0
    if not up:
        d.terminate()
    return d, path


def finish(d, path, up):
    if not up:
        d.start()
    assert shipped(d, "--wait", path)[0] == 0
    d.terminate()


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("what", ["source", "file"])
def test_data_can_be_sent_again(daemon, fake, tmp_path, up, what):
    d, path = delivered_once(daemon, fake, tmp_path, up)
    status, out, err = ask(d, "rewind", "a" if what == "source" else path, "--yes")
    assert (status, err) == (0, "")
    assert out == f"{path} (source a): from {len(TEXT)} back to 0: {len(TEXT)} bytes will be sent again\n"
    finish(d, path, up)
    assert sorted(fake.data("s")) == sorted(LINES + LINES)


@pytest.mark.parametrize("up", [True, False])
def test_an_offset_inside_a_line_is_moved_to_its_beginning(daemon, fake, tmp_path, up):
    d, path = delivered_once(daemon, fake, tmp_path, up)
    line = len(LINES[0]) + 1
    status, out, err = ask(d, "rewind", path, "--to", 990 * line + 7, "--yes")
    assert status == 0 and f"back to {990 * line}: {10 * line} bytes" in out, err
    finish(d, path, up)
    assert sorted(fake.data("s")) == sorted(LINES + LINES[990:])


@pytest.mark.parametrize("up", [True, False])
def test_data_can_be_skipped_but_not_by_accident(daemon, fake, tmp_path, up):
    fake.fault = faults.Status(500)
    path = tmp_path / "a.log"
    append(path, TEXT)
    d = following(daemon, fake, path).start()
    wait_until(lambda: "a.log" in d.checkpoint())
    if not up:
        d.kill()
    status, out, err = ask(d, "rewind", path, "--to", "end")
    assert status == 1 and "needs --yes" in err
    assert f"from 0 on to {len(TEXT)}: {len(TEXT)} bytes are SKIPPED" in out
    append(path, b"half a line")
    status, out, err = ask(d, "rewind", "a", "--to", "end", "--yes")
    assert status == 0 and f"to {len(TEXT)}:" in out, err  # the half line is not cut
    if not up:
        fake.fault = None
        d.start()
    append(path, b" and the rest\n")
    fake.fault = None
    finish(d, path, True)
    # What was in the ring already goes out all the same.
    assert b"half a line and the rest" in fake.data("s")
    assert len(fake.data("s")) == (1 if not up else 1 + len(LINES))


@pytest.mark.parametrize("up", [True, False])
def test_a_rewind_survives_a_crash(daemon, fake, tmp_path, up):
    d, path = delivered_once(daemon, fake, tmp_path, True)
    if not up:
        d.kill()
    fake.fault = faults.Status(500)
    assert ask(d, "rewind", path, "--yes")[0] == 0
    if up:
        wait_until(lambda: shipped(d, path)[1].startswith(f"{path}: not shipped: source a: 0 of"))
        wait_until(lambda: '"offset":0,' in d.checkpoint())
        d.kill()
    fake.fault = None
    d.start()
    finish(d, path, True)
    assert sorted(fake.data("s")) == sorted(LINES + LINES)


def test_a_csv_file_keeps_its_header_when_it_is_rewound(daemon, fake, tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{i},name {i}" for i in range(100)]
    text = "id,name\n" + "\n".join(rows) + "\n"
    path.write_text(text)
    d = following(daemon, fake, path, format="csv").start()
    assert shipped(d, "--wait", path)[0] == 0
    assert ask(d, "rewind", path, "--to", text.index("\n97,") + 1, "--yes")[0] == 0
    assert shipped(d, "--wait", path)[0] == 0
    d.terminate()
    ids = [json.loads(data)["id"] for data in fake.data("s")]
    assert ids == [str(i) for i in range(100)] + ["97", "98", "99"]


def test_a_file_whose_descriptor_is_closed_can_be_rewound(daemon, fake, tmp_path):
    texts = {}
    for i in range(40):
        texts[tmp_path / f"{i}.log"] = b"file %02d\n" % i
    for path, text in texts.items():
        append(path, text)
    d = following(daemon, fake, tmp_path / "*.log", max_open_files=4).start()
    assert shipped(d, "--wait", *texts)[0] == 0
    links = [os.readlink(fd) for fd in pathlib.Path(f"/proc/{d.process.pid}/fd").iterdir()]
    assert sum(link.endswith(".log") for link in links) < 20
    status, out, err = ask(d, "rewind", "a", "--yes")
    assert (status, err, out.count("sent again")) == (0, "", 40)
    assert shipped(d, "--wait", *texts)[0] == 0
    d.terminate()
    assert sorted(fake.data("s")) == sorted(2 * [text.rstrip() for text in texts.values()])


def test_a_rewind_that_makes_no_sense_is_refused(daemon, fake, tmp_path):
    d, path = delivered_once(daemon, fake, tmp_path, True)
    other = tmp_path / "other.txt"
    append(other, TEXT)
    before = d.checkpoint()
    for arguments, code, words in [
        ([path, "--to", len(TEXT) + 1, "--yes"], 64, f"the offset is 0 to {len(TEXT)}"),
        ([path, "--to", "-1", "--yes"], 64, "expected beginning, end or an offset"),
        ([path, "--to", "middle", "--yes"], 64, "expected beginning, end or an offset"),
        (["a", "--to", "5", "--yes"], 64, "an offset goes with a FILE"),
        ([other, "--yes"], 2, "no source follows it"),
        (["b", "--yes"], 2, "no such source"),
        ([tmp_path / "missing", "--yes"], 66, "No such file"),
        ([path], 1, "needs --yes"),
        ([], 64, "usage:"),
    ]:
        for up in (True, False):
            if up != d.running():
                d.start() if up else d.terminate()
            status, _, err = ask(d, "rewind", *arguments)
            assert (status, words in err) == (code, True), (arguments, status, err)
    assert ask(d, "rewind", path, "--to", "end")[1] == f"{path} (source a): is at {len(TEXT)} already\n"
    assert d.checkpoint().replace('"generation":', "") != "" and fake.count("s") == len(LINES)
    assert before != ""


def test_a_person_at_a_terminal_is_asked(daemon, fake, tmp_path):
    d, path = delivered_once(daemon, fake, tmp_path, False)
    for word, code in ((b"n\n", 1), (b"\n", 1), (b"y\n", 0)):
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [BUILD / "tailrace", "rewind", "-c", d.file, str(path)],
            stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        os.write(master, word)
        out, err = process.communicate(timeout=60)
        os.close(master)
        os.close(slave)
        assert process.returncode == code and b"Do it? [y/N]" in err and b"sent again" in out
    finish(d, path, False)
    assert fake.count("s") == 2 * len(LINES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_root_leaves_the_state_to_its_owner(daemon, fake, tmp_path):
    d, path = delivered_once(daemon, fake, tmp_path, False)
    for file in [d.state, *d.state.rglob("*")]:
        os.chown(file, 65534, 65534)
    for parent in tmp_path.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    path.chmod(0o600)  # which the owner of the state cannot read: root can
    status, _, err = ask(d, "rewind", path, "--yes")
    assert (status, err) == (0, "")
    for file in [d.state, *d.state.rglob("*")]:
        assert (file.stat().st_uid, file.stat().st_gid) == (65534, 65534), file
    assert '"offset":0,' in d.checkpoint()


# --- the socket ---------------------------------------------------------------------------------


def test_the_socket_is_private_and_goes_with_the_daemon(daemon, fake, tmp_path):
    d = following(daemon, fake, tmp_path / "*.log").start()
    path = d.state / "control.sock"
    mode = path.lstat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    with talk(path) as s:
        who, end = answer(s, b'{"do":"who"}')
        assert (who["pid"], who["state_dir"], end) == (d.process.pid, str(d.state), {"end": True})
    d.terminate()
    assert not path.exists()


def test_the_socket_may_be_elsewhere_or_nowhere(daemon, fake, tmp_path):
    log = tmp_path / "a.log"
    append(log, TEXT)
    run = tmp_path / "run"
    run.mkdir()
    d = following(daemon, fake, log).start(RUNTIME_DIRECTORY=f"{run}:/nowhere")
    assert (run / "control.sock").exists() and not (d.state / "control.sock").exists()
    status, out, err = tool("shipped", "--wait", "--control", run / "control.sock", log)
    assert (status, err) == (0, "")
    d.terminate()
    d.settings["control"] = str(tmp_path / "my.sock")
    d.start(RUNTIME_DIRECTORY=str(run))
    assert (tmp_path / "my.sock").exists() and not (run / "control.sock").exists()
    assert files(d)["a.log"]["state"] == "following"
    d.settings["control"] = "off"
    d.reload()
    d.wait_log("control: .* -> off .*needs a restart")
    d.reload()  # and is told again: the old one is still there
    assert sum("-> off" in line for line in d.lines) == 2
    d.terminate()
    d.start()
    assert not (tmp_path / "my.sock").exists()
    assert files(d)["a.log"]["state"] == "stopped"  # as the checkpoint says
    assert shipped(d, log)[0] == 0
    status, _, err = ask(d, "rewind", log, "--yes")
    assert status == 75 and "in use by another tailraced" in err and "the control socket is off" in err
    d.terminate()


def test_the_usual_place_is_asked_only_of_the_daemon_that_is_meant(daemon, fake, tmp_path):
    one = daemon(fake.url, tmp_path).source("a", tmp_path / "a.log", start_at="beginning")
    (tmp_path / "two").mkdir()
    two = daemon(fake.url, tmp_path / "two").source("b", tmp_path / "b.log", start_at="beginning")
    append(tmp_path / "a.log", TEXT)
    one.start()
    two.start()
    os.rename(one.state / "control.sock", tmp_path / "moved.sock")
    os.rename(two.state / "control.sock", one.state / "control.sock")
    assert [row["state"] for row in files(one).values()] == ["stopped"]  # not the other one's
    os.rename(one.state / "control.sock", two.state / "control.sock")
    assert tool("sources", "--state-dir", two.state)[0] == 0
    one.terminate()
    two.terminate()
    assert (tmp_path / "moved.sock").exists()  # not ours to remove any more


def test_a_dead_daemons_socket_is_taken_over(daemon, fake, tmp_path):
    d = following(daemon, fake, tmp_path / "*.log").start()
    d.kill()
    assert (d.state / "control.sock").exists()
    d.start()
    assert answer(talk(d.state / "control.sock"), b'{"do":"who"}')[0]["pid"] == d.process.pid
    assert not any("no control socket" in line for line in d.lines)
    d.terminate()


def test_a_second_daemon_leaves_the_first_ones_socket_alone(daemon, fake, tmp_path):
    shared = str(tmp_path / "shared.sock")
    one = following(daemon, fake, tmp_path / "a.log")
    one.settings["control"] = shared
    one.start()
    (tmp_path / "two").mkdir()
    two = daemon(fake.url, tmp_path / "two", control=shared)
    two.source("b", tmp_path / "b.log").start()
    two.wait_log("no control socket.*another process listens there")
    two.terminate()
    with talk(shared) as s:
        assert answer(s, b'{"do":"who"}')[0]["pid"] == one.process.pid
    one.terminate()


def test_a_place_that_cannot_be_only_warns(daemon, fake, tmp_path):
    log = tmp_path / "a.log"
    append(log, TEXT)
    precious = tmp_path / "precious"
    precious.write_text("data")
    for path in (tmp_path / "missing" / "x.sock", precious):
        d = following(daemon, fake, log)
        d.settings["control"] = str(path)
        d.start()
        d.wait_log("no control socket")
        assert shipped(d, "--wait", log)[0] == 0  # from the checkpoint
        d.terminate()
    assert precious.read_text() == "data"
    assert fake.count("s") == len(LINES)


def test_nonsense_gets_a_sentence_and_does_no_harm(daemon, fake, tmp_path):
    log = tmp_path / "a.log"
    append(log, TEXT)
    d = following(daemon, fake, log).start()
    with talk(d.state / "control.sock") as s:
        for nonsense in (b"", b"hello", b"{}", b'{"do":"explode"}', b"\xff\xfe\x00", b"[" * 60000,
                         b'{"do":"rewind","source":"a","device":"1","inode":"1","offset":0}',
                         b'{"do":"who","who":"me"}'):
            (error,) = answer(s, nonsense)
            assert list(error) == ["error"] and error["error"]
        assert answer(s, b'{"do":"who"}')[0]["pid"] == d.process.pid
    with talk(d.state / "control.sock") as s:
        with pytest.raises(OSError):
            while True:
                s.sendall(b"x" * 65536)
    d.still_running()
    assert shipped(d, "--wait", log)[0] == 0
    d.terminate()


def test_clients_that_never_read_or_say_anything_do_not_stop_the_others(daemon, fake, tmp_path):
    for i in range(300):
        append(tmp_path / f"file-{i:03d}.log", b"this is file %03d\n" % i)
    d = following(daemon, fake, tmp_path / "*.log").start()
    wait_until(lambda: len(files(d)) == 300)
    idle = [talk(d.state / "control.sock") for _ in range(8)]
    for s in idle[:4]:
        s.sendall(b'{"do":"sources"}\n' * 3000)  # and never reads
    before = d.status_kib("VmRSS")
    for _ in range(20):
        assert len(files(d)) == 300
    assert d.status_kib("VmRSS") < before + 32 * 1024
    paths = sorted(tmp_path.glob("*.log"))
    assert shipped(d, "--wait", *paths)[0] == 0
    for s in idle:
        s.close()
    d.terminate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_may_not_ask(daemon, fake, tmp_path):
    d = following(daemon, fake, tmp_path / "*.log").start()
    path = d.state / "control.sock"
    code = (
        "import os, socket, sys\n"
        "fd = os.open(sys.argv[1], os.O_PATH)\n"
        "os.setgroups([]); os.setresuid(65534, 65534, 65534)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try:\n"
        "    s.connect(f'/proc/self/fd/{fd}/control.sock')\n"
        "    s.sendall(b'{\"do\":\"who\"}\\n')\n"
        "    print('heard', s.recv(100))\n"
        "except OSError as e: print('refused', e.errno)\n"
    )

    def stranger():
        return subprocess.run(
            ["/usr/bin/python3", "-c", code, str(path.parent)], capture_output=True, text=True
        ).stdout

    assert stranger().startswith("refused")
    d.state.chmod(0o755)
    path.chmod(0o666)  # somebody was careless: who it is counts all the same
    assert stranger().startswith(("refused", "heard b''"))
    d.wait_log("turned away")
    d.terminate()
