"""Sending: what is taken is known, what is refused is told once, what may pass is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.adapters.http import open_client
from pipelines.adapters.remote_write import RemoteWriteParams, RemoteWriter, Sent
from pipelines.adapters.remote_write_wire import varint

NOW = pd.Timestamp("2026-06-08T12:00Z")
QUICK = RemoteWriteParams(
    samples_per_request=2, attempts=3, retry_wait_s=0.01, retry_wait_max_s=0.05
)
URL = "http://user:se-cret-word@server/api/v1/write"
NAMES = [b"\x0a" + varint(4) + b"\x0a\x02s%d" % i for i in range(5)]
Respond = Callable[[httpx.Request], httpx.Response]


def send(respond: Respond, params: RemoteWriteParams = QUICK) -> Sent:
    with open_client(URL, transport=httpx.MockTransport(respond)) as client:
        writer = RemoteWriter(client, params, principal="user 'user'")
        return writer.send(NAMES, np.arange(5.0), NOW)


def body_of(request: httpx.Request) -> bytes:
    packed = request.content
    size, shift = 0, 0
    for byte in packed:  # snappy's block format begins with the length as a varint
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return pa.decompress(packed, size, codec="snappy", asbytes=True)


def test_everything_is_sent_once_to_the_address_as_it_is() -> None:
    seen: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    sent = send(respond)
    assert sent.taken.all()
    assert (sent.requests, sent.retries, sent.errors) == (3, 0, ())
    assert sent.bytes == sum(len(r.content) for r in seen)
    assert {str(r.url) for r in seen} == {"http://server/api/v1/write"}
    assert {r.headers["content-encoding"] for r in seen} == {"snappy"}
    assert {r.headers["x-prometheus-remote-write-version"] for r in seen} == {"0.1.0"}
    text = b"".join(map(body_of, seen))
    assert all(text.count(name) == 1 for name in NAMES)


def test_half_of_it_refused_is_half_of_it_taken_and_never_asked_again() -> None:
    seen: list[bytes] = []

    def respond(request: httpx.Request) -> httpx.Response:
        body = body_of(request)
        seen.append(body)
        bad = NAMES[2] in body
        return httpx.Response(400, text="out of order sample") if bad else httpx.Response(200)

    sent = send(respond)
    assert sent.taken.tolist() == [True, True, False, False, True]
    assert len(seen) == 3
    (error,) = sent.errors
    assert error.startswith("2 of 5 not taken: http://server/api/v1/write: HTTP 400")
    assert "one publisher" in error


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    answers = [httpx.Response(status, headers={"Retry-After": "0"}), httpx.Response(204)]
    left = [*answers, *[httpx.Response(204)] * 2]
    sent = send(lambda _: left.pop(0))
    assert sent.taken.all()
    assert (sent.requests, sent.retries) == (4, 1)


def test_the_server_says_how_long_to_wait_within_bounds() -> None:
    left = [httpx.Response(429, headers={"Retry-After": "3600"}), *[httpx.Response(204)] * 3]
    assert send(lambda _: left.pop(0)).taken.all()  # retry_wait_max_s


def test_a_server_that_is_down_is_given_up_after_one_batch() -> None:
    asked: list[int] = []

    def respond(_: httpx.Request) -> httpx.Response:
        asked.append(1)
        raise httpx.ConnectError("refused")

    sent = send(respond)
    assert not sent.taken.any()
    assert len(asked) == QUICK.attempts
    assert sent.errors == (
        "5 of 5 not taken: no answer from http://server/api/v1/write: refused, however often it "
        "was sent",
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (httpx.Response(401, text="who?"), "check the credentials and rights of user 'user'"),
        (httpx.Response(403, text="no"), "check the credentials"),
        (httpx.Response(404, text="no"), "is this the write address?"),
        (httpx.Response(302, headers={"Location": "/login"}), "is this the write address?"),
        (httpx.Response(413, text="big"), "bytes_per_request"),
        (httpx.Response(400, text="duplicate sample for timestamp"), "one publisher run"),
        (httpx.Response(400, text="out of bounds"), "clock"),
        (httpx.Response(400, text="per-user series limit of 10 exceeded"), "--dry-run"),
        (httpx.Response(400, text="label value too long"), "label_value_bytes"),
        (httpx.Response(422, text="never heard of"), "never heard of"),
    ],
)
def test_a_refusal_says_what_to_do(answer: httpx.Response, told: str) -> None:
    sent = send(lambda _: httpx.Response(answer.status_code, text=answer.text,
                                         headers=answer.headers))  # fmt: skip
    assert not sent.taken.any()
    assert sent.retries == 0
    (error,) = sent.errors
    assert told in error
    assert "\n" not in error


def test_a_server_that_repeats_our_password_does_not_make_us_tell_it() -> None:
    sent = send(
        lambda r: httpx.Response(400, text=f"got {r.headers['authorization']} se-cret-word")
    )
    assert "HTTP 400" in sent.errors[0]
    assert "se-cret-word" not in sent.errors[0]


def test_requests_keep_to_their_size() -> None:
    sizes: list[int] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sizes.append(len(body_of(request)))
        return httpx.Response(204)

    long = [bytes([65 + i]) * 6000 for i in range(5)]
    params = replace(QUICK, samples_per_request=100, bytes_per_request=13_000)
    with open_client(URL, transport=httpx.MockTransport(respond)) as client:
        assert RemoteWriter(client, params).send(long, np.zeros(5), NOW).taken.all()
    assert len(sizes) == 3
    assert max(sizes) <= 13_000


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"samples_per_request": 0}, "samples_per_request"),
        ({"bytes_per_request": 5}, "bytes_per_request"),
        ({"label_value_bytes": 1}, "label_value_bytes"),
        ({"attempts": 0}, "attempts"),
        ({"retry_wait_s": -1.0}, "retry_wait_s"),
        ({"retry_total_s": float("inf")}, "retry_total_s"),
    ],
)
def test_knobs_that_mean_nothing(values: dict[str, float], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        RemoteWriteParams(**values)  # pyright: ignore[reportArgumentType]
