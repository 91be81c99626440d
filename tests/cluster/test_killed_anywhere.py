"""Killed at any write of a raise, a renewal or a give-back: a release restores every rung."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kube_objects import deployment, hpa, node_pool, scaled_object
from kube_server import KubeServer, serve_kube

from pipelines.adapters.kube import (
    CAPACITY_BUFFER,
    DEPLOYMENT,
    HPA,
    KINDS,
    NODE_POOL,
    POD_TEMPLATE,
    SCALED_OBJECT,
    Kind,
    Kube,
)
from pipelines.release import release
from pipelines.rungs import (
    Room,
    RungParams,
    give_back,
    held,
    hold_nodes,
    hold_room,
    raise_floor,
    read_holders,
    release_nodes,
    same_as_before,
)
from pipelines.rungs.installed import room_objects

NOW = pd.Timestamp("2026-03-02T07:00Z")
UNTIL = NOW + pd.Timedelta(30, "min")
PLACEHOLDER = "foretide-placeholder"
RUNGS = ("hpa", "hpa_unset", "keda", "keda_unset", "nodes", "static", "placeholders", "buffer")
WRITES = 14
"""More than any rung needs to be raised, renewed, renewed lower and given back."""


class KilledError(BaseException):
    """What a process feels of SIGKILL: nothing runs after it."""


class Dying:
    """A client whose process is killed at its n-th write, before it is sent or after it."""

    def __init__(self, kube: Kube, at: int, *, after: bool) -> None:
        self._kube, self._left, self._after = kube, at, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    def apply(self, *what: Any, **how: Any) -> dict[str, Any]:
        return self._write(lambda: self._kube.apply(*what, **how))

    def merge(self, *what: Any, **how: Any) -> dict[str, Any]:
        return self._write(lambda: self._kube.merge(*what, **how))

    def _write(self, send: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise KilledError
        done = send()
        if self._left < 0:
            raise KilledError
        return done


@pytest.fixture
def cluster() -> Iterator[KubeServer]:
    with serve_kube(namespaces=("shop", "foretide")) as server:
        yield server


def place(server: KubeServer, rung: str) -> list[tuple[Kind, str, str]]:
    """What a rung moves."""
    least = None if rung.endswith("_unset") else 2
    server.put(DEPLOYMENT, deployment("web", "shop", 2))
    if rung.startswith("hpa"):
        server.put(HPA, hpa("web", "shop", least, 40))
        return [(HPA, "web", "shop")]
    if rung.startswith("keda"):
        server.put(SCALED_OBJECT, scaled_object("web", "shop", least, 40))
        return [(SCALED_OBJECT, "web", "shop")]
    if rung == "nodes":
        server.put(NODE_POOL, node_pool("pool", budgets=[{"nodes": "10%"}]))
        return [(NODE_POOL, "pool", "")]
    if rung == "static":
        server.put(NODE_POOL, node_pool("pool", replicas=2, limits={"nodes": "9"}))
        return [(NODE_POOL, "pool", "")]
    kinds = {kind.kind: kind for kind in KINDS}
    for obj in room_objects(buffer=rung == "buffer"):
        server.put(kinds[obj["kind"]], obj, "kubectl")
    moved = (DEPLOYMENT,) if rung == "placeholders" else (CAPACITY_BUFFER, POD_TEMPLATE)
    return [(kind, PLACEHOLDER, "foretide") for kind in moved]


def run(kube: Any, rung: str) -> None:
    """Raised to 3 more, renewed at 5 and at 4 more, given back."""
    more: Any = {"until": UNTIL, "plan_id": "p"}
    force: Any = {"force_owners": ("*",)}
    if rung.startswith(("hpa", "keda")):
        for height in (5, 7, 6):
            (holder,) = read_holders(kube, "prod")
            raise_floor(kube, holder, height, **more, **force)
        give_back(kube, read_holders(kube, "prod")[0])
        return
    if rung == "nodes":
        for minute in (0, 5, 10):
            start = NOW + pd.Timedelta(minute, "min")
            hold_nodes(kube, "pool", start=start, end=UNTIL, plan_id="p", **force)
        release_nodes(kube, "pool")
        return
    room: Any = {"static": "static_nodepool"}.get(rung, rung)
    params = RungParams(room=room, static_nodepool="pool" if rung == "static" else "")
    for count in (3, 5, 4, 0):
        size = Room(count, 0.5 + count / 10, 2.0**30, nodes=count)
        hold_room(kube, size, params=params, **more)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("rung", RUNGS)
def test_a_release_restores_what_a_killed_run_left(
    cluster: KubeServer, tmp_path: Path, rung: str, after: bool
) -> None:
    placed = place(cluster, rung)
    before = [cluster.read(kind, name, space) for kind, name, space in placed]
    ended = []
    with cluster.kube(tmp_path) as kube:
        for at in range(WRITES):
            try:
                run(Dying(kube, at, after=after), rung)
                ended.append(at)
            except KilledError:
                pass
            told = release(kube, "prod", UNTIL)
            now = [cluster.read(kind, name, space) for kind, name, space in placed]
            lines = [x for b, n in zip(before, now, strict=True) for x in same_as_before(b, n)]
            assert (at, lines, told.left, held(kube, "prod")) == (at, [], (), [])
    assert ended, "not every write was reached"
    assert ended[0] >= 4
