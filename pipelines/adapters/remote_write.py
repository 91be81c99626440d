"""Series sent to any server that takes Prometheus remote write: Prometheus, AMP, Mimir,
VictoriaMetrics.

Many small requests rather than a large one: what a server refuses is lost to one batch only, and
counted. Busy servers are asked again, as late as they say; a refusal is never sent twice. Samples
carry one stamp, the moment of sending.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import stamina
from numpy.typing import NDArray

from pipelines.adapters.http import retry_after_s
from pipelines.adapters.http_secrets import without_secrets
from pipelines.adapters.remote_write_wire import Family, batches, metadata_of, one_series
from pipelines.adapters.source import shorten
from pipelines.errors import ForetideError

__all__ = ["RemoteWriteParams", "RemoteWriter", "Sent"]

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_ADDRESS = (
    "; is this the write address? Prometheus: /api/v1/write, started with "
    "--web.enable-remote-write-receiver; AMP: …/api/v1/remote_write; VictoriaMetrics: /api/v1/write"
)
_WHY = (
    (r"duplicate sample", "another sample has the same stamp: let one publisher run at a time"),
    (r"out of order|out-of-order", "the server has a later sample of a series: let one publisher "
     "run at a time, and check this machine's clock"),
    (r"out of bounds|too old|too far", "the stamp is too far from the server's newest sample: "
     "check this machine's clock, and the server for a sample from the future"),
    (r"series limit|max.series|too many series", "the server has too many series: send fewer "
     "(`foretide publish --dry-run` says which), or raise its limit"),
    (r"label", "the server takes no such label: lower publish.remote_write.send.label_value_bytes, "
     "or raise its limit"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RemoteWriteParams:
    """How series are cut into requests, and how stubbornly those are sent.

    Attributes
    ----------
    samples_per_request, bytes_per_request : at most, before compression
    label_value_bytes
        Longer values are cut. AMP takes 7 KB of labels a series, Mimir 2,048 bytes a value.
    metadata : send what each name is first, in a request of its own; a refusal of it is only noted
    attempts, retry_wait_s, retry_wait_max_s, retry_total_s : of one request
    """

    samples_per_request: int = 2000
    bytes_per_request: int = 1_000_000
    label_value_bytes: int = 1024
    metadata: bool = True
    attempts: int = 5
    retry_wait_s: float = 1.0
    retry_wait_max_s: float = 30.0
    retry_total_s: float = 120.0

    def __post_init__(self) -> None:
        """Refuse values that mean nothing or never end."""
        least = (("samples_per_request", 1), ("bytes_per_request", 10_000),
                 ("label_value_bytes", 64), ("attempts", 1))  # fmt: skip
        for key, low in least:
            if getattr(self, key) < low:
                raise ValueError(f"{key} must be at least {low}, got {getattr(self, key)}")
        for key in ("retry_wait_s", "retry_wait_max_s"):
            if not 0 <= getattr(self, key) < inf:
                raise ValueError(f"{key} must be 0 or more seconds, got {getattr(self, key)}")
        if not 0 < self.retry_total_s < inf:
            raise ValueError(f"retry_total_s must be more than 0 seconds, got {self.retry_total_s}")


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the series.

    Attributes
    ----------
    taken : (n,)
        Which series the server has.
    requests, retries, bytes : what it took; bytes after compression
    errors : why not, each with how many samples it was about
    notes : what went wrong and cost no series
    """

    taken: NDArray[np.bool_]
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Tally:
    taken: NDArray[np.bool_]
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])


class _RefusedError(Exception):
    """The server said no to one batch; the next may be taken."""


class _HopelessError(Exception):
    """No batch will be taken."""


