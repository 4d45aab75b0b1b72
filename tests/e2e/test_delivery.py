"""What happens to records when the service, the network or the credentials are not well."""

import base64
import os
import socket

import pytest

import fake_kinesis as fk
import faults
import harness
from harness import wait_until


def lines(n, word="line"):
    return [f"{word} {i:06d}".encode() for i in range(n)]


def write(path, records):
    path.write_bytes(b"".join(r + b"\n" for r in records))


@pytest.fixture
def ship(daemon, fake, tmp_path):
    """ship(records, endpoint=...) -> a daemon that is to deliver them to the fake."""

    def prepare(records, endpoint=None, **top):
        write(tmp_path / "a.log", records)
        return daemon(endpoint or fake.url, **top).source(
            "a", tmp_path / "a.log", start_at="beginning"
        )

    return prepare


def exactly(fake, records):
    assert sorted(fake.data("s")) == sorted(records)


def at_least(fake, records):
    assert set(fake.data("s")) == set(records)


# The ordinary way.


def test_requests_hold_up_to_500_records_and_connections_are_kept(ship, fake):
    records = lines(10_000)
    assert ship(records).once() == 0
    exactly(fake, records)
    sizes = [len(r.records) for r in fake.puts()]
    assert max(sizes) == 500 and len(sizes) <= 24
    assert fake.connections_n <= 4
    assert all("expect" not in r.headers for r in fake.requests)


def test_several_requests_are_under_way_at_one_time(ship, fake):
    fake.fault = faults.Slow(0.3)
    d = ship(lines(4000))
    assert d.once() == 0
    exactly(fake, lines(4000))
    assert fake.connections_n == 4


def test_a_request_says_who_sends_it(ship, fake):
    assert ship(lines(1)).once() == 0
    assert fake.puts()[0].headers["user-agent"].startswith("tailrace/")


def test_a_session_token_is_sent_and_signed(ship, fakes):
    other = fakes(session_token="a/session+token==")
    d = ship(lines(10), endpoint=other.url)
    d.env.update(harness.credentials(session_token="a/session+token=="))
    assert d.once() == 0, d.log()
    exactly(other, lines(10))


def test_credentials_come_from_the_shared_file_with_a_profile(ship, fake, tmp_path):
    d = ship(lines(10), profile="here")
    d.env.update(harness.credentials(secret="the environment is passed over"))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIDWRONG\naws_secret_access_key = wrong\n"
        f"[here]\naws_access_key_id = {fk.ACCESS_KEY}\naws_secret_access_key = {fk.SECRET_KEY}\n"
    )
    assert d.once() == 0, d.log()
    exactly(fake, lines(10))


# TLS.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


def test_tls_with_an_authority_of_ones_own(ship, fakes, certificates):
    secure = fakes(tls_dir=certificates)
    assert ship(lines(2000), endpoint=secure.url, ca_bundle=secure.ca_bundle).once() == 0
    exactly(secure, lines(2000))


def test_a_certificate_that_is_not_trusted_is_refused_and_the_data_kept(ship, fakes, certificates):
    secure = fakes(tls_dir=certificates)
    d = ship(lines(10), endpoint=secure.url, stop_timeout="3s").start()
    d.wait_log("(?i)certificate")
    d.terminate()
    assert secure.requests == [] and secure.count("s") == 0
    d.settings["ca_bundle"] = secure.ca_bundle
    assert d.once() == 0, d.log()
    exactly(secure, lines(10))


def test_a_reload_changes_whom_to_trust(ship, fakes, certificates, tmp_path):
    secure = fakes(tls_dir=certificates)
    d = ship(lines(10), endpoint=secure.url, stop_timeout="3s").start()
    d.wait_log("(?i)certificate")
    d.settings["ca_bundle"] = secure.ca_bundle
    d.reload()
    wait_until(lambda: secure.count("s") == 10)
    del d.settings["ca_bundle"]
    since = len(d.lines)
    write(tmp_path / "b.log", lines(10, "more"))
    d.source("a", tmp_path / "b.log", start_at="beginning")
    d.reload()
    d.wait_log("(?i)certificate", since=since)
    d.terminate()
    assert secure.count("s") == 10


def test_a_certificate_for_another_host_is_refused(ship, fakes, certificates):
    secure = fakes(tls_dir=certificates)
    d = ship(lines(10), endpoint=f"https://localhost:{secure.port}", stop_timeout="3s")
    d.settings["ca_bundle"] = secure.ca_bundle
    d.start()
    d.wait_log("(?i)certificate|alternative|host")
    d.terminate()
    assert secure.requests == []


