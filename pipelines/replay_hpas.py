"""Which autoscaler a replayed load has, by a file of manifests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from models.hpa_spec import HpaSpec
from pipelines.errors import ConfigError
from pipelines.hpa_specs import read_autoscalers
from pipelines.settings import Settings

__all__ = ["ReplayHpas", "read_hpas"]


@dataclass(frozen=True, slots=True)
class ReplayHpas:
    """Autoscalers of a file, by ``namespace/kind/name`` of what they scale.

    Attributes
    ----------
    specs : the understood ones; a single one is everybody's
    refused : target → why it is not understood
    file : where they are from; empty without any
    """

    specs: Mapping[str, HpaSpec] = field(default_factory=dict[str, HpaSpec])
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    file: str = ""

    def of(self, workloads: Iterable[str]) -> dict[str, HpaSpec]:
        """Workload → its autoscaler, for those that have one."""
        names = [str(w) for w in workloads]
        if len(self.specs) == 1 and not self.refused:
            (only,) = self.specs.values()
            return dict.fromkeys(names, only)
        target = {w: w.partition("/")[2] for w in names}  # manifests name no cluster
        return {w: self.specs[t] for w, t in target.items() if t in self.specs}

    def check(self, workloads: Collection[str]) -> None:
        """Refuse a file of which nothing was used.

        Raises
        ------
        ConfigError
            None of its autoscalers scales a replayed workload.
        """
        if self.file and not self.of(workloads):
            raise ConfigError(
                f"{self.file}: none of its {len(self.specs)} autoscalers scales a replayed "
                f"workload; it has {', '.join(sorted(self.specs)[:3])}, replayed were "
                f"{', '.join(sorted({*map(str, workloads)})[:3])}"
            )

    def notes(self, workloads: Collection[str]) -> tuple[str, ...]:
        """What was used of the file, a line each."""
        if not self.file:
            return ()
        known = {*map(str, workloads)}
        used = f"  HPAs of {self.file}: for {len(self.of(known))} of {len(known)} workloads"
        wrong = [f"  not understood: {t}: {why}" for t, why in sorted(self.refused.items())]
        return (used, *wrong)


def read_hpas(settings: Settings, file: str | None) -> ReplayHpas:
    """The autoscalers of a file, by default ``prescale.hpa_file``; none where there is no file.

    Raises
    ------
    ConfigError
        The file cannot be read, or has no autoscaler that is understood.
    """
    path = file or settings.prescale.hpa_file
    if not path:
        return ReplayHpas()
    asked = settings.prescale.model_copy(update={"hpa_file": path})
    found = read_autoscalers(
        settings.model_copy(update={"prescale": asked}), opener=lambda _: None
    )[0]
    if not found.specs:
        why = "; ".join(f"{t}: {reason}" for t, reason in sorted(found.refused.items()))
        raise ConfigError(f"{path}: no HPA in it that is understood" + (f" ({why})" if why else ""))
    return ReplayHpas(found.specs, found.refused, path)
