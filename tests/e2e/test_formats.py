"""Formats that take lines apart, encodings, and what is added to records."""

import http.server
import json
import threading

import pytest

from harness import wait_until

ACCESS = (
    '203.0.113.7 - ann [10/Oct/2000:13:55:36 -0700] "GET /a?q=\\"1\\" HTTP/1.1" 200 2326 '
    '"http://example.com/" "Mozilla/5.0 (X11; \\"odd\\")"\n'
    '2001:db8::1 - - [10/Oct/2000:13:55:37 -0700] "HEAD / HTTP/1.1" 304 - "-" "-"\n'
)


def once(d, expect=0):
    status = d.once()
    assert status == expect, d.log()


def objects(fake):
    return [json.loads(x) for x in fake.data("s")]


def test_access_logs_become_objects(daemon, fake, tmp_path):
    (tmp_path / "a.log").write_text(ACCESS)
    once(daemon(fake.url).source("a", tmp_path / "a.log", start_at="beginning", format="combined_log"))
    assert objects(fake) == [
        {
            "host": "203.0.113.7",
            "ident": None,
            "authuser": "ann",
            "datetime": "10/Oct/2000:13:55:36 -0700",
            "request": 'GET /a?q=\\"1\\" HTTP/1.1',
            "response": "200",
            "bytes": "2326",
            "referer": "http://example.com/",
            "agent": 'Mozilla/5.0 (X11; \\"odd\\")',
        },
        {
            "host": "2001:db8::1",
            "ident": None,
            "authuser": None,
            "datetime": "10/Oct/2000:13:55:37 -0700",
            "request": "HEAD / HTTP/1.1",
            "response": "304",
            "bytes": None,
            "referer": None,
            "agent": None,
        },
    ]


def test_a_template_and_a_key_take_the_fields_of_a_log(daemon, fake, tmp_path):
    (tmp_path / "a.log").write_text(ACCESS)
    record = {
        "at": {"from": "datetime", "parse": "%d/%b/%Y:%H:%M:%S %z", "print": "%Y-%m-%dT%H:%M:%S%z"},
        "status": {"from": "response", "type": "int"},
        "bytes": {"from": "bytes", "type": "int"},
    }
    d = daemon(fake.url)
    d.source("a", tmp_path / "a.log", start_at="beginning", format="combined_log", key="{host}", record=record)
    once(d)
    assert objects(fake) == [
        {"at": "2000-10-10T13:55:36-0700", "status": 200, "bytes": 2326},
        {"at": "2000-10-10T13:55:37-0700", "status": 304, "bytes": None},
    ]
    assert [r.key for r in fake.records("s")] == ["203.0.113.7", "2001:db8::1"]


@pytest.mark.parametrize(
    "name, line, want",
    [
        ("common_log", 'h - - [t] "GET /" 200 5', {"host": "h", "response": "200", "bytes": "5"}),
        ("apache_error", "[t] [core:error] [pid 1] m", {"severity": "error", "processid": "1", "message": "m"}),
        ("syslog", "<13>Nov  3 05:06:07 root: hi", {"pri": "13", "hostname": None, "program": "root"}),
        ("syslog_rfc5424", "<34>1 - h su - - [a b=\"c\"] hi", {"structured_data": '[a b="c"]', "msg": "hi"}),
        ("logfmt", 'level=info msg="a b" done', {"level": "info", "msg": "a b", "done": True}),
    ],
)
def test_other_logs_by_name(daemon, fake, tmp_path, name, line, want):
    (tmp_path / "a.log").write_text(line + "\n")
    once(daemon(fake.url).source("a", tmp_path / "a.log", start_at="beginning", format=name))
    [got] = objects(fake)
    assert {k: got[k] for k in want} == want


LINES = b"x 1\nnot of it\nx 2\nnor this\n"
PATTERN = r"(?<word>\w+) (?<number>\d+)"


