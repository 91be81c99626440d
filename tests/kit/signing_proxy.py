"""AWS on loopback: a gate that verifies signatures, an STS, and a container credential endpoint.

The gate computes each signature again with botocore's own signer, from what came over the wire and
the secret that it knows for the access key. Refusals are worded as AWS words them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from types import SimpleNamespace
from urllib.parse import parse_qsl, unquote

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from checking_proxy import Reply, Request

__all__ = ["Gate", "Key", "PodIdentity", "Sts"]

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/"
    r"(?P<service>[^/]+)/aws4_request, SignedHeaders=(?P<signed>[^,]+), "
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_VALID = timedelta(minutes=5)


@dataclass(frozen=True)
class Key:
    secret: str
    token: str = ""
    arn: str = "arn:aws:iam::111111111111:user/reader"


@dataclass
class Gate:
    """Lets a request pass when its signature is right; knows the keys by their id."""

    keys: dict[str, Key]
    region: str = "eu-west-1"
    service: str = "aps"
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    passed: list[str] = field(default_factory=list)
    """The access key of every request that passed."""
    refused: Counter[str] = field(default_factory=Counter)
    """How often each message was said."""

    def check(self, request: Request) -> Reply | None:
        """Nothing when the request may pass, else the refusal."""
        message = self.judge(request)
        if message is None:
            self.passed.append(access_key(request))
            return None
        self.refused[message.split(".")[0]] += 1
        return Reply.json(403, message=message)

    def judge(self, request: Request) -> str | None:
        found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if found is None:
            return "Missing Authentication Token"
        if (found["region"], found["service"]) != (self.region, self.service):
            return f"Credential should be scoped to a valid region ({self.region}, {self.service})"
        key = self.keys.get(found["key"])
        if key is None or key.token != request.headers.get("x-amz-security-token", ""):
            return "The security token included in the request is invalid."
        stale = self.stale(request.headers.get("x-amz-date", ""), found["day"])
        return stale or self.compare(request, key, found)

    def stale(self, stamp: str, day: str) -> str | None:
        now = self.clock()
        try:
            sent = datetime.strptime(stamp, SIGV4_TIMESTAMP).replace(tzinfo=UTC)
        except ValueError:
            return "Date must be in ISO-8601 'basic format'"
        if not stamp.startswith(day):
            return "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date"
        if sent < now - _VALID:
            return f"Signature expired: {stamp} is now earlier than {now - _VALID} ({now} - 5 min.)"
        if sent > now + _VALID:
            return f"Signature not yet current: {stamp} is still later than {now + _VALID}"
        return None

    def compare(self, request: Request, key: Key, found: re.Match[str]) -> str | None:
        signed = found["signed"].split(";")
        must = {"host", *(name for name in request.headers if name.startswith("x-amz-"))}
        if not must <= set(signed):
            return f"These headers must be signed: {sorted(must - set(signed))}"
        path, _, query = request.target.partition("?")
        pairs = [pair.partition("=") for pair in query.split("&") if pair]
        mine = AWSRequest(
            method=request.method,
            url=f"http://{request.headers['host']}{path}",
            # read and spelled again, as AWS does: what it would spell otherwise is refused
            params=[(unquote(name), unquote(value)) for name, _, value in pairs],
            data=request.body,
            headers={name: request.headers.get(name, "") for name in signed},
        )
        mine.context["timestamp"] = request.headers["x-amz-date"]
        known = SimpleNamespace(access_key=found["key"], secret_key=key.secret, token=key.token)
        signer = SigV4Auth(known, self.service, self.region)
        canonical = signer.canonical_request(mine)
        if not canonical.endswith(sha256(request.body).hexdigest()):  # as a header may claim
            return "The body is not what was signed"
        if signer.signature(signer.string_to_sign(mine, canonical), mine) == found["signature"]:
            return None
        return (
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method. Consult the service documentation for "
            f"details. The Canonical String for this request should have been '{canonical}'"
        )


def access_key(request: Request) -> str:
    return request.headers["authorization"].split("Credential=")[1].split("/")[0]


@dataclass
class Sts:
    """AssumeRole (signed), AssumeRoleWithWebIdentity, GetCallerIdentity; new keys at each call.

    ``issued`` gets the keys, so that a gate that shares it lets them pass.
    """

    gate: Gate
    """Who may ask, with service ``sts``."""
    issued: dict[str, Key]
    external_id: str = ""
    web_token: str = ""
    lifetime: timedelta = timedelta(hours=1)
    calls: list[dict[str, str]] = field(default_factory=list)
    numbers: count[int] = field(default_factory=lambda: count(1))

    def respond(self, request: Request) -> Reply:
        asked = dict(parse_qsl(request.body.decode()))
        self.calls.append(asked)
        action = asked["Action"]
        if action == "AssumeRoleWithWebIdentity":
            if asked["WebIdentityToken"] != self.web_token:
                return sts_error(400, "InvalidIdentityToken", "Incorrect token audience")
            return self.hand_out(action, asked)
        message = self.gate.judge(request)
        if message is not None:
            return sts_error(403, "SignatureDoesNotMatch", message)
        who = self.gate.keys[access_key(request)].arn
        if action == "GetCallerIdentity":
            return sts_answer(action, f"<Arn>{who}</Arn><Account>{who.split(':')[4]}</Account>")
        if asked.get("ExternalId", "") != self.external_id:
            what = f"User: {who} is not authorized to perform: sts:AssumeRole on resource"
            return sts_error(403, "AccessDenied", f"{what}: {asked['RoleArn']}")
        return self.hand_out(action, asked)

    def hand_out(self, action: str, asked: dict[str, str]) -> Reply:
        role = asked["RoleArn"].replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")
        arn = f"{role}/{asked['RoleSessionName']}"
        key, made = new_key(next(self.numbers), arn)
        self.issued[key] = made
        return sts_answer(
            action,
            f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{made.secret}"
            f"</SecretAccessKey><SessionToken>{made.token}</SessionToken><Expiration>"
            f"{expiry(self.lifetime)}</Expiration></Credentials><AssumedRoleUser><Arn>{arn}</Arn>"
            "<AssumedRoleId>AROAEXAMPLE:foretide</AssumedRoleId></AssumedRoleUser>",
        )


@dataclass
class PodIdentity:
    """The endpoint that a container asks; a new key at each call, and the former ends with it."""

    issued: dict[str, Key]
    authorization: Callable[[], str]
    lifetime: timedelta = timedelta(minutes=2)
    """Less than botocore's mandatory refresh of 10 min: it asks again before each request."""
    numbers: count[int] = field(default_factory=lambda: count(1))

    def respond(self, request: Request) -> Reply:
        if request.headers.get("authorization") != self.authorization():
            return Reply.json(400, code="AccessDenied", message="no association")
        self.issued.clear()
        key, made = new_key(next(self.numbers), "arn:aws:sts::111111111111:assumed-role/pod/x")
        self.issued[key] = made
        return Reply.json(
            200, AccessKeyId=key, SecretAccessKey=made.secret, Token=made.token,
            Expiration=expiry(self.lifetime),
        )  # fmt: skip


def new_key(number: int, arn: str) -> tuple[str, Key]:
    return f"ASIATEMPORARY{number:07d}", Key(
        f"temporary/secret+{number}", f"token/+{number}==", arn
    )


def expiry(lifetime: timedelta) -> str:
    return (datetime.now(UTC) + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")


def sts_answer(action: str, content: str) -> Reply:
    name = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
    text = f"<{action}Response {name}><{action}Result>{content}</{action}Result></{action}Response>"
    return Reply(200, text.encode(), {"Content-Type": "text/xml"})


def sts_error(status: int, code: str, message: str) -> Reply:
    name = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    text = f"<ErrorResponse {name}>{error}</ErrorResponse>"
    return Reply(status, text.encode(), {"Content-Type": "text/xml"})
