"""The configuration: checked as a whole, overridden by the environment, silent about secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from pipelines.settings import Settings, load_settings

SECRET = "tok-5c3fe1"  # noqa: S105


def written(folder: Path, text: str) -> Path:
    path = folder / "foretide.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(written(folder, text))
    return str(caught.value)


def test_the_defaults_are_a_configuration() -> None:
    assert load_settings() == Settings()


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, "# nothing said\n")) == Settings()


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "source: {url: 'http://file', cluster: prod}\n")
    monkeypatch.setenv("FORETIDE_SOURCE__URL", "http://environment")
    monkeypatch.setenv("FORETIDE_DETECT__BAND__PRIOR_WEEKS", "9")
    settings = load_settings(path)
    assert settings.source.url == "http://environment"
    assert settings.source.cluster == "prod"
    assert settings.detect.band.prior_weeks == 9


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("histroy: {days: 3}", "histroy", "history"),
        ("source: {urll: x}", "source.urll", "url"),
        ("calendars: [{match: '*', timezon: UTC}]", "calendars.0.timezon", "timezone"),
        ("detect: {memory_slope: {window_h: 3}}", "detect.memory_slope.window_h", "windows_h"),
        ("1: {days: 3}", "1", "source, ingest, store"),
    ],
)
def test_an_unknown_key_is_named_with_its_neighbour(
    tmp_path: Path, text: str, key: str, nearest: str
) -> None:
    said = refusal(tmp_path, text)
    assert f"unknown key '{key}'" in said
    assert nearest in said


@pytest.mark.parametrize(
    ("text", "key", "came"),
    [
        ("history: {days: -2}", "history.days", "-2"),
        ("history: {days: much}", "history.days", "'much'"),
        ("source: {kind: carrier-pigeon}", "source.kind", "'carrier-pigeon'"),
        ("forecast: {champion: {choice: {margin: 7}}}", "forecast.champion.choice", "7"),
        ("forecast: {models: [seasonal_naive, oracle]}", "forecast.models.1", "'oracle'"),
        ("calendars: [{match: '*', timezone: Mars/Base}]", "calendars.0", "Mars/Base"),
        ("store: 7", "store", "7"),
    ],
)
def test_a_bad_value_is_named_with_its_key(tmp_path: Path, text: str, key: str, came: str) -> None:
    said = refusal(tmp_path, text)
    assert key in said
    assert came in said


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    said = refusal(tmp_path, "histroy: {}\nsource: {timeout_s: 0, urll: x}\n")
    assert all(word in said for word in ("histroy", "source.timeout_s", "source.urll"))


def test_a_bad_variable_is_named_not_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETIDE_HISTORY__DAYS", "soon")
    assert "FORETIDE_HISTORY__DAYS" in refusal(tmp_path, "store: {path: data}\n")
    monkeypatch.setenv("FORETIDE_HISTORY__DAYS", "3")
    monkeypatch.setenv("FORETIDE_CALENDARS", "no json")
    assert "calendars" in refusal(tmp_path, "store: {path: data}\n")


@pytest.mark.parametrize(
    ("text", "named"),
    [("a: [b", "not valid YAML"), ("- a\n- b\n", "list"), ("\tx: 1", "not valid YAML")],
)
def test_what_is_no_configuration_is_said_on_one_line(
    tmp_path: Path, text: str, named: str
) -> None:
    said = refusal(tmp_path, text)
    assert named in said
    assert "\n" not in said


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such configuration file"):
        load_settings(tmp_path / "nowhere.yaml")


def test_secrets_are_sent_and_never_shown(tmp_path: Path) -> None:
    settings = load_settings(
        written(
            tmp_path,
            f"source: {{url: 'https://me:{SECRET}@host/', headers: {{Authorization: {SECRET}}}}}\n",
        )
    )
    assert settings.source.sent_headers == {"Authorization": SECRET}
    headers = settings.source.headers
    shown = [repr(headers), str(headers), settings.model_dump_json(include={"source": {"headers"}})]
    shown += [repr(settings.source.model_dump(include={"headers"})), settings.source.shown]
    assert not any(SECRET in text for text in shown)


@pytest.mark.parametrize(
    "headers",
    [
        f'{{Authorization: "{SECRET}\\nX-Injected: yes"}}',
        f"{{Authorization: [{SECRET}]}}",
        f"{{'bad name': {SECRET}}}",
        f"{SECRET}",
        f"[{SECRET}]",
    ],
)
def test_an_error_about_headers_keeps_the_secret(tmp_path: Path, headers: str) -> None:
    said = refusal(tmp_path, f"source:\n  headers: {headers}\n")
    assert "source.headers" in said
    assert SECRET not in said


def test_off_and_no_are_words_and_no_truth_values(tmp_path: Path) -> None:
    rule = "prescale: {rules: [{match: 'prod/shop/*', mode: off}]}\n"
    rest = "cluster: {connect: no}\nmcp: {allow_writes: true}\n"
    settings = load_settings(written(tmp_path, rule + rest))
    assert settings.prescale.rules[0].mode == "off"
    assert settings.cluster.connect == "no"
    assert settings.mcp.allow_writes is True
