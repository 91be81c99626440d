import io
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from s3_server import s3_server

from pipelines.adapters.objects import ANY, Conflict, checked, open_objects, steady
from pipelines.adapters.objects.local import LocalObjects
from pipelines.adapters.objects.ranges import Ranges
from pipelines.adapters.objects.s3 import S3Objects, S3Params
from pipelines.errors import StoreError


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as server:
        yield server


@pytest.fixture(params=["local", "s3"])
def objects(request, tmp_path, bucket):
    if request.param == "local":
        return LocalObjects(tmp_path / "root")
    return S3Objects(bucket.root(tmp_path.name), bucket.client())


def read(objects, name):
    with objects.open(name) as file:
        return None if file is None else file.read()


def test_what_was_put_is_there_until_it_is_deleted(objects, tmp_path):
    assert read(objects, "a/b.json") is None
    assert objects.stat("a/b.json") is None
    objects.put("a/b.json", b"one")
    objects.put("a/b.json", b"two")
    (tmp_path / "three").write_bytes(b"3" * 5_000)
    objects.put("a/date=1/c.bin", tmp_path / "three")
    objects.put("empty", b"")
    assert read(objects, "a/b.json") == b"two"
    assert read(objects, "a/date=1/c.bin") == b"3" * 5_000
    assert read(objects, "empty") == b""
    assert objects.stat("a/b.json").size == 3
    assert [s.name for s in objects.list("a/")] == ["a/b.json", "a/date=1/c.bin"]
    assert [s.name for s in objects.list("a/date=")] == ["a/date=1/c.bin"]
    for _ in range(2):
        objects.delete("a/date=1/c.bin")
    assert [s.name for s in objects.list("a/")] == ["a/b.json"]


def test_a_put_that_replaces_another_version_is_refused(objects):
    objects.put("x", b"1", replacing=None)
    first = objects.stat("x").version
    with pytest.raises(Conflict, match="changed by another process"):
        objects.put("x", b"2", replacing=None)
    objects.put("x", b"2", replacing=first)
    with pytest.raises(Conflict):
        objects.put("x", b"3", replacing=first)
    with pytest.raises(Conflict):
        objects.put("never", b"3", replacing=first)
    assert read(objects, "x") == b"2"
    assert read(objects, "never") is None
    objects.put("x", b"4", replacing=ANY)
    assert read(objects, "x") == b"4"


def test_an_update_that_writes_nothing_or_breaks_leaves_the_old(objects):
    objects.put("x", b"old")
    before = objects.stat("x")
    assert objects.update("x", lambda old, _: old.read()) == b"old"
    assert objects.update("y", lambda old, _: old) is None

    def broken(old, out):
        out.write(b"half of")
        raise KeyError("a thing")

    with pytest.raises(KeyError):
        objects.update("x", broken)
    assert objects.stat("x") == before
    assert [s.name for s in objects.list("")] == ["x"]


def test_an_update_begins_again_when_someone_was_faster(bucket, tmp_path):
    objects = S3Objects(bucket.root(tmp_path.name), bucket.client())
    other = S3Objects(bucket.root(tmp_path.name), bucket.client())
    tries = []

    def append(old, out):
        if not tries:
            other.put("x", b"theirs ")
        tries.append(1)
        out.write((old.read() if old else b"") + b"mine")

    objects.update("x", append)
    assert read(objects, "x") == b"theirs mine"

    def chased(old, out):
        other.put("x", (old.read() if old else b"") + b".")
        out.write(b"never")

    few = S3Objects(bucket.root(tmp_path.name), bucket.client(), params=S3Params(update_attempts=3))
    with pytest.raises(StoreError, match="changed by another process each of 3 times"):
        few.update("x", chased)
    assert read(objects, "x") == b"theirs mine..."


