"""The actuation ladder: the ways in which one plan raises capacity in a cluster, and gives it back.

Everything that giving back needs stands in annotations on the object itself.
"""

from __future__ import annotations

from pipelines.rungs.discovery import Choice, Ladder, RungState, choose, choose_room, ladder
from pipelines.rungs.floors import give_back, ignore_differences, raise_floor
from pipelines.rungs.gitops import Wish, render_patches, write_patches
from pipelines.rungs.held import Held, held, release_everything, release_room
from pipelines.rungs.hold import hold_nodes, nodepools, release_nodes
from pipelines.rungs.holders import read_holders
from pipelines.rungs.metric import Required, exposition, metric_manifests, write_exposition
from pipelines.rungs.params import RungParams
from pipelines.rungs.ready import RoomReady, room_ready
from pipelines.rungs.room import Room, hold_room
from pipelines.rungs.same import same_as_before
from pipelines.rungs.written import Status, Written

__all__ = [
    "Choice",
    "Held",
    "Ladder",
    "Required",
    "Room",
    "RoomReady",
    "RungParams",
    "RungState",
    "Status",
    "Wish",
    "Written",
    "choose",
    "choose_room",
    "exposition",
    "give_back",
    "held",
    "hold_nodes",
    "hold_room",
    "ignore_differences",
    "ladder",
    "metric_manifests",
    "nodepools",
    "raise_floor",
    "read_holders",
    "release_everything",
    "release_nodes",
    "release_room",
    "render_patches",
    "room_ready",
    "same_as_before",
    "write_exposition",
    "write_patches",
]
