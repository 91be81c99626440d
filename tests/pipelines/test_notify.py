"""notify on a store: told once over repeated, overlapping and broken runs; with the picture."""

from __future__ import annotations

import json
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from notify_server import SLACK_PATH, Listener, as_slack, listening

from features.frames import INCIDENTS, LEAKS, NOTICES, SCORES
from models.actions import Plan, Shortfall
from models.incidents import IncidentParams, group_incidents
from pipelines.adapters.notify import Message
from pipelines.adapters.store import Store
from pipelines.cli import cli, main
from pipelines.continuity import continued
from pipelines.doctor.notify import check_channels
from pipelines.errors import ConfigError, DeliveryError
from pipelines.notices import decide
from pipelines.notices_log import NoticeLog
from pipelines.notices_picture import Against, draw
from pipelines.notices_terms import Past
from pipelines.notices_troubles import of_incidents, of_plan
from pipelines.notify import notify, tell_due
from pipelines.run import Run, RunRef, part_name
from pipelines.settings import load_settings
from pipelines.settings_notify import NotifySettings

NOW = pd.Timestamp("2026-06-01T12:00Z").as_unit("ms")
STEP = pd.Timedelta(300, "s")
MIN = pd.Timedelta(1, "min")
CHECKOUT = "prod/shop/Deployment/checkout"
SECRET = "s3cr3t"  # noqa: S105 - nobody's; it must never be shown


@dataclass
class Memory:
    """A channel that keeps what it is told, and fails while it is told to."""

    where: str = "memory"
    heard: list[Message] = field(default_factory=list)
    fails: int = 0
    is_lasting: bool = False
    before: Callable[[], None] = lambda: None

    def send(self, message: Message) -> None:
        self.before()
        if self.fails:
            self.fails -= 1
            raise DeliveryError("no", is_lasting=self.is_lasting)
        self.heard.append(message)

    def probe(self) -> str:
        return "memory"


def config(tmp_path: Path, **notify: Any) -> str:
    hooks = {"kind": "webhook", "url": "http://127.0.0.1:1/hook"}
    section = {"channels": {"ops": hooks, "shop": hooks}} | notify
    path = tmp_path / "foretide.yaml"
    path.write_text(yaml.safe_dump({"store": {"path": str(tmp_path / "out")}, "notify": section}))
    return str(path)


def opened(tmp_path: Path, at: pd.Timestamp = NOW, **notify: Any) -> Run:
    return RunRef.resolve(config(tmp_path, **notify), None, None, at.isoformat(), at).open()


def incident(name: str = "1f" * 8, **changes: Any) -> dict[str, Any]:
    causes = [
        {
            "workload": CHECKOUT, "metric": "error_ratio", "score": 5.0, "confidence": 0.9,
            "evidence": "error_ratio ×9 from the usual 0.2% to 1.8% at 10:00",
        }
    ]  # fmt: skip
    usual: dict[str, Any] = {
        "incident_id": name, "started_at": NOW - 2 * 60 * MIN, "detected_at": NOW - 100 * MIN,
        "ended_at": pd.NaT, "title": "checkout: error_ratio ×9 from the usual 0.2% to 1.8%",
        "workloads": [CHECKOUT], "causes": causes, "score": 5.0, "severity": "warning",
        "suppressed_alerts": 1, "run_id": "r",
    }  # fmt: skip
    return usual | changes


def put(run: Run, *incidents: dict[str, Any], at: pd.Timestamp = NOW) -> None:
    frame = pd.DataFrame(incidents)
    for stamp in ("started_at", "detected_at", "ended_at"):
        frame[stamp] = pd.to_datetime(frame[stamp], utc=True)
    run.store.write(INCIDENTS, frame, part_name(at))


def put_scores(run: Run, workload: str = CHECKOUT, metric: str = "error_ratio") -> None:
    ts = pd.date_range(NOW - 60 * STEP, NOW - STEP, freq=STEP).as_unit("ms")
    odd = np.asarray(ts >= NOW - 24 * STEP)
    rows = pd.DataFrame({"workload": workload, "metric": metric, "ts": ts, "detector": "band"})
    rows = rows.assign(
        score=np.where(odd, 5.0, 0.2), expected=0.002, lower=0.001, upper=0.003,
        value=np.where(odd, 0.018, 0.002), severity="warning", reason="", model_version="1",
        run_id="r", valid_until=NOW,
    )  # fmt: skip
    run.store.write(SCORES, rows, part_name(NOW))


