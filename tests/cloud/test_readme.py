"""The commands of conf/aws/README.md: that they parse, and that what they call exists.

Names of operations and options are held against botocore's models; what the AWS CLI adds to these
(s3 cp, cloudformation deploy, logs tail, waiters) is listed here.
"""

import re
import shlex
import subprocess

import boto3
import pytest
from botocore import xform_name

from template import AWS, REGION, load

TEXT = (AWS / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.M | re.S)
OF_EVERY_COMMAND = {"query", "output", "cli-binary-format"}
OF_THE_CLI = {
    ("s3", "mb"): set(),
    ("s3", "cp"): set(),
    ("s3", "ls"): {"recursive"},
    ("s3", "rb"): {"force"},
    ("cloudformation", "deploy"): {"stack-name", "template-file", "capabilities", "parameter-overrides"},
    ("cloudformation", "wait"): {"stack-name"},
    ("logs", "tail"): {"since"},
}


def commands():
    """[[service, operation, words...]] of every call, also those inside of others."""
    for block in BLOCKS:
        for start in re.finditer(r"(?<![\w-])aws (?=[a-z0-9]+ [a-z0-9-]+ )", block):
            text = block[start.end() :].split("\n")[0]
            text = re.sub(r"\$\((?:out|basename) [^)]*\)", "ONE", text)
            yield re.split(r" \| |\)\"?(?:$| )|\$\(aws |; ", text)[0].split()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:40])
def test_a_block_is_a_shell_program(block):
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("", 0)


def test_calls_and_their_options_exist():
    calls = list(commands())
    assert len(calls) > 25
    for service, operation, *words in calls:
        options = {word[2:].split("=")[0] for word in words if re.fullmatch(r"--[a-z-]+", word)}
        allowed = OF_THE_CLI.get((service, operation))
        if allowed is None:
            client = boto3.client({"s3api": "s3"}.get(service, service), region_name=REGION)
            method = operation.replace("-", "_")
            assert method in client.meta.method_to_api_mapping, (service, operation)
            model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
            members = model.input_shape.members if model.input_shape else {}
            allowed = {xform_name(name, "-") for name in members}
        assert options - OF_EVERY_COMMAND <= allowed, (service, operation)


def test_parameters_and_outputs_that_are_named_exist():
    template = load()
    for name in re.findall(r"\$\(out (\w+)\)", TEXT):
        assert name in template["Outputs"]
    named = set(re.findall(r"^\| (`.*?`) \|", TEXT.split("### Choices")[1].split("**When")[0], re.M))
    words = {word for cell in named for word in re.findall(r"`(\w+)`", cell)}
    assert words and words <= set(template["Parameters"])
    overrides = re.search(r"--parameter-overrides (.*)", TEXT)[1]
    given = {word.split("=")[0] for word in shlex.split(overrides)}
    without_default = {name for name, spec in template["Parameters"].items() if "Default" not in spec}
    assert without_default <= given <= set(template["Parameters"])
