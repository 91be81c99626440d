"""The ways to a cluster: kubeconfigs as people have them, and the account of a pod."""

from __future__ import annotations

import base64
import json
import logging
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from kube_server import QUICK, KubeServer, serve_kube

from pipelines.adapters.kube import NAMESPACE, Kube, connect
from pipelines.errors import ClusterForbidden, ClusterUnreachable, ConfigError

SHOWN_NOWHERE = "token-of-admin"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_of(authority: trustme.CA, *, ask_client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[KubeServer]:
    with serve_kube(tls=tls_of(authority)) as server:
        yield server


def pem_of(authority: trustme.CA) -> str:
    return base64.b64encode(authority.cert_pem.bytes()).decode()


def written(
    folder: Path, server: KubeServer, user: dict[str, Any], cluster: dict[str, Any] | None = None
) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "prod",
        "clusters": [{"name": "c", "cluster": {"server": server.url} | (cluster or {})}],
        "contexts": [
            {"name": "prod", "context": {"cluster": "c", "user": "u"}},
            {"name": "nobody", "context": {"cluster": "c", "user": "missing"}},
        ],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def opened(path: Path, context: str = "") -> Kube:
    return connect("kubeconfig", str(path), context, 5.0, retry=QUICK)


def works(kube: Kube) -> bool:
    return [o["metadata"]["name"] for o in kube.list(NAMESPACE)] == ["default"]


def test_a_token_and_a_ca_in_the_file(
    secure: KubeServer, authority: trustme.CA, tmp_path: Path
) -> None:
    ca = {"certificate-authority-data": pem_of(authority)}
    path = written(tmp_path, secure, {"token": SHOWN_NOWHERE}, ca)
    before = path.read_bytes()
    with opened(path) as kube:
        assert works(kube)
        assert kube.whoami() == "admin"
    assert path.read_bytes() == before


def test_a_token_and_a_ca_in_files_beside_it(
    secure: KubeServer, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    (tmp_path / "token").write_text(SHOWN_NOWHERE + "\n")
    path = written(tmp_path, secure, {"tokenFile": "token"}, {"certificate-authority": "ca.crt"})
    with opened(path) as kube:
        assert works(kube)


def test_the_kubeconfig_of_the_environment(tmp_path: Path) -> None:
    with serve_kube() as server:
        path = written(tmp_path, server, {"token": SHOWN_NOWHERE})
        with connect("kubeconfig", environ={"KUBECONFIG": str(path)}, retry=QUICK) as kube:
            assert works(kube)


def test_a_server_that_no_trusted_ca_vouches_for_is_not_asked_twice(
    secure: KubeServer, tmp_path: Path
) -> None:
    ca = {"certificate-authority-data": pem_of(trustme.CA())}
    path = written(tmp_path, secure, {"token": SHOWN_NOWHERE}, ca)
    with opened(path) as kube, pytest.raises(ClusterUnreachable) as caught:
        works(kube)
    assert "certificate" in str(caught.value).lower()
    assert "attempts" not in str(caught.value)
    assert not secure.asked


def test_a_client_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    ours = authority.issue_cert("foretide@example.org")
    key = ours.private_key_pem.bytes()
    chain = b"".join(pem.bytes() for pem in ours.cert_chain_pems)
    user = {
        "token": SHOWN_NOWHERE,
        "client-certificate-data": base64.b64encode(chain).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    ca = {"certificate-authority-data": pem_of(authority)}
    with serve_kube(tls=tls_of(authority, ask_client=True)) as server:
        with opened(written(tmp_path, server, user, ca)) as kube:
            assert works(kube)
        path = written(tmp_path, server, {"token": SHOWN_NOWHERE}, ca)
        with opened(path) as kube, pytest.raises(ClusterUnreachable):
            works(kube)


def plugin(folder: Path, status: dict[str, Any], *, fails: str = "") -> dict[str, Any]:
    """An exec plugin's entry; it writes a line to ``runs`` whenever it is asked."""
    said = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": status,
    }
    script = folder / "plugin.py"
    script.write_text(
        "import json, pathlib, sys\n"
        f"with open({str(folder / 'runs')!r}, 'a') as runs: runs.write('run\\n')\n"
        f"if {fails!r}: sys.exit({fails!r})\n"
        f"print({json.dumps(said)!r})\n"
    )
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": ["-S", "-E", str(script)],
            "interactiveMode": "Never",
        }
    }


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


