"""Objects in an S3 bucket, or in what speaks like one.

A put is one PutObject with ``If-Match`` or ``If-None-Match``, so that a reader sees the old object
or the new one and a writer who comes second is refused; above ``multipart_bytes`` it is a multipart
upload with the same condition on its completion.

Reads: the first request asks for the last ``tail_bytes`` and tells size and version along with
them, so that a small object is one request and a Parquet file's footer is there with it. What else
is wanted comes by ranges that name the version (``If-Match``): pyarrow's own S3 files do not, and
would read the footer of one object and the data of the next. An update downloads the object in one
request, because it reads all of it.
"""

from __future__ import annotations

import io
import random
import re
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa

from pipelines.adapters.aws import new_session
from pipelines.adapters.objects.protocol import ANY, Conflict, Stat, checked
from pipelines.adapters.objects.ranges import Ranges
from pipelines.adapters.objects.s3_errors import AbsentError, EmptyError, translated
from pipelines.errors import StoreError

__all__ = ["S3Objects", "S3Params"]

T = TypeVar("T")

_ROOT = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([^?#]*))?")
_MAX_PARTS = 10_000
_BODY_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class S3Params:
    """How the bucket is talked to."""

    update_attempts: int = 12
    """How often an update begins again when someone else was faster."""
    multipart_bytes: int = 64 << 20
    """From this size on an object goes up in parts of this size, 5 MiB at least."""
    tail_bytes: int = 1 << 20
    """What the first request reads."""

    def __post_init__(self) -> None:
        """Raises ValueError where a number is too small."""
        least = {"update_attempts": 1, "multipart_bytes": 5 << 20, "tail_bytes": 1}
        for key, minimum in least.items():
            if getattr(self, key) < minimum:
                raise ValueError(f"{key} must be at least {minimum}, got {getattr(self, key)}")


class S3Objects:
    """Objects of a bucket, under a prefix."""

    readers = 8

    def __init__(
        self,
        root: str,
        client: Any = None,
        endpoint_url: str | None = None,
        params: S3Params = S3Params(),
    ) -> None:
        """Nothing is sent before the first request; credentials are those that botocore finds.

        Raises
        ------
        StoreError
            The root is no ``s3://BUCKET/PREFIX``.
        """
        match = _ROOT.fullmatch(root)
        if match is None:  # not shown: it may hold credentials
            raise StoreError("this is no store's address; expected s3://BUCKET/PREFIX")
        self._bucket, self._prefix = match[1], (match[2] or "").strip("/")
        self.root = root.rstrip("/")
        self._prefix += "/" if self._prefix else ""
        self._given, self._endpoint_url, self._params = client, endpoint_url, params

    @cached_property
    def _client(self) -> Any:
        if self._given is not None:
            return self._given
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        retries: Any = {"mode": "standard", "total_max_attempts": 6}
        config = Config(retries=retries, connect_timeout=10, read_timeout=60)
        try:
            session = Session(botocore_session=new_session())
            return session.client("s3", endpoint_url=self._endpoint_url, config=config)
        except (BotoCoreError, ValueError) as error:
            raise translated(error, self.root, "reached") from None

    def where(self, name: str) -> str:
        """Its address."""
        return f"s3://{self._bucket}/{self._prefix}{checked(name)}"

    def list(self, prefix: str) -> list[Stat]:
        """Every object whose name begins so, by name; a request for each 1,000."""
        found: list[Stat] = []
        with self._asking(prefix, "listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    name = str(item["Key"])[len(self._prefix) :]
                    if not any(s.startswith(".") or not s for s in name.split("/")):
                        found.append(Stat(name, int(item["Size"]), str(item["ETag"])))
        return sorted(found, key=lambda s: s.name)

    def stat(self, name: str) -> Stat | None:
        """One HEAD request."""
        try:
            with self._asking(name, "looked at"):
                head = self._client.head_object(**self._at(name))
        except AbsentError:
            return None
        return Stat(name, int(head["ContentLength"]), str(head["ETag"]))

    @contextmanager
    def open(self, name: str) -> Generator[pa.NativeFile | None]:
        """One version of the object; reading it raises ``Conflict`` once another has taken its
        place."""
        try:
            file = Ranges(partial(self._get, name), self._params.tail_bytes)
        except AbsentError:
            yield None
            return
        with pa.PythonFile(file, mode="r") as opened:
            yield opened

    def put(self, name: str, data: bytes | Path, *, replacing: str | None = ANY) -> None:
        """One PutObject, or one multipart upload."""
        with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as body:
            self._put(name, body, replacing)

    def update(self, name: str, change: Callable[[pa.NativeFile | None, BinaryIO], T]) -> T:
        """Read, change, put if nobody was faster; else all of it again."""
        for attempt in range(self._params.update_attempts):
            try:
                return self._update(name, change)
            except Conflict:
                if attempt + 1 < self._params.update_attempts:
                    # full jitter, so that two who met do not meet again
                    time.sleep(random.uniform(0, min(5.0, 0.05 * 2**attempt)))  # noqa: S311
        raise StoreError(
            f"{self.where(name)} was changed by another process each of "
            f"{self._params.update_attempts} times; end the other writers, then run again"
        )

    def _update(self, name: str, change: Callable[[pa.NativeFile | None, BinaryIO], T]) -> T:
        with tempfile.NamedTemporaryFile() as held, tempfile.TemporaryFile() as out:
            version = self._download(name, held)
            if version is None:
                result = change(None, out)
            else:
                with pa.OSFile(held.name) as old:
                    result = change(old, out)
            if out.tell():
                out.seek(0)
                self._put(name, out, version)
            return result

    def delete(self, name: str) -> None:
        """One DeleteObject."""
        with self._asking(name, "deleted"), suppress(AbsentError):
            self._client.delete_object(**self._at(name))

    def sweep(self, before_ms: int) -> int:
        """Abort uploads that nobody will complete: their parts are billed."""
        gone = 0
        with self._asking("", "listed for unfinished uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for upload in [u for page in pages for u in page.get("Uploads", ())]:
                if upload["Initiated"].timestamp() * 1000 < before_ms:
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    gone += 1
        return gone

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + checked(name)}

    def _get(self, name: str, **how: str) -> tuple[bytes, int, str]:
        """The bytes asked for, the object's size and version."""

        def take(body: Any) -> bytes:
            return body.read()

        try:
            data, answer = self._body(name, take, **how)
        except AbsentError:
            if "IfMatch" in how:  # deleted since it was opened
                raise _lost(self.where(name)) from None
            raise
        except EmptyError:
            return b"", 0, ""
        size = str(answer.get("ContentRange", f"/{len(data)}")).rpartition("/")[2]
        return data, int(size), str(answer["ETag"])

    def _download(self, name: str, into: Any) -> str | None:
        def take(body: Any) -> None:
            into.seek(0)
            into.truncate()
            for piece in body.iter_chunks(1 << 20):
                into.write(piece)
            into.flush()

        try:
            return str(self._body(name, take)[1]["ETag"])
        except AbsentError:
            return None

    def _body(self, name: str, take: Callable[[Any], T], **how: str) -> tuple[T, Any]:
        """A GET; botocore repeats a request that failed, and we one whose answer broke off."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        with self._asking(name, "read"):
            for attempt in range(_BODY_ATTEMPTS):
                answer = self._client.get_object(**self._at(name), **how)
                try:
                    return take(answer["Body"]), answer
                except (HTTPClientError, IncompleteReadError):
                    if attempt + 1 == _BODY_ATTEMPTS:
                        raise
            raise AssertionError

    def _put(self, name: str, body: Any, replacing: str | None) -> None:
        condition: dict[str, str] = {}
        if replacing != ANY:
            condition = {"IfNoneMatch": "*"} if replacing is None else {"IfMatch": replacing}
        size = body.seek(0, io.SEEK_END)
        body.seek(0)
        try:
            with self._asking(name, "written"):
                if size < self._params.multipart_bytes:
                    self._client.put_object(**self._at(name), Body=body, **condition)
                else:
                    self._put_parts(name, body, size, condition)
        except AbsentError:  # deleted since it was read
            raise _lost(self.where(name)) from None

    def _put_parts(self, name: str, body: Any, size: int, condition: dict[str, str]) -> None:
        at = self._at(name)
        upload = at | {"UploadId": self._client.create_multipart_upload(**at)["UploadId"]}
        step = max(self._params.multipart_bytes, -(-size // _MAX_PARTS))
        try:
            parts = [
                {
                    "PartNumber": n,
                    "ETag": self._client.upload_part(
                        **upload, PartNumber=n, Body=body.read(step)
                    )["ETag"],
                }
                for n in range(1, -(-size // step) + 1)
            ]  # fmt: skip
            self._client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, **condition
            )
        except BaseException:
            with suppress(Exception):  # sweep takes what stays
                self._client.abort_multipart_upload(**upload)
            raise

    @contextmanager
    def _asking(self, name: str, what: str) -> Generator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            where = f"s3://{self._bucket}/{self._prefix}{name}"
            raise translated(error, where, what) from None


def _lost(where: str) -> Conflict:
    return Conflict(f"{where} was changed by another process; run again")
