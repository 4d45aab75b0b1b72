"""The pipeline from end to end: what arrives in S3, Parquet and SQL, and what happens when parts fail.

The programs are the project's own; the function runs from the zip that AWS would get. Expectations
are worked out by Python alone (truth.py).
"""

import base64
import collections
import decimal
import json
import re
import sys

import pytest

import course
import crimes
import expect
import truth
from crime_table import TEN, TYPES
from parts import HALVES, Pipeline, mapping

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
KEY = r"(?P<folder>.+)/tailrace-{half}-1-\d{{4}}(-\d\d){{5}}-[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}\.gz"
REAL = pytest.mark.skipif(crimes.published() is None, reason="the published crime list is not here")


@pytest.fixture(scope="module", params=["in the function", "at the edge"])
def shaped(request):
    return request.param


@pytest.fixture(scope="module")
def text():
    return course.crime_text()[1]


@pytest.fixture(scope="module")
def events():
    return truth.nested_events()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, text, events, shaped):
    """One course for all tests that only look: shaped in the function, and then at the edge."""
    made = course.run(tmp_path_factory.mktemp("course"), text, events, edge=shaped == "at the edge")
    yield made
    made.close()


@pytest.fixture(scope="module")
def rows(text, shaped):
    """What the crime table must hold, as Python objects."""
    if shaped == "at the edge":
        return expect.records(text)
    return [expect.record(row) for row in truth.rows_of(text) if truth.fits(row)]


