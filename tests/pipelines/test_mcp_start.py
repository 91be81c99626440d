"""`foretide mcp` does not start without its secrets, and listens where it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from pipelines.cli import _run_cli
from pipelines.errors import ConfigError
from pipelines.mcp.access import Bearer, parse_place, read_secret

TOKEN = "a-token-that-is-long-enough"  # noqa: S105  of no server


def refused(
    args: list[str], folder: Path, capsys: pytest.CaptureFixture[str], **settings: object
) -> str:
    """The one line of a start that is refused."""
    config = folder / "foretide.yaml"
    config.write_text(yaml.safe_dump({"store": {"path": str(folder)}, "mcp": settings}))
    assert _run_cli(["mcp", "--config", str(config), *args]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_http_without_a_token_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORETIDE_MCP__TOKEN", raising=False)
    assert "FORETIDE_MCP__TOKEN" in refused(["--http", "0"], tmp_path, capsys)
    gone = refused(["--http", "0"], tmp_path, capsys, token_file=str(tmp_path / "gone"))
    assert "cannot be read" in gone
    monkeypatch.setenv("FORETIDE_MCP__TOKEN", "short")
    told = refused(["--http", "0"], tmp_path, capsys)
    assert "got 5" in told
    assert "short;" not in told


def test_writes_without_an_approval_token_do_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORETIDE_MCP__APPROVAL_TOKEN", raising=False)
    told = refused([], tmp_path, capsys, allow_writes=True)
    assert "FORETIDE_MCP__APPROVAL_TOKEN" in told
    monkeypatch.setenv("FORETIDE_MCP__TOKEN", TOKEN)
    monkeypatch.setenv("FORETIDE_MCP__APPROVAL_TOKEN", TOKEN)
    assert "one of its own" in refused(["--http", "0"], tmp_path, capsys, allow_writes=True)
    back = refused(["--as-of", "2026-06-08T00:00Z"], tmp_path, capsys, allow_writes=True)
    assert "--as-of" in back
    assert TOKEN not in told + back


def test_a_token_comes_from_a_file_or_from_the_environment_not_from_both(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    secret = read_secret(SecretStr(""), str(file), "token", "why")
    assert secret.is_same(TOKEN)
    assert not secret.is_same(TOKEN + "x")
    assert not secret.is_same("\udcff" + TOKEN)  # what no header should hold
    assert TOKEN not in repr(secret)
    with pytest.raises(ConfigError, match="keep one"):
        read_secret(SecretStr(TOKEN), str(file), "token", "why")


async def _verified(given: str) -> bool:
    return (
        await Bearer(read_secret(SecretStr(TOKEN), "", "token", "")).verify_token(given) is not None
    )


def test_the_bearer_knows_its_token_alone() -> None:
    import asyncio

    assert asyncio.run(_verified(TOKEN))
    assert not any(asyncio.run(_verified(t)) for t in ("", TOKEN[:-1], TOKEN.upper(), "*"))


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("8765", "127.0.0.1", 8765, True),
        (":8765", "127.0.0.1", 8765, True),
        ("localhost:1", "localhost", 1, True),
        ("[::1]:80", "::1", 80, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),  # noqa: S104  parsed, not bound to
        ("mcp.example:443", "mcp.example", 443, False),
    ],
)
def test_it_listens_on_loopback_unless_told_otherwise(
    text: str, host: str, port: int, loopback: bool
) -> None:
    place = parse_place(text)
    assert (place.host, place.port, place.is_loopback) == (host, port, loopback)


@pytest.mark.parametrize("text", ["", "host", "70000", "h:1:2", "a b:1", "http://h:1", "-1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_place(text)