# Parts of a request refused.


@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "InternalFailure", "SomethingNewException"]
)
def test_only_the_records_that_failed_are_sent_again(ship, fake, code):
    fake.faults += [faults.Entries(code, share=0.3, seed=i) for i in range(4)]
    records = lines(1500)
    assert ship(records).once() == 0
    exactly(fake, records)
    refused = sum(r.refused for r in fake.puts())
    assert refused > 300
    assert sum(len(r.records) for r in fake.puts()) == len(records) + refused


def test_a_stubborn_record_does_not_hold_up_the_others(ship, fake):
    fake.fault = faults.Entries("InternalFailure", match=lambda data: data == b"line 000003")
    d = ship(lines(3000)).start()
    wait_until(lambda: fake.count("s") == 2999)
    # It is still on its way: no checkpoint may have passed it.
    fake.fault = None
    wait_until(lambda: fake.count("s") == 3000)
    d.terminate()
    exactly(fake, lines(3000))


def test_a_stubborn_record_that_is_alone_does_not_hold_up_those_behind_it(ship, fake, tmp_path):
    fake.fault = faults.Entries("InternalFailure", match=lambda data: data == b"line 000000")
    d = ship(lines(1)).start()
    wait_until(lambda: len(fake.puts()) >= 3)
    for n in range(1, 8):
        with open(tmp_path / "a.log", "ab") as log:
            log.write(b"".join(line + b"\n" for line in lines(1000 * n)[1000 * (n - 1) + 1 :]))
        wait_until(lambda n=n: fake.count("s") == 999 * n)
    # The log tells of the trouble, and of its end, but not each time.
    assert 1 <= sum("delivery fails" in line for line in d.lines) <= 5
    assert sum("delivering again" in line for line in d.lines) <= 5
    fake.fault = None
    wait_until(lambda: fake.count("s") == 999 * 7 + 1)
    d.terminate()


def test_no_checkpoint_passes_a_record_that_was_not_accepted(ship, fake):
    fake.fault = faults.Entries("InternalFailure", match=lambda data: data == b"line 000003")
    d = ship(lines(3000)).start()
    wait_until(lambda: fake.count("s") == 2999)
    d.kill()
    fake.fault = None
    assert d.once() == 0
    at_least(fake, lines(3000))


def test_an_answer_in_another_spelling_is_understood(ship, fake):
    fake.fault = faults.Pretty()
    assert ship(lines(1000)).once() == 0
    exactly(fake, lines(1000))


# Whole requests that fail.


BEFORE = [
    faults.Status(500),
    faults.Status(503),
    faults.Status(502, b""),
    faults.Status(504),
    faults.Status(429),
    faults.Error("InternalFailure", 500),
    faults.Error("ServiceUnavailable", 503),
    faults.Error("ThrottlingException"),
    faults.Error("ProvisionedThroughputExceededException"),
    faults.Error("KMSThrottlingException"),
    faults.Error("LimitExceededException"),
    faults.Error("RequestTimeoutException", 408),
    faults.Error("SomethingNewException"),
    faults.DropBeforeReading(),
    faults.DropBeforeStoring(),
    faults.Status(301),
    faults.Status(404),
]


@pytest.mark.parametrize(
    "fault",
    BEFORE,
    ids=lambda f: getattr(f, "code", None) or str(getattr(f, "status", type(f).__name__)),
)
def test_a_request_that_failed_before_storing_is_sent_again_without_a_duplicate(ship, fake, fault):
    fake.faults += [fault]
    assert ship(lines(300)).once() == 0
    exactly(fake, lines(300))


AFTER = [
    faults.DropAfterStoring(),
    faults.NotJson(),
    faults.CutJson(),
    faults.CutConnection(),
    faults.TooFewEntries(),
    faults.Empty(),
]


@pytest.mark.parametrize("fault", AFTER, ids=lambda f: type(f).__name__)
def test_an_answer_that_cannot_be_trusted_means_sending_again(ship, fake, fault):
    fake.faults += [fault]
    assert ship(lines(300)).once() == 0
    assert sorted(fake.data("s")) == sorted(lines(300) * 2)


def test_a_link_too_slow_for_whole_requests_gets_smaller_ones(ship, fake):
    records = [b"%06d" % i + b"x" * 1000 for i in range(1000)]
    fake.fault = faults.SlowLink(400_000)  # a request of 500 records takes almost two seconds
    assert ship(records, request_timeout="1s").once() == 0
    at_least(fake, records)


def test_an_answer_that_never_comes_is_given_up_after_the_request_timeout(ship, fake):
    fake.faults += [faults.Slow(60)]
    assert ship(lines(10), request_timeout="1s").once() == 0
    at_least(fake, lines(10))