def test_the_groups_of_a_pattern_are_fields_and_other_lines_go_as_they_stand(daemon, fake, tmp_path):
    (tmp_path / "a.log").write_bytes(LINES)
    d = daemon(fake.url)
    d.source("a", tmp_path / "a.log", start_at="beginning", format="regex", pattern=PATTERN)
    once(d)
    assert fake.data("s") == [
        b'{"word":"x","number":"1"}',
        b"not of it",
        b'{"word":"x","number":"2"}',
        b"nor this",
    ]
    assert "no_match=2" in d.log() and "not of the format" in d.log()


def test_lines_that_do_not_match_may_become_dead_letters(daemon, fake, tmp_path):
    (tmp_path / "a.log").write_bytes(LINES)
    d = daemon(fake.url)
    d.source(
        "a", tmp_path / "a.log", start_at="beginning", format="regex", pattern=PATTERN, on_no_match="dead_letter"
    )
    once(d, expect=1)
    assert len(fake.data("s")) == 2
    assert [x["reason"] for x in d.dead_letters("a")] == ["the line does not match its format"] * 2


def test_dropped_lines_are_settled(daemon, fake, tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(LINES)
    d = daemon(fake.url)
    d.source("a", path, start_at="beginning", format="regex", pattern=PATTERN, on_no_match="drop")
    once(d)
    assert len(fake.data("s")) == 2 and "dropped=2" in d.log()
    [entry] = [f for s in json.loads(d.checkpoint())["sources"] for f in s["files"]]
    assert int(entry["offset"]) == len(LINES)
    once(d)
    assert len(fake.data("s")) == 2


def test_a_runaway_pattern_is_stopped(daemon, fake, tmp_path):
    (tmp_path / "a.log").write_bytes(b"a" * 50 + b"b!\n" + b"aab\n")
    d = daemon(fake.url)
    d.source("a", tmp_path / "a.log", start_at="beginning", format="regex", pattern="(?<a>(a+)+)c?b")
    once(d)
    assert fake.data("s") == [b"a" * 50 + b"b!", b'{"a":"aa"}']
    assert "regex_limits=1" in d.log()


@pytest.mark.parametrize("encoding, codec, mark", [("utf-16le", "utf-16-le", b"\xff\xfe"), ("utf-16be", "utf-16-be", b"")])
def test_utf_16_becomes_utf_8(daemon, fake, tmp_path, encoding, codec, mark):
    text = "plain\nnaïve €\n\u0a0d\u0d0a 😀\r\n"
    (tmp_path / "a.log").write_bytes(mark + text.encode(codec))
    once(daemon(fake.url).source("a", tmp_path / "a.log", start_at="beginning", encoding=encoding))
    assert [x.decode() for x in fake.data("s")] == ["plain", "naïve €", "\u0a0d\u0d0a 😀"]


def test_latin_1_in_csv(daemon, fake, tmp_path):
    (tmp_path / "a.csv").write_bytes("größe,b\nü,\"é\"\"\"\n".encode("latin-1"))
    d = daemon(fake.url)
    d.source("a", tmp_path / "a.csv", start_at="beginning", format="csv", encoding="latin1", key="{größe}")
    once(d)
    assert objects(fake) == [{"größe": "ü", "b": 'é"'}]
    assert fake.records("s")[0].key == "ü"


def test_members_are_added_to_json_and_its_bytes_are_kept(daemon, fake, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": 1.000}\n{}\n[1]\n')
    add = {"path": "{@file.path}", "offset": "{@file.offset}", "note": "at {@file.offset}"}
    d = daemon(fake.url).source("a", path, start_at="beginning", format="json", add=add)
    once(d)
    first, second, third = fake.data("s")
    assert first == b'{"a": 1.000,"path":"%s","offset":0,"note":"at 0"}' % str(path).encode()
    assert json.loads(second) == {"path": str(path), "offset": 13, "note": "at 13"}
    assert third == b"[1]" and "add_skipped=1" in d.log()


# --- the instance metadata service ---------------------------------------------------------------


class Imds(http.server.ThreadingHTTPServer):
    """A metadata service that wants tokens; `answers` may be changed by a test."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.requests = []
        self.answers = {
            "/latest/meta-data/instance-id": (200, b"i-0123456789abcdef0"),
            "/latest/meta-data/placement/availability-zone": (200, b"eu-central-1b"),
        }
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def reply(self, status, body=b""):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self):
            self.server.requests.append(("PUT", self.path))
            ttl = self.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            good = self.path == "/latest/api/token" and ttl.isdigit()
            self.reply(200 if good else 400, b"the-token==")

        def do_GET(self):
            self.server.requests.append(("GET", self.path))
            if self.headers.get("x-aws-ec2-metadata-token") != "the-token==":
                self.reply(401)
            else:
                self.reply(*self.server.answers.get(self.path, (404, b"")))


@pytest.fixture
def imds():
    server = Imds()
    yield server
    server.shutdown()
    server.server_close()


EC2 = {"id": "{@ec2.instance_id}", "place": "in {@ec2.availability_zone}"}


def on_ec2(d, imds):
    d.env.update(AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=imds.url + "/")
    return d


def test_the_instance_is_asked_for_once_and_only_when_a_template_names_it(daemon, fake, imds, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"{}\n")
    d = on_ec2(daemon(fake.url), imds).source("a", path, start_at="beginning", format="json")
    once(d)
    assert imds.requests == []
    for name in "bc":
        d.source(name, path, start_at="beginning", format="json", add=EC2, key="{@ec2.instance_id}")
    once(d)
    want = {"id": "i-0123456789abcdef0", "place": "in eu-central-1b"}
    assert objects(fake) == [{}, want, want]
    assert [r.key for r in fake.records("s")][1:] == ["i-0123456789abcdef0"] * 2
    assert [method for method, _ in imds.requests] == ["PUT", "GET", "GET"]


@pytest.mark.parametrize("answer", [(404, b""), (200, b"i-1\r\nx"), (200, b"<html>"), (200, b"x" * 10000), (200, b"")])
def test_what_is_not_known_is_null(daemon, fake, imds, tmp_path, answer):
    imds.answers["/latest/meta-data/instance-id"] = answer
    path = tmp_path / "a.json"
    path.write_bytes(b"{}\n")
    d = on_ec2(daemon(fake.url), imds)
    d.source("a", path, start_at="beginning", format="json", add=EC2)
    d.source("b", path, start_at="beginning", format="json", add=EC2)
    once(d)
    assert objects(fake) == [{"id": None, "place": "in "}] * 2
    assert d.log().count("nothing is known of the EC2 instance") == 1
    assert len(imds.requests) == 2


def test_metadata_may_be_switched_off(daemon, fake, imds, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"{}\n")
    d = on_ec2(daemon(fake.url), imds).source("a", path, start_at="beginning", format="json", add=EC2)
    d.env["AWS_EC2_METADATA_DISABLED"] = "true"
    once(d)
    assert objects(fake) == [{"id": None, "place": "in "}] and imds.requests == []


def test_a_reload_asks_again_what_is_not_known(daemon, fake, imds, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"{}\n")
    good = imds.answers.pop("/latest/meta-data/instance-id")
    d = on_ec2(daemon(fake.url), imds).source("a", path, start_at="beginning", format="json", add=EC2)
    d.start()
    wait_until(lambda: fake.count("s") >= 1)
    imds.answers["/latest/meta-data/instance-id"] = good
    d.reload()
    with path.open("ab") as f:
        f.write(b'{"n":2}\n')
    wait_until(lambda: fake.count("s") >= 2)
    d.reload()
    d.terminate()
    assert objects(fake)[1] == {"n": 2, "id": "i-0123456789abcdef0", "place": "in eu-central-1b"}
    assert [method for method, _ in imds.requests] == ["PUT", "GET", "PUT", "GET", "GET"]
