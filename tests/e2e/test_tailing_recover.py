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