def test_a_mixture_of_all_faults_loses_nothing(ship, fake):
    fake.faults += [
        faults.Status(500),
        faults.DropBeforeStoring(),
        faults.Entries("InternalFailure", 0.5, 1),
        faults.DropAfterStoring(),
        faults.NotJson(),
        faults.Entries("InternalFailure", 0.2, 2),
        faults.CutConnection(),
        faults.TooFewEntries(),
        None,
        faults.Entries("InternalFailure", 0.9, 3),
    ]
    records = lines(20_000)
    assert ship(records).once() == 0
    at_least(fake, records)
    assert fake.count("s") <= len(records) + 4 * 500


def test_an_outage_is_sat_out_in_bounded_memory(ship, fake):
    records = [b"%07d " % i + b"x" * 1000 for i in range(30_000)]
    d = ship(records)
    d.settings["streams"]["s"]["buffer"] = "8MiB"
    fake.go_away()
    d.start()
    d.wait_log("level=(warn|error)")
    assert d.status_kib("VmHWM") < (8 + 40) * 1024 or "ASAN_OPTIONS" in os.environ
    fake.come_back()
    wait_until(lambda: fake.count("s") >= len(records), 60)
    d.terminate()
    exactly(fake, records)


def test_an_outage_in_the_middle_is_sat_out(ship, fake):
    records = lines(50_000)
    d = ship(records).start()
    wait_until(lambda: fake.count("s") > 2000)
    fake.go_away()
    d.wait_log("level=(warn|error)")
    fake.come_back()
    wait_until(lambda: len(set(fake.data("s"))) == len(records), 60)
    d.terminate()


def test_a_port_that_nothing_listens_on_is_told_and_the_data_kept(ship, fake):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{bound.getsockname()[1]}"
        d = ship(lines(10), endpoint=nowhere, stop_timeout="3s").start()
        d.wait_log("level=(warn|error).*(?i:connect|refused)")
        d.terminate()
    d.settings["endpoint"] = fake.url
    assert d.once() == 0
    exactly(fake, lines(10))


# What needs a person.


@pytest.mark.parametrize(
    "code",
    [
        "AccessDeniedException",
        "ResourceNotFoundException",
        "KMSDisabledException",
        "ExpiredTokenException",
        "UnrecognizedClientException",
    ],
)
def test_trouble_for_a_person_is_shown_by_name_and_the_data_kept(ship, fake, code):
    fake.faults += [faults.Error(code)]
    d = ship(lines(300)).start()
    d.wait_log(f"level=(warn|error).*{code}")
    wait_until(lambda: fake.count("s") == 300, 30)
    d.terminate()
    exactly(fake, lines(300))
    assert d.dead_letters("a") == []


def test_a_stream_that_does_not_exist_yet_gets_its_records_when_it_does(ship, fakes):
    empty = fakes({"other": 1})
    d = ship(lines(10), endpoint=empty.url).start()
    d.wait_log("ResourceNotFoundException")
    empty.streams["s"] = fk.Stream("s", 1)
    wait_until(lambda: empty.count("s") == 10, 30)
    d.terminate()
    exactly(empty, lines(10))


def test_a_wrong_secret_delivers_nothing_and_loses_nothing(ship, fake):
    d = ship(lines(10))
    d.env.update(harness.credentials(secret="wrong"))
    d.settings["stop_timeout"] = "3s"
    d.start()
    line = d.wait_log("InvalidSignatureException")
    assert "wrong" not in line
    d.terminate()
    assert fake.count("s") == 0 and fake.violations
    fake.violations.clear()
    d.env.update(harness.credentials())
    assert d.once() == 0
    exactly(fake, lines(10))


def test_no_secret_is_ever_logged(ship, fake):
    fake.faults += [
        faults.Error("AccessDeniedException"),
        faults.Status(500),
        faults.DropBeforeReading(),
    ]
    d = ship(lines(10), log_level="debug")
    assert d.once() == 0
    assert fk.SECRET_KEY not in d.log() and "Signature=" not in d.log()


def test_missing_credentials_are_told(ship, fake):
    d = ship(lines(10))
    for name in list(d.env):
        if name.startswith("AWS_") and "METADATA" not in name:
            del d.env[name]
    d.spawn()
    d.wait_log("(?i)credentials")
    d.cleanup()
    assert fake.requests == []


# Records that the service will never take.


