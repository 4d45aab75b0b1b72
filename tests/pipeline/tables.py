"""Parquet and SQL on this machine: DuckDB in the place of the Spark job and of Athena.

The tables are those of conf/aws/pipeline.yaml: names, types, partitions and places come from there,
and nothing is inferred. DuckDB reads S3 only with an extension that it would fetch from elsewhere, so
objects are carried to and from S3 by boto3.
"""

import pathlib
import re
import tempfile

import duckdb

HIVE_TO_DUCKDB = {"string": "VARCHAR", "int": "INTEGER", "bigint": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN"}


def kind_of(hive):
    if found := re.fullmatch(r"struct<(.+)>", hive):
        members = (member.split(":") for member in found[1].split(","))
        return f"STRUCT({', '.join(f'{name} {kind_of(kind)}' for name, kind in members)})"
    return HIVE_TO_DUCKDB[hive]


class Table:
    """A table of the template: made = the properties' TableInput."""

    def __init__(self, made):
        self.name = made["Name"]
        columns = made["StorageDescriptor"]["Columns"] + made["PartitionKeys"]
        # A column whose key in the JSON is another has that as its comment.
        self.columns = [(c["Name"], kind_of(c["Type"]), c.get("Comment") or c["Name"]) for c in columns]
        self.partitions = [c["Name"] for c in made["PartitionKeys"]]
        self.bucket, _, self.prefix = made["StorageDescriptor"]["Location"].removeprefix("s3://").partition("/")


def keys_below(s3, bucket, prefix):
    # The older way of listing: the local S3 stumbles over the second page of the newer.
    pages = s3.get_paginator("list_objects").paginate(Bucket=bucket, Prefix=prefix)
    return sorted(one["Key"] for page in pages for one in page.get("Contents", []))


def fetch(s3, bucket, prefix, folder):
    keys = keys_below(s3, bucket, prefix)
    for key in keys:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return keys


def connect():
    sql = duckdb.connect()
    sql.execute("SET threads = 2")
    return sql


def json_to_parquet(s3, source, target):
    """All JSON below the source table's place becomes the target's Parquet, a directory a day."""
    names = ", ".join(f'"{key}" AS "{name}"' for name, _, key in target.columns)
    kinds = {key: kind for _, kind, key in target.columns}
    with tempfile.TemporaryDirectory(prefix="tailrace-parquet-") as folder:
        folder = pathlib.Path(folder)
        keys = fetch(s3, source.bucket, source.prefix, folder / "in")
        if not keys:
            return
        with connect() as sql:
            sql.execute(
                f"COPY (SELECT {names} FROM read_json(?, format = 'newline_delimited', columns = {kinds},"
                f" hive_partitioning = false)) TO '{folder}/out'"
                f" (FORMAT parquet, COMPRESSION snappy, PARTITION_BY ({', '.join(target.partitions)}))",
                [[str(folder / "in" / key) for key in keys]],
            )
        for path in sorted((folder / "out").rglob("*.parquet")):
            key = target.prefix + path.relative_to(folder / "out").as_posix()
            s3.put_object(Bucket=target.bucket, Key=key, Body=path.read_bytes())


class Answers:
    """SQL over what is in S3: each table a view of its name."""

    def __init__(self, s3, *tables):
        self.folder = tempfile.TemporaryDirectory(prefix="tailrace-sql-")
        self.sql = connect()
        self.keys = {}
        for table in tables:
            where = pathlib.Path(self.folder.name) / table.name
            self.keys[table.name] = fetch(s3, table.bucket, table.prefix, where)
            names = ", ".join(f'"{name}"' for name, _, _ in table.columns)
            self.sql.execute(
                f"CREATE VIEW {table.name} AS SELECT {names} FROM read_parquet('{where}/**/*.parquet',"
                " hive_partitioning = true, hive_types_autocast = false)"
            )

    def ask(self, query):
        return self.sql.execute(query).fetchall()

    def ask_with_names(self, query):
        done = self.sql.execute(query)
        return [d[0] for d in done.description], done.fetchall()

    def kinds(self, table):
        return {name: kind for name, kind, *_ in self.ask(f"DESCRIBE {table}")}

    def directories(self, table):
        return {key.rpartition("/")[0] for key in self.keys[table]}

    def close(self):
        self.sql.close()
        self.folder.cleanup()
