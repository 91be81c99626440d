"""Only what carries the token is ended."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil

from pipelines.stack_processes import (
    Started,
    carrying,
    end_all,
    is_ours,
    new_token,
    read_state,
    start,
    write_state,
)

SLEEP = "import time; time.sleep(120)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}']).wait()"


def begun(token: str, folder: Path, code: str = SLEEP) -> Started:
    command = [sys.executable, "-c", code]
    return start(
        "worker", command, token=token, env=os.environ, folder=folder, log=folder / "log" / "l"
    )


def test_a_stranger_with_the_number_of_ours_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        now = psutil.Process(stranger.pid).create_time()
        noted = Started("worker", stranger.pid, now)
        assert not is_ours(noted, new_token())
        assert end_all([noted], new_token()) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    ours = begun(token := new_token(), tmp_path)
    assert is_ours(ours, token)
    assert not is_ours(replace(ours, began_s=ours.began_s - 60), token)
    assert end_all([ours], token) == []


def test_what_ours_have_started_ends_too_also_when_its_parent_is_gone(tmp_path: Path) -> None:
    token = new_token()
    parent = begun(token, tmp_path, PARENT)
    while len(carrying(token)) < 2:
        assert is_ours(parent, token)
    psutil.Process(parent.pid).kill()
    psutil.Process(parent.pid).wait(10)
    assert len(carrying(token)) == 1
    assert end_all([parent], token) == []
    assert carrying(token) == []


def test_what_is_noted_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a" / "stack.json"
    assert read_state(file) is None
    one = Started("prefect", 4, 1.5, "http://127.0.0.1:4200")
    write_state(file, "t", [one])
    assert read_state(file) == ("t", [one])
    file.write_text("{")
    assert read_state(file) is None