def test_an_exec_plugin_is_asked_once_while_its_token_holds(tmp_path: Path) -> None:
    status = {"token": SHOWN_NOWHERE, "expirationTimestamp": "2100-01-01T00:00:00Z"}
    with serve_kube() as server:
        path = written(tmp_path, server, plugin(tmp_path, status))
        with opened(path) as kube:
            assert works(kube)
            assert works(kube)
    assert runs(tmp_path) == 1


def test_an_exec_plugin_is_asked_again_when_its_token_has_expired(tmp_path: Path) -> None:
    status = {"token": SHOWN_NOWHERE, "expirationTimestamp": "2001-01-01T00:00:00Z"}
    with serve_kube() as server:
        path = written(tmp_path, server, plugin(tmp_path, status))
        with opened(path) as kube:
            assert works(kube)
    assert runs(tmp_path) >= 2


def test_an_exec_plugin_is_asked_again_when_its_token_is_refused(tmp_path: Path) -> None:
    with serve_kube() as server:
        path = written(tmp_path, server, plugin(tmp_path, {"token": "token-of-nobody"}))
        with opened(path) as kube:
            plugin(tmp_path, {"token": SHOWN_NOWHERE})
            assert works(kube)
            assert works(kube)
        assert [a.user for a in server.asked] == ["nobody", "admin", "admin"]
    assert runs(tmp_path) == 2


def test_an_exec_plugin_that_fails_is_said_and_logged_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMzQ1Njc4OTAifQ.payload"  # noqa: S105
    with serve_kube() as server:
        broken = plugin(tmp_path, {}, fails=f"session expired: log in again {secret}")
        path = written(tmp_path, server, broken)
        with pytest.raises(ConfigError, match=r"no credentials: .*session expired: log in") as said:
            opened(path)
        assert secret not in str(said.value)
        assert "session expired" not in caplog.text
        assert not server.asked


def test_an_exec_plugin_that_fails_later_ends_in_forbidden(tmp_path: Path) -> None:
    with serve_kube() as server:
        path = written(tmp_path, server, plugin(tmp_path, {"token": "token-of-nobody"}))
        with opened(path) as kube:
            plugin(tmp_path, {}, fails="session expired")
            with pytest.raises(ClusterForbidden, match="session expired"):
                works(kube)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "file is empty"),
        ("{", "while parsing"),
        ("[1, 2]", "this is not a kubeconfig"),
        ("just words", "this is not a kubeconfig"),
        ("apiVersion: v1\nkind: Config\n", "Expected"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"kubeconfig {path}: .*{said}"):
        opened(path)


def test_a_file_or_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kubeconfig .*none: no such file"):
        opened(tmp_path / "none")
    with serve_kube() as server:
        path = written(tmp_path, server, {"token": SHOWN_NOWHERE})
        with pytest.raises(ConfigError, match="staging"):
            opened(path, "staging")


def account(folder: Path, server: KubeServer, authority: trustme.CA, token: str) -> dict[str, str]:
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    (folder / "token").write_text(token)
    host, port = server.url.removeprefix("https://").split(":")
    return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}


def test_the_account_of_a_pod(secure: KubeServer, authority: trustme.CA, tmp_path: Path) -> None:
    environ = account(tmp_path, secure, authority, SHOWN_NOWHERE + "\n")
    with connect("in_cluster", folder=tmp_path, environ=environ, retry=QUICK) as kube:
        assert works(kube)


def test_a_token_that_was_replaced_is_read_again(
    secure: KubeServer, authority: trustme.CA, tmp_path: Path
) -> None:
    environ = account(tmp_path, secure, authority, SHOWN_NOWHERE)
    secure.users["later"] = secure.users["admin"]
    with connect("in_cluster", folder=tmp_path, environ=environ, retry=QUICK) as kube:
        assert kube.whoami() == "admin"
        del secure.users["admin"]
        (tmp_path / "token").write_text("token-of-later")
        assert kube.whoami() == "later"


def test_no_pod_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"in_cluster: .*Expected a pod with a service account"):
        connect("in_cluster", folder=tmp_path, environ={})
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    with pytest.raises(ConfigError, match="token file does not exist"):
        connect("in_cluster", folder=tmp_path, environ=environ)


def test_a_token_that_no_header_may_hold_is_not_shown(tmp_path: Path) -> None:
    with serve_kube() as server:
        path = written(tmp_path, server, {"token": "top\nsecret"})
        with opened(path) as kube, pytest.raises(ClusterUnreachable) as said:
            works(kube)
    assert "no header may" in str(said.value)
    assert "secret" not in str(said.value)
