"""The template, read as text and as what CloudFormation would make of each choice of parameters.

cfn-lint holds it against AWS's own schemas. What those schemas do not say (rules of the services that
cost a deployment to find out, who may do what, and that the tables fit the mappings) is here.
"""

import itertools
import json
import pathlib
import subprocess
import sys

import pytest
import yaml

import json_to_parquet as job
from template import ACCOUNT, AWS, KEY, PATH, REGION, Stack, as_list, load

LAYOUTS = ("own-date", "arrival")
CHOICES = [
    dict(
        ParquetBy=by,
        CrimesLayout=crimes,
        EventsLayout=events,
        StreamMode=("ON_DEMAND", "PROVISIONED")[crimes == events],
        KmsKeyArn=("", KEY)[events == "arrival"],
    )
    for by, crimes, events in itertools.product(("job", "firehose"), LAYOUTS, LAYOUTS)
]
HALVES = [("Crimes", "crimes", "crime"), ("Events", "events", "event")]
BODY_BYTES_MAX = 51200  # of a template that is passed along with the call

# Properties as the CloudFormation reference has them; a star marks what must be there.
FACTS = {
    "AWS::Kinesis::Stream": "Name ShardCount StreamModeDetails RetentionPeriodHours StreamEncryption"
    " MaxRecordSizeInKiB WarmThroughputMiBps RecordDistributionStrategy DesiredShardLevelMetrics Tags",
    "AWS::KinesisFirehose::DeliveryStream": "DeliveryStreamName DeliveryStreamType KinesisStreamSourceConfiguration"
    " DirectPutSourceConfiguration DeliveryStreamEncryptionConfigurationInput ExtendedS3DestinationConfiguration Tags",
    "AWS::Lambda::Function": "*Code *Role FunctionName Handler Runtime Architectures MemorySize Timeout Environment"
    " EphemeralStorage Layers LoggingConfig ReservedConcurrentExecutions PackageType Tags Description",
    "AWS::Glue::Database": "*CatalogId *DatabaseInput DatabaseName",
    "AWS::Glue::Table": "*CatalogId *DatabaseName *TableInput",
    "AWS::Glue::Job": "*Command *Role Name GlueVersion DefaultArguments WorkerType NumberOfWorkers MaxRetries Timeout"
    " ExecutionProperty ExecutionClass Tags",
    "AWS::Glue::Trigger": "*Type *Actions Schedule StartOnCreation Predicate Name WorkflowName",
    "AWS::Athena::WorkGroup": "*Name State Description RecursiveDeleteOption WorkGroupConfiguration",
    "AWS::Athena::NamedQuery": "*Database *QueryString Name Description WorkGroup",
}
DESTINATION = (
    "*BucketARN *RoleARN Prefix ErrorOutputPrefix BufferingHints CompressionFormat EncryptionConfiguration"
    " CloudWatchLoggingOptions ProcessingConfiguration S3BackupMode S3BackupConfiguration"
    " DataFormatConversionConfiguration DynamicPartitioningConfiguration CustomTimeZone FileExtension"
)
PROCESSOR_PARAMETERS = set(
    "LambdaArn NumberOfRetries RoleArn BufferSizeInMBs BufferIntervalInSeconds MetadataExtractionQuery"
    " JsonParsingEngine SubRecordType Delimiter CompressionFormat DataMessageExtraction".split()
)
CLASSES = {
    "json": (
        "org.apache.hadoop.mapred.TextInputFormat",
        "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        "org.openx.data.jsonserde.JsonSerDe",
    ),
    "parquet": (
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
    ),
}

# Who may do what. A role that gains an action must gain it here, too.
READ_STREAM = {"kinesis:DescribeStream", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"}
DELIVER = READ_STREAM | {
    "lambda:GetFunctionConfiguration",
    "lambda:InvokeFunction",
    "logs:PutLogEvents",
    "s3:AbortMultipartUpload",
    "s3:GetBucketLocation",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:PutObject",
}
SCHEMA = {"glue:GetTable", "glue:GetTableVersion", "glue:GetTableVersions"}
WRITE_LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}
CONVERT = WRITE_LOG | {
    "glue:GetTable",
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetBucketLocation",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
}


@pytest.fixture(params=CHOICES, ids=lambda choice: "-".join(str(v)[:9] or "aws" for v in choice.values()))
def stack(request):
    return Stack(CodeBucket="code", **request.param)


