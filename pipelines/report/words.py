"""What the models section's words mean: one short line each, and how a word is marked."""

from __future__ import annotations

from collections.abc import Iterable

from models.combination import COMBINATION
from models.verdict import DEMOTED, DRIFTED, GOOD, UNJUDGED

__all__ = ["CONFIDENCE", "VERDICTS", "glossary"]

CONFIDENCE = {
    "week": ("", "the series' own past weeks"),
    "day": ("shadow", "the same time of day on recent days"),
    "cohort": ("shadow", "similar workloads"),
    "flat": ("warn", "its recent level alone"),
    "none": ("warn", "nothing: no value was measured"),
}
"""What a fallback forecast rests on, the firmest first: the badge, and the words."""
VERDICTS = {
    DEMOTED: ("bad", "it lost to last week's values, which stand in for it; train it anew"),
    DRIFTED: ("warn", "it errs more, or covers otherwise, than in its backtest; train it anew"),
    UNJUDGED: ("shadow", "too little came due, or there is no backtest to compare with"),
    GOOD: ("act", "as good as its backtest"),
}
"""What evaluate says of a live model, the worst first: the badge, and the words."""


def glossary(models: Iterable[str], confidence: Iterable[str], verdicts: Iterable[str]) -> Glossary:
    """(word, meaning) of what the section shows; what it does not show is left out."""
    out: Glossary = []
    if COMBINATION in set(models):
        meaning = (
            "the weighted median of several models; who erred less in the backtest weighs more"
        )
        out.append((COMBINATION, meaning))
    shown = set(confidence)
    rests = [f"{word}: {meaning}" for word, (_, meaning) in CONFIDENCE.items() if word in shown]
    if rests:
        out.append(("confidence", "what the fallback forecast rests on – " + "; ".join(rests)))
    shown = set(verdicts)
    found = [f"{word}: {meaning}" for word, (_, meaning) in VERDICTS.items() if word in shown]
    if found:
        text = "what the newest evaluation found when forecasts came due – " + "; ".join(found)
        out.append(("verdict", text))
        raw = "covered by the model's own 90 % quantile in the backtest, before calibration"
        out.append(("raw", raw))
    return out


Glossary = list[tuple[str, str]]
