"""A real Prometheus behind what guards it in real life: AWS signatures, TLS, tokens, tenants."""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
import trustme
from checking_proxy import Reply, Request, answering, passing_on
from metric_servers import MetricsServer
from prometheus_harness import QUICK, PrometheusHarness
from signing_proxy import Gate, Key, PodIdentity, Sts
from source_contract import (
    METRICS,
    ByQuery,
    Denied,
    OverTheNetwork,
    SourceContract,
    WithCredentials,
    everything_said,
    truth,
    window,
)

from pipelines.adapters.aws import AwsParams, who_am_i
from pipelines.adapters.http import HttpParams, open_client, principal_of
from pipelines.adapters.prometheus import PrometheusSource
from pipelines.adapters.sigv4 import amp_auth
from pipelines.errors import AccessDenied, ConfigError, SourceUnreachable

pytestmark = pytest.mark.e2e

USER = "arn:aws:iam::111111111111:user/reader"
ROLE = "arn:aws:iam::222222222222:role/metrics-reader"
ID, SECRET, TOKEN = "AKIAEXAMPLE0LONG", "a/long+lived/secret", "IQoJb3JpZ2luX2VjE/session+token=="
REGION = "eu-west-1"
WORKSPACE = "/workspaces/ws-0a1b2c3d"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """No AWS configuration of the machine's own, and no network beyond loopback."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME"):
            patch.setenv(name, str(folder / name))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield patch


@pytest.fixture
def env(environment: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with environment.context() as patch:
        yield patch


def log_in(env: pytest.MonkeyPatch, secret: str = SECRET, token: str = "") -> None:
    env.setenv("AWS_ACCESS_KEY_ID", ID)
    env.setenv("AWS_SECRET_ACCESS_KEY", secret)
    if token:
        env.setenv("AWS_SESSION_TOKEN", token)


@pytest.fixture(scope="module")
def loaded(prometheus_server: MetricsServer) -> MetricsServer:
    """Filled once: Prometheus takes no sample twice."""
    PrometheusHarness(prometheus_server).load(truth())
    return prometheus_server


class Loaded(PrometheusHarness):
    def load(self, samples: pa.Table) -> None:
        assert samples.equals(truth())


class TestAmp(SourceContract, ByQuery, WithCredentials, OverTheNetwork):
    """The whole contract through the gate, with temporary credentials from the environment."""

    @pytest.fixture(scope="class")
    @classmethod
    def harness(
        cls, environment: pytest.MonkeyPatch, loaded: MetricsServer
    ) -> Iterator[PrometheusHarness]:
        gate = Gate({ID: Key(SECRET, TOKEN)}, REGION)
        with (
            environment.context() as env,
            passing_on(loaded.url, gate.check, prefix=WORKSPACE) as url,
        ):
            log_in(env, token=TOKEN)
            client = signing_client(url)
            log_in(env, "wrong/secret", TOKEN)
            bad = signing_client(url)
            denied = Denied(
                PrometheusSource(bad, cluster="prod", principal=principal_of(bad)),
                "AWS credentials (env, access key …LONG)",
                (ID, SECRET, "wrong/secret", TOKEN),
            )
            with client, bad:
                harness = Loaded(loaded, lambda: client, lambda: denied)
                yield harness
                harness.close()
            assert gate.passed


def signing_client(url: str, params: AwsParams | None = None) -> httpx.Client:
    return open_client(url, auth=amp_auth(url, params or AwsParams(region=REGION)))


@dataclass
class Amp:
    """The gate before the server, and the way to ask through it."""

    url: str
    gate: Gate
    server: MetricsServer

    def ask(self, client: httpx.Client, times: int = 1) -> int:
        """Samples that came; the client is closed."""
        harness = PrometheusHarness(self.server)
        with client:
            source = PrometheusSource(
                client, cluster="prod", params=QUICK, principal=principal_of(client)
            )
            spec = harness.spec(METRICS[0])
            return sum(
                len(chunk.samples) for _ in range(times) for chunk in source.fetch(spec, window())
            )


@pytest.fixture
def amp(loaded: MetricsServer) -> Iterator[Amp]:
    gate = Gate({ID: Key(SECRET, arn=USER)}, REGION)
    with passing_on(loaded.url, gate.check, prefix=WORKSPACE) as url:
        yield Amp(url, gate, loaded)


SAMPLES = sum(pa.compute.equal(truth()["metric"].cast(pa.string()), METRICS[0]).to_pylist())


@pytest.fixture
def sts(amp: Amp) -> Iterator[tuple[Sts, str]]:
    """An STS that knows the long-lived key; the gate lets pass what it hands out."""
    double = Sts(Gate(amp.gate.keys, REGION, "sts"), amp.gate.keys, external_id="ours-42")
    with answering(double.respond) as url:
        yield double, url


def test_credentials_of_a_profile(amp: Amp, env: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "config").write_text(
        f"[profile prod]\nregion={REGION}\naws_access_key_id={ID}\naws_secret_access_key={SECRET}\n"
    )
    env.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    client = signing_client(amp.url, AwsParams(profile="prod"))
    assert principal_of(client) == "AWS profile 'prod' (config-file, access key …LONG)"
    assert amp.ask(client) == SAMPLES
    assert set(amp.gate.passed) == {ID}


def test_a_role_of_another_account_with_an_external_id(
    amp: Amp, sts: tuple[Sts, str], env: pytest.MonkeyPatch
):
    log_in(env)
    double, url = sts
    params = AwsParams(REGION, "", ROLE, "ours-42", sts_endpoint_url=url)
    assert amp.ask(signing_client(amp.url, params), times=2) == 2 * SAMPLES
    assert len(double.calls) == 1
    assert double.calls[0].items() >= {
        "RoleArn": ROLE, "ExternalId": "ours-42", "RoleSessionName": "foretide",
    }.items()  # fmt: skip
    assert set(amp.gate.passed) == {"ASIATEMPORARY0000001"}


def test_a_role_is_assumed_anew_before_its_credentials_end(
    amp: Amp, sts: tuple[Sts, str], env: pytest.MonkeyPatch
):
    log_in(env)
    double, url = sts
    double.lifetime = timedelta(minutes=2)
    params = AwsParams(REGION, "", ROLE, "ours-42", sts_endpoint_url=url)
    assert amp.ask(signing_client(amp.url, params)) == SAMPLES
    assert len(set(amp.gate.passed)) == len(amp.gate.passed) == len(double.calls) > 1


def test_a_role_that_may_not_be_assumed(amp: Amp, sts: tuple[Sts, str], env: pytest.MonkeyPatch):
    log_in(env)
    params = AwsParams(REGION, "", ROLE, "theirs", sts_endpoint_url=sts[1])
    with pytest.raises(AccessDenied, match=f"refused AWS role {ROLE}.*{USER} is not") as caught:
        amp.ask(signing_client(amp.url, params))
    assert SECRET not in everything_said(caught.value)
    assert not amp.gate.passed
    silent = replace(params, sts_endpoint_url="http://127.0.0.1:9")
    with pytest.raises(SourceUnreachable, match="no answer"):
        amp.ask(signing_client(amp.url, silent))


def test_web_identity_as_of_irsa(
    amp: Amp, sts: tuple[Sts, str], env: pytest.MonkeyPatch, tmp_path: Path
):
    double, url = sts
    (tmp_path / "token").write_text("eyJ.service.account")
    double.web_token = (tmp_path / "token").read_text()
    env.setenv("AWS_ROLE_ARN", ROLE)
    env.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    env.setenv("AWS_ENDPOINT_URL_STS", url)
    env.setenv("AWS_REGION", REGION)
    client = signing_client(amp.url, AwsParams())
    assert principal_of(client) == f"AWS role {ROLE} (web identity)"
    assert amp.ask(client) == SAMPLES
    assert set(amp.gate.passed) == {"ASIATEMPORARY0000001"}
    (tmp_path / "token").write_text("eyJ.of.somebody-else")
    with pytest.raises(AccessDenied, match="InvalidIdentityToken") as caught:
        amp.ask(signing_client(amp.url))
    assert "eyJ.of" not in everything_said(caught.value)


def test_pod_identity_is_renewed_in_mid_run(amp: Amp, env: pytest.MonkeyPatch, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("pod-token-1")
    double = PodIdentity(amp.gate.keys, token.read_text)
    with answering(double.respond) as url:
        env.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/v1/credentials")
        env.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
        client = signing_client(amp.url)
        assert principal_of(client) == "AWS credentials (container-role)"
        # every key ends with the next one: a request signed with a former key would be refused
        assert amp.ask(client, times=2) == 2 * SAMPLES
        assert len(set(amp.gate.passed)) == len(amp.gate.passed) > 2
        assert not amp.gate.refused


def test_a_signature_out_of_time_shows_what_the_server_says(amp: Amp, env: pytest.MonkeyPatch):
    log_in(env)
    amp.gate.clock = lambda: datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(AccessDenied, match=r"AWS credentials .*Signature expired"):
        amp.ask(signing_client(amp.url))


def test_a_session_token_that_is_missing_is_refused(amp: Amp, env: pytest.MonkeyPatch):
    amp.gate.keys[ID] = Key(SECRET, TOKEN)
    log_in(env)
    with pytest.raises(AccessDenied, match="security token included in the request is invalid"):
        amp.ask(signing_client(amp.url))


def test_the_doctor_learns_who_it_is(amp: Amp, sts: tuple[Sts, str], env: pytest.MonkeyPatch):
    log_in(env)
    params = AwsParams(REGION, sts_endpoint_url=sts[1])
    assert (who_am_i(params).arn, who_am_i(params).account) == (USER, "111111111111")
    assumed = who_am_i(replace(params, role_arn=ROLE, external_id="ours-42"))
    assert assumed.arn == "arn:aws:sts::222222222222:assumed-role/metrics-reader/foretide"
    log_in(env, "wrong/secret")
    refused = who_am_i(params)
    assert not refused.arn
    assert "refused AWS credentials (env, access key …LONG)" in refused.reason
    silent = who_am_i(replace(params, sts_endpoint_url="http://127.0.0.1:9"), timeout_s=1)
    assert "no answer" in silent.reason


# Mutual TLS, and a CA of one's own.


@dataclass
class Pki:
    ca: trustme.CA
    folder: Path

    def __post_init__(self) -> None:
        self.ca.cert_pem.write_to_path(self.folder / "ca.pem")
        client = self.ca.issue_cert("foretide@example.org")
        client.private_key_pem.write_to_path(self.folder / "client.key")
        client.cert_chain_pems[0].write_to_path(self.folder / "client.pem")

    def server(self, *, mutual: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert("127.0.0.1").configure_cert(context)
        if mutual:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def params(self, *, ca: bool = True, cert: bool = True) -> HttpParams:
        pem = {n: str(self.folder / n) for n in ("ca.pem", "client.pem", "client.key")}
        client = {"client_cert_file": pem["client.pem"], "client_key_file": pem["client.key"]}
        return HttpParams(ca_file=pem["ca.pem"] if ca else "", **(client if cert else {}))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(trustme.CA(), tmp_path_factory.mktemp("pki"))


def test_a_ca_of_ones_own_and_a_client_certificate(loaded: MetricsServer, pki: Pki, tmp_path: Path):
    with passing_on(loaded.url, tls=pki.server(mutual=True)) as url:
        ask = partial(Amp(url, Gate({}), loaded).ask)
        good = open_client(url, pki.params())
        assert principal_of(good) == f"client certificate {pki.folder / 'client.pem'}"
        assert ask(good) == SAMPLES

        untrusted = f"no answer from {url}: its certificate is not trusted .*; set ca_file"
        with pytest.raises(SourceUnreachable, match=untrusted):
            ask(open_client(url, pki.params(ca=False)))
        other = Pki(trustme.CA(), tmp_path)
        with pytest.raises(SourceUnreachable, match=f"going by ca_file {tmp_path}"):
            ask(open_client(url, other.params()))
        with pytest.raises(SourceUnreachable, match="it asks for a client certificate; set client"):
            ask(open_client(url, pki.params(cert=False)))
        theirs = replace(other.params(), ca_file=pki.params().ca_file)
        with pytest.raises(SourceUnreachable, match=r"does not take client_cert_file .*UNKNOWN_CA"):
            ask(open_client(url, theirs))


def test_tls_against_a_server_without_it(loaded: MetricsServer):
    url = loaded.url.replace("http:", "https:")
    with pytest.raises(SourceUnreachable, match=r"does not speak TLS .* is it http://"):
        Amp(url, Gate({}), loaded).ask(open_client(url))


# Mimir and Thanos behind their gateways.


def wants(header: str, value: str) -> object:
    def check(request: Request) -> Reply | None:
        got = request.headers.get(header.lower(), "nothing")
        if got == value:
            return None
        return Reply.json(401, status="error", error=f"no entry for {header}: {got}")

    return check


def ways(folder: Path) -> dict[str, tuple[str, str, dict, dict]]:
    """Name → header, what the gateway wants in it, and how it is given, rightly and wrongly."""
    (folder / "good").write_text("service-account-1\n")
    (folder / "bad").write_text("service-account-2\n")
    basic = b64encode(b"alice:correct-horse").decode()
    files = [HttpParams(bearer_token_file=str(folder / name)) for name in ("good", "bad")]
    return {
        "tenant": (
            "X-Scope-OrgID", "team-a",
            {"headers": {"X-Scope-OrgID": "team-a"}}, {"headers": {"X-Scope-OrgID": "team-b"}},
        ),
        "bearer": (
            "Authorization", "Bearer service-account-1", {"params": files[0]}, {"params": files[1]},
        ),
        "basic": (
            "Authorization", f"Basic {basic}",
            {"basic": ("alice", "correct-horse")}, {"basic": ("alice", "battery-staple")},
        ),
    }  # fmt: skip


@pytest.mark.parametrize("way", ["tenant", "bearer", "basic"])
def test_gateways_of_mimir_and_thanos(loaded: MetricsServer, tmp_path: Path, way: str):
    header, value, right, wrong = ways(tmp_path)[way]
    with passing_on(loaded.url, wants(header, value)) as url:
        ask = Amp(url, Gate({}), loaded).ask
        assert ask(open_client(url, **right)) == SAMPLES
        bad = open_client(url, **wrong)
        who = principal_of(bad)
        with pytest.raises(AccessDenied, match=f"no entry for {header}") as caught:
            ask(bad)
        assert who in str(caught.value)
        for secret in ("battery-staple", "service-account-2", "Basic YW"):
            assert secret not in everything_said(caught.value)


def test_a_token_file_that_goes_away_is_said(loaded: MetricsServer, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("t0ken-t0ken")
    client = open_client(loaded.url, HttpParams(bearer_token_file=str(token)))
    token.unlink()
    with pytest.raises(ConfigError, match=f"bearer_token_file {token}: cannot be read"):
        Amp(loaded.url, Gate({}), loaded).ask(client)
