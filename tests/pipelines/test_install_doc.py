"""Every command of docs/install-eks.md, as far as it can be held against something here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cli import cli

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "install-eks.md").read_text()
_AWS_GLOBAL = {"region", "query", "output"}
_AWS_OWN = {  # commands of the aws tool itself, which are no operation of an API
    ("eks", "update-kubeconfig"): {"name", "alias"},
    ("ecr", "get-login-password"): set[str](),
    ("s3", "cp"): set[str](),
}


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    inner = [m for line in lines for m in re.findall(r"\$\((.*)\)", line)]
    return [*inner, *(re.sub(r"\$\(.*\)", "X", line) for line in lines)]


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)


@lru_cache(maxsize=8)
def service(name: str) -> Any:
    from botocore.session import Session

    return Session().get_service_model(name)


def check_aws(args: list[str]) -> None:
    name, operation, *rest = args
    given = {a.removeprefix("--") for a in rest if a.startswith("--")} - _AWS_GLOBAL
    if (name, operation) in _AWS_OWN:
        assert given == _AWS_OWN[name, operation]
        return
    from botocore import xform_name

    model = service("s3" if name == "s3api" else name)
    known = {xform_name(o, "-"): o for o in model.operation_names}
    assert operation in known, f"aws {name} has no {operation}"
    shape = model.operation_model(known[operation]).input_shape
    options = {xform_name(m, "-"): m for m in shape.members} if shape else {}
    assert given <= options.keys(), f"aws {name} {operation}: {given - options.keys()}"
    required = set(shape.required_members) if shape else set[str]()
    missing = required - {options[g] for g in given} - {"clientToken", "ClientRequestToken"}
    assert not missing, f"aws {name} {operation} needs {missing}"
    for value in rest:
        if value.startswith("{"):
            json.loads(value)


def check_kubectl(args: list[str]) -> None:
    if "exec" in args:
        check(args[args.index("--") + 1 :])
    for flag, value in pairwise(args):
        if flag == "-k":
            assert (ROOT / value / "kustomization.yaml").is_file()
        if flag.startswith("--from=") or value.startswith("--from="):
            name = (value if value.startswith("--from=") else flag).split("/")[1]
            assert f"name: {name}\n" in (ROOT / "config/deploy/release-cronjob.yaml").read_text()
        if value.startswith("deployment/"):
            assert (
                f"name: {value.split('/')[1]}\n"
                in (ROOT / "config/deploy/prefect/worker.yaml").read_text()
            )
    if not {"-k", "exec"} & set(args):
        assert {"create", "rollout", "port-forward"} & set(args)


def check_foretide(args: list[str]) -> None:
    command = cli.commands[args[0]]
    command.make_context(args[0], list(args[1:]))


def check_docker(args: list[str]) -> None:
    assert args[0] in ("build", "push", "run", "login")
    if args[0] == "build":
        assert args[-1] == "."
        assert (ROOT / "Dockerfile").is_file()


def check_python(args: list[str]) -> None:
    assert args[0] == "-m"
    assert find_spec(args[1]) is not None


def check_envsubst(args: list[str]) -> None:
    _, file, _, made = args
    assert args[0] == "<" and args[2] == ">" and made.startswith("/tmp/")  # noqa: S108, PT018
    text = (ROOT / file).read_text()
    set_before = set(re.findall(r"export (\w+)=", TEXT.split(f"< {file}")[0]))
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= set_before
    json.loads(text)


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "aws": check_aws,
    "kubectl": check_kubectl,
    "foretide": check_foretide,
    "docker": check_docker,
    "python": check_python,
    "envsubst": check_envsubst,
}


def check(args: list[str]) -> None:
    if args[0] in ("export", "alias"):
        return
    while re.fullmatch(r"\w+=\S*", args[0]):
        args = args[1:]
    if args[0] == "in-worker":
        args = args[1:]
    CHECKS[args[0]](args[1:])


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one(command: str) -> None:
    for part in command.split(" | "):
        args = words(part)
        if "docker" in args and "<" in args:
            file = args[args.index("<") + 1]
            assert (ROOT / file).is_file()
        check(args)


def test_there_are_as_many_commands_as_there_seem() -> None:
    assert len(commands()) > 40
    assert {words(c)[0] for c in commands()} >= {
        "aws",
        "kubectl",
        "docker",
        "in-worker",
        "envsubst",
    }


def test_a_context_that_is_named_is_one_that_was_made() -> None:
    """update-kubeconfig calls a context by the cluster's ARN where it is not told otherwise."""
    contexts = set(re.findall(r"--context (\S+)", TEXT))
    assert contexts
    assert contexts <= set(re.findall(r"--alias (\S+)", TEXT.split("## 7")[1]))


def test_every_policy_document_that_is_put_was_made_before() -> None:
    for file in re.findall(r"file://(/tmp/\S+)", TEXT):
        assert TEXT.index(f"> {file}") < TEXT.index(f"file://{file}")


def test_every_file_and_link_is_there() -> None:
    for document in ("install-eks.md", "upgrade.md"):
        text = (ROOT / "docs" / document).read_text()
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / "docs" / link).exists(), link
    for path in re.findall(r"`(config/[\w./-]+)`", TEXT):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`([\w-]+\.json)`", TEXT):
        assert (ROOT / "config/iam" / name).is_file(), name


def test_the_accounts_get_the_policies_that_their_verbs_need() -> None:
    told = yaml.safe_load((ROOT / "config/iam/verbs.yaml").read_text())
    for account, verbs in told["accounts"].items():
        needed = {p for verb in verbs for p in told["verbs"][verb]}
        put = re.findall(
            rf"--role-name {account} --policy-name \w+ .*file:///tmp/([\w-]+)\.json", TEXT
        )
        assert set(put) <= needed
        assert "store-write" in put
        others = {p for p in needed - set(put) if f"`{p}.json`" not in TEXT}
        assert not others, f"{account} needs {others}, and the page does not say so"
