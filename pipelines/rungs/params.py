"""Which ways of raising capacity may be taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.manifests import dns_label

__all__ = ["RungParams"]

FloorRung = Literal["auto", "gitops", "metric"]
RoomRung = Literal["none", "placeholders", "buffer", "static_nodepool"]


@dataclass(frozen=True, slots=True)
class RungParams:
    """The rungs of the ladder that may be stood on."""

    floor: FloorRung = "auto"
    """``auto``: the HPA's or ScaledObject's own field. Where nobody may write to the cluster:
    ``gitops``: patches in a folder; ``metric``: a Prometheus series that an HPA follows."""
    room: RoomRung = "none"
    """What starts nodes before the floors land."""
    static_nodepool: str = ""
    """For ``static_nodepool``: the NodePool that is scaled; it has ``spec.replicas`` already."""
    hold_nodes: bool = False
    """Keep Karpenter from consolidating nodes over a peak."""
    force_owners: tuple[str, ...] = ()
    """Field managers, as globs, that a floor may be taken from; everybody else's stays."""
    namespace: str = "foretide"
    """Where the objects that hold room are installed."""
    gitops_folder: str = "foretide-gitops"
    metric_file: str = "foretide.prom"

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for key, of in (("floor", FloorRung), ("room", RoomRung)):
            value, known = getattr(self, key), get_args(of)
            if value not in known:
                raise ValueError(f"rungs: {key} must be one of {', '.join(known)}, got {value!r}")
        if self.room == "static_nodepool" and not self.static_nodepool:
            raise ValueError("rungs: static_nodepool must name a NodePool, got ''")
        if self.namespace != dns_label(self.namespace):
            raise ValueError(f"rungs: namespace must be an RFC 1123 label, got {self.namespace!r}")
        if "" in self.force_owners:
            raise ValueError("rungs: force_owners must be globs like argocd-*, got ''")
        for key in ("gitops_folder", "metric_file"):
            if not getattr(self, key):
                raise ValueError(f"rungs: {key} must be a path, got ''")
