"""The fake API server answers as a real one did, request by request, in the recorded order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from kube_server import KubeServer, Rule, serve_kube

RECORDED = Path(__file__).parents[4] / "shared" / "kubernetes" / "transcripts.jsonl"
FIRST_REVISION = 555
"""The first recorded write made 556: bodies hold stale resourceVersions by number."""
OTHER_BODY = {
    "watch, resourceVersion too old": "events of objects from before the first recorded request",
}
NO_UID = "00000000-0000-0000-0000-000000000000"

pytestmark = pytest.mark.skipif(not RECORDED.exists(), reason="../shared is not here")


@pytest.fixture
def server() -> Iterator[KubeServer]:
    with serve_kube(namespaces=("tr",), revision=FIRST_REVISION - 1) as server:
        server.users |= {
            "prescaler": (Rule(("get", "list", "watch")),),
            "viewer": (Rule(("get",)),),
        }
        yield server


def send(server: KubeServer, request: dict[str, Any], uids: dict[str, str]) -> tuple[int, Any]:
    """Status and body; ``uids`` maps recorded ones to those of the fake server's objects."""
    body = request.get("body")
    text = body if isinstance(body, str) else json.dumps(body) if body is not None else ""
    for recorded, ours in uids.items():
        text = text.replace(recorded, ours)
    headers = {"Content-Type": request["contentType"]} if request.get("contentType") else {}
    if request.get("user"):
        headers["Authorization"] = f"Bearer token-of-{request['user']}"
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=5)
    try:
        connection.request(request["method"], request["path"], text.encode(), headers)
        response = connection.getresponse()
        raw = response.read()
    finally:
        connection.close()
    return response.status, raw if "watch=" in request["path"] else json.loads(raw)


def told(said: Any) -> Any:
    """What a refusal says; what of an object must be the same as in the recording."""
    if not isinstance(said, dict):
        return None
    if said.get("kind") == "Status":
        # The decoder's messages quote the whole object, in Go's order, with times and uids.
        message = re.sub(r'Invalid value: "\{.*\}": ', "Invalid value: OBJECT: ", said["message"])
        causes = [
            (c["reason"], c.get("field")) for c in ((said.get("details") or {}).get("causes") or [])
        ]
        return said.get("reason"), message, said["code"], causes
    owners = sorted(
        (
            e["manager"],
            e["operation"],
            e.get("subresource", ""),
            json.dumps(e["fieldsV1"], sort_keys=True),
        )
        for e in said["metadata"].get("managedFields") or []
    )
    names = [item["metadata"]["name"] for item in said.get("items") or []]
    return said["kind"], said.get("spec"), said.get("status"), owners, names


def test_every_recorded_request_gets_the_recorded_answer(server: KubeServer) -> None:
    uids: dict[str, str] = {}
    wrong: list[str] = []
    recorded = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    assert len(recorded) == 80
    for pair in recorded:
        status, said = send(server, pair["request"], uids)
        if status != pair["status"]:
            wrong.append(f"{pair['label']}: expected {pair['status']}, got {status} {said}")
        elif pair["label"] not in OTHER_BODY and told(said) != told(pair["response"]):
            wrong.append(f"{pair['label']}:\n  {told(pair['response'])}\n  {told(said)}")
        uid = (pair["response"].get("metadata") or {}).get("uid")
        if uid and isinstance(said, dict) and uid != NO_UID:
            uids[uid] = said.get("metadata", {}).get("uid", uid)
    assert not wrong, "\n".join(wrong)
