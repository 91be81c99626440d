"""An MLflow server as it may be met: with a password, behind a proxy, silent, not MLflow at all."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from checking_proxy import Reply, Request, answering

from pipelines.adapters.tracking import Tracking
from pipelines.errors import ModelError

pytestmark = [
    # mlflow and sqlalchemy warn about themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PASSWORD = "hunter2-of-mlflow"  # noqa: S105
NOBODY = Reply.json(
    404, error_code="RESOURCE_DOES_NOT_EXIST", message="Registered model t-forecaster not found"
)


def said_of(reply: Reply) -> str:
    with answering(lambda _: reply) as url, pytest.raises(ModelError) as caught:
        Tracking(url, "e", "t").champion("forecaster")
    return str(caught.value)


@pytest.fixture
def env() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield patch


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": PASSWORD},
         "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()),
        ({"MLFLOW_TRACKING_TOKEN": PASSWORD}, f"Bearer {PASSWORD}"),
    ],
    ids=["password", "token"],
)  # fmt: skip
def test_who_one_is_comes_from_the_environment(
    env: pytest.MonkeyPatch, variables: dict[str, str], sent: str
) -> None:
    for name, value in variables.items():
        env.setenv(name, value)

    def respond(request: Request) -> Reply:
        if request.headers.get("authorization") != sent:
            return Reply(401, b"who are you?")
        return NOBODY

    with answering(respond) as url:
        assert Tracking(url, "e", "t").champion("forecaster") is None
    assert PASSWORD not in said_of(Reply(401, f"{PASSWORD} is nobody's".encode()))


@pytest.mark.parametrize(
    "reply",
    [Reply(404, b"<html>no such page</html>"), Reply(400, b"plain HTTP sent to an HTTPS port"),
     Reply(401, b"who are you?"), Reply(200, b"<html>log in</html>"), Reply(502, b"bad gateway")],
    ids=["404", "400", "401", "200", "502"],
)  # fmt: skip
def test_what_is_no_mlflow_is_not_taken_for_an_empty_registry(
    env: pytest.MonkeyPatch, reply: Reply
) -> None:
    said = said_of(reply)
    assert reply.body.decode() in said or f"too many {reply.status} error" in said
    assert "\n" not in said


def test_a_page_is_not_quoted_whole(env: pytest.MonkeyPatch) -> None:
    assert len(said_of(Reply(500, b"<p>sorry</p>\n" * 1000))) < 600


def test_a_server_that_takes_the_call_and_says_nothing_is_given_up(env: pytest.MonkeyPatch) -> None:
    env.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        held: list[socket.socket] = []

        def hold() -> None:
            with suppress(OSError):
                while True:
                    held.append(silent.accept()[0])

        threading.Thread(target=hold, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(ModelError, match="timed out"):
            Tracking(f"http://127.0.0.1:{silent.getsockname()[1]}", "e", "t").champion("forecaster")
        assert 1 <= time.monotonic() - begun < 30
        silent.shutdown(socket.SHUT_RDWR)
        for taken in held:
            taken.close()
