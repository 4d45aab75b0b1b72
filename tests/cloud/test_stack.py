"""The whole stack, made and deleted in an emulator (moto), and looked at with boto3 in between.

What moto's CloudFormation models, it makes: Kinesis streams, Lambda functions, roles and the managed
policy, log groups, buckets. BY_HAND is what it leaves out; that is made here by the calls that
CloudFormation would send, with the template's properties, so that botocore judges names and types and
moto's own Firehose, Glue, Athena, S3 and logs judge the rest.

What else moto does not model:
  - AWS::NoValue in a list becomes a null, so it gets the template with the choices made
  - deleting a managed policy with its stack
  - of buckets all but their name and encryption; of streams the mode, the key and the retention, which
    are set here by calls of their own
  - nothing is read, transformed, delivered or queried
tests/cloud/test_template.py reads these from the template; tests/cloud/test_parquet.py runs the job.
"""

import contextlib
import io
import json
import warnings
import zipfile

import boto3
import pytest
import yaml
from moto import mock_aws

import json_to_parquet as job
from template import ACCOUNT, KEY, REGION, STACK, Stack

BY_HAND = {
    "AWS::Athena::NamedQuery",
    "AWS::Athena::WorkGroup",
    "AWS::Glue::Database",
    "AWS::Glue::Job",
    "AWS::Glue::Table",
    "AWS::Glue::Trigger",
    "AWS::KinesisFirehose::DeliveryStream",
    "AWS::Logs::LogStream",
    "AWS::S3::BucketPolicy",
}

def make_by_hand(stack, clients):
    """What moto's CloudFormation leaves out, in an order that works."""
    for made in stack.resources("AWS::Kinesis::Stream").values():
        name, mode = {"StreamName": made["Name"]}, made["StreamModeDetails"]
        arn = clients["kinesis"].describe_stream(**name)["StreamDescription"]["StreamARN"]
        clients["kinesis"].update_stream_mode(StreamARN=arn, StreamModeDetails=mode)
        clients["kinesis"].start_stream_encryption(**name, **made["StreamEncryption"])
        hours = made["RetentionPeriodHours"]
        clients["kinesis"].increase_stream_retention_period(**name, RetentionPeriodHours=hours)
    for made in stack.resources("AWS::S3::BucketPolicy").values():
        clients["s3"].put_bucket_policy(Bucket=made["Bucket"], Policy=json.dumps(made["PolicyDocument"]))
    for made in stack.resources("AWS::Logs::LogStream").values():
        clients["logs"].create_log_stream(
            logGroupName=made["LogGroupName"], logStreamName=made["LogStreamName"]
        )
    for made in stack.resources("AWS::Glue::Database").values():
        clients["glue"].create_database(**made)
    for made in stack.resources("AWS::Glue::Table").values():
        clients["glue"].create_table(**made)
    for made in stack.resources("AWS::Glue::Job").values():
        clients["glue"].create_job(**made)
    for made in stack.resources("AWS::Glue::Trigger").values():
        clients["glue"].create_trigger(**made)
    for made in stack.resources("AWS::KinesisFirehose::DeliveryStream").values():
        clients["firehose"].create_delivery_stream(**made)
    for made in stack.resources("AWS::Athena::WorkGroup").values():
        # The call's names differ from CloudFormation's in these two.
        made = {key: one for key, one in made.items() if key not in ("State", "RecursiveDeleteOption")}
        made["Configuration"] = made.pop("WorkGroupConfiguration")
        clients["athena"].create_work_group(**made)
    for made in stack.resources("AWS::Athena::NamedQuery").values():
        clients["athena"].create_named_query(**made)


