"""What a picture of a trouble shows, read from the store for all that are to be drawn at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from features.frames import LEAKS, SCORES
from features.panel import Floats
from pipelines.adapters.notify import Picture, Trouble
from pipelines.errors import ForetideError, StoreError
from pipelines.notices_picture import Against, Climb, draw
from pipelines.run import Run, part_name

__all__ = ["pictured"]

_FOLDER = "pictures"
_KEPT = pd.Timedelta(14, "D")
_BEFORE = pd.Timedelta(3, "h")
_LONGEST = pd.Timedelta(24, "h")
_LEAK_BEFORE, _LEAK_LONGEST = pd.Timedelta(12, "h"), pd.Timedelta(72, "h")
_STEP = pd.Timedelta(300, "s")
_COLUMNS = (
    "workload", "metric", "ts", "detector", "score", "expected", "lower", "upper", "value",
)  # fmt: skip
_BYTES_MAX = 100_000


def pictured(run: Run, troubles: Sequence[Trouble]) -> tuple[dict[str, Picture], list[str]]:
    """Trouble id → its picture, in the store, for those that have something to draw; and lines on
    what could not be drawn: a picture is never a reason to tell nobody.
    """
    wanted = [t for t in troubles if t.what != "shortfall"]
    if not wanted:
        return {}, []
    found: dict[str, Picture] = {}
    try:
        _sweep(run)
        scores, leaks = _scores(run, wanted), _leaks(run, wanted)
        for trouble in wanted:
            evidence = _evidence(run, trouble, scores, leaks)
            if evidence is None:
                continue
            png = draw(evidence, trouble.title)
            if len(png) <= _BYTES_MAX:
                found[trouble.trouble_id] = _kept(run, trouble, png)
    except (ForetideError, ValueError, OSError, pa.ArrowException) as error:
        return found, [f"  told without a picture: {' '.join(str(error).split())}"]
    return found, []


def _kept(run: Run, trouble: Trouble, png: bytes) -> Picture:
    """Named by us: an id may be any text where the table came from elsewhere."""
    name = hashlib.blake2b(trouble.trouble_id.encode(), digest_size=8).hexdigest()
    path = f"{_FOLDER}/{run.part}-{name}.png"
    return Picture(run.store.put_file(path, png), png, _url(run, path))


def _url(run: Run, path: str) -> str:
    settings = run.settings.notify
    if settings.picture_url_base:
        return f"{settings.picture_url_base.rstrip('/')}/{path.removeprefix(f'{_FOLDER}/')}"
    if settings.picture_presign_h and run.ref.out.startswith("s3://"):
        return _presigned(f"{run.ref.out.rstrip('/')}/{path}", settings.picture_presign_h)
    return ""


def _presigned(address: str, hours: float) -> str:
    """A URL that is good for so long, and no longer than the credentials that signed it."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    from pipelines.adapters.aws import new_session

    bucket, _, key = address.removeprefix("s3://").partition("/")
    try:
        client = new_session().create_client("s3", config=Config(signature_version="s3v4"))
        return str(
            client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=int(hours * 3600)
            )
        )
    except (BotoCoreError, ValueError) as error:
        text = " ".join(str(error).split())
        raise StoreError(f"no URL could be signed for a picture: {text}") from None


def _sweep(run: Run) -> None:
    before = part_name(run.as_of - _KEPT)
    for name in run.store.files(_FOLDER):
        if name.rsplit("/", 1)[-1] < before:
            run.store.delete_file(name)


def _evidence(
    run: Run, trouble: Trouble, scores: pd.DataFrame, leaks: pd.DataFrame
) -> Against | Climb | None:
    """A leak's line where it leaks; else the first cause that was measured, against its band where
    it has one; else what was worst."""
    causes = [(c.workload, c.metric) for c in trouble.causes]
    if trouble.what == "leak":
        for workload, metric in causes:
            rows = leaks[(leaks["workload"] == workload) & (leaks["metric"] == metric)]
            if len(rows):
                return _climb(run, trouble, rows)
    mine = scores[scores["workload"].isin(trouble.workloads)]
    worst = mine.sort_values("score", ascending=False, kind="stable")
    others = list(zip(worst["workload"], worst["metric"], strict=True))[:1]
    for workload, metric in [*causes, *others]:
        rows = mine[(mine["workload"] == workload) & (mine["metric"] == metric)]
        if np.isfinite(rows["lower"].to_numpy(dtype=float)).any():
            return _against(trouble, rows, _since(run, trouble))
        plain = _measured(run, workload, metric, _since(run, trouble))
        if plain is not None:
            ts, value = plain
            none = np.full(len(ts), np.nan)
            return Against(workload, metric, ts, value, none, none, none, none, trouble.started_at)
    return None


