"""Reads conf/aws/pipeline.yaml, and works out what CloudFormation would make of it.

An emulator models some resources and not others. With the functions resolved here, the others can be
made by the same calls that CloudFormation would send, and every choice of parameters can be looked at.
"""

import functools
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
AWS = ROOT / "conf/aws"
PATH = AWS / "pipeline.yaml"
ACCOUNT, REGION, STACK = "123456789012", "eu-west-1", "tailrace"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::StackName": STACK,
}
NO_VALUE = object()
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0a1b2c3d-0000-4000-8000-000000000000"

# What Ref and GetAtt Arn give, where the emulator has not made the resource: (Ref, Arn) from the name.
IDENTITIES = {
    "AWS::Athena::NamedQuery": ("{id}", None),
    "AWS::Athena::WorkGroup": ("{Name}", None),
    "AWS::Glue::Database": ("{DatabaseInput[Name]}", None),
    "AWS::Glue::Job": ("{Name}", None),
    "AWS::Glue::Table": ("{TableInput[Name]}", None),
    "AWS::Glue::Trigger": ("{Name}", None),
    "AWS::IAM::ManagedPolicy": ("arn:aws:iam::{account}:policy/{id}", None),
    "AWS::IAM::Role": ("{id}", "arn:aws:iam::{account}:role/{id}"),
    "AWS::Kinesis::Stream": ("{Name}", "arn:aws:kinesis:{region}:{account}:stream/{Name}"),
    "AWS::KinesisFirehose::DeliveryStream": (
        "{DeliveryStreamName}",
        "arn:aws:firehose:{region}:{account}:deliverystream/{DeliveryStreamName}",
    ),
    "AWS::Lambda::Function": ("{FunctionName}", "arn:aws:lambda:{region}:{account}:function:{FunctionName}"),
    "AWS::Logs::LogGroup": ("{LogGroupName}", "arn:aws:logs:{region}:{account}:log-group:{LogGroupName}:*"),
    "AWS::Logs::LogStream": ("{LogStreamName}", None),
    "AWS::S3::Bucket": ("{low}-bucket", "arn:aws:s3:::{low}-bucket"),
    "AWS::S3::BucketPolicy": ("{id}", None),
}


class Loader(yaml.SafeLoader):
    pass


def intrinsic(loader, tag, node):
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name: value.split(".", 1) if tag == "GetAtt" and isinstance(value, str) else value}


Loader.add_multi_constructor("!", intrinsic)


@functools.cache
def load():
    return yaml.load(PATH.read_text(), Loader)


class Stack:
    """The template with one choice of parameters. known: {logical id: physical id} of what exists."""

    def __init__(self, known=None, **parameters):
        self.template = load()
        self.known = dict(known or {})
        self.parameters = {
            name: (int if spec["Type"] == "Number" else str)(parameters.get(name, spec.get("Default")))
            for name, spec in self.template["Parameters"].items()
        }
        assert set(parameters) <= set(self.parameters)

    def condition(self, name):
        return self.resolve(self.template["Conditions"][name])

    def resources(self, kind=None):
        """{logical id: properties} of those that the choice makes."""
        return {
            name: self.resolve(one["Properties"])
            for name, one in self.template["Resources"].items()
            if kind in (None, one["Type"]) and ("Condition" not in one or self.condition(one["Condition"]))
        }

    def chosen(self, value):
        """The same with only the choices made: no Fn::If is left, and what has no value is gone."""
        if isinstance(value, list):
            return [one for one in (self.chosen(one) for one in value) if one is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if list(value) == ["Fn::If"]:
            name, yes, no = value["Fn::If"]
            return self.chosen(yes if self.condition(name) else no)
        if value == {"Ref": "AWS::NoValue"}:
            return NO_VALUE
        made = {key: self.chosen(one) for key, one in value.items()}
        return {key: one for key, one in made.items() if one is not NO_VALUE}

    def chosen_template(self):
        """The template as it would be if it had been written for this choice alone."""

        def kept(part):
            for name, one in self.template[part].items():
                if "Condition" not in one or self.condition(one["Condition"]):
                    yield name, self.chosen({key: value for key, value in one.items() if key != "Condition"})

        rest = {key: one for key, one in self.template.items() if key not in ("Conditions", "Metadata")}
        return {**rest, "Resources": dict(kept("Resources")), "Outputs": dict(kept("Outputs"))}

    def kind(self, name):
        return self.template["Resources"][name]["Type"]

    def identity(self, name, which):
        kind = self.kind(name)
        if kind == "AWS::S3::Bucket" and name in self.known:
            return (self.known[name], f"arn:aws:s3:::{self.known[name]}")[which]
        if kind in ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy") and name in self.known:
            return (self.known[name], f"arn:aws:iam::{ACCOUNT}:role/{self.known[name]}")[which]
        form = IDENTITIES[kind][which]
        assert form is not None, f"{kind} has no Arn"
        own = self.template["Resources"][name]["Properties"]
        named = {
            key: self.resolve(own[key])
            for key in re.findall(r"{(\w+)", form)
            if key in own
        }
        return form.format(id=name, low=name.lower(), account=ACCOUNT, region=REGION, **named)

    def ref(self, name):
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        return self.identity(name, 0)

    def sub(self, text):
        def one(match):
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            return self.identity(name[:-4], 1) if name.endswith(".Arn") else str(self.ref(name))

        return re.sub(r"\$\{([^}]+)\}", one, text)

    def function(self, name, value):
        if name == "Ref":
            return self.ref(value)
        if name == "Condition":
            return self.condition(value)
        if name == "Fn::Sub":
            return self.sub(value)
        if name == "Fn::GetAtt":
            assert value[1] == "Arn", value
            return self.identity(value[0], 1)
        if name == "Fn::If":
            return self.resolve(value[1] if self.condition(value[0]) else value[2])
        if name == "Fn::Equals":
            return self.resolve(value[0]) == self.resolve(value[1])
        if name == "Fn::Not":
            return not self.resolve(value[0])
        if name == "Fn::Or":
            return any(self.resolve(one) for one in value)
        raise AssertionError(f"{name} is not known here")

    def resolve(self, value):
        if isinstance(value, list):
            return [one for one in (self.resolve(one) for one in value) if one is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            name = next(iter(value))
            if name in ("Ref", "Condition") and isinstance(value[name], str) or name.startswith("Fn::"):
                return self.function(name, value[name])
        made = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in made.items() if one is not NO_VALUE}


def as_list(value):
    return value if isinstance(value, list) else [value]
