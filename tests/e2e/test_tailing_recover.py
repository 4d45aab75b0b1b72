"""Files that were rotated out of the glob while nobody was there to see it."""

from harness import wait_until


def text(name, first, n):
    return "".join(f"{name} {i}\n" for i in range(first, first + n)).encode()


def expected(*parts):
    return sorted(line for part in parts for line in part.splitlines())


def follow(daemon, fake, path):
    d = daemon(fake.url)
    d.source("a", path, start_at="beginning")
    return d


def test_what_was_not_read_of_a_file_that_left_the_glob_while_down_is_read_first(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(text("old", 0, 500))
    d = follow(daemon, fake, tmp_path / "*.log").start()
    wait_until(lambda: fake.count("s") == 500)
    d.terminate()
    with open(log, "ab") as f:
        f.write(text("old", 500, 300))
    log.rename(tmp_path / "app.log.1")
    log.write_bytes(text("new", 0, 100))
    d.start()
    wait_until(lambda: fake.count("s") == 900, what="900 records")
    assert sorted(fake.data("s")) == expected(text("old", 0, 800), text("new", 0, 100))
    d.terminate()
    d.start()
    d.terminate()
    assert fake.count("s") == 900


def test_a_stranger_with_the_inode_of_a_file_that_is_gone_is_left_alone(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(text("old", 0, 500))
    d = follow(daemon, fake, tmp_path / "*.log").start()
    wait_until(lambda: fake.count("s") == 500)
    d.terminate()
    inode = log.stat().st_ino
    kept = tmp_path / "private.txt"
    log.rename(kept)  # the inode lives on, with other bytes
    kept.write_bytes(b"nobody asked for this\n" * 100)
    assert kept.stat().st_ino == inode
    log.write_bytes(text("new", 0, 10))
    d.start()
    wait_until(lambda: fake.count("s") == 510)
    d.terminate()
    assert not [r for r in fake.data("s") if b"nobody" in r]


def test_a_file_that_the_configuration_no_longer_names_is_left_alone(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(text("old", 0, 500))
    d = follow(daemon, fake, tmp_path / "*.log").start()
    wait_until(lambda: fake.count("s") == 500)
    d.terminate()
    with open(log, "ab") as f:
        f.write(text("old", 500, 300))
    (tmp_path / "other.txt").write_bytes(text("other", 0, 10))
    d.settings["sources"]["a"]["file"] = str(tmp_path / "*.txt")
    d.start()
    wait_until(lambda: fake.count("s") == 510)
    d.terminate()
    assert not [r for r in fake.data("s") if r == b"old 500"]


def killed_before_anything_is_delivered(daemon, fake, log, glob):
    """The checkpoint says what the file was when it was found, and no more."""
    log.write_bytes(text("old", 0, 500))
    fake.go_away()
    d = follow(daemon, fake, glob).start()
    d.wait_log("no answer")
    d.kill()
    return d


def test_a_file_of_which_nothing_was_delivered_is_found_outside_the_glob_too(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    d = killed_before_anything_is_delivered(daemon, fake, log, tmp_path / "*.log")
    log.rename(tmp_path / "app.log.1")
    log.write_bytes(text("new", 0, 100))
    fake.come_back()
    d.start()
    wait_until(lambda: fake.count("s") == 600, what="600 records")
    d.terminate()
    assert sorted(fake.data("s")) == expected(text("old", 0, 500), text("new", 0, 100))
    assert not [line for line in d.lines if "are gone" in line]


def test_a_copy_of_a_file_of_which_nothing_was_delivered_takes_its_place(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    d = killed_before_anything_is_delivered(daemon, fake, log, tmp_path / "app.log*")
    (tmp_path / "app.log.1").write_bytes(log.read_bytes())
    log.write_bytes(text("new", 0, 100))
    fake.come_back()
    d.start()
    wait_until(lambda: fake.count("s") == 600, what="600 records")
    d.terminate()
    assert sorted(fake.data("s")) == expected(text("old", 0, 500), text("new", 0, 100))
    assert not [line for line in d.lines if "are gone" in line]


def test_a_file_of_which_nothing_was_delivered_is_missed_when_its_inode_is_another_s(daemon, fake, tmp_path):
    log = tmp_path / "app.log"
    d = killed_before_anything_is_delivered(daemon, fake, log, tmp_path / "*.log")
    size = log.stat().st_size
    log.write_bytes(text("another", 0, 1000))
    fake.come_back()
    d.start()
    wait_until(lambda: fake.count("s") == 1000, what="1000 records")
    d.terminate()
    assert sorted(fake.data("s")) == expected(text("another", 0, 1000))
    said = [line for line in d.lines if "are gone" in line]
    assert len(said) == 1 and f"offset=0 bytes={size} " in said[0], said