def test_cfn_lint_finds_nothing():
    done = subprocess.run(
        [pathlib.Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--", PATH],
        capture_output=True,
        text=True,
    )
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_it_can_be_passed_along_with_the_call():
    assert len(PATH.read_bytes()) <= BODY_BYTES_MAX


def check_names(made, facts):
    names = facts.replace("*", "").split()
    assert set(made) <= set(names)
    assert {name[1:] for name in facts.split() if name[0] == "*"} <= set(made)


def test_properties_are_those_of_the_reference(stack):
    seen = set()
    for name, made in stack.resources().items():
        kind = stack.kind(name)
        if kind in FACTS:
            seen.add(kind)
            check_names(made, FACTS[kind])
        if kind == "AWS::KinesisFirehose::DeliveryStream":
            to = made["ExtendedS3DestinationConfiguration"]
            check_names(to, DESTINATION)
            check_names(to["S3BackupConfiguration"], DESTINATION)
            for processor in to["ProcessingConfiguration"]["Processors"]:
                assert {p["ParameterName"] for p in processor["Parameters"]} <= PROCESSOR_PARAMETERS
                assert all(isinstance(p["ParameterValue"], str) for p in processor["Parameters"])
        if kind == "AWS::Glue::Table":
            check_names(made["TableInput"], "*Name Description TableType Parameters PartitionKeys StorageDescriptor")
    by_job = {"AWS::Glue::Job", "AWS::Glue::Trigger"}
    assert seen == set(FACTS) - (by_job if stack.parameters["ParquetBy"] == "firehose" else set())


def test_streams_have_the_mode_and_the_key_that_were_asked_for(stack):
    for made in stack.resources("AWS::Kinesis::Stream").values():
        provisioned = stack.parameters["StreamMode"] == "PROVISIONED"
        assert made["StreamModeDetails"] == {"StreamMode": stack.parameters["StreamMode"]}
        assert ("ShardCount" in made) == provisioned  # on demand refuses it
        wanted = stack.parameters["KmsKeyArn"] or "alias/aws/kinesis"
        assert made["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": wanted}
        assert made["RetentionPeriodHours"] >= 24


@pytest.mark.parametrize("half, name, date", HALVES)
def test_delivery_keeps_the_rules_of_firehose(stack, half, name, date):
    made = stack.resources()[f"{half}Delivery"]
    to = made["ExtendedS3DestinationConfiguration"]
    by_firehose = stack.parameters["ParquetBy"] == "firehose"
    own_date = by_firehose or stack.parameters[f"{half}Layout"] == "own-date"
    assert made["DeliveryStreamType"] == "KinesisStreamAsSource"
    assert made["KinesisStreamSourceConfiguration"]["KinesisStreamARN"].endswith(f":stream/tailrace-{name}")
    processors = {p["Type"]: p["Parameters"] for p in to["ProcessingConfiguration"]["Processors"]}
    assert list(processors) == ["Lambda", "MetadataExtraction"][: 1 + own_date]
    buffers = {p["ParameterName"]: p["ParameterValue"] for p in processors["Lambda"]}
    assert buffers["LambdaArn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:tailrace-{name}"
    assert 0.2 <= float(buffers["BufferSizeInMBs"]) <= 3
    assert 0 <= int(buffers["BufferIntervalInSeconds"]) <= 900

    # Dynamic partitioning: on together with the keys it takes, with a buffer large enough.
    assert ("DynamicPartitioningConfiguration" in to) == own_date
    directory = "".join(f"{date}_{part}=!{{partitionKeyFromQuery:{date}_{part}}}/" for part in ("year", "month", "day"))
    assert to["Prefix"] == f"{name}/" + (directory if own_date else "!{timestamp:yyyy/MM/dd}/")
    if own_date:
        query = {p["ParameterName"]: p["ParameterValue"] for p in processors["MetadataExtraction"]}
        parts = [f'{date}_{part}: (.{date}_{part} // "{job.NO_VALUE}")' for part in ("year", "month", "day")]
        assert query == {"JsonParsingEngine": "JQ-1.6", "MetadataExtractionQuery": "{" + ", ".join(parts) + "}"}
    spec = stack.template["Parameters"]
    assert (spec["BufferMB"]["MinValue"], spec["BufferMB"]["MaxValue"]) == (64, 128)
    assert (spec["BufferSeconds"]["MinValue"], spec["BufferSeconds"]["MaxValue"]) == (60, 900)

    # A prefix with an expression demands one for errors, with their kind, without partition keys, and
    # outside of the tables' directories.
    for place in (to, to["S3BackupConfiguration"]):
        assert "!{" in place["Prefix"]
        assert place["ErrorOutputPrefix"].startswith(f"errors/{name}/!{{firehose:error-output-type}}/")
        assert "partitionKey" not in place["ErrorOutputPrefix"]
        assert set(place["BufferingHints"]) == {"SizeInMBs", "IntervalInSeconds"}
        assert place["CloudWatchLoggingOptions"]["Enabled"] is True

    assert to["S3BackupMode"] == "Enabled"
    assert to["S3BackupConfiguration"]["BucketARN"] == "arn:aws:s3:::rawbucket-bucket"
    assert to["BucketARN"] == f"arn:aws:s3:::{'parquet' if by_firehose else 'json'}bucket-bucket"

    # Conversion to Parquet: uncompressed outside, a schema in the catalogue, dots for the events alone.
    assert to["CompressionFormat"] == ("UNCOMPRESSED" if by_firehose else "GZIP")
    assert ("DataFormatConversionConfiguration" in to) == by_firehose
    if by_firehose:
        convert = to["DataFormatConversionConfiguration"]
        serde = convert["InputFormatConfiguration"]["Deserializer"]["OpenXJsonSerDe"]
        assert serde["ConvertDotsInJsonKeysToUnderscores"] is (name == "events")
        schema = convert["SchemaConfiguration"]
        assert (schema["DatabaseName"], schema["TableName"]) == ("tailrace", name)
        assert schema["RoleARN"] == to["RoleARN"]


def roles(stack):
    """{logical id: (who assumes it, [statements])}"""
    made = {}
    for name, role in stack.resources("AWS::IAM::Role").items():
        assert set(role) == {"Description", "AssumeRolePolicyDocument", "Policies"}  # no managed policy of others
        trust = role["AssumeRolePolicyDocument"]["Statement"]
        assert [s["Action"] for s in trust] == ["sts:AssumeRole"]
        assert set(trust[0]["Principal"]) == {"Service"}
        statements = [s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]]
        made[name] = (trust[0]["Principal"]["Service"], statements)
    return made


def actions(statements):
    return {action for s in statements for action in as_list(s["Action"])}


def test_each_role_does_what_it_must_and_no_more(stack):
    by_firehose, own_key = stack.parameters["ParquetBy"] == "firehose", bool(stack.parameters["KmsKeyArn"])
    deliver = DELIVER | (SCHEMA if by_firehose else set()) | ({"kms:Decrypt"} if own_key else set())
    wanted = {
        f"{half}{what}Role": (service, may)
        for half, *_ in HALVES
        for what, service, may in (
            ("Function", "lambda.amazonaws.com", WRITE_LOG),
            ("Delivery", "firehose.amazonaws.com", deliver),
        )
    }
    if not by_firehose:
        wanted["JobRole"] = ("glue.amazonaws.com", CONVERT)
    assert {name: (who, actions(s)) for name, (who, s) in roles(stack).items()} == wanted
    policies = stack.resources("AWS::IAM::ManagedPolicy")
    assert list(policies) == ["DaemonPolicy"]
    daemon = policies["DaemonPolicy"]["PolicyDocument"]["Statement"]
    assert actions(daemon) == {"kinesis:PutRecords"} | ({"kms:GenerateDataKey"} if own_key else set())
    assert daemon[0]["Resource"] == [
        f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/tailrace-{name}" for _, name, _ in HALVES
    ]


def test_stars_stand_only_behind_a_prefix(stack):
    named = {name: statements for name, (_, statements) in roles(stack).items()}
    named["DaemonPolicy"] = stack.resources()["DaemonPolicy"]["PolicyDocument"]["Statement"]
    for name, statements in named.items():
        for statement in statements:
            assert statement["Effect"] == "Allow"
            assert not {"NotAction", "NotResource"} & set(statement)
            assert not any("*" in action for action in as_list(statement["Action"]))
            for resource in as_list(statement["Resource"]):
                assert resource.startswith("arn:aws:"), (name, resource)
                if "*" in resource:
                    place = resource.split(":", 5)
                    prefix = place[5].split("/", 1)
                    assert resource.count("*") == 1 and resource.endswith("*")
                    if place[2] == "logs":  # the streams of one group; its Arn ends so
                        assert place[5].startswith("log-group:/aws")
                    else:
                        assert place[2] == "s3" and prefix[1].removeprefix("errors/") in ("crimes/*", "events/*")


@pytest.mark.parametrize("half, name, _date", HALVES)
def test_a_half_never_touches_the_other(stack, half, name, _date):
    other = next(other for _, other, _ in HALVES if other != name)
    for what in ("Function", "Delivery"):
        text = json.dumps(stack.resources()[f"{half}{what}Role"])
        assert other not in text
        assert name in text


def test_every_role_has_one_user(stack):
    users = {}
    for name, made in stack.resources().items():
        for role in roles(stack):
            if f'"arn:aws:iam::{ACCOUNT}:role/{role}"' in json.dumps(made):
                users.setdefault(role, []).append(name)
    assert {role: len(who) for role, who in users.items()} == {role: 1 for role in roles(stack)}


def test_a_key_of_ones_own_is_used_through_kinesis_alone():
    stack = Stack(CodeBucket="code", KmsKeyArn=KEY)
    statements = [s for _, all_of_it in roles(stack).values() for s in all_of_it]
    statements += stack.resources()["DaemonPolicy"]["PolicyDocument"]["Statement"]
    with_key = [s for s in statements if any(a.startswith("kms:") for a in as_list(s["Action"]))]
    assert len(with_key) == 3
    for statement in with_key:
        assert statement["Resource"] == KEY
        assert statement["Condition"]["StringEquals"]["kms:ViaService"] == f"kinesis.{REGION}.amazonaws.com"
        assert "kms:EncryptionContext:aws:kinesis:arn" in statement["Condition"]["StringEquals"]


def test_buckets_are_private_encrypted_over_tls_and_outlive_the_stack(stack):
    buckets = stack.resources("AWS::S3::Bucket")
    assert list(buckets) == ["JsonBucket", "ParquetBucket", "RawBucket"]
    for name, made in buckets.items():
        raw = stack.template["Resources"][name]
        assert (raw["DeletionPolicy"], raw["UpdateReplacePolicy"]) == ("Retain", "Retain")
        assert set(made["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(made["PublicAccessBlockConfiguration"]) == 4
        assert "BucketName" not in made
        raw = stack.template["Resources"][f"{name}Policy"]
        assert (raw["DeletionPolicy"], raw["UpdateReplacePolicy"]) == ("Retain", "Retain")
        policy = stack.resources()[f"{name}Policy"]
        arn = f"arn:aws:s3:::{name.lower()}-bucket"
        for statement in policy["PolicyDocument"]["Statement"]:
            assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
            assert (statement["Principal"], statement["Resource"]) == ("*", [arn, f"{arn}/*"])
        assert [statement["Condition"] for statement in policy["PolicyDocument"]["Statement"]] == [
            {"Bool": {"aws:SecureTransport": "false"}},
            {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
        ]
    assert not any(
        "ExpirationInDays" in rule for rule in buckets["JsonBucket"]["LifecycleConfiguration"]["Rules"]
    )  # a day is built anew from all of its JSON
    expiring = [r for r in buckets["ParquetBucket"]["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in r]
    assert [rule["Prefix"] for rule in expiring] == ["athena/"]


def test_every_log_group_forgets(stack):
    groups = stack.resources("AWS::Logs::LogGroup")
    assert len(groups) == (6 if stack.parameters["ParquetBy"] == "job" else 4)
    assert {made["RetentionInDays"] for made in groups.values()} == {30}


def test_functions_are_the_runtime_that_bootstrap_is_for(stack):
    for half, name, _ in HALVES:
        made = stack.resources()[f"{half}Function"]
        assert (made["Runtime"], made["Architectures"]) == ("provided.al2023", ["x86_64"])
        assert made["Code"] == {"S3Bucket": "code", "S3Key": f"tailrace/1/{name}.zip"}
        assert made["LoggingConfig"]["LogGroup"] == f"/aws/lambda/tailrace-{name}"


def glue_table(stack, name):
    tables = (made["TableInput"] for made in stack.resources("AWS::Glue::Table").values())
    return next(made for made in tables if made["Name"] == name)


@pytest.mark.parametrize("half, name, date", HALVES)
def test_tables_find_what_firehose_and_the_job_write(stack, half, name, date):
    own = [f"{date}_{part}" for part in ("year", "month", "day")]
    to = stack.resources()[f"{half}Delivery"]["ExtendedS3DestinationConfiguration"]
    for form, table in (("parquet", name), ("json", f"{name}_json")):
        made = glue_table(stack, table)
        place = made["StorageDescriptor"]
        serde = place["SerdeInfo"]["SerializationLibrary"]
        assert (place["InputFormat"], place["OutputFormat"], serde) == CLASSES[form]
        assert place["Location"] == f"s3://{form}bucket-bucket/{name}/"
        assert made["TableType"] == "EXTERNAL_TABLE"
        parameters, keys = made["Parameters"], job.partitions_of(made)
        assert (parameters["classification"], parameters["projection.enabled"]) == (form, "true")
        assert all(isinstance(value, str) for value in parameters.values())
        assert {k["Type"] for k in made["PartitionKeys"]} == {"string"}
        columns = [c["Name"] for c in place["Columns"]]
        assert not set(columns) & set(keys)  # Hive refuses a column twice
        assert [one for one in [*columns, *keys] if one != one.lower()] == []
        template = parameters["storage.location.template"]
        if keys == own:
            assert template == f"{place['Location']}" + "/".join(f"{key}=${{{key}}}" for key in own)
            assert parameters[f"projection.{own[0]}.range"] == "2000,2040"
            months, days = (parameters[f"projection.{key}.values"].split(",") for key in own[1:])
            assert (months, days) == (
                [f"{n:02d}" for n in range(1, 13)],
                [f"{n:02d}" for n in range(1, 32)],
            )
        else:
            assert (form, keys) == ("json", ["arrived"])
            assert template == f"{place['Location']}${{arrived}}"
            assert parameters["projection.arrived.format"] == "yyyy/MM/dd"
            assert to["Prefix"] == f"{name}/!{{timestamp:yyyy/MM/dd}}/"
        if form == "json" and stack.parameters["ParquetBy"] == "job":
            assert (keys == own) == ("DynamicPartitioningConfiguration" in to)
        if form == "json":
            assert place["SerdeInfo"]["Parameters"] == {"dots.in.keys": "true" if name == "events" else "false"}


def find(document, key):
    """The value of the key, wherever in the document it stands."""
    if isinstance(document, dict):
        if key in document:
            return document[key]
        document = list(document.values())
    if isinstance(document, list):
        found = (find(one, key) for one in document)
        return next((one for one in found if one is not None), None)
    return None


def hive_type(field):
    if "from" in field and not isinstance(field["from"], dict):
        return field.get("type", "string")
    return "struct<" + ",".join(f"{name}:{hive_type(one)}" for name, one in field.items()) + ">"


def test_the_crime_tables_columns_are_the_fields_of_its_mapping():
    record = find(yaml.safe_load((AWS / "mapping.crimes.yaml").read_text()), "record")
    fields = [(name, hive_type(field)) for name, field in record.items()]
    columns = job.columns_of(glue_table(Stack(CodeBucket="code"), "crimes"))
    assert [(name, kind) for name, kind, _ in columns] == fields
    assert dict(fields)["location"] == "struct<lat:double,lon:double>"


def flat(value, above=""):
    for name, one in value.items():
        if isinstance(one, dict):
            yield from flat(one, f"{above}{name}.")
        else:
            yield above + name, {str: "string", int: "int", float: "double"}[type(one)]


def test_the_event_tables_columns_are_the_flat_names_of_an_event():
    mapping = yaml.safe_load((AWS / "mapping.events.yaml").read_text())
    assert find(mapping, "flatten") == "."
    event = json.loads((AWS / "event.json").read_text())
    wanted = [*flat(event), *((name, "string") for name in find(mapping, "add"))]
    columns = job.columns_of(glue_table(Stack(CodeBucket="code"), "events"))
    assert [(key, kind) for _, kind, key in columns] == wanted
    # What Firehose's conversion and the JSON table make of a key: no capitals, no dots.
    assert [name for name, _, _ in columns] == [key.lower().replace(".", "_") for key, _ in wanted]


def test_the_job_is_made_only_when_firehose_does_not_write_parquet(stack):
    kinds = {stack.kind(name) for name in stack.resources()}
    assert ("AWS::Glue::Job" in kinds) == ("AWS::Glue::Trigger" in kinds) == (stack.parameters["ParquetBy"] == "job")


def test_the_job_is_started_for_each_table_with_arguments_that_it_reads():
    stack = Stack(CodeBucket="code")
    made = stack.resources()["Job"]
    assert made["Command"]["ScriptLocation"] == "s3://code/tailrace/1/json_to_parquet.py"
    started = [t["Actions"][0]["Arguments"] for t in stack.resources("AWS::Glue::Trigger").values()]
    assert started == [
        {"--json_table": f"{name}_json", "--parquet_table": name} for _, name, _ in HALVES
    ]
    assert made["ExecutionProperty"]["MaxConcurrentRuns"] == len(started)
    assert {"--database", "--since_hours"} <= set(made["DefaultArguments"])
    assert all(isinstance(value, str) for value in made["DefaultArguments"].values())


def test_outputs_of_what_is_not_made_are_left_out():
    template = load()
    conditions = {name: one.get("Condition") for name, one in template["Outputs"].items()}
    assert {name for name, one in conditions.items() if one} == {"JobName"}
