"""An S3 endpoint on loopback with one bucket (moto)."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.server import ThreadedMotoServer


@dataclass
class S3Server:
    url: str
    bucket: str
    requests: list[str] = field(default_factory=list)
    """``METHOD /path?query range``, as they came."""

    @property
    def environment(self) -> dict[str, str]:
        """What makes botocore come here, and nowhere else."""
        return {
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_SESSION_TOKEN": "",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }

    def client(self) -> Any:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="AKIATEST",
            aws_secret_access_key="not-a-secret",  # noqa: S106
        )

    def root(self, prefix: str = "") -> str:
        """A store's address."""
        return f"s3://{self.bucket}/{prefix}"

    def contents(self, prefix: str = "") -> dict[str, bytes]:
        """Key without the prefix → bytes."""
        client = self.client()
        keys = [
            item["Key"]
            for page in client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix
            )
            for item in page.get("Contents", ())
        ]
        read = {k: client.get_object(Bucket=self.bucket, Key=k)["Body"].read() for k in keys}
        return {k.removeprefix(prefix).lstrip("/"): v for k, v in read.items()}


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """One request at a time: in a bucket a condition and its put are one step, in moto two."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    # moto keeps one world a process, whoever else has started one
    server = S3Server(f"http://{host}:{port}", f"metrics-{uuid.uuid4().hex[:12]}")
    inner, turn = moto._server.app, threading.Lock()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        query = environ.get("QUERY_STRING", "")
        with turn:
            server.requests.append(
                f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{'?' if query else ''}{query} "
                f"{environ.get('HTTP_RANGE', '')}".rstrip()
            )
            return list(inner(environ, start_response))

    moto._server.app = app
    try:
        server.client().create_bucket(Bucket=server.bucket)
        server.requests.clear()
        yield server
    finally:
        moto.stop()
