"""docs/reference-tables.md and docs/reference-metrics.md, from what the code itself reads: the
contracts of features/frames.py, the catalogs of config/metrics and pipelines/series/names.py."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from reference_words import COLUMNS, OWN, TABLES

from features.frames import CONTRACTS, Contract
from features.metrics import Metric
from pipelines.catalogs import open_catalog
from pipelines.series.names import names_table

__all__ = ["PAGES", "main", "metrics_page", "tables_page"]

DOCS = Path(__file__).parents[1]
_CATALOGS = ("prometheus", "cloudwatch", "datadog")
_LARGE = 1000
_NOTE = (
    "<!-- Made by `make docs` (docs/make/reference.py): change what it reads, not this page. -->"
)
_ROLES = {
    "demand": "work that arrives; forecast, and what capacity follows",
    "resource": "what a leak fills",
    "limit": "the bound of a resource",
    "signal": "health: watched for anomalies",
    "state": "a setting or a count that others need: kept, neither forecast nor watched",
}


def tables_page() -> str:
    """Every contract: who writes it, its key, its columns with type and meaning."""
    told = TABLES.keys() - CONTRACTS.keys()
    if told:
        raise SystemExit(f"reference_words: TABLES has {sorted(told)}, which are no contracts")
    parts = [
        "# Tables",
        _NOTE,
        "Each table of the store is Parquet: `TABLE/*.parquet` (samples: a file a day, "
        "[store.md](store.md)). The metadata of a file has `foretide.table` and "
        "`foretide.version`; a release reads its own version of a table and the one before "
        "([upgrade.md](upgrade.md)). Times are UTC in milliseconds, `ts` is the *start* of a step, "
        "`…_s` are seconds, `…_h` hours; values are in the metric's own unit. Bold columns are the "
        "key.",
        "| table | a row is | written by |\n|---|---|---|\n"
        + "\n".join(f"| [{n}](#{n}) | {TABLES[n][1]} | {TABLES[n][0]} |" for n in CONTRACTS),
        *(_table(contract) for contract in CONTRACTS.values()),
    ]
    return "\n\n".join(parts) + "\n"


def _table(contract: Contract) -> str:
    own = OWN.get(contract.name, {})
    if unknown := own.keys() - set(contract.schema.names):
        raise SystemExit(f"reference_words: {contract.name} has no column {sorted(unknown)}")
    rows = [_row(contract, field, own) for field in contract.schema]
    if contract.extra:
        rows.append(f"| `{contract.extra}` | number | further quantiles that were asked for |")
    return (
        f"## {contract.name}\n\nVersion {contract.version}. "
        f"A row is {TABLES[contract.name][1]}.\n\n"
        "| column | type | says |\n|---|---|---|\n" + "\n".join(rows)
    )


def _row(contract: Contract, field: pa.Field, own: dict[str, str]) -> str:
    says = own.get(field.name) or COLUMNS.get(field.name)
    if says is None:
        raise SystemExit(f"reference_words: nothing is said of {contract.name}.{field.name}")
    if field.name in contract.added:
        says += f" (since version {contract.version})"
    name = f"**`{field.name}`**" if field.name in contract.key else f"`{field.name}`"
    return f"| {name} | {_type(field.type)} | {says} |"


def _type(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return "text"
    if pa.types.is_timestamp(kind):
        return "time"
    if pa.types.is_floating(kind):
        return "number"
    if pa.types.is_integer(kind):
        return "whole number"
    if pa.types.is_boolean(kind):
        return "true, false"
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "(" + ", ".join(field.name for field in kind) + ")"
    raise SystemExit(f"reference: a type without words, {kind}")


def metrics_page() -> str:
    """Logical metrics by role, who gives them; the names that are published."""
    base = open_catalog("base")
    given = {name: open_catalog(name).metrics for name in _CATALOGS}
    parts = [
        "# Metrics",
        _NOTE,
        "What is read, and under which name. The queries are in `config/metrics/` "
        "([sources.md](sources.md) says how to change one); a file may hold any other name, which "
        "is then a plain signal: mean, anomalous in both directions, and a load of its own in "
        "`foretide replay`. *Worth a word* is the smallest deviation that is told, in the unit and "
        "as a share of what is expected; where no share stands, `detect.band.minimum_relative` "
        "counts. The last column says which source gives it: P Prometheus, C CloudWatch, D "
        "Datadog; `istio` and `nginx-ingress`: requests, errors and latency, as Prometheus.",
    ]
    for role, says in _ROLES.items():
        mine = [m for m in base.metrics.values() if m.role == role]
        rows = [
            _metric(m, "".join(c[0].upper() for c in _CATALOGS if _has(given[c], m))) for m in mine
        ]
        parts += [
            f"## {role.capitalize()}",
            f"{says[0].upper()}{says[1:]}.",
            "| metric | unit | a step is the | bad | can be | worth a word | limit | from |\n"
            "|---|---|---|---|---|---|---|---|\n" + "\n".join(rows),
        ]
    parts += [
        "## What Foretide publishes",
        "By `foretide publish`; `workload` stands for the labels `cluster`, `namespace`, `kind`, "
        "`name`. How and where: [publishing.md](publishing.md).",
        names_table(),
    ]
    return "\n\n".join(parts) + "\n"


def _has(given: dict[str, Metric], metric: Metric) -> bool:
    there = given.get(metric.name)
    return there is not None and there.query is not None


def _metric(m: Metric, sources: str) -> str:
    low, high = ("–" if v is None else f"{v:g}" for v in (m.minimum, m.maximum))
    can_be = "anything" if (m.minimum, m.maximum) == (None, None) else f"{low} … {high}"
    d = m.minimum_deviation
    least = "" if not d else f"{d:,.0f}" if d >= _LARGE else f"{d:g}"
    share = m.minimum_relative_deviation
    words = ", ".join(w for w in (least, "" if share is None else f"{share:.0%}") if w)
    bad = {"both": "both ways"}.get(m.direction, m.direction)
    watched = m.role not in ("limit", "state")
    limit = f"`{m.limit}`" if m.limit else "–"
    return (
        f"| `{m.name}` | {m.unit or '–'} | {m.aggregate} | {bad if watched else '–'} | {can_be} | "
        f"{words or '–'} | {limit} | {sources or 'files'} |"
    )


PAGES = {"reference-tables.md": tables_page, "reference-metrics.md": metrics_page}


def main() -> None:
    """Write both."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