@pytest.mark.parametrize(
    "code,status",
    [
        ("InvalidArgumentException", 400),
        ("ValidationException", 400),
        ("SerializationException", 400),
        ("RequestEntityTooLargeException", 413),
    ],
)
def test_a_poisoned_record_becomes_a_dead_letter_and_the_rest_arrives(ship, fake, code, status):
    fake.fault = faults.Poison(b"poison", code, status)
    records = lines(700)
    d = ship(records[:333] + [b"the poison one"] + records[333:])
    assert d.once() == 1, d.log()
    exactly(fake, records)
    [letter] = d.dead_letters("a")
    assert base64.b64decode(letter["data"]) == b"the poison one" and code in letter["reason"]
    assert letter["offset"] == 333 * len(b"line 000000\n")
    assert len(fake.puts()) < 40


def test_requests_that_are_too_large_for_the_service_are_halved(ship, fake):
    fake.fault = faults.TooManyRecords(100)
    assert ship(lines(1000)).once() == 0
    exactly(fake, lines(1000))


def test_ten_refusals_in_a_row_are_trouble_for_a_person_and_keep_the_data(ship, fake):
    fake.fault = faults.Error("InvalidArgumentException")
    d = ship(lines(300)).start()
    d.wait_log("level=error")
    wait_until(lambda: len(d.dead_letters("a")) <= 10 and len(fake.puts()) >= 10)
    fake.fault = None
    wait_until(lambda: fake.count("s") + len(d.dead_letters("a")) >= 300, 90)
    d.terminate()
    letters = [base64.b64decode(x["data"]) for x in d.dead_letters("a")]
    assert len(letters) <= 10
    assert sorted(fake.data("s") + letters) == sorted(lines(300))


def test_a_dead_letter_is_durable_before_the_checkpoint_passes_it(ship, fake):
    """Killed at any moment, a record is in the file of dead letters or will be met again."""
    fake.fault = faults.Poison(b"poison")
    records = [b"poison %d" % i if i % 50 == 0 else b"good %d" % i for i in range(400)]
    d = ship(records)
    for _ in range(4):
        d.start()
        before = len(d.dead_letters("a"))
        wait_until(
            lambda: len(d.dead_letters("a")) > before or not d.running(), what="a dead letter"
        )
        d.kill()
    assert d.once() in (0, 1)
    letters = {base64.b64decode(x["data"]) for x in d.dead_letters("a")}
    assert letters == {r for r in records if b"poison" in r}
    at_least(fake, [r for r in records if b"good" in r])


def test_a_full_dead_letter_directory_pauses_the_source_until_there_is_room(ship, fake):
    records = [b"{" + b"x" * 200_000 for _ in range(10)]
    d = ship(records, dead_letter_max="1MiB")
    d.settings["sources"]["a"]["format"] = "json"
    d.start()
    d.wait_log("level=(warn|error).*(?i:dead)")
    assert len(wait_until(lambda: d.dead_letters("a"))) < 10
    path, asides = d.state / "dead-letter" / "a.jsonl", []

    def ten_with_what_was_taken_away():
        d.still_running()
        if path.exists():
            asides.append(path.rename(d.dir / f"aside-{len(asides)}"))
        return sum(aside.read_bytes().count(b"\n") for aside in asides) == 10

    wait_until(ten_with_what_was_taken_away, 30)
    d.terminate()
    assert d.once() == 0


def test_records_are_neither_lost_nor_sent_twice_when_the_server_closes_idle_connections(
    daemon, kinesalite, stream, tmp_path
):
    """The local Kinesis closes a connection that was idle for five seconds: the next request must
    not trip over it. The clock cannot be made to run faster there, so this takes its time."""
    path = tmp_path / "a.log"
    write(path, lines(10))
    d = daemon(kinesalite.url)
    d.settings["streams"]["s"]["kinesis"] = stream
    d.source("a", path, start_at="beginning").start()
    wait_until(lambda: len(kinesalite.records(stream)) == 10)
    port = int(kinesalite.url.rsplit(":", 1)[1])
    wait_until(lambda: not connected(d.process.pid, port), 15, "the server to close the connection")
    with open(path, "ab") as out:
        out.write(b"one more\n")
    wait_until(lambda: len(kinesalite.records(stream)) == 11)
    d.terminate()
    assert sorted(kinesalite.data(stream)) == sorted(lines(10) + [b"one more"])


def connected(pid, port):
    """Whether the process holds an established connection to this port (state 01)."""
    own = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    with open("/proc/net/tcp") as table:
        for row in table.readlines()[1:]:
            cells = row.split()
            if (
                cells[3] == "01"
                and cells[2].endswith(f":{port:04X}")
                and f"socket:[{cells[9]}]" in own
            ):
                return True
    return False