@pytest.mark.parametrize("length", [5 << 20, (5 << 20) + 1, 11 << 20])
def test_a_large_object_goes_up_in_parts_under_the_same_condition(bucket, tmp_path, length):
    params = S3Params(multipart_bytes=5 << 20)
    objects = S3Objects(bucket.root(tmp_path.name), bucket.client(), params=params)
    data = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    bucket.requests.clear()
    objects.put("large", data, replacing=None)
    assert sum("partNumber" in r for r in bucket.requests) == -(-length // (5 << 20))
    assert read(objects, "large") == data
    with pytest.raises(Conflict):
        objects.put("large", data[1:], replacing=None)
    assert read(objects, "large") == data
    assert "Uploads" not in bucket.client().list_multipart_uploads(Bucket=bucket.bucket)


def test_unfinished_uploads_and_files_are_swept_when_they_are_old(bucket, tmp_path):
    client = bucket.client()
    client.create_multipart_upload(Bucket=bucket.bucket, Key=f"{tmp_path.name}/half")
    client.create_multipart_upload(Bucket=bucket.bucket, Key="elsewhere/half")
    remote = S3Objects(bucket.root(tmp_path.name), client)
    aside = tmp_path / "samples/.x.parquet.0123456789abcdef0123456789abcdef.tmp"
    aside.parent.mkdir()
    kept = [tmp_path / "samples/x.tmp", tmp_path / "samples/.x.0a.tmp"]
    for file in (aside, *kept):
        file.write_text("half")
    for objects in (remote, LocalObjects(tmp_path)):
        assert objects.sweep(0) == 0
        assert objects.sweep(4_102_444_800_000) == 1
    assert not aside.exists()
    assert all(f.exists() for f in kept)
    left = client.list_multipart_uploads(Bucket=bucket.bucket)["Uploads"]
    assert [u["Key"] for u in left] == ["elsewhere/half"]


@given(
    data=st.binary(max_size=60),
    tail=st.integers(1, 70),
    moves=st.lists(st.tuples(st.integers(0, 70), st.integers(-1, 70)), max_size=6),
)
def test_ranges_read_like_a_file(data, tail, moves):
    def get(Range, IfMatch=None):  # noqa: N803 - as boto3 has it
        first, _, last = Range.removeprefix("bytes=").partition("-")
        assert (first == "") == (IfMatch is None)
        part = data[-int(last) :] if first == "" else data[int(first) : int(last) + 1]
        return part, len(data), "v1"

    file, plain = Ranges(get, tail), io.BytesIO(data)
    for offset, size in moves:
        assert file.seek(offset) == plain.seek(offset)
        assert file.read(size) == plain.read(size)
        assert file.tell() == plain.tell()
    assert file.seek(-len(data), io.SEEK_END) == 0


class Racing:
    """A client whose bucket changes between two requests."""

    def __init__(self, client, change):
        self._client, self._change = client, change

    def __getattr__(self, name):
        return getattr(self._client, name)

    def get_object(self, **how):
        if "IfMatch" in how and self._change:
            change, self._change = self._change, None
            change()
        return self._client.get_object(**how)


@pytest.mark.parametrize("change", ["put", "delete"])
def test_a_reader_never_gets_bytes_of_two_versions(bucket, tmp_path, change):
    root, client = bucket.root(tmp_path.name), bucket.client()
    plain = S3Objects(root, client)
    plain.put("x", b"a" * 100)
    act = {"put": lambda: plain.put("x", b"b" * 50), "delete": lambda: plain.delete("x")}[change]
    objects = S3Objects(root, Racing(client, act), params=S3Params(tail_bytes=10))
    assert steady(lambda: read(objects, "x")) == {"put": b"b" * 50, "delete": None}[change]


def test_a_small_object_is_one_request(bucket, tmp_path):
    objects = S3Objects(bucket.root(tmp_path.name), bucket.client())
    objects.put("x", b"a" * 1000)
    bucket.requests.clear()
    read(objects, "x")
    assert len(bucket.requests) == 1


@pytest.mark.parametrize(
    "name", ["", "/etc", "..", "a/../b", "a//b", "a/.b", ".a", "a\n", "ü", "a b"]
)
def test_a_name_that_is_none_is_refused_before_anything_happens(objects, name):
    for act in (objects.where, objects.stat, objects.delete, lambda n: objects.put(n, b"")):
        with pytest.raises(ValueError, match="expected a name such as"):
            act(name)
    with pytest.raises(ValueError, match="expected a name"):
        checked(name)


def test_addresses_are_known_or_refused_without_their_secrets(tmp_path):
    assert isinstance(open_objects(tmp_path), LocalObjects)
    assert open_objects(f"file://{tmp_path}/a%20b").where("x") == f"{tmp_path}/a b/x"
    assert open_objects("s3://bucket/some/prefix/").where("x") == "s3://bucket/some/prefix/x"
    assert open_objects("s3://bucket").where("x") == "s3://bucket/x"
    for root in (
        "gs://bucket",
        "s3://key:hunter2@bucket/x",
        "s3://BUCKET",
        "s3://",
        "http://hunter2",
    ):
        with pytest.raises(StoreError, match="no store's address") as caught:
            open_objects(root)
        assert "hunter2" not in str(caught.value)


def refusing(operation: str, code: str, message: str = "", status: int = 403):
    client = boto3.session.Session().client(
        "s3", region_name="us-east-1", aws_access_key_id="AKIATEST", aws_secret_access_key="hunter2"  # noqa: S106
    )  # fmt: skip
    stubber = Stubber(client)
    stubber.add_client_error(operation, code, message, http_status_code=status)
    stubber.activate()
    return S3Objects("s3://bucket/p", client)


@pytest.mark.parametrize(
    ("operation", "act", "action"),
    [
        ("get_object", lambda o: read(o, "x"), "s3:GetObject"),
        ("head_object", lambda o: o.stat("x"), "s3:GetObject"),
        ("put_object", lambda o: o.put("x", b""), "s3:PutObject"),
        ("delete_object", lambda o: o.delete("x"), "s3:DeleteObject"),
        ("list_objects_v2", lambda o: o.list("x"), "s3:ListBucket"),
        ("list_multipart_uploads", lambda o: o.sweep(0), "s3:ListBucketMultipartUploads"),
    ],
)
def test_who_may_not_is_told_which_permission_is_missing(operation, act, action):
    with pytest.raises(StoreError, match=rf"^s3://bucket/p/.* access is denied.* {action} there"):
        act(refusing(operation, "AccessDenied"))


def test_who_may_not_list_is_refused_what_is_not_there_and_told_of_both_permissions():
    """S3 answers 403, not 404, to those without s3:ListBucket."""
    with pytest.raises(StoreError, match=r"s3:GetObject there, and s3:ListBucket on the bucket$"):
        read(refusing("get_object", "AccessDenied"), "x")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("NoSuchBucket", "there is no such bucket; create it"),
        ("ExpiredToken", r"credentials are missing or refused \(ExpiredToken\)"),
        ("PermanentRedirect", "in another region"),
        ("SlowDown", "S3 says SlowDown: please"),
    ],
)
def test_what_s3_refuses_is_one_line_with_a_way_out(code, said):
    with pytest.raises(StoreError, match=said) as caught:
        read(refusing("get_object", code, "please\nreduce"), "x")
    assert "\n" not in str(caught.value)


def test_an_endpoint_that_is_not_there_is_named_without_its_password(tmp_path):
    client = boto3.session.Session().client(
        "s3", endpoint_url="http://me:hunter2@127.0.0.1:1", region_name="us-east-1",
        aws_access_key_id="a", aws_secret_access_key="hunter2",  # noqa: S106
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    with pytest.raises(StoreError, match=r"s3://bucket/x cannot be read: the endpoint") as caught:
        read(S3Objects("s3://bucket", client), "x")
    shown = [caught.value, caught.value.__cause__]
    assert not any("hunter2" in repr(e) for e in shown)
    assert caught.value.__suppress_context__


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="multipart_bytes must be at least 5242880, got 1"):
        S3Params(multipart_bytes=1)


def test_a_folder_that_comes_and_goes_does_not_stop_a_put(tmp_path):
    objects = LocalObjects(tmp_path)
    for _ in range(3):
        objects.put("t/date=1/x", b"1")
        objects.delete("t/date=1/x")
        assert not Path(tmp_path / "t/date=1").exists()
