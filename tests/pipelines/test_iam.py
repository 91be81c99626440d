"""The policies of config/iam: every AWS action that the code asks for, and no other.

What the code asks for is read from the code: every method of a client of the services it uses, and
the paths of Prometheus' API. A call that is added breaks a test until its action is allowed.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cli import cli

ROOT = Path(__file__).parents[2]
IAM = ROOT / "config" / "iam"
SERVICES = {"s3", "cloudwatch", "sts", "sns", "events"}
"""Every service that a client is made for."""

_OTHER_NAMES = {  # operation -> action, where they are not called alike
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
}
_FREE = {"sts:GetCallerIdentity"}  # nobody can be denied it
_AMP = {  # path of Prometheus' API -> action
    "query": "aps:QueryMetrics",
    "query_range": "aps:QueryMetrics",
    "series": "aps:GetSeries",
    "labels": "aps:GetLabels",
    "label": "aps:GetLabels",
    "metadata": "aps:GetMetricMetadata",
    "write": "aps:RemoteWrite",
    "remote_write": "aps:RemoteWrite",
}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "pipelines").rglob("*.py")):
        yield path, ast.parse(path.read_text())


@lru_cache(maxsize=1)
def operations() -> dict[str, set[str]]:
    """Method of a client -> what it may be, ``service:Operation``."""
    from botocore.session import Session

    found: dict[str, set[str]] = {}
    for service in SERVICES:
        client = Session().create_client(
            service,
            region_name="eu-west-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",  # noqa: S106
        )
        for method, operation in client.meta.method_to_api_mapping.items():
            found.setdefault(method, set()).add(f"{service}:{operation}")
    return found


def calls(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Method and receiver of each call; of paginators and signed URLs the method that they name."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        receiver = ast.unparse(node.func.value)
        yield node.func.attr, receiver
        named = node.func.attr in ("get_paginator", "generate_presigned_url", "get_waiter")
        if named and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value), receiver


@lru_cache(maxsize=1)
def asked_of_aws() -> dict[str, str]:
    """Action -> where it is asked for."""
    found: dict[str, str] = {}
    for path, tree in sources():
        for method, receiver in calls(tree):
            if not re.search(r"client|caller", receiver):
                continue
            for one in operations().get(method, ()):
                service, operation = one.split(":")
                action = _OTHER_NAMES.get(one, f"{service}:{operation}")
                found.setdefault(action, str(path))
        text = path.read_text()
        if "AssumeRoleCredentialFetcher(" in text:
            found["sts:AssumeRole"] = str(path)
        if "datadog" not in path.parts:
            for api in re.findall(r'"[^" ]*api/v1/(\w+)', text):
                found.setdefault(_AMP[api], str(path))
        if path.name == "remote_write.py":
            found.setdefault("aps:RemoteWrite", str(path))
    return {action: where for action, where in found.items() if action not in _FREE}


def policies() -> dict[str, list[dict[str, Any]]]:
    """Statements by name; trust policies are not among them."""
    return {
        file.stem: json.loads(file.read_text())["Statement"]
        for file in sorted(IAM.glob("*.json"))
        if not file.stem.startswith("trust-")
    }


def actions(*names: str) -> set[str]:
    return {a for name in names for s in policies()[name] for a in s["Action"]}


def test_no_service_is_asked_that_is_not_known_here() -> None:
    found: set[str] = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in ("client", "create_client") and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
        # the notifiers' services are named where their channels are opened
        text = ast.unparse(tree)
        found |= set(re.findall(r"_client\(name, '(\w+)'", text))
    assert found == SERVICES


def test_every_action_that_is_asked_for_is_allowed_and_none_beyond() -> None:
    asked, allowed = asked_of_aws(), actions(*policies())
    assert len(asked) > 10
    missing = {a: asked[a] for a in asked.keys() - allowed}
    assert not missing, f"asked for and in no policy: {missing}"
    assert not allowed - asked.keys(), "allowed and asked for nowhere"


def test_a_new_call_would_be_seen() -> None:
    tree = ast.parse("self._client.list_tables(X=1)\nclient.get_paginator('describe_alarms')\n")
    assert [m for m, _ in calls(tree)] == ["list_tables", "get_paginator", "describe_alarms"]
    assert operations()["describe_alarms"] == {"cloudwatch:DescribeAlarms"}


@pytest.mark.parametrize("name", sorted(policies()))
def test_a_policy_allows_no_wildcard_and_names_its_resources(name: str) -> None:
    for statement in policies()[name]:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in statement["Action"])
        assert statement["Action"] == sorted(statement["Action"])
        if statement["Resource"] == "*":  # CloudWatch's metrics have no resources
            assert name.startswith("cloudwatch-")
        else:
            assert statement["Resource"].startswith("arn:aws:")
            assert "${" in statement["Resource"]
        for action in statement["Action"]:
            if action.startswith("s3:List"):
                assert statement["Condition"] == {"StringLike": {"s3:prefix": ["${PREFIX}/*"]}}
            elif action.startswith("s3:"):
                assert statement["Resource"].endswith("/${PREFIX}/*")
            if action == "cloudwatch:PutMetricData":
                assert statement["Condition"]["StringEquals"].keys() == {"cloudwatch:namespace"}


def test_every_verb_says_what_it_needs_and_every_policy_is_needed() -> None:
    told = yaml.safe_load((IAM / "verbs.yaml").read_text())
    verbs = told["verbs"]
    assert set(verbs) == set(cli.commands)
    assert {p for needs in verbs.values() for p in needs} == set(policies())
    for account, does in told["accounts"].items():
        assert set(does) <= set(verbs)
        assert account in ("foretide-pipeline", "foretide-apply")
    assert not verbs["release"]


def test_reading_the_store_is_a_part_of_writing_it() -> None:
    assert actions("store-read") < actions("store-write")
    assert actions("store-read") == {"s3:GetObject", "s3:ListBucket"}


def test_only_the_accounts_pods_may_take_the_roles() -> None:
    for name in ("trust-irsa", "trust-pod-identity"):
        (statement,) = json.loads((IAM / f"{name}.json").read_text())["Statement"]
        assert statement["Condition"]["StringEquals"]
        assert "*" not in json.dumps(statement)


def test_the_namespace_that_may_be_written_is_the_one_that_is() -> None:
    from pipelines.settings import load_settings

    (statement,) = policies()["cloudwatch-write"]
    allowed = statement["Condition"]["StringEquals"]["cloudwatch:namespace"]
    assert allowed == load_settings().publish.cloudwatch.namespace
