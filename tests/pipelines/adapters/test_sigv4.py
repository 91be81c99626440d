"""Signatures hold for whatever is asked, and nothing but AMP's own hosts looks like AMP."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from botocore.auth import SigV4Auth as BotocoreAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from checking_proxy import Request
from hypothesis import given
from hypothesis import strategies as st
from signing_proxy import Gate, Key

from pipelines.adapters.aws import AwsParams, aws_session, principal, who_am_i
from pipelines.adapters.sigv4 import SigV4Auth, amp_auth, is_amp, region_of
from pipelines.errors import ConfigError

ID, SECRET, TOKEN = "AKIAEXAMPLE00001", "very/secret+key", "session/token=="
AMP = "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials but those that a test gives."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def sent(
    request: httpx.Request, token: str = TOKEN, secret: str = SECRET, region: str = "eu-west-1"
) -> Request:
    """What goes over the wire, signed."""
    auth = SigV4Auth(Credentials(ID, secret, token or None), region, principal="me")
    got: list[Request] = []

    def keep(final: httpx.Request) -> httpx.Response:
        headers = {n.lower(): v for n, v in final.headers.items()}
        got.append(Request(final.method, final.url.raw_path.decode(), headers, final.content))
        return httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(keep), auth=auth) as client:
        client.send(request)
    return got[0]


def gate(token: str = TOKEN, **options: object) -> Gate:
    return Gate({ID: Key(SECRET, token)}, **options)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    params=st.lists(st.tuples(TEXTS.filter(bool), TEXTS), max_size=4),
    form=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
    headers=st.fixed_dictionaries(
        {}, optional={"X-Scope-OrgID": st.just("a"), "Date": st.just("b")}
    ),
    token=st.sampled_from(["", TOKEN]),
    label=st.sampled_from(["up", "a%2Fb", "a b", "é", "__name__"]),
)
def test_whatever_is_asked_the_signature_is_right(params, form, headers, token, label):
    request = httpx.Request(
        "GET" if form is None else "POST",
        f"{AMP}api/v1/label/{label}/values",
        params=params or None,
        data=form,
        headers=headers,
    )
    want = list(request.url.params.multi_items())
    got = sent(request, token)
    assert gate(token).judge(got) is None
    assert list(httpx.URL(f"http://x{got.target}").params.multi_items()) == want


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"secret": "another"}, "does not match"),
        ({"token": ""}, "security token"),
        ({"region": "us-east-1"}, "valid region"),
    ],
)
def test_whatever_is_wrong_is_refused(changed, said):
    assert said in str(gate().judge(sent(httpx.Request("GET", AMP), **changed)))


def test_a_changed_body_query_or_clock_is_refused():
    got = sent(httpx.Request("POST", AMP, params={"a": "1"}, data={"query": "up"}))
    good = gate()
    assert good.judge(got) is None
    for other in (
        Request(got.method, got.target, got.headers, got.body + b"x"),
        Request(got.method, got.target + "2", got.headers, got.body),
        Request("GET", got.target, got.headers, got.body),
    ):
        assert "does not match" in str(good.judge(other))
    for minutes, said in ((10, "Signature expired"), (-10, "not yet current")):
        other = gate(clock=lambda m=minutes: datetime.now(UTC) + timedelta(minutes=m))
        assert said in str(other.judge(got))


def test_the_gate_refuses_a_body_that_was_not_signed():
    body = b"query=up"
    request = AWSRequest("POST", AMP, {"host": "x"}, body)
    request.context["payload_signing_enabled"] = False
    BotocoreAuth(Credentials(ID, SECRET), "aps", "eu-west-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert (
        gate("").judge(Request("POST", "/workspaces/ws-1/", headers, body))
        == "The body is not what was signed"
    )


def test_only_what_no_proxy_changes_is_signed():
    request = httpx.Request(
        "GET", AMP, headers={"X-Amz-Meta": "a", "X-Scope-OrgID": "b", "Accept-Encoding": "br"}
    )
    signed = sent(request).headers["authorization"].split("SignedHeaders=")[1].split(",")[0]
    assert signed == "host;x-amz-date;x-amz-meta;x-amz-security-token"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("aps-workspaces.eu-west-1.amazonaws.com", "eu-west-1"),
        ("APS-workspaces.EU-west-1.amazonaws.com", "eu-west-1"),
        ("aps-workspaces-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("aps-workspaces.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("aps-workspaces.us-east-2.api.aws", "us-east-2"),
        ("vpce-0a1-b2.aps-workspaces.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("vpce-0a1-b2-us-east-1a.aps-workspaces.us-east-1.vpce.amazonaws.com", "us-east-1"),
        ("aps-workspaces.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ("aps.eu-west-1.amazonaws.com", ""),
        ("aps-workspaces.eu-west-1.amazonaws.com.example.org", ""),
        ("aps-workspaces.eu-west-1.amazonaws.org", ""),
        ("example.org", ""),
        ("", ""),
    ],
)
def test_the_region_is_read_from_the_address_of_amp_only(host, region):
    url = f"https://{host}/workspaces/ws-1/"
    assert region_of(url) == region
    assert is_amp(url) == bool(region)
    assert not is_amp(f"https://example.org/{host}")
    assert not is_amp(f"https://{host}@example.org/" if host else "http://[")


def test_the_region_of_the_address_goes_before_the_configured_one(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    other = "http://127.0.0.1:9/"
    assert "eu-west-1" in repr(amp_auth(AMP, AwsParams(region="us-east-1")))
    assert "us-east-1" in repr(amp_auth(other, AwsParams(region="us-east-1")))
    with pytest.raises(ConfigError, match="region"):
        amp_auth(other, AwsParams())
    for name, region in (("AWS_DEFAULT_REGION", "ca-west-1"), ("AWS_REGION", "eu-north-1")):
        monkeypatch.setenv(name, region)
        assert region in repr(amp_auth(other, AwsParams()))


def test_the_principal_is_named_and_its_secrets_are_not(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    auth = amp_auth(AMP, AwsParams())
    assert auth.principal == "AWS credentials (env, access key …0001)"
    role = "arn:aws:iam::222222222222:role/team/reader"
    assert amp_auth(AMP, AwsParams(role_arn=role)).principal == f"AWS role {role}"
    for secret in (ID, SECRET):
        assert secret not in repr(auth)


def test_a_profile_goes_before_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT9")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env")
    (tmp_path / "AWS_SHARED_CREDENTIALS_FILE").write_text(
        f"[prod]\naws_access_key_id={ID}\naws_secret_access_key={SECRET}\n"
    )
    params = AwsParams(profile="prod")
    found = aws_session(params).get_credentials()
    assert found.access_key == ID
    text = "AWS profile 'prod' (shared-credentials-file, access key …0001)"
    assert principal(params, found) == text


@pytest.mark.parametrize(
    ("env", "params", "said"),
    [
        ({}, {}, "no AWS credentials found"),
        ({}, {"profile": "nope"}, r"\(nope\) could not be found; correct profile or AWS_PROFILE"),
        ({"AWS_PROFILE": "lost"}, {}, r"\(lost\) could not be found"),
        ({"AWS_ACCESS_KEY_ID": ID}, {}, "AWS_SECRET_ACCESS_KEY"),
        (
            {"AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE": "gone/token"},
            {},
            "gone/token cannot be read: No such file",
        ),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/"}, {}, "cannot be read"),
    ],
)
def test_what_is_missing_is_said_in_one_line(monkeypatch, env, params, said):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(ConfigError, match=said) as caught,
        httpx.Client(auth=amp_auth(AMP, AwsParams(**params)), transport=answering_200()) as client,
    ):
        client.get(AMP)
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None
    caller = who_am_i(AwsParams(region="eu-west-1", **params))
    assert not caller.arn
    assert caller.reason


def answering_200() -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(200))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"role_arn": "reader"}, "role_arn must look like arn:aws:iam::.*got 'reader'"),
        ({"external_id": "abc"}, "external_id is for assuming a role: set role_arn too"),
        ({"session_name": "a b"}, "session_name must be .*got 'a b'"),
        (
            {"role_arn": "arn:aws:iam::123456789012:role/r", "external_id": "a b"},
            "external_id must be 2 to 1224 .*got 3 characters",
        ),
    ],
)
def test_parameters_that_aws_would_refuse_are_refused(params, said):
    with pytest.raises(ValueError, match=said):
        AwsParams(**params)


def test_no_secret_reaches_the_log_when_everything_is_logged(monkeypatch, caplog):
    for name, value in (("ACCESS_KEY_ID", ID), ("SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    logging.getLogger("botocore").setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    with httpx.Client(auth=amp_auth(AMP, AwsParams()), transport=answering_200()) as client:
        client.post(AMP, data={"query": "up"})
    assert "HTTP Request: POST" in caplog.text
    for secret in (ID, SECRET, TOKEN):
        assert secret not in caplog.text