def plain(value):
    """As SQL gives it back."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, dict):
        return tuple(plain(v) for v in value.values())
    return float(value) if isinstance(value, int) else value


def multiset(records):
    return collections.Counter(tuple(plain(v) for v in record) for record in records)


def directories(outcome, half):
    """One for each day that there is, by the records that must arrive."""
    names = outcome.tables[half].partitions
    for record in outcome.wanted[half]:
        members = dict(json.loads(record)["object"])
        yield f"{half}/" + "/".join(f"{name}={members[name] or NO_VALUE}" for name in names)


# What arrives.


@pytest.mark.parametrize("half", HALVES)
def test_nothing_is_lost_altered_or_there_twice(outcome, half):
    assert truth.compared(outcome.wanted[half], outcome.found[half]) == (0, 0, 0)
    counts = outcome.counts[half]
    assert counts["records"] == counts["delivered"] + counts["failed"] == outcome.frames[half]
    assert (counts["failed"], counts["failed calls"], counts["dropped"]) == (outcome.unfit[half].total(), 0, 0)
    assert outcome.kept[half] == outcome.unfit[half]


@pytest.mark.parametrize("half", HALVES)
def test_the_backup_holds_every_record_as_it_came(outcome, half):
    assert outcome.keys[half]["raw"]
    assert outcome.raw_is_whole[half]


@pytest.mark.parametrize("half", HALVES)
def test_objects_lie_where_firehose_puts_them(outcome, half):
    own = set(directories(outcome, half))
    for key in outcome.keys[half]["json"]:
        found = re.fullmatch(KEY.format(half=half), key)
        assert found, key
        if half == "crimes":  # by its own date
            assert found["folder"] in own
        else:  # by the day of arrival
            assert re.fullmatch(r"events/\d{4}/\d\d/\d\d", found["folder"])
    for key in outcome.keys[half]["raw"]:
        assert re.fullmatch(KEY.format(half=half), key)["folder"].count("/") == 3


def test_a_record_lies_under_its_own_date(outcome):
    names = outcome.tables["crimes"].partitions
    for key, line in outcome.lines["crimes"]:
        record = json.loads(line)
        assert key.startswith("crimes/" + "".join(f"{n}={record[n] or NO_VALUE}/" for n in names))


@pytest.mark.parametrize("half", HALVES)
def test_a_day_is_a_directory_of_parquet(outcome, half):
    assert outcome.answers.directories(half) == set(directories(outcome, half))


def test_the_types_are_those_of_the_schema(outcome):
    assert list(outcome.answers.kinds("crimes").items()) == list(TYPES.items())


def test_the_crime_table_holds_the_file(outcome, rows):
    found = outcome.answers.ask("SELECT * REPLACE (struct_extract(location, 'lat') AS location) FROM crimes")
    wanted = [{**row, "location": row["location"]["lat"]} for row in rows]
    assert multiset(found) == multiset(row.values() for row in wanted)
    assert len(found) == len(rows)


def test_the_last_row_of_the_file_is_in_the_table(outcome, rows):
    last = rows[-1]
    query = "SELECT count(*) FROM crimes WHERE crime_time IS NOT DISTINCT FROM ? AND address = ? AND description = ?"
    asked = [last["crime_time"], last["address"], last["description"]]
    assert outcome.answers.sql.execute(query, asked).fetchone()[0] >= 1


def test_the_query_gives_rows_131_to_140_of_the_second_day(outcome, rows):
    names, found = outcome.answers.ask_with_names(outcome.query)
    assert names == [n for n in TYPES if not n.startswith("crime_") or n in ("crime_time", "crime_id")]
    day = {"crime_year": "2006", "crime_month": "01", "crime_day": "02"}
    of_day = sorted((r for r in rows if day.items() <= r.items()), key=lambda r: r["crime_time"])
    assert [f[0] for f in found] == [r["crime_time"] for r in of_day[130:140]]
    one_of = [(r["crime_time"], r["address"], r["description"]) for r in of_day]
    assert all((f[0], f[1], f[5]) in one_of for f in found)


@REAL
def test_the_real_file_gives_what_the_old_system_gave(outcome):
    ask = outcome.answers.ask
    assert ask("SELECT count(*) FROM crimes") == [(7584,)]
    assert ask("SELECT count(*) FROM crimes WHERE crime_day = '02'") == [(145,)]
    assert outcome.answers.directories("crimes") == {
        f"crimes/crime_year=2006/crime_month=01/crime_day={day:02}" for day in range(1, 32)
    }
    # Rows of one time have no order: of those at the edges others of that time may be among the ten.
    of_day = ask("SELECT crime_time, address FROM crimes WHERE crime_day > '01' AND crime_day < '03' ORDER BY 1")
    first, last = of_day[130][0], of_day[139][0]
    assert set(TEN) <= {address for time, address in of_day if first <= time <= last}
    assert {address for time, address in of_day if first < time < last} <= set(TEN)


def test_flat_columns_of_events_agree_with_an_independent_flattening(outcome, events):
    columns = outcome.tables["events"].columns
    wanted = [[truth.flat_event(e).get(key) for _, _, key in columns] for e in events]
    names = ", ".join(f'"{name}"' for name, _, _ in columns)
    found = outcome.answers.ask(f"SELECT {names} FROM events")
    assert multiset(found) == multiset(wanted)
    assert len(found) == len(events)


def test_counts_of_events_agree_with_python(outcome, events):
    found = outcome.answers.ask("SELECT event, eventcontext_device_os, event_day, count(*) FROM events GROUP BY ALL")
    wanted = collections.Counter(
        (e["event"], e["eventContext"]["device"]["os"], e["timestamp"][8:10]) for e in events
    )
    assert {tuple(key): n for *key, n in found} == wanted


# What goes wrong. Other producers may write to the streams, too; so these do without tailraced.


@pytest.fixture
def pipeline(tmp_path, request):
    def make(**more):
        made = Pipeline(tmp_path, **more)
        made.__enter__()
        request.addfinalizer(made.__exit__)
        return made

    return make


def put(p, half, data):
    client, stream = p.kinesis.client, p.stream(half)
    for start in range(0, len(data), 200):
        part = [{"Data": d, "PartitionKey": str(n)} for n, d in enumerate(data[start : start + 200])]
        assert client.put_records(StreamName=stream, Records=part)["FailedRecordCount"] == 0


def piped_rows(n, keep=truth.fits):
    rows = [row for row in truth.rows_of(crimes.made_up()) if keep(row)][:n]
    return rows, [truth.piped(row).encode() for row in rows]


NO_EVENTS = [b"not json", b'{"userId":', b'[{"userId":"a"},', b"\xff\xfe\x00\x01", b'{"a":1}}', b"{'a':1}"]


def test_what_is_malformed_lies_under_errors_with_its_data_and_nothing_else_does(pipeline):
    p = pipeline()
    events = truth.nested_events(200)
    good = [frame.encode() for frame in truth.frames_of(events)] + [json.dumps(e).encode() for e in events[:50]]
    mixed = [d for pair in zip(good, NO_EVENTS * 50) for d in pair]
    put(p, "events", mixed)
    p.finish()
    bad = mixed[1::2]
    wanted = truth.event_lines(events) + truth.event_lines(events[:50])
    assert truth.compared(wanted, truth.lines_found(p.lines("events"))) == (0, 0, 0)
    errors = p.errors("events")
    assert collections.Counter(base64.b64decode(e["rawData"]) for e in errors) == collections.Counter(bad)
    assert {e["errorCode"] for e in errors} == {"Lambda.ProcessingFailedStatus"}
    assert all("errors/events/processing-failed/" in key for key in p.keys("JsonBucket", "errors/"))
    assert truth.is_made_of(p.raw("events"), p.streamed("events"))


def test_rows_with_values_that_are_none_are_kept_out_of_the_table(pipeline):
    p = pipeline()
    rows, lines = piped_rows(400, keep=lambda row: True)
    bad = [b"2006/01/01 00:00:00|X|three|3C|1115|D|2404|38.5|-121.3", b"yesterday|X|3|3C|1115|D|2404|38.5|-121.3"]
    bad += [b"2006/01/01 00:00:00|3108 OCCID", b"torn"]
    good = [row for row in rows if truth.fits(row)]
    put(p, "crimes", lines[:200] + bad + lines[200:])
    p.finish()
    assert truth.compared(truth.crime_lines(good), truth.lines_found(p.lines("crimes"))) == (0, 0, 0)
    found = collections.Counter(base64.b64decode(e["rawData"]) for e in p.errors("crimes"))
    assert found == collections.Counter(bad + [line for row, line in zip(rows, lines) if not truth.fits(row)])
    assert truth.is_made_of(p.raw("crimes"), p.streamed("crimes"))
    p.to_parquet()
    answers = p.answers("crimes")
    assert answers.ask("SELECT count(*) FROM crimes") == [(len(good),)]
    answers.close()


ONCE = """#!{python}
import http.client, os, sys, time
if not os.path.exists("once"):
    open("once", "w").close()
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    api.getresponse().read()
    {act}
