"""Where samples files are: on disk or in S3, one by one, or all below a directory or prefix.

S3 is read through botocore, so that every way to credentials that AWS' own tools know works here
(environment, profile, IRSA, Pod Identity, assumed roles) and is refreshed in mid-run; an endpoint
other than AWS' own is ``AWS_ENDPOINT_URL_S3`` or the client's ``endpoint_url``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.adapters.aws import new_session
from pipelines.adapters.source import shorten
from pipelines.errors import AccessDenied, InputError, QueryFailed, SourceUnreachable

__all__ = ["SUFFIXES", "File", "S3Client", "find"]

S3Client = Callable[[], Any]
"""Makes the boto3 client when the first ``s3://`` path comes; clients renew their credentials."""

_TABLES = (".parquet", ".csv", ".csv.gz")
_TEXTS = (".om", ".openmetrics", ".prom", ".txt")
SUFFIXES = (*_TABLES, *_TEXTS, *(f"{suffix}.gz" for suffix in _TEXTS))

_MISSING = frozenset({"404", "NoSuchBucket", "NoSuchKey", "NotFound", "InvalidBucketName"})
_DENIED = frozenset(
    {
        *("401", "403", "AccessDenied", "AllAccessDisabled", "AuthorizationHeaderMalformed"),
        *("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"),
    }
)


@dataclass(frozen=True, slots=True)
class File:
    """One file: its path or address as people know it, its size, and how to open it."""

    name: str
    size: int
    open: Callable[[], Any]
    """Gives a seekable ``pyarrow.NativeFile``."""

    def unpacked(self) -> Any:
        """The text of a file, also where its name ends in ``.gz``."""
        packed = self.name.lower().endswith(".gz")
        return pa.CompressedInputStream(self.open(), "gzip") if packed else self.open()


def find(
    paths: Sequence[str | Path], s3_client: S3Client | None = None, principal: str = ""
) -> list[File]:
    """The files in the order given; a directory or prefix stands for what is below it, by name.

    Below a directory, names that begin with ``.`` or ``_`` are left out, as are other endings.
    ``principal`` is who the client's credentials are, for errors.

    Raises
    ------
    InputError
        No path, nothing there, or of another kind.
    AccessDenied, SourceUnreachable, QueryFailed
        S3 refuses or does not answer.
    """
    if not paths:
        raise InputError("no input file was given; name a file of samples, or a directory of them")
    client: Any = None
    files: list[File] = []
    for path in paths:
        if not str(path).startswith("s3://"):
            files += _local(Path(path))
            continue
        client = client or (s3_client or _client)()
        files += _below(str(path), client, principal)
    return files


def _local(path: Path) -> list[File]:
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    if not path.is_dir():
        return [_checked(_on_disk(path))]
    found = sorted(f for f in path.rglob("*") if f.is_file())
    return _wanted(str(path), [(f.relative_to(path).parts, _on_disk(f)) for f in found])


def _on_disk(path: Path) -> File:
    return File(str(path), path.stat().st_size, lambda: pa.OSFile(str(path)))


def _checked(file: File) -> File:
    if not file.name.lower().endswith(SUFFIXES):
        raise InputError(f"{file.name}: expected a file ending in {', '.join(SUFFIXES)}")
    return file


def _wanted(where: str, found: Sequence[tuple[Sequence[str], File]]) -> list[File]:
    files = [
        file
        for parts, file in found
        if file.name.lower().endswith(SUFFIXES) and not any(p[:1] in "._" for p in parts if p)
    ]
    if not files:
        raise InputError(f"{where}: the directory holds no file ending in {', '.join(SUFFIXES)}")
    return files


def _client() -> Any:
    from boto3.session import Session

    return Session(botocore_session=new_session()).client("s3")


def _below(address: str, client: Any, who: str) -> list[File]:
    """The object of that name, or all objects below it."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket:
        raise InputError(f"{address}: expected s3://BUCKET or s3://BUCKET/PREFIX")
    objects: list[tuple[str, int]] = []
    with _explained(address, who):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        objects += [(o["Key"], o["Size"]) for page in pages for o in page.get("Contents", ())]
    found = {
        name: _in_s3(client, bucket, name, size, who) for name, size in objects if name[-1:] != "/"
    }
    if key in found:
        return [_checked(found[key])]
    folder = key if not key or key.endswith("/") else f"{key}/"
    below = {name: file for name, file in found.items() if name.startswith(folder)}
    if not below:
        raise InputError(f"{address}: no such object, and none below it")
    parts = [(name.removeprefix(folder).split("/"), file) for name, file in sorted(below.items())]
    return _wanted(address, parts)


def _in_s3(client: Any, bucket: str, key: str, size: int, who: str) -> File:
    def opened() -> Any:
        return pa.PythonFile(_Object(client, bucket, key, size, who), mode="r")

    return File(f"s3://{bucket}/{key}", size, opened)


class _Object(io.RawIOBase):
    """An object as a seekable file; each read is one ranged request, and Parquet asks for few."""

    def __init__(self, client: Any, bucket: str, key: str, size: int, who: str) -> None:
        super().__init__()
        self._who = who
        self._client, self._bucket, self._key, self._size = client, bucket, key, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        with _explained(f"s3://{self._bucket}/{self._key}", self._who):
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._key, Range=f"bytes={self._at}-{end - 1}"
            )
            data: bytes = answer["Body"].read()
        self._at += len(data)
        return data


@contextmanager
def _explained(address: str, who: str) -> Generator[None]:
    """Botocore's errors as ours."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except ClientError as error:
        raise _refusal(address, error.response.get("Error", {}), who) from error
    except NoCredentialsError as error:
        raise AccessDenied(
            f"{address}: no AWS credentials were found; set AWS_PROFILE or run with an IAM role"
        ) from error
    except BotoCoreError as error:
        raise SourceUnreachable(f"{address}: no answer from S3: {shorten(str(error))}") from error


def _refusal(address: str, said: dict[str, str], who: str) -> Exception:
    code, text = said.get("Code", "?"), shorten(said.get("Message", "") or "no reason given")
    if code in _MISSING:
        return InputError(f"{address}: no such bucket or object ({code}: {text})")
    if code in _DENIED:
        return AccessDenied(
            f"{address}: S3 refuses {who or 'these AWS credentials'}: {code}: {text}; "
            "they need s3:ListBucket on the bucket and s3:GetObject on its objects"
        )
    return QueryFailed(f"{address}: S3 failed with {code}: {text}")
