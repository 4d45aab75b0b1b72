"""The Spark job's functions, run by Spark on this machine, beside DuckDB on the same JSON.

JSON is made from the crime file's rows by Python alone (tests/demo/expect.py), so that neither of the
two is judged by itself. The tables' columns come from the template. That DuckDB and Spark write the
same Parquet also shows that what the pipeline does on one machine is what it does in the cloud.
"""

import datetime
import decimal
import gzip
import io
import json
import os
import pathlib
import sys
import types

import duckdb
import pytest

import expect
import json_to_parquet as job
import make_sample
from crime_table import TEN, TYPES
from template import ROOT, REGION, STACK, Stack

NAME = "SacramentocrimeJanuary2006.csv"
HIVE_TO_DUCKDB = {"string": "VARCHAR", "int": "INTEGER", "double": "DOUBLE"}
HIVE_TO_DUCKDB["struct<lat:double,lon:double>"] = "STRUCT(lat DOUBLE, lon DOUBLE)"
CRIME_DAY = ["crime_year", "crime_month", "crime_day"]
EVENT_DAY = ["event_year", "event_month", "event_day"]


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    where = tmp_path_factory.mktemp("spark")
    # A zone of its own, so that nothing rests on the machine's; less compiling, as runs are short.
    java = f"-Djava.io.tmpdir={where} -Duser.timezone=Asia/Kathmandu -XX:TieredStopAtLevel=1"
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.warehouse.dir", str(where / "warehouse"))
        .config("spark.local.dir", str(where / "local"))
        .config("spark.driver.extraJavaOptions", java)
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def table(name, **parameters):
    """The table as Glue answers for it."""
    tables = Stack(CodeBucket="code", **parameters).resources("AWS::Glue::Table").values()
    return next(t["TableInput"] for t in tables if t["TableInput"]["Name"] == name)


def json_line(record):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, decimal.Decimal):
            return int(value) if value == value.to_integral() and "." not in str(value) else float(value)
        return value

    return json.dumps(plain(record), ensure_ascii=False)


def lay_out(root, records, partitions=None, name="part-0.gz"):
    """Objects as Firehose lays them out: by the record's own date, or by a date of arrival."""
    groups = {}
    for record in records:
        if partitions:
            values = [record[p] if record[p] is not None else job.NO_VALUE for p in partitions]
            where = "/".join(f"{p}={v}" for p, v in zip(partitions, values))
        else:
            where = "2026/11/23"
        groups.setdefault(where, []).append(json_line(record))
    for where, lines in groups.items():
        folder = pathlib.Path(root) / where
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def sample():
    out = io.StringIO(newline="")
    make_sample.write(out)
    return expect.records(out.getvalue())


def real():
    """The file as a city published it: TAILRACE_CRIMES names it, or it lies beside the repository."""
    named = os.environ.get("TAILRACE_CRIMES")
    found = [pathlib.Path(named)] if named else sorted(ROOT.parent.glob(f"*/data/{NAME}"))
    if not found:
        pytest.skip(f"there is no {NAME} on this machine")
    return expect.records(found[0].read_bytes().decode())


def by_spark(spark, source, target, name="crimes", partitions=None, **more):
    columns = job.columns_of(table(name))
    return job.convert(spark, str(source), str(target), columns, partitions or CRIME_DAY, **more)


def by_duckdb(source, target, name="crimes", partitions=None):
    columns = job.columns_of(table(name))
    kinds = {key: HIVE_TO_DUCKDB[kind] for _, kind, key in columns}
    names = ", ".join(f'"{key}" AS "{column}"' for column, _, key in columns)
    duckdb.sql(
        f"COPY (SELECT {names} FROM read_json('{source}/**/*.gz', format='newline_delimited', columns={kinds},"
        f" hive_partitioning=false))"
        f" TO '{target}' (FORMAT parquet, PARTITION_BY ({', '.join(partitions or CRIME_DAY)}))"
    )


def relation(root):
    """What is in the Parquet below root, its directories' values as they are written."""
    return f"read_parquet('{root}/**/*.parquet', hive_partitioning=true, hive_types_autocast=false)"


