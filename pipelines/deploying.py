"""Work pool, concurrency limits and deployments on a Prefect server: ``python -m
pipelines.deploying``.

Everything may be done again. What a person changed on the server stays where it is theirs (limits,
the work pool's template), and is said; the deployments become what the file says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Literal, cast

import click
import yaml

from pipelines.errors import ConfigError, ForetideError
from pipelines.settings import CONFIG_DIR

__all__ = ["POOLS", "create_limits", "create_pool", "deploy", "prefect_file"]

PoolType = Literal["process", "kubernetes"]
POOLS: dict[PoolType, str] = {"process": "foretide", "kubernetes": "foretide-kubernetes"}
"""Runs as processes beside the worker, or as Kubernetes jobs."""
_CONFIG = "config/foretide.yaml"
_DEPLOY_MAX_S = 600.0


def create_limits(limits: Mapping[str, int]) -> dict[str, int]:
    """Create the global concurrency limits that are missing; a build step of config/prefect.yaml.

    Gives name → slots as they are on the server now.

    Raises
    ------
    ConfigError
        A limit is no whole number of at least 1.
    """
    for name, slots in limits.items():
        if not isinstance(slots, int) or slots < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                f"{name}: expected a whole number of at least 1 as its limit, got {slots!r}"
            )
    # a step runs once a deployment; asking once is enough
    return dict(_created(tuple(sorted(limits.items()))))


@cache
def _created(limits: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists

    found: list[tuple[str, int]] = []
    with get_client(sync_client=True) as client:
        for name, slots in limits:
            try:
                client.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=name, limit=slots, active=True)
                )
                click.echo(f"limit {name}: {slots}, created")
                found.append((name, slots))
            except ObjectAlreadyExists:
                there = client.read_global_concurrency_limit_by_name(name)
                click.echo(f"limit {name}: {_kept(there.limit, slots, active=there.active)}")
                found.append((name, there.limit))
    return tuple(found)


def _kept(there: int, asked: int, *, active: bool) -> str:
    """What to say of a limit that is there already."""
    told = f"{there}" if there == asked else f"{there} is kept (the file says {asked})"
    return told if active else f"{told}; it is switched OFF on the server and limits nothing"


def create_pool(kind: PoolType) -> str:
    """The work pool of a kind, created where it is missing; gives its name.

    Raises
    ------
    ConfigError
        There is one of that name and of another kind.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    name = POOLS[kind]
    with get_client(sync_client=True) as client:
        try:
            there = client.read_work_pool(name)
        except ObjectNotFound:
            client.create_work_pool(
                WorkPoolCreate(name=name, type=kind, base_job_template=_template(kind))
            )
            click.echo(f"work pool {name}: {kind}, created")
            return name
    if there.type != kind:
        raise ConfigError(
            f"work pool {name}: expected type {kind}, it is {there.type}; "
            f"`prefect work-pool delete {name}`, then deploy again"
        )
    if kind == "kubernetes" and there.base_job_template != _template(kind):
        click.echo(f"work pool {name}: its template is kept; it is not config/prefect/{kind}.json")
    return name


def _template(kind: PoolType) -> dict[str, Any]:
    if kind == "process":
        from prefect.workers.process import ProcessWorker

        return ProcessWorker.get_default_base_job_template()
    text = (CONFIG_DIR / "prefect" / f"{kind}.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


def prefect_file(text: str, pool: str, config: str) -> str:
    """The deployments' YAML for another pool and another configuration file.

    Deployments and triggers of ``config/prod.yaml`` end in ``-prod``: an installation beside them
    keeps its own.
    """
    stem = PurePath(config).stem
    ending = "" if stem == PurePath(_CONFIG).stem else f"-{stem}"
    spec: dict[str, Any] = yaml.safe_load(text)
    spec.pop("definitions", None)  # anchors alone
    for deployment in spec["deployments"]:
        deployment["name"] += ending
        deployment["work_pool"]["name"] = pool
        parameters = deployment.get("parameters") or {}
        if parameters.get("config") == _CONFIG:
            deployment["parameters"] = parameters | {"config": config}
        for trigger in deployment.get("triggers") or ():
            trigger["name"] += ending
            match = trigger.get("match") or {}
            if match.get("foretide.config") == _CONFIG:
                trigger["match"] = match | {"foretide.config": config}
    return yaml.safe_dump(spec, sort_keys=False)


def deploy(
    kind: PoolType = "process",
    config: str = _CONFIG,
    source: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Create what is missing and make the deployments what the file says.

    ``env`` is the environment of the command, with ``PREFECT_API_URL``. Gives what Prefect said.

    Raises
    ------
    ForetideError
        Prefect refused; its own words are in the text.
    """
    file = source or CONFIG_DIR / "prefect.yaml"
    text = prefect_file(file.read_text(encoding="utf-8"), POOLS[kind], config)
    with tempfile.TemporaryDirectory(prefix="foretide-") as folder:
        made = Path(folder) / "prefect.yaml"
        made.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        done = subprocess.run(  # noqa: S603  our own interpreter and words
            [*command, "--prefect-file", str(made)],
            env=dict(os.environ if env is None else env),
            text=True,
            capture_output=True,
            timeout=_DEPLOY_MAX_S,
            check=False,
        )
    if done.returncode:
        raise ForetideError(f"prefect deploy failed:\n{done.stdout}{done.stderr}")
    return done.stdout


@click.command()
@click.option("--pool", type=click.Choice(list(POOLS)), default="process", show_default=True)
@click.option("--config", default=_CONFIG, show_default=True, help="As runs see it.")
@click.option("--prefect-file", "source", type=click.Path(exists=True, path_type=Path))
def main(pool: PoolType, config: str, source: Path | None) -> None:
    """Create the work pool, the limits and the deployments on the server of PREFECT_API_URL."""
    if not os.environ.get("PREFECT_API_URL"):
        raise click.UsageError("PREFECT_API_URL is not set: which Prefect server?")
    try:
        name = create_pool(pool)
        said = deploy(pool, config, source)
    except ForetideError as error:
        raise click.ClickException(str(error)) from None
    for line in said.splitlines():
        if line.startswith("limit "):
            click.echo(line)
    click.echo(f"deployed; `prefect worker start --pool {name}` runs them")


if __name__ == "__main__":
    main()