os.execv("./real", ["bootstrap"])
"""


def fail_once(p, half, act):
    folder = p.functions[half].folder
    (folder / "bootstrap").rename(folder / "real")
    (folder / "bootstrap").write_text(ONCE.format(python=sys.executable, act=act))
    (folder / "bootstrap").chmod(0o755)


@pytest.mark.parametrize(
    "act", ["os._exit(1)", "os.kill(os.getpid(), 9)", "time.sleep(600)"], ids=["ends", "is killed", "hangs"]
)
def test_a_function_that_fails_once_gets_its_batch_again(pipeline, act):
    p = pipeline(function_seconds=3)
    fail_once(p, "crimes", act)
    rows, lines = piped_rows(1000)
    put(p, "crimes", lines)
    p.finish()
    assert truth.compared(truth.crime_lines(rows), truth.lines_found(p.lines("crimes"))) == (0, 0, 0)
    assert (p.deliveries["crimes"].counts["failed calls"], p.functions["crimes"].starts) == (1, 2)
    assert p.errors("crimes") == []


def test_a_function_that_never_answers_loses_nothing(pipeline):
    p = pipeline()
    bootstrap = p.functions["crimes"].folder / "bootstrap"
    bootstrap.write_text("#!/bin/sh\nexit 1\n")
    _, lines = piped_rows(50)
    put(p, "crimes", lines)
    p.finish()
    assert p.lines("crimes") == []
    errors = p.errors("crimes")
    assert collections.Counter(base64.b64decode(e["rawData"]) for e in errors) == collections.Counter(lines)
    assert {(e["errorCode"], e["attemptsMade"]) for e in errors} == {("Lambda.FunctionError", 4)}
    assert truth.is_made_of(p.raw("crimes"), p.streamed("crimes"))
