"""What authenticates us goes to the server, and nowhere else."""

from __future__ import annotations

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from source_contract import everything_said

from pipelines.adapters.http import HttpParams, open_client, principal_of
from pipelines.errors import ConfigError

URL = "http://metrics.example:9090/prom"
GONE = "gone"


class Server(httpx.MockTransport):
    """Keeps what it was sent."""

    def __init__(self, status: int = 200, **options: object) -> None:
        self.seen: list[httpx.Request] = []
        super().__init__(lambda r: self.seen.append(r) or httpx.Response(status, **options))


def test_everything_is_sent_to_the_base_address():
    server = Server()
    with open_client(
        URL, headers={"X-Scope-OrgID": "team-a"}, basic=("alice", "pa:ss"), transport=server
    ) as client:
        client.get("api/v1/query")
        assert principal_of(client) == "user 'alice'"
    (request,) = server.seen
    assert str(request.url) == f"{URL}/api/v1/query"
    assert request.headers["X-Scope-OrgID"] == "team-a"
    assert request.headers["Authorization"] == httpx.BasicAuth("alice", "pa:ss")._auth_header


def test_a_password_in_the_address_becomes_basic_authentication():
    server = Server()
    with open_client("http://bob:s%40cret@metrics.example/?q=1#f", transport=server) as client:
        client.get("x")
        assert str(client.base_url) == "http://metrics.example/"
        assert principal_of(client) == "user 'bob'"
    assert server.seen[0].headers["Authorization"] == httpx.BasicAuth("bob", "s@cret")._auth_header
    assert str(server.seen[0].url) == "http://metrics.example/x"


def test_a_token_that_is_replaced_is_read_again(tmp_path):
    token, server = tmp_path / "token", Server()
    token.write_text("first\n")
    params = HttpParams(bearer_token_file=str(token))
    with open_client(URL, params, transport=server) as client:
        client.get("x")
        token.write_text("second")
        client.get("x")
        assert principal_of(client) == f"the bearer token in {token}"
        token.unlink()
        with pytest.raises(
            ConfigError, match=r"bearer_token_file .*token: cannot be read: No such"
        ):
            client.get("x")
    assert [r.headers["Authorization"] for r in server.seen] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("content", [b"", b" \n", b"two lines\nhere", b"two words", b"\xff\xfe"])
def test_what_is_no_token_is_said_and_not_shown(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match="expected one token, one line") as caught:
        open_client(URL, HttpParams(bearer_token_file=str(tmp_path / "token")))
    assert "two" not in everything_said(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status):
    server = Server(status, headers={"Location": "http://evil.example/"})
    with open_client(URL, basic=("alice", "secret"), transport=server) as client:
        assert client.post("x").status_code == status
    assert [r.url.host for r in server.seen] == ["metrics.example"]


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("ftp://metrics.example", {}, "'ftp://metrics.example' is no http"),
        ("metrics.example:9090", {}, "is no http"),
        ("", {}, "'' is no http"),
        ("http://alice:hidden-1@host:port/", {}, "'host:port/' is no http"),
        ("http://alice:hidden-1@host/", {"basic": ("bob", "hidden-2")}, "more than one way"),
        (URL, {"basic": ("", "hidden-2")}, "basic: the user's name"),
        (URL, {"headers": {"X-Api-Key": "hidden-3\n"}}, "'X-Api-Key' is no header"),
        (URL, {"headers": {"X Key": "hidden-3"}}, "'X Key' is no header"),
        (URL, {"params": HttpParams(ca_file="gone.pem")}, "ca_file gone.pem: cannot be read: No"),
        (URL, {"params": HttpParams(ca_file=__file__)}, "expected certificates in PEM"),
        (URL, {"params": HttpParams(client_cert_file="gone.pem")}, "client_cert_file gone.pem: c"),
        (
            URL,
            {"params": HttpParams(client_cert_file=__file__, client_key_file="gone.pem")},
            "client_key_file gone.pem: cannot be read",
        ),
        (URL, {"params": HttpParams(client_cert_file=__file__)}, "its own key"),
        (URL, {"params": HttpParams(bearer_token_file=GONE)}, "bearer_token_file gone: cannot"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_sent(url, options, said):
    with pytest.raises(ConfigError, match=said) as caught:
        open_client(url, transport=Server(), **options)
    assert "hidden" not in everything_said(caught.value)


def test_a_key_of_another_certificate_or_with_a_password_is_refused(tmp_path):
    ca = trustme.CA()
    for name in ("one", "other"):
        issued = ca.issue_cert(f"{name}.example")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    key = load_pem_private_key((tmp_path / "one.key").read_bytes(), None)
    (tmp_path / "locked.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    )
    for key in ("other.key", "locked.key"):
        params = HttpParams(
            client_cert_file=str(tmp_path / "one.pem"), client_key_file=str(tmp_path / key)
        )
        with pytest.raises(ConfigError, match="expected a certificate and its own key"):
            open_client(URL, params)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout_s": 0}, "timeout_s must be more than 0 seconds, got 0"),
        ({"connect_timeout_s": float("inf")}, "connect_timeout_s must be more than 0"),
        ({"client_key_file": "k"}, "client_key_file needs client_cert_file, got none"),
    ],
)
def test_parameters_are_checked(options, said):
    with pytest.raises(ValueError, match=said):
        HttpParams(**options)