def delete_by_hand(stack, clients):
    for one in clients["iam"].list_policies(Scope="Local")["Policies"]:
        clients["iam"].delete_policy(PolicyArn=one["Arn"])
    for made in stack.resources("AWS::Athena::WorkGroup").values():
        clients["athena"].delete_work_group(WorkGroup=made["Name"], RecursiveDeleteOption=True)
    for made in stack.resources("AWS::KinesisFirehose::DeliveryStream").values():
        clients["firehose"].delete_delivery_stream(DeliveryStreamName=made["DeliveryStreamName"])
    for made in stack.resources("AWS::Glue::Trigger").values():
        clients["glue"].delete_trigger(Name=made["Name"])
    for made in stack.resources("AWS::Glue::Job").values():
        clients["glue"].delete_job(JobName=made["Name"])
    for made in stack.resources("AWS::Glue::Table").values():
        clients["glue"].delete_table(DatabaseName=made["DatabaseName"], Name=made["TableInput"]["Name"])
    for made in stack.resources("AWS::Glue::Database").values():
        clients["glue"].delete_database(Name=made["DatabaseInput"]["Name"])


def document_of(answer):
    """A policy's document; moto answers with texts of it, some in JSON and some in Python."""
    return document_of(yaml.safe_load(answer)) if isinstance(answer, str) else answer


def an_archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("bootstrap", "")
        archive.writestr("mapping.yaml", "")
    return out.getvalue()


FORMS = {
    "job": {"CodeBucket": "code"},
    "firehose": {
        "CodeBucket": "code",
        "ParquetBy": "firehose",
        "StreamMode": "PROVISIONED",
        "ShardCount": 2,
        "KmsKeyArn": KEY,
    },
}


@contextlib.contextmanager
def a_stack(form):
    """(Stack, clients) after the stack was made."""
    parameters = FORMS[form]
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        names = ("s3", "logs", "glue", "firehose", "athena", "kinesis", "iam", "lambda", "cloudformation")
        clients = {name: boto3.client(name, region_name=REGION) for name in names}
        clients["s3"].create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": REGION})
        for name in ("crimes", "events"):
            clients["s3"].put_object(Bucket="code", Key=f"tailrace/1/{name}.zip", Body=an_archive())
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            clients["cloudformation"].create_stack(
                StackName=STACK,
                TemplateBody=json.dumps(Stack(**parameters).chosen_template()),
                Parameters=[{"ParameterKey": k, "ParameterValue": str(v)} for k, v in parameters.items()],
                Capabilities=["CAPABILITY_IAM"],
            )
        resources = clients["cloudformation"].describe_stack_resources(StackName=STACK)["StackResources"]
        known = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources if "LogicalResourceId" in r}
        stack = Stack(known, **parameters)
        stack.left_out = {str(w.message).split()[3] for w in told if "not supported by moto" in str(w.message)}
        make_by_hand(stack, clients)
        yield stack, clients


@pytest.fixture(scope="module", params=FORMS)
def made(request):
    with a_stack(request.param) as both:
        yield both


@pytest.mark.parametrize("form", FORMS)
def test_deleting_it_leaves_the_three_buckets_and_nothing_else(form):
    with a_stack(form) as (stack, clients):
        delete_by_hand(stack, clients)
        clients["cloudformation"].delete_stack(StackName=STACK)
        left = {
            "streams": clients["kinesis"].list_streams()["StreamNames"],
            "functions": clients["lambda"].list_functions()["Functions"],
            "roles": clients["iam"].list_roles()["Roles"],
            "policies": clients["iam"].list_policies(Scope="Local")["Policies"],
            "groups": clients["logs"].describe_log_groups()["logGroups"],
            "deliveries": clients["firehose"].list_delivery_streams()["DeliveryStreamNames"],
            "databases": clients["glue"].get_databases()["DatabaseList"],
            "jobs": clients["glue"].get_jobs()["Jobs"],
            "stacks": clients["cloudformation"].describe_stacks()["Stacks"],
        }
        assert {name: one for name, one in left.items() if one} == {}
        buckets = {one["Name"] for one in clients["s3"].list_buckets()["Buckets"]} - {"code"}
        assert buckets == {stack.known[name] for name in ("JsonBucket", "ParquetBucket", "RawBucket")}


def test_all_is_made_that_the_emulator_models(made):
    stack, clients = made
    kinds = {stack.kind(name) for name in stack.resources()}
    assert stack.left_out == {kind for kind in BY_HAND if kind in kinds}
    assert set(stack.known) == {name for name in stack.resources() if stack.kind(name) not in BY_HAND}
    status = clients["cloudformation"].describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]
    assert status == "CREATE_COMPLETE"


