"""Makes the Parquet of a table out of its JSON: the Spark job of pipeline.yaml.

Firehose delivers JSON lines. This job reads them with the types that the catalogue's tables state
(nothing is inferred), and writes Parquet with the same columns, one directory a day of the
records' own date: .../crime_year=2006/crime_month=01/crime_day=02/.

A run does three things:

  1. finds the days that have news: the dates in the files that were modified within --since_hours
  2. reads everything there is of those days
  3. replaces those days, whole

So a run can be repeated, can overlap with the last one, and can come late as long as --since_hours
reaches back to it: what it writes depends on the JSON alone. That is why job bookmarks are off: a
bookmark would make a run see only what is new, and then a day can only be appended to, and a run
that died half way appends twice. --since_hours 0 builds every day anew.

It follows that JSON must be kept as long as its day may still get news.

Step 2 is cheap when Firehose puts records where their own date says (layout own-date): only the
directories of those days are read. With layout arrival it reads all files.

Lines that are no JSON of these types are left out, counted, and make the run fail after all the rest
is written: the Lambda function never writes such a line, so somebody should look.

Everything but main() is plain PySpark and runs anywhere.
"""

import datetime
import sys

from pyspark.sql import Observation
from pyspark.sql import functions as F

NO_JSON = "_corrupt_record"
# The directory of what has no date, in Hive, Spark, Firehose's prefix and DuckDB alike.
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
ROWS_A_FILE_MAX = 5_000_000


def columns_of(table):
    """[(name, type, key)] of a table as the catalogue answers for it, its partitions last.

    A column whose JSON key is not its name (dots, capitals) has the key as its comment.
    """
    columns = table["StorageDescriptor"]["Columns"] + table.get("PartitionKeys", [])
    return [(c["Name"], c["Type"], c.get("Comment") or c["Name"]) for c in columns]


def partitions_of(table):
    return [c["Name"] for c in table["PartitionKeys"]]


def schema_of(columns):
    """The JSON's schema, as Spark's DDL."""
    fields = [f"`{key}` {kind}" for _, kind, key in columns]
    return ", ".join([*fields, f"`{NO_JSON}` string"])


def read_json(spark, paths, columns, modified_after=None):
    """All rows below the paths, named as the columns are, and NO_JSON for lines that are none."""
    reader = (
        spark.read.schema(schema_of(columns))
        .option("mode", "PERMISSIVE")
        .option("columnNameOfCorruptRecord", NO_JSON)
        .option("recursiveFileLookup", "true")
    )
    if modified_after is not None:
        reader = reader.option("modifiedAfter", modified_after.strftime("%Y-%m-%dT%H:%M:%S"))
        reader = reader.option("timeZone", "UTC")
    names = [F.col(f"`{key}`").alias(name) for name, _, key in columns]
    return reader.json(paths).select(*names, NO_JSON)


def look_through(rows, partitions):
    """What is in the rows: the days, as (year, month, day), None where there is no value; and how
    many lines were no JSON."""
    # Spark parses only the columns that are asked for, and finds fault only with what it parses. The
    # hash asks for all, as the writing will.
    every = F.max(F.xxhash64(*(F.col(f"`{name}`") for name in rows.columns)))
    seen = (
        rows.groupBy(*partitions, F.col(NO_JSON).isNull().alias("good"))
        .agg(F.count(F.lit(1)).alias("count"), every)
        .collect()
    )
    days = {tuple(one[name] for name in partitions) for one in seen if one["good"]}
    not_json = sum(one["count"] for one in seen if not one["good"])
    return sorted(days, key=lambda day: [value or "" for value in day]), not_json


def directory_of(root, partitions, day):
    """Where layout own-date has that day."""
    parts = [f"{name}={NO_VALUE if value is None else value}" for name, value in zip(partitions, day)]
    return "/".join([root.rstrip("/"), *parts])


def only_days(spark, rows, partitions, days):
    wanted = spark.createDataFrame(days, ", ".join(f"`{name}` string" for name in partitions))
    same = [rows[name].eqNullSafe(wanted[name]) for name in partitions]
    return rows.join(F.broadcast(wanted), same, "left_semi")


def there_is(spark, path):
    where = spark._jvm.org.apache.hadoop.fs.Path(path)
    return where.getFileSystem(spark._jsc.hadoopConfiguration()).exists(where)


def write_parquet(rows, root, partitions):
    """Replaces the days that the rows are of, and no other."""
    (
        rows.repartition(*partitions)
        .write.mode("overwrite")
        .option("partitionOverwriteMode", "dynamic")
        .option("maxRecordsPerFile", ROWS_A_FILE_MAX)
        .option("compression", "snappy")
        .partitionBy(*partitions)
        .parquet(root)
    )


def convert(spark, json_root, parquet_root, columns, partitions, since=None, own_date=False):
    """The whole job. since: a time (UTC), or None for all there is. Answers with its counts."""
    done = {"days": 0, "rows": 0, "not_json": 0}
    if not there_is(spark, json_root):
        return done
    days, done["not_json"] = look_through(read_json(spark, json_root, columns, since), partitions)
    done["days"] = len(days)
    if not days:
        return done
    paths = json_root
    if since is not None and own_date:
        paths = [directory_of(json_root, partitions, day) for day in days]
    rows = read_json(spark, paths, columns).where(F.col(NO_JSON).isNull()).drop(NO_JSON)
    if since is not None:
        rows = only_days(spark, rows, partitions, days)
    count = Observation()
    write_parquet(rows.observe(count, F.count(F.lit(1)).alias("rows")), parquet_root, partitions)
    done["rows"] = count.get["rows"]
    return done


def main():
    """The wrapper: arguments and tables come from Glue."""
    import boto3
    from awsglue.context import GlueContext
    from awsglue.job import Job
    from awsglue.utils import getResolvedOptions
    from pyspark.context import SparkContext

    names = ["JOB_NAME", "database", "json_table", "parquet_table", "since_hours"]
    options = getResolvedOptions(sys.argv, names)
    glue_context = GlueContext(SparkContext())
    job = Job(glue_context)
    job.init(options["JOB_NAME"], options)

    glue = boto3.client("glue")

    def table(name):
        return glue.get_table(DatabaseName=options["database"], Name=name)["Table"]

    source, target = table(options["json_table"]), table(options["parquet_table"])
    partitions = partitions_of(target)
    hours = float(options["since_hours"])
    now = datetime.datetime.now(datetime.timezone.utc)
    done = convert(
        glue_context.spark_session,
        source["StorageDescriptor"]["Location"],
        target["StorageDescriptor"]["Location"],
        columns_of(target),
        partitions,
        since=now - datetime.timedelta(hours=hours) if hours > 0 else None,
        own_date=partitions_of(source) == partitions,
    )
    print(f"json_to_parquet: {options['parquet_table']}: {done}")
    if done["not_json"]:
        raise ValueError(f"{done['not_json']} lines are no JSON of this table's types; the rest is written")
    job.commit()


if __name__ == "__main__":
    main()