def put_leak(run: Run, workload: str, left_h: float) -> None:
    hours = np.arange(12)
    at = (NOW - pd.to_timedelta(hours[::-1], unit="h")).as_unit("ms")
    mib = 2.0**20
    rows = pd.DataFrame({"workload": workload, "metric": "memory_rss_bytes", "issued_at": at})
    rows = rows.assign(
        slope_per_h=10 * mib, slope_per_h_lower=8 * mib, slope_per_h_upper=13 * mib,
        value=(500 + 10 * hours) * mib, limit=1024 * mib, time_to_limit_p10_s=left_h * 3000,
        time_to_limit_p50_s=left_h * 3600, time_to_limit_p90_s=left_h * 5000, score=2.0, note="",
        model_version="1", run_id="r",
    )  # fmt: skip
    run.store.write(LEAKS, rows, part_name(NOW))


def rows_of(run: Run) -> pd.DataFrame:
    frame: pd.DataFrame = run.store.read(NOTICES).to_pandas()
    return frame


def pixels(png: bytes) -> np.ndarray:
    """An RGBA PNG, decoded without the library that made it: (height, width, 4)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, width, height = 8, b"", 0, 0
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", png[at + 8 + length :][:4])[0]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 6)
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    raw = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 4 * width)
    assert raw[:, 0].max() <= 4
    return raw


@pytest.mark.parametrize("was_seen_to_end", [True, False])
def test_what_ended_while_nothing_ran_is_closed_when_it_runs_again(
    tmp_path: Path, was_seen_to_end: bool
) -> None:
    """``notify`` was away for two days, or ``score`` was as well."""
    ops = Memory()
    both = {"ops": ops, "shop": Memory()}
    put(opened(tmp_path), incident())
    tell_due(opened(tmp_path), NOW, channels=both)
    if was_seen_to_end:
        at = NOW + 120 * MIN
        put(opened(tmp_path), incident(ended_at=NOW + 60 * MIN), at=at)
    later = NOW + 48 * 60 * MIN
    run = opened(tmp_path, later)
    tell_due(run, later, channels=both)
    assert len(ops.heard) == 1  # nobody has looked since: it may be going on
    put(run, incident("2f" * 8, workloads=["c/n/D/other"]), at=later)
    for minute in (0, 5):
        tell_due(run, later + minute * MIN, channels=both)
    assert [(m.kind, m.news[0][1].trouble_id[:2]) for m in ops.heard] == [
        ("opened", "1f"), ("opened", "2f"), ("closed", "1f"),
    ]  # fmt: skip
    ended = NOW + 60 * MIN if was_seen_to_end else NOW
    assert ops.heard[-1].news[0][1].ended_at == ended


@pytest.mark.parametrize("again", [0, 5, 10])
def test_a_run_that_is_repeated_tells_nothing_again(tmp_path: Path, again: int) -> None:
    run, ops, shop = opened(tmp_path), Memory(), Memory()
    put(run, incident())
    for minute in (0, again):
        told = tell_due(run, NOW + minute * MIN, channels={"ops": ops, "shop": shop})
    assert [m.kind for m in ops.heard] == [m.kind for m in shop.heard] == ["opened"]
    assert told.done == 0
    assert sorted(rows_of(run)["status"]) == ["sent", "sent"]


def test_runs_that_overlap_tell_once(tmp_path: Path) -> None:
    """The second run begins while the first is sending."""
    run, ops = opened(tmp_path), Memory()
    put(run, incident())
    second: list[int] = []

    def meanwhile() -> None:
        first.before = lambda: None
        other = opened(tmp_path)
        second.append(tell_due(other, NOW + MIN, channels={"ops": ops, "shop": ops}).done)

    first = Memory(before=meanwhile)
    tell_due(run, NOW, channels={"ops": first, "shop": first})
    assert second == [0]
    assert ops.heard == []
    assert len(first.heard) == 2


def test_a_run_that_dies_while_it_sends_is_made_up_for_once(tmp_path: Path) -> None:
    run, ops = opened(tmp_path), Memory()
    put(run, incident())

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell_due(run, NOW, channels={"ops": Memory(before=killed), "shop": ops})
    assert set(rows_of(run)["status"]) == {"intended"}
    tell_due(run, NOW + 10 * MIN, channels={"ops": ops, "shop": ops})
    assert ops.heard == []  # it may be at work still
    for minute in (20, 40):
        tell_due(run, NOW + minute * MIN, channels={"ops": ops, "shop": ops})
    assert sorted(m.channel for m in ops.heard) == ["ops", "shop"]


def test_a_channel_that_fails_stops_no_other_and_is_tried_again(tmp_path: Path) -> None:
    run, ops, shop = opened(tmp_path), Memory(fails=2), Memory()
    put(run, *(incident(f"{i:016x}", workloads=[f"c/n/D/{i}"]) for i in range(4)))
    told = tell_due(run, NOW, channels={"ops": ops, "shop": shop})
    assert len(shop.heard) == 4
    assert told.done == 4
    assert told.failed == ("ops: no",)
    assert sum(told.skipped.values()) == 4  # two tried, and then the channel was left alone
    told = tell_due(run, NOW + 15 * MIN, channels={"ops": ops, "shop": shop})
    assert (len(ops.heard), len(shop.heard)) == (4, 4)
    assert told.failed == ()


def test_when_nobody_could_be_told_the_run_is_red(tmp_path: Path) -> None:
    run = opened(tmp_path)
    put(run, incident())
    with pytest.raises(DeliveryError, match="nobody was told"):
        tell_due(run, NOW, channels={"ops": Memory(fails=9), "shop": Memory(fails=9)})
    assert set(rows_of(run)["status"]) == {"failed"}


def test_what_is_refused_for_good_holds_up_nothing(tmp_path: Path) -> None:
    run, ops = opened(tmp_path), Memory(fails=1, is_lasting=True)
    put(run, *(incident(f"{i:016x}", workloads=[f"c/n/D/{i}"]) for i in range(3)))
    for minute in (0, 15):
        tell_due(run, NOW + minute * MIN, channels={"ops": ops, "shop": Memory()})
    assert len(ops.heard) == 2


@pytest.mark.parametrize("hours", [-7, 7, -24 * 30])
def test_a_back_fill_tells_nothing_and_says_so(tmp_path: Path, hours: int) -> None:
    run, ops = opened(tmp_path), Memory()
    put(run, incident())
    told = tell_due(run, NOW + pd.Timedelta(hours, "h"), channels={"ops": ops, "shop": ops})
    assert ops.heard == []
    assert "stale_h" in told.notes[0]


def test_no_channels_is_said_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "bare.yaml").write_text(f"store: {{path: {tmp_path / 'out'}}}\n")
    told = notify.fn(config=str(tmp_path / "bare.yaml"))
    assert told["notes"] == ("  nobody to tell: notify.channels is empty",)
    assert not (tmp_path / "out" / "notices").exists()


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    run, ops = opened(tmp_path), Memory()
    put(run, incident(severity="critical"))
    told = tell_due(run, NOW, dry_run=True, channels={"ops": ops, "shop": ops})
    assert ops.heard == []
    assert not (tmp_path / "out" / "notices").exists()
    text = "\n".join(told.notes)
    assert "2 messages would be sent" in text
    assert "to ops: Incident opened · critical" in text
    assert "error_ratio ×9" in text


def test_an_incident_is_told_with_its_picture(tmp_path: Path) -> None:
    run, ops = opened(tmp_path, picture_url_base="https://pictures/base/"), Memory()
    put(run, incident(), incident("2f" * 8, title="quiet: odd", workloads=["c/n/D/q"], causes=[]))
    put_scores(run)
    tell_due(run, NOW, channels={"ops": ops, "shop": Memory()})
    shown = {m.news[0][1].title: m.picture for m in ops.heard}
    picture = shown["checkout: error_ratio ×9 from the usual 0.2% to 1.8%"]
    assert shown["quiet: odd"] is None
    assert picture is not None
    assert Path(picture.path).read_bytes() == picture.png
    assert picture.url == f"https://pictures/base/{Path(picture.path).name}"
    assert len(picture.png) < 100_000
    assert pixels(picture.png).shape == (360, 1 + 4 * 800)


def test_a_leak_is_told_with_its_line_and_its_time(tmp_path: Path) -> None:
    run, ops = opened(tmp_path), Memory()
    cause = {"workload": CHECKOUT, "metric": "memory_rss_bytes", "score": 2.0, "confidence": 1.0,
             "evidence": "memory_rss_bytes grows"}  # fmt: skip
    title = "memory leak: checkout 40 h (30–60 h) from its limit when detected"
    put(run, incident(title=title, causes=[cause]))
    put_leak(run, CHECKOUT, 5.0)
    tell_due(run, NOW, channels={"ops": ops, "shop": Memory()})
    (kind, leak), picture = ops.heard[0].news[0], ops.heard[0].picture
    assert (kind, leak.what, leak.left_h) == ("opened", "leak", 5.0)
    assert picture is not None
    pixels(picture.png)
    put_leak(run, CHECKOUT, 0.5)
    tell_due(run, NOW + MIN, channels={"ops": ops, "shop": Memory()})
    assert ops.heard[1].kind == "worse"
    assert "1 h" in ops.heard[1].news[0][1].note


@pytest.mark.parametrize(
    "name", ["$\\frac{$", "漢字" * 3000, "\x1b[31m<b>&", "../../etc/passwd", "a" * 10_000]
)
def test_hostile_names_are_drawn_and_told_as_they_are(tmp_path: Path, name: str) -> None:
    run, ops = opened(tmp_path), Memory()
    workload = f"c/n/D/{name.replace('/', '%2F')}"
    cause = {"workload": workload, "metric": name, "score": 5.0, "confidence": 0.9,
             "evidence": name}  # fmt: skip
    put(run, incident(name, title=name, workloads=[workload], causes=[cause]))
    put_scores(run, workload, name)
    told = tell_due(run, NOW, channels={"ops": ops, "shop": Memory()})
    assert told.notes == ()
    picture = ops.heard[0].picture
    assert picture is not None
    pixels(picture.png)
    assert Path(picture.path).parent == tmp_path / "out" / "pictures"


@pytest.mark.parametrize("minutes", [10, 200, 235, 24 * 60, 95 * 60])
def test_any_stretch_of_time_has_ticks(minutes: int) -> None:
    ts = pd.date_range(NOW - minutes * MIN, NOW, freq=STEP).as_unit("ms")
    one = np.ones(len(ts))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns where it finds none that fit
        assert draw(Against(CHECKOUT, "error_ratio", ts, one, one, one, one, one, NOW), "t")


def test_a_picture_that_cannot_be_drawn_keeps_nobody_from_being_told(tmp_path: Path) -> None:
    run, ops = opened(tmp_path), Memory()
    put(run, incident())
    put_scores(run)
    next((tmp_path / "out" / "scores").iterdir()).write_bytes(b"damaged")
    told = tell_due(run, NOW, channels={"ops": ops, "shop": ops})
    assert len(ops.heard) == 2
    assert "without a picture" in told.notes[0]


def test_old_pictures_go(tmp_path: Path) -> None:
    run, ops = opened(tmp_path), Memory()
    old = run.store.put_file("pictures/20260501T000000Z-00.png", b"old")
    put(run, incident())
    tell_due(run, NOW, channels={"ops": ops, "shop": ops})
    assert not Path(old).exists()


def test_a_shortfall_is_one_trouble_however_often_it_is_planned_anew() -> None:
    def plan(at: pd.Timestamp, wanted: float) -> Plan:
        short = Shortfall(CHECKOUT, at, wanted, 10, f"maxReplicas is {10}")
        return Plan(
            as_of=NOW, expires_at=NOW + STEP, mode="shadow", actions=(), notes=(),
            shortfalls=(short,), room_lead_s=0.0,
        )  # fmt: skip

    first, second = of_plan(plan(NOW, 12)), of_plan(plan(NOW + STEP, 14))
    assert first[0].trouble_id == second[0].trouble_id
    assert first[0].what == "shortfall"
    assert "12 wanted, 10 can be held" in first[0].title
    assert of_plan(None) == []


def test_over_real_runs_that_overlap_and_come_late_each_incident_is_told_once() -> None:
    """Every run groups and continues as score does, twice each; two steps come late, and so the
    incident begins earlier than it was told of."""
    onset, lasts = 24, 20
    no_leaks = LEAKS.schema.empty_table().to_pandas()
    table = no_leaks.iloc[:0].reindex(columns=[n for n in INCIDENTS.schema.names if n != "run_id"])
    past: list[Past] = []
    kinds: list[str] = []
    for clock in (c for c in range(24, 90, 8) for _ in range(2)):
        steps = np.arange(max(clock - 80, 0), clock)
        late = 2 if clock >= 40 else 0
        odd = (steps >= onset - late) & (steps < onset + lasts)
        frame = pd.DataFrame({"workload": CHECKOUT, "metric": "m", "ts": NOW + steps * STEP})
        frame = frame.assign(score=np.where(odd, 2.0, 0.0), value=1.0 + odd, detector="band")
        found = group_incidents(frame, no_leaks, IncidentParams())
        if len(table):
            found = continued(found, table, NOW + (clock - 8) * STEP)
        table = pd.concat([f for f in (table, found) if len(f)] or [table], ignore_index=True)
        at = (NOW + clock * STEP).as_unit("ms")
        decision = decide(
            of_incidents(table, no_leaks), past, ["ops"], (), NotifySettings().params,
            as_of=at, now=at,
        )  # fmt: skip
        past += [replace(row, status="sent") for row in decision.rows]
        kinds += [m.kind for m in decision.messages]
    assert kinds == ["opened", "closed"]
    assert len(set(table["incident_id"])) == 2


@pytest.fixture
def slack() -> Iterator[Listener]:
    with listening(as_slack) as listener:
        yield listener


def environment(listener: Listener) -> dict[str, str]:
    return {
        "FORETIDE_NOTIFY__CHANNELS": json.dumps({"ops": {"kind": "slack"}}),
        "FORETIDE_NOTIFY__CHANNELS__OPS__URL": listener.slack_url,
    }


def test_the_command_tells_slack_what_the_store_has(
    tmp_path: Path, slack: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(slack).items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "out"
    now = pd.Timestamp.now("UTC").floor("s").as_unit("ms")
    run = RunRef.resolve(None, None, str(out), now.isoformat(), now).open()
    put(run, incident(started_at=now - 60 * MIN, detected_at=now - 50 * MIN), at=now)
    runner = CliRunner()
    for verb in (["--dry-run"], [], []):
        told = runner.invoke(cli, ["notify", "--out", str(out), *verb], catch_exceptions=False)
        assert told.exit_code == 0
        assert SECRET not in told.output
    assert len(slack.taken) == 1
    assert "error_ratio ×9" in slack.taken[0].json["text"]
    told = runner.invoke(cli, ["notify", "--test", "ops"], catch_exceptions=False)
    assert told.output.startswith("ops: a test message was taken by 127.0.0.1")
    assert len(slack.taken) == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--test", "none"], "notify.channels has ops, got 'none'"),
        (["--test", "ops"], "no_service"),
    ],
)
def test_a_test_that_fails_says_why_in_one_line(
    slack: Listener,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    says: str,
) -> None:
    for name, value in environment(slack).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FORETIDE_NOTIFY__CHANNELS__OPS__URL", slack.slack_url + "-revoked")
    monkeypatch.setattr("sys.argv", ["foretide", "notify", *args])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert says in said.err
    assert SECRET not in said.err + said.out
    assert SLACK_PATH not in said.err


@pytest.mark.parametrize(
    "channel",
    [
        {"kind": "slack", "url": f"hooks.example/{SECRET}"},
        {"kind": "slack", "url": 12345},
        {"kind": "slack"},
        {"kind": "webhook", "url": "http://h", "secret": 12345},
        {"kind": "sns", "topic_arn": "ops"},
        {"kind": "pager"},
    ],
)
def test_a_wrong_channel_is_refused_without_showing_its_secret(
    tmp_path: Path, channel: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(config(tmp_path, channels={"ops": channel}))
    assert "notify.channels.ops" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "12345" not in str(caught.value)


def test_secrets_are_in_no_dump_and_no_repr(tmp_path: Path) -> None:
    channel = {"kind": "webhook", "url": f"http://h/{SECRET}", "secret": SECRET}
    settings = load_settings(config(tmp_path, channels={"ops": channel, "shop": channel}))
    assert SECRET not in repr(settings) + settings.model_dump_json()


def test_the_doctor_reaches_every_channel_and_tells_nobody(tmp_path: Path, slack: Listener) -> None:
    channels = {
        "up": {"kind": "slack", "url": slack.slack_url},
        "down": {"kind": "webhook", "url": f"http://127.0.0.1:1/{SECRET}"},
        "topic": {
            "kind": "sns", "topic_arn": "arn:aws:sns:eu-central-1:123456789012:t",
            "aws": {"profile": "not-there"},
        },
    }  # fmt: skip
    settings = load_settings(config(tmp_path, channels=channels)).notify
    checks = {c.name: c for c in check_channels(settings)}
    assert [checks[f"channel {n}"].status for n in channels] == ["ok", "fail", "fail"]
    assert SECRET not in repr(checks)
    assert "not-there" in checks["channel topic"].detail
    assert not slack.taken


def test_the_table_is_one_file_and_forgets_what_is_old(tmp_path: Path) -> None:
    run, ops = opened(tmp_path), Memory()
    put(run, incident())
    tell_due(run, NOW, channels={"ops": ops, "shop": ops})
    later = NOW + pd.Timedelta(61, "D")
    run = opened(tmp_path, later)
    put(run, incident("2f" * 8, started_at=later - 60 * MIN, detected_at=later), at=later)
    tell_due(run, later, channels={"ops": ops, "shop": ops})
    assert Store(tmp_path / "out").parts(NOTICES) == ["told"]
    assert set(rows_of(run)["incident_id"]) == {"2f" * 8}
    assert len(NoticeLog(run).read()) == 2
