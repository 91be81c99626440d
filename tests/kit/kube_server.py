"""A small Kubernetes API server over HTTP on 127.0.0.1, for tests that write to a cluster.

It answers as the recorded requests of a real one are answered (``test_kube_replay.py``): CRUD,
lists in pages, server-side apply with managed fields, merge and JSON patch, scale and status,
dry runs, preconditions, validation, access by user. ``fail`` makes it misbehave; ``before`` and
``after_write`` let other parties act: GitOps, a controller, somebody who recreates an object.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from kube_controllers import advance
from kube_faults import Fault
from kube_http import Handler
from kube_store import Store, merged

from pipelines.adapters.kube import KINDS, Kind, Kube, RetryParams, connect

__all__ = ["QUICK", "Asked", "KubeServer", "Rule", "serve_kube"]

QUICK = RetryParams(attempts=3, total_s=5.0, wait_s=0.01, wait_max_s=0.05)
"""Retries that a test need not wait for."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request that came, in the order of coming."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    user: str
    content_type: str


@dataclass(frozen=True)
class Rule:
    """What a user may do; ``*`` is everything, resources are named ``nodepools/scale``."""

    verbs: tuple[str, ...] = ("*",)
    resources: tuple[str, ...] = ("*",)
    namespaces: tuple[str, ...] = ("*",)

    def allows(self, verb: str, resource: str, namespace: str) -> bool:
        def among(value: str, allowed: tuple[str, ...]) -> bool:
            return "*" in allowed or value in allowed

        return (
            among(verb, self.verbs)
            and among(resource, self.resources)
            and among(namespace, self.namespaces)
        )


@dataclass
class KubeServer:
    """See the module. ``users`` by name; a user's bearer token is ``token-of-NAME``."""

    store: Store
    without: frozenset[str] = frozenset()
    """Groups, or plurals, that are not served."""
    more: tuple[Kind, ...] = ()
    """Kinds that are served beside those of the client."""
    clock_s: float = 0.0
    """How far the server's clock is ahead."""
    users: dict[str, tuple[Rule, ...]] = field(default_factory=lambda: {"admin": (Rule(),)})
    asked: list[Asked] = field(default_factory=list)
    demand: dict[tuple[str, str], int] = field(default_factory=dict)
    """Namespace and name of an HPA → replicas that its metrics ask for, for ``advance``."""
    faults: list[Fault] = field(default_factory=list)
    url: str = ""
    connections: int = 0
    """How many came."""
    befores: list[Callable[[Asked], None]] = field(default_factory=list)
    afters: list[Callable[[Asked, Kind, Object], None]] = field(default_factory=list)

    # -- what is there

    def served(self) -> list[Kind]:
        gone = self.without
        kinds = (*KINDS, *self.more)
        return [kind for kind in kinds if kind.group not in gone and kind.plural not in gone]

    def read(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return self.store.read(kind, (namespace, name))

    def all(self, kind: Kind, namespace: str = "") -> list[Object]:
        return self.store.all(kind, namespace)

    # -- what other parties do

    def put(self, kind: Kind, body: Object, manager: str = "gitops") -> Object:
        """Apply by force as somebody else, who need not be let in."""
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        key = (body["metadata"].get("namespace", ""), body["metadata"]["name"])
        return self.store.apply(kind, key, body, manager, force=True)[1]

    def patch(
        self,
        kind: Kind,
        name: str,
        body: Object,
        namespace: str = "",
        *,
        manager: str = "kubectl-edit",
        subresource: str = "",
    ) -> Object:
        """A merge patch of somebody else; ``subresource="status"`` for a controller's."""
        return self.store.change(
            kind, (namespace, name), lambda o: merged(o, body), manager, subresource=subresource
        )

    def remove(self, kind: Kind, name: str, namespace: str = "") -> None:
        self.store.delete(kind, (namespace, name))

    def recreate(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """The same object with another uid, as after a delete and a new deployment."""
        old = self.store.delete(kind, (namespace, name))
        kept = {k: v for k, v in old["metadata"].items() if k in ("labels", "annotations")}
        meta = {**kept, "name": name, **({"namespace": namespace} if namespace else {})}
        return self.put(kind, {"metadata": meta, "spec": old.get("spec") or {}})

    def advance(self) -> None:
        """One sync of the HPA controller and of KEDA: the floor is jumped to, in one step."""
        advance(self.store, self.demand)

    def before(self, act: Callable[[Asked], None]) -> None:
        """``act`` before each request is handled."""
        self.befores.append(act)

    def after_write(self, act: Callable[[Asked, Kind, Object], None]) -> None:
        """``act`` after each write that came over HTTP and was kept, with the object then."""
        self.afters.append(act)

    def gitops(
        self,
        kind: Kind,
        body: Object,
        *,
        times: int = 1_000_000,
        manager: str = "argocd-controller",
    ) -> None:
        """Self-heal: whoever writes the object, this manifest is applied by force afterwards."""
        left = [times]

        def heal(asked: Asked, wrote: Kind, obj: Object) -> None:
            same = obj["metadata"]["name"] == body["metadata"]["name"]
            if wrote == kind and same and left[0] > 0:
                left[0] -= 1
                self.put(kind, body, manager)

        self.put(kind, body, manager)
        self.after_write(heal)

    def fail(self, method: str = "", path: str = "", status: int = 500, **more: Any) -> None:
        """The next requests that match get something else; see ``Fault``."""
        self.faults.append(Fault(method, path, status, **more))

    # -- how to come here

    def kubeconfig(self, folder: Path, user: str = "admin") -> Path:
        """A kubeconfig for one user; its context is called ``fake``."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": user}}],
            "users": [{"name": user, "user": {"token": f"token-of-{user}"}}],
        }
        path = folder / f"kubeconfig-{user}.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    def kube(
        self,
        folder: Path,
        user: str = "admin",
        *,
        timeout_s: float = 5.0,
        retry: RetryParams = QUICK,
    ) -> Kube:
        """A client of one user; whoever gets it closes it."""
        path = self.kubeconfig(folder, user)
        return connect("kubeconfig", str(path), "", timeout_s, retry=retry)


@contextmanager
def serve_kube(
    *,
    without: Iterable[str] = (),
    namespaces: Iterable[str] = ("default",),
    revision: int = 1,
    tls: ssl.SSLContext | None = None,
) -> Iterator[KubeServer]:
    """A server with nothing but these namespaces; over TLS where its context is given."""
    server = KubeServer(Store(revision=revision), frozenset(without))
    with _listening(server, tls):
        for name in namespaces:
            server.put(
                Kind("", "v1", "namespaces", "Namespace", False), {"metadata": {"name": name}}
            )
        yield server


@contextmanager
def _listening(server: KubeServer, tls: ssl.SSLContext | None) -> Iterator[None]:
    class Bound(Handler):
        kube = server

    class Listener(ThreadingHTTPServer):
        daemon_threads = False

    with Listener(("127.0.0.1", 0), Bound) as listener:
        if tls is not None:
            listener.socket = tls.wrap_socket(listener.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        server.url = f"{scheme}://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            listener.shutdown()
            thread.join()
            Bound.close_all()