class _BusyError(Exception):
    """The same again may be taken, in ``wait_s`` if the server says so."""

    def __init__(self, text: str, wait_s: float | None = None) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class RemoteWriter:
    """Sends to one server."""

    def __init__(
        self, client: httpx.Client, params: RemoteWriteParams | None = None, *, principal: str = ""
    ) -> None:
        """Nothing is sent yet.

        Parameters
        ----------
        client : its ``base_url`` is the whole write address; brings time-outs and who we are
        params : how requests are cut and repeated
        principal : who sends, for the message when that is refused; no secret
        """
        self._client = client
        self._params = params or RemoteWriteParams()
        self._principal = principal or "the request"
        self._address = str(client.base_url).rstrip("/")
        self._codec = pa.Codec("snappy")

    def send(self, labels: Sequence[bytes], values: NDArray[np.float64], now: pd.Timestamp) -> Sent:
        """Send one sample of each series, stamped ``now``.

        Parameters
        ----------
        labels : encoded, of ``labels_of``, (n,)
        values : (n,)
            ``STALE`` ends a series.
        """
        stamp_ms = int(now.as_unit("ms").value) // 1_000_000
        raw = np.ascontiguousarray(values, dtype="<f8").tobytes()
        pieces = [one_series(k, raw[8 * i : 8 * i + 8], stamp_ms) for i, k in enumerate(labels)]
        tally = _Tally(np.zeros(len(pieces), dtype=np.bool_))
        most, most_bytes = self._params.samples_per_request, self._params.bytes_per_request
        hopeless = ""
        for begin, end in batches(pieces, most, most_bytes):
            try:
                if not hopeless:
                    self._post(b"".join(pieces[begin:end]), tally)
                    tally.taken[begin:end] = True
            except _RefusedError as error:
                tally.refused[str(error)] += end - begin
            except _HopelessError as error:
                hopeless = str(error)
            if hopeless:
                tally.refused[hopeless] += end - begin
        errors = (f"{n} of {len(pieces)} not taken: {why}" for why, n in tally.refused.items())
        return Sent(tally.taken, tally.requests, tally.retries, tally.bytes, tuple(errors))

    def describe(self, families: Sequence[Family]) -> str:
        """Send what each name is; gives why the server did not take it, or nothing."""
        try:
            self._post(metadata_of(families), _Tally(np.zeros(0, dtype=np.bool_)))
        except (_RefusedError, _HopelessError) as error:
            return str(error)
        return ""

    def _post(self, body: bytes, tally: _Tally) -> None:
        """One request, as often as that may help."""
        packed: bytes = self._codec.compress(body, asbytes=True)
        params, last = self._params, ""
        try:
            for attempt in stamina.retry_context(
                on=self._wait,
                attempts=params.attempts,
                timeout=params.retry_total_s,
                wait_initial=params.retry_wait_s,
                wait_max=params.retry_wait_max_s,
                wait_jitter=params.retry_wait_s,
            ):
                with attempt:
                    tally.requests += 1
                    tally.retries += attempt.num > 1
                    self._once(packed)
                    tally.bytes += len(packed)
                    return
        except _BusyError as error:
            last = str(error)
        raise _HopelessError(f"{last}, however often it was sent")

    def _wait(self, error: Exception) -> bool | float:
        """Stamina's hook: no retry, the usual wait, or what the server asked, within bounds."""
        if not isinstance(error, _BusyError):
            return False
        wait_s = error.wait_s
        return True if wait_s is None else min(wait_s, self._params.retry_wait_max_s)

    def _once(self, packed: bytes) -> None:
        failure: Exception
        try:
            response = self._client.post(self._address, content=packed, headers=_HEADERS)
        except httpx.RequestError as error:
            failure = _BusyError(f"no answer from {self._address}: {_text(error)}")
        except ForetideError as error:  # TLS, credentials: the same every time
            failure = _HopelessError(str(error))
        else:
            if response.is_success:
                return
            failure = self._refused(response)
        raise failure  # out here: httpx' errors carry the request with its headers

    def _refused(self, response: httpx.Response) -> Exception:
        code = response.status_code
        said = shorten(without_secrets(response.text[:2000], response.request), 200)
        text = f"{self._address}: HTTP {code}: {said or response.reason_phrase}"
        if code in _BUSY:
            return _BusyError(text, retry_after_s(response))
        if code in (401, 403):
            return _HopelessError(f"{text}; check the credentials and rights of {self._principal}")
        if code in (404, 405) or response.is_redirect:
            return _HopelessError(text + _ADDRESS)
        if code == 413:
            return _RefusedError(f"{text}; lower publish.remote_write.send.bytes_per_request")
        why = next((w for pattern, w in _WHY if re.search(pattern, said, re.IGNORECASE)), "")
        return _RefusedError(f"{text}; {why}" if why else text)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