def _since(run: Run, trouble: Trouble) -> pd.Timestamp:
    return max(trouble.started_at - _BEFORE, run.as_of - _LONGEST)


def _measured(
    run: Run, workload: str, metric: str, since: pd.Timestamp
) -> tuple[pd.DatetimeIndex, Floats] | None:
    """The samples of one series on its grid, (n_steps,); nothing where there are none."""
    panel = run.store.panel(
        {metric}, since, run.as_of, run.step or _STEP,
        mine=lambda names: np.array([n == workload for n in names], dtype=bool),
    )  # fmt: skip
    if panel is None or panel.n_series != 1 or not np.isfinite(panel.values).any():
        return None
    return panel.times, panel.values[0]


def _against(trouble: Trouble, rows: pd.DataFrame, since: pd.Timestamp) -> Against:
    rows = rows.drop_duplicates("ts", keep="last").sort_values("ts")
    rows = rows[rows["ts"] >= since]
    names = ("value", "expected", "lower", "upper", "score")
    return Against(
        str(rows["workload"].iloc[0]),
        str(rows["metric"].iloc[0]),
        pd.DatetimeIndex(rows["ts"]),
        *(rows[n].to_numpy(dtype=np.float64) for n in names),
        began=trouble.started_at,
    )


def _climb(run: Run, trouble: Trouble, rows: pd.DataFrame) -> Climb:
    """What was measured, or, where the samples are gone, what the leaks table keeps of it."""
    rows = rows.sort_values("issued_at").drop_duplicates("issued_at", keep="last")
    last = rows.iloc[-1]
    workload, metric = str(last["workload"]), str(last["metric"])
    since = max(trouble.started_at - _LEAK_BEFORE, run.as_of - _LEAK_LONGEST)
    ts, value = pd.DatetimeIndex(rows["issued_at"]), rows["value"].to_numpy(dtype=np.float64)
    ts, value = _measured(run, workload, metric, since) or (ts, value)
    slope = float(last["slope_per_h"])
    bounds = (float(last[f"slope_per_h_{end}"]) for end in ("lower", "upper"))
    low, high = (s if np.isfinite(s) else slope for s in bounds)
    return Climb(
        workload, metric, ts, value, last["issued_at"], float(last["value"]), (low, slope, high),
        float(last["limit"]), float(last["time_to_limit_p50_s"]) / 3600, trouble.started_at,
    )  # fmt: skip


def _scores(run: Run, troubles: Sequence[Trouble]) -> pd.DataFrame:
    """The band's rows of the troubles' workloads, newest run last."""
    workloads = {w for t in troubles for w in t.workloads}
    first = min(t.started_at for t in troubles) - _BEFORE
    parts = run.parts(SCORES, max(first, run.as_of - _LONGEST))
    tables = (run.store.read(SCORES, part=p, columns=_COLUMNS) for p in parts)
    schema = pa.schema([SCORES.schema.field(c) for c in _COLUMNS])
    frame = _of(tables, {"workload": workloads, "detector": {"band"}}, schema)
    return frame.drop_duplicates(["workload", "metric", "ts"], keep="last")


def _leaks(run: Run, troubles: Sequence[Trouble]) -> pd.DataFrame:
    workloads = {w for t in troubles if t.what == "leak" for w in t.workloads}
    parts = run.parts(LEAKS, run.as_of - _LEAK_LONGEST) if workloads else []
    tables = (run.store.read(LEAKS, part=p) for p in parts)
    return _of(tables, {"workload": workloads}, LEAKS.schema)


def _of(tables: Iterable[pa.Table], wanted: dict[str, set[str]], schema: pa.Schema) -> pd.DataFrame:
    """Rows whose labels are among those wanted, part by part: most of a part is of no use."""
    kept = [schema.empty_table()]
    for table in tables:
        inside = np.ones(len(table), dtype=bool)
        for column, names in wanted.items():
            words = table[column].combine_chunks()
            known = np.isin(words.dictionary.to_numpy(zero_copy_only=False), list(names))
            inside &= known[words.indices.to_numpy()]
        kept.append(table.filter(pa.array(inside)))
    whole = pa.concat_tables(kept, promote_options="default").unify_dictionaries()
    frame: pd.DataFrame = whole.to_pandas()
    labels = [c for c in frame.columns if isinstance(frame.dtypes[c], pd.CategoricalDtype)]
    return frame.assign(**{c: frame[c].astype("str") for c in labels})