def rows_of(root):
    return duckdb.sql(f"SELECT count(*) FROM {relation(root)}").fetchall()[0][0]


def directories(root):
    return {p.parent.relative_to(root).as_posix() for p in pathlib.Path(root).rglob("*.parquet")}


def described(root):
    return {name: kind for name, kind, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM {relation(root)}").fetchall()}


def assert_same(one, other):
    assert described(one) == described(other)
    names = ", ".join(f'"{name}"' for name in described(one))
    left, right = (f"SELECT {names} FROM {relation(root)}" for root in (one, other))
    assert duckdb.sql(f"({left}) EXCEPT ALL ({right})").fetchall() == []
    assert duckdb.sql(f"({right}) EXCEPT ALL ({left})").fetchall() == []
    assert directories(one) == directories(other)


def files(root):
    return {p.relative_to(root): p.stat().st_mtime_ns for p in pathlib.Path(root).rglob("*.parquet")}


@pytest.mark.parametrize("layout", [CRIME_DAY, None], ids=["own-date", "arrival"])
def test_spark_and_duckdb_make_the_same_parquet_of_the_sample(spark, tmp_path, layout):
    records = sample()
    lay_out(tmp_path / "json", records, layout)
    done = by_spark(spark, tmp_path / "json", tmp_path / "spark")
    by_duckdb(tmp_path / "json", tmp_path / "duckdb")
    assert done == {"days": len(directories(tmp_path / "spark")), "rows": len(records), "not_json": 0}
    assert rows_of(tmp_path / "spark") == len(records) == 7584
    assert described(tmp_path / "spark") == TYPES
    assert_same(tmp_path / "spark", tmp_path / "duckdb")
    assert any(record["crime_day"] is None for record in records)  # or the next line says nothing
    assert "/".join(f"{name}={job.NO_VALUE}" for name in CRIME_DAY) in directories(tmp_path / "spark")


def test_the_real_file_gives_31_days_and_the_ten_of_the_second(spark, tmp_path):
    records = real()
    lay_out(tmp_path / "json", records, CRIME_DAY)
    done = by_spark(spark, tmp_path / "json", tmp_path / "spark")
    by_duckdb(tmp_path / "json", tmp_path / "duckdb")
    assert done == {"days": 31, "rows": 7584, "not_json": 0}
    assert described(tmp_path / "spark") == TYPES
    assert_same(tmp_path / "spark", tmp_path / "duckdb")
    assert directories(tmp_path / "spark") == {
        f"crime_year=2006/crime_month=01/crime_day={day:02d}" for day in range(1, 32)
    }
    duckdb.sql(f"CREATE OR REPLACE TEMP VIEW crimes AS SELECT * FROM {relation(tmp_path / 'spark')}")
    assert duckdb.sql("SELECT count(*) FROM crimes WHERE crime_day = '02'").fetchall() == [(145,)]
    query = Stack(CodeBucket="code").resources("AWS::Athena::NamedQuery")["TopTen"]["QueryString"]
    found = duckdb.sql(query).fetchall()
    assert len(found) == 10
    # Rows of one time have no order, so of those at the edges others may be among the ten.
    first, last = found[0][0], found[-1][0]
    of_those_times = {
        r["address"] for r in records if r["crime_day"] == "02" and first <= r["crime_time"] <= last
    }
    wanted = set(TEN)
    assert len(wanted) == 10
    assert wanted <= of_those_times
    inside = {r["address"] for r in records if r["crime_day"] == "02" and first < r["crime_time"] < last}
    assert inside <= wanted


def test_a_run_can_be_repeated(spark, tmp_path):
    lay_out(tmp_path / "json", sample()[:500], CRIME_DAY)
    first = by_spark(spark, tmp_path / "json", tmp_path / "parquet")
    duckdb.sql(f"COPY (SELECT * FROM {relation(tmp_path / 'parquet')}) TO '{tmp_path}/before.parquet'")
    assert by_spark(spark, tmp_path / "json", tmp_path / "parquet") == first
    assert rows_of(tmp_path / "parquet") == 500
    now = f"SELECT * FROM {relation(tmp_path / 'parquet')}"
    then = f"SELECT * FROM '{tmp_path}/before.parquet'"
    assert duckdb.sql(f"({now}) EXCEPT ALL ({then})").fetchall() == []


@pytest.mark.parametrize("own_date", [True, False], ids=["own-date", "arrival"])
def test_a_late_row_replaces_its_day_whole_and_no_other(spark, tmp_path, own_date):
    layout = CRIME_DAY if own_date else None
    records = [r for r in sample() if r["crime_day"] in ("01", "02", "03")][:300]
    days = {r["crime_day"] for r in records}
    lay_out(tmp_path / "json", records, layout)
    old = datetime.datetime(2026, 1, 1).timestamp()
    for path in (tmp_path / "json").rglob("*.gz"):
        os.utime(path, (old, old))
    by_spark(spark, tmp_path / "json", tmp_path / "parquet")
    before = files(tmp_path / "parquet")
    late = dict(records[0], address="CAME LATE")
    no_date = dict(late, crime_time=None, crime_year=None, crime_month=None, crime_day=None)
    lay_out(tmp_path / "json", [late, no_date], layout, name="part-1.gz")
    since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    done = by_spark(spark, tmp_path / "json", tmp_path / "parquet", since=since, own_date=own_date)
    day = late["crime_day"]
    of_that_day = sum(r["crime_day"] == day for r in records)
    assert done == {"days": 2, "rows": of_that_day + 2, "not_json": 0}
    assert rows_of(tmp_path / "parquet") == len(records) + 2
    after = files(tmp_path / "parquet")
    others = {path for path in before if f"crime_day={day}" not in path.as_posix()}
    assert len({p.parent for p in others}) == len(days) - 1
    assert {path: after.get(path) for path in others} == {path: before[path] for path in others}
    by_duckdb(tmp_path / "json", tmp_path / "duckdb")
    assert_same(tmp_path / "parquet", tmp_path / "duckdb")


def test_without_news_nothing_is_touched(spark, tmp_path):
    nothing = {"days": 0, "rows": 0, "not_json": 0}
    assert by_spark(spark, tmp_path / "json", tmp_path / "parquet") == nothing
    lay_out(tmp_path / "json", sample()[:50], CRIME_DAY)
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    for own_date in (True, False):
        assert by_spark(spark, tmp_path / "json", tmp_path / "parquet", since=later, own_date=own_date) == nothing
    assert not (tmp_path / "parquet").exists()


def test_lines_that_are_no_json_of_these_types_are_left_out_and_counted(spark, tmp_path):
    good = sample()[:20]
    folder = tmp_path / "json/2026/11/23"
    lay_out(tmp_path / "json", good)
    wrong = dict(good[0], district="not a number")
    too_large = dict(good[0], crime_id=2**40)
    lines = [json_line(good[0])[:30], "", "null and void", json_line(wrong), json_line(too_large)]
    (folder / "part-1.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    done = by_spark(spark, tmp_path / "json", tmp_path / "parquet")
    assert (done["rows"], done["not_json"]) == (20, 4)
    assert rows_of(tmp_path / "parquet") == 20


def event(n):
    day = datetime.datetime(2026, 2, 27, 22, 0) + datetime.timedelta(minutes=37 * n)
    return {
        "userId": f"u-{n:06d}",
        "event": ["card_opened", "card_closed"][n % 2],
        "timestamp": day.strftime("%Y-%m-%dT%H:%M:%S.123Z"),
        "eventContext.ip": f"203.0.113.{n % 250}",
        "eventContext.userAgent": 'app/4.2 "beta"',
        "eventContext.locale": None if n % 7 == 0 else "en-GB",
        "eventContext.device.os": "android",
        "eventContext.device.version": str(n),
        "card.id": f"c-{n % 17}",
        "card.type": "offer",
        **({} if n % 5 == 0 else {"card.position": n}),
        "card.unknown": [1, 2],
        "event_year": day.strftime("%Y"),
        "event_month": day.strftime("%m"),
        "event_day": day.strftime("%d"),
    }


def test_dotted_names_of_events_become_columns_with_underscores(spark, tmp_path):
    events = [event(n) for n in range(400)]
    lay_out(tmp_path / "json", events)
    done = by_spark(spark, tmp_path / "json", tmp_path / "spark", "events", EVENT_DAY)
    by_duckdb(tmp_path / "json", tmp_path / "duckdb", "events", EVENT_DAY)
    assert (done["rows"], done["not_json"]) == (400, 0)
    assert_same(tmp_path / "spark", tmp_path / "duckdb")
    columns = [name for name, *_ in job.columns_of(table("events"))]
    assert list(described(tmp_path / "spark"))[:-3] == columns[:-3]
    assert columns[-3:] == EVENT_DAY
    found = duckdb.sql(
        f"SELECT userid, eventcontext_ip, eventcontext_locale, eventcontext_device_version, card_position, event_month"
        f" FROM {relation(tmp_path / 'spark')} ORDER BY userid LIMIT 2"
    ).fetchall()
    assert found == [
        ("u-000000", "203.0.113.0", None, "0", None, "02"),
        ("u-000001", "203.0.113.1", "en-GB", "1", 1, "02"),
    ]


@pytest.mark.parametrize("table_name", ["crimes", "events"])
def test_the_json_tables_columns_are_the_parquet_tables(table_name):
    parquet = job.columns_of(table(table_name))
    for layout in ("own-date", "arrival"):
        source = table(f"{table_name}_json", CrimesLayout=layout, EventsLayout=layout)
        assert [c for c in job.columns_of(source) if c[0] != "arrived"] == parquet


def glue_stand_in(monkeypatch, session):
    """awsglue is there in Glue alone: what main() asks of it, in a few lines."""

    class GlueContext:
        def __init__(self, _context):
            self.spark_session = session

    class Job:
        commits = 0

        def __init__(self, context):
            assert isinstance(context, GlueContext)

        def init(self, name, options):
            assert options["JOB_NAME"] == name

        def commit(self):
            Job.commits += 1

    def get_resolved_options(argv, names):
        given = dict(zip(argv[1::2], argv[2::2]))
        return {name: given[f"--{name}"] for name in names}

    for name, members in {
        "awsglue": {},
        "awsglue.context": {"GlueContext": GlueContext},
        "awsglue.job": {"Job": Job},
        "awsglue.utils": {"getResolvedOptions": get_resolved_options},
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("pyspark.context.SparkContext", lambda: session.sparkContext)
    return Job


def test_the_wrapper_takes_tables_from_the_catalogue_and_fails_last(spark, tmp_path, monkeypatch, capsys):
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    commits = glue_stand_in(monkeypatch, spark)
    stack = Stack(CodeBucket="code")
    started = stack.resources("AWS::Glue::Trigger")["CrimesTrigger"]["Actions"][0]["Arguments"]
    options = {**stack.resources("AWS::Glue::Job")["Job"]["DefaultArguments"], **started}
    options["--JOB_NAME"] = f"{STACK}-json-to-parquet"
    monkeypatch.setattr(sys, "argv", ["job", *(word for pair in options.items() for word in pair)])
    lay_out(tmp_path / "json", sample()[:200], CRIME_DAY)
    with mock_aws():
        glue = boto3.client("glue")
        glue.create_database(DatabaseInput={"Name": options["--database"]})
        for name, folder in ((options["--json_table"], "json"), (options["--parquet_table"], "parquet")):
            made = table(name)
            made["StorageDescriptor"]["Location"] = str(tmp_path / folder)
            glue.create_table(DatabaseName=options["--database"], TableInput=made)
        job.main()
        assert "'rows': 200" in capsys.readouterr().out
        assert (commits.commits, rows_of(tmp_path / "parquet")) == (1, 200)
        folder = tmp_path / "json/crime_year=2006/crime_month=01/crime_day=01"
        (folder / "bad.gz").write_bytes(gzip.compress(b"not json\n"))
        with pytest.raises(ValueError, match="1 lines are no JSON"):
            job.main()
    assert (commits.commits, rows_of(tmp_path / "parquet")) == (1, 200)