def test_outputs_name_what_exists(made):
    stack, clients = made
    outputs = clients["cloudformation"].describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
    values = {one["OutputKey"]: one["OutputValue"] for one in outputs}
    assert values["CrimesStreamName"] == f"{STACK}-crimes"
    assert values["EventsStreamName"] == f"{STACK}-events"
    assert values["JsonBucketName"] == stack.known["JsonBucket"]


def test_streams(made):
    stack, clients = made
    for name in ("crimes", "events"):
        summary = clients["kinesis"].describe_stream_summary(StreamName=f"{STACK}-{name}")["StreamDescriptionSummary"]
        assert summary["StreamModeDetails"]["StreamMode"] == stack.parameters["StreamMode"]
        assert summary["EncryptionType"] == "KMS"
        assert summary["KeyId"] == (stack.parameters["KmsKeyArn"] or "alias/aws/kinesis")
        assert summary["RetentionPeriodHours"] == 72
        if stack.parameters["StreamMode"] == "PROVISIONED":
            assert summary["OpenShardCount"] == 2


def test_buckets(made):
    stack, clients = made
    for name in ("JsonBucket", "ParquetBucket", "RawBucket"):
        bucket = stack.known[name]
        rules = clients["s3"].get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        policy = json.loads(clients["s3"].get_bucket_policy(Bucket=bucket)["Policy"])
        tls = {s["Sid"]: s for s in policy["Statement"]}["TlsOnly"]
        assert tls["Effect"] == "Deny" and tls["Principal"] == "*"
        assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert tls["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]


def test_roles_as_they_stand_name_this_stacks_resources(made):
    stack, clients = made
    buckets = {stack.known[name] for name in ("JsonBucket", "ParquetBucket", "RawBucket")} | {"code"}
    for name in stack.resources("AWS::IAM::Role"):
        role = stack.known[name]
        assert clients["iam"].list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
        for policy in clients["iam"].list_role_policies(RoleName=role)["PolicyNames"]:
            document = clients["iam"].get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            for statement in document_of(document)["Statement"]:
                resources = statement["Resource"]
                for resource in resources if isinstance(resources, list) else [resources]:
                    assert isinstance(resource, str), (name, resource)
                    if resource.startswith("arn:aws:s3:::"):
                        assert resource.removeprefix("arn:aws:s3:::").split("/")[0] in buckets
                    elif not resource.startswith("arn:aws:kms:"):
                        assert f":{REGION}:{ACCOUNT}:" in resource
                        assert STACK in resource or ":glue:" in resource


def test_the_daemon_may_write_to_both_streams_and_that_is_all(made):
    stack, clients = made
    arn = clients["iam"].list_policies(Scope="Local")["Policies"][0]["Arn"]
    version = clients["iam"].get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    document = document_of(version["Document"])
    write = document["Statement"][0]
    streams = [
        clients["kinesis"].describe_stream(StreamName=f"{STACK}-{name}")["StreamDescription"]["StreamARN"]
        for name in ("crimes", "events")
    ]
    assert (write["Action"], write["Resource"]) == ("kinesis:PutRecords", streams)
    assert len(document["Statement"]) == (2 if stack.parameters["KmsKeyArn"] else 1)


def test_log_groups_forget(made):
    _, clients = made
    groups = clients["logs"].describe_log_groups()["logGroups"]
    assert groups and {group.get("retentionInDays") for group in groups} == {30}
    for name in ("crimes", "events"):
        streams = clients["logs"].describe_log_streams(logGroupName=f"/aws/kinesisfirehose/{STACK}-{name}")
        assert {one["logStreamName"] for one in streams["logStreams"]} == {"delivery", "backup"}


def test_functions(made):
    _, clients = made
    for name in ("crimes", "events"):
        function = clients["lambda"].get_function(FunctionName=f"{STACK}-{name}")["Configuration"]
        assert (function["Runtime"], function["Handler"], function["Timeout"]) == ("provided.al2023", "bootstrap", 60)


def test_deliveries_go_from_the_stream_through_the_function_to_the_buckets(made):
    stack, clients = made
    for name in ("crimes", "events"):
        answer = clients["firehose"].describe_delivery_stream(DeliveryStreamName=f"{STACK}-{name}")
        description = answer["DeliveryStreamDescription"]
        source = description["Source"]["KinesisStreamSourceDescription"]
        stream = clients["kinesis"].describe_stream(StreamName=f"{STACK}-{name}")["StreamDescription"]
        assert source["KinesisStreamARN"] == stream["StreamARN"]
        to = description["Destinations"][0]["ExtendedS3DestinationDescription"]
        parquet = stack.parameters["ParquetBy"] == "firehose"
        assert to["BucketARN"] == f"arn:aws:s3:::{stack.known['ParquetBucket' if parquet else 'JsonBucket']}"
        assert to["S3BackupMode"] == "Enabled"
        assert to["S3BackupDescription"]["BucketARN"] == f"arn:aws:s3:::{stack.known['RawBucket']}"
        function = clients["lambda"].get_function(FunctionName=f"{STACK}-{name}")["Configuration"]
        processor = to["ProcessingConfiguration"]["Processors"][0]
        assert {"ParameterName": "LambdaArn", "ParameterValue": function["FunctionArn"]} in processor["Parameters"]
        role = clients["iam"].get_role(RoleName=stack.known[f"{name.title()}DeliveryRole"])["Role"]["Arn"]
        assert {to["RoleARN"], to["S3BackupDescription"]["RoleARN"], source["RoleARN"]} == {role}


def test_tables(made):
    stack, clients = made
    tables = {t["Name"]: t for t in clients["glue"].get_tables(DatabaseName="tailrace")["TableList"]}
    assert set(tables) == {"crimes", "crimes_json", "events", "events_json"}
    crimes = {name: kind for name, kind, _ in job.columns_of(tables["crimes"])}
    strings = ("crime_time", "address", "beat", "description", "crime_year", "crime_month", "crime_day")
    assert crimes == {
        **dict.fromkeys(strings, "string"),
        **dict.fromkeys(("district", "grid", "crime_id"), "int"),
        **dict.fromkeys(("latitude", "longitude"), "double"),
        "location": "struct<lat:double,lon:double>",
    }
    assert job.partitions_of(tables["crimes"]) == ["crime_year", "crime_month", "crime_day"]
    assert job.partitions_of(tables["events"]) == ["event_year", "event_month", "event_day"]
    assert tables["crimes"]["StorageDescriptor"]["Location"] == f"s3://{stack.known['ParquetBucket']}/crimes/"


def test_the_job_and_its_triggers(made):
    stack, clients = made
    jobs = clients["glue"].get_jobs()["Jobs"]
    triggers = clients["glue"].get_triggers()["Triggers"]
    if stack.parameters["ParquetBy"] == "firehose":
        assert (jobs, triggers) == ([], [])
        return
    assert [(one["Name"], one["GlueVersion"]) for one in jobs] == [(f"{STACK}-json-to-parquet", "5.0")]
    assert {one["Actions"][0]["JobName"] for one in triggers} == {jobs[0]["Name"]}
    assert {one["Schedule"] for one in triggers} == {"cron(10 1 * * ? *)"}


def test_queries_are_bounded_and_their_answers_encrypted(made):
    stack, clients = made
    group = clients["athena"].get_work_group(WorkGroup=STACK)["WorkGroup"]["Configuration"]
    assert group["EnforceWorkGroupConfiguration"] is True
    assert group["BytesScannedCutoffPerQuery"] == 10 * 2**30
    answers = group["ResultConfiguration"]
    assert answers["OutputLocation"] == f"s3://{stack.known['ParquetBucket']}/athena/"
    assert answers["EncryptionConfiguration"] == {"EncryptionOption": "SSE_S3"}
    query = clients["athena"].list_named_queries(WorkGroup=STACK)["NamedQueryIds"]
    named = clients["athena"].get_named_query(NamedQueryId=query[0])["NamedQuery"]
    assert (named["Name"], named["Database"], named["WorkGroup"]) == ("crimes-top-10", "tailrace", STACK)
