"""The Dockerfile and its scripts, as far as they can be held to something without building.

`make image-test` runs the same scripts in a bare Debian (tests/e2e/test_image.py).
"""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from debian_root import dockerfile_env

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTALL = (ROOT / "config/image/install.sh").read_text()
LOCKS = ROOT / "config" / "lock"


def instructions(name: str) -> list[str]:
    text = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    kept = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    copied = [w for line in instructions("COPY") if "--from" not in line for w in line.split()[:-1]]
    assert {"pyproject.toml", "config", "features", "models", "pipelines"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert any(fnmatch(name, pattern) for pattern in kept)
    assert any("config/image/install.sh" in line for line in instructions("RUN"))


def test_the_last_stage_is_small_and_runs_as_nobody() -> None:
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert instructions("FROM") == ["${BASE} AS build", "${BASE}"]
    assert "apt-get" not in DOCKERFILE
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["65534:65534"]
    assert instructions("ENTRYPOINT") == ['["foretide"]']
    assert instructions("HEALTHCHECK")
    assert "org.opencontainers.image.title" in last
    # check.sh refuses an image with pip, and python:3.11-slim has one
    assert re.search(r"^RUN .*rm -rf /usr/local/bin/pip\*", last.replace("\\\n", " "), re.MULTILINE)


def test_runs_write_nowhere_but_below_tmp() -> None:
    env = dockerfile_env(DOCKERFILE, {"CPU": "x86-64-v3"})
    for name in ("HOME", "TMPDIR", "MPLCONFIGDIR", "PREFECT_HOME", "NUMBA_CACHE_DIR"):
        assert env[name] == "/tmp" or env[name].startswith("/tmp/"), name  # noqa: S108
    assert env["PATH"].startswith("/opt/foretide/bin:")


def test_both_stages_are_for_the_same_processor() -> None:
    """Kernels are looked up by its name and features: another one compiles anew in each pod."""
    build, last = (
        dict(re.findall(r"(NUMBA_CPU_\w+)=(\S*)", stage))
        for stage in DOCKERFILE.split("\nFROM ")[1:]
    )
    assert build == last == {"NUMBA_CPU_NAME": "${CPU}", "NUMBA_CPU_FEATURES": ""}


def test_everything_that_is_installed_is_pinned_by_hash() -> None:
    installs = [line for line in INSTALL.splitlines() if re.search(r"\binstall -", line)]
    assert len(installs) == 3
    for line in installs:
        own = "--no-deps --no-build-isolation" in line
        assert own or re.search(r"--require-hashes -r \"\$locks/(uv|runtime)\.txt\"", line), line
    for name, wanted in (("uv", ("uv",)), ("runtime", ("hatchling", "numba", "mlflow", "prefect"))):
        text = (LOCKS / f"{name}.txt").read_text()
        for package in wanted:
            assert re.search(rf"^{package}==\S+.*\\\n    --hash=sha256:", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["install.sh", "check.sh"])
def test_a_script_parses_and_names_no_registry(name: str) -> None:
    file = ROOT / "config" / "image" / name
    subprocess.run(["sh", "-n", str(file)], check=True)
    assert "://" not in file.read_text()
    assert "://" not in DOCKERFILE


def test_check_is_piped_into_a_container_that_reads_it() -> None:
    """Without --interactive docker gives sh nothing to do, and that succeeds."""
    for file in ("config/image/check.sh", "docs/install-eks.md"):
        runs = [x for x in (ROOT / file).read_text().splitlines() if "docker run" in x]
        assert runs
        assert all("--interactive" in line and "check.sh" in line for line in runs)


def test_each_pod_begins_with_a_copy_of_the_kernels(tmp_path: Path) -> None:
    assert "echo 'import foretide_kernels' >\"$site/foretide_kernels.pth\"" in INSTALL
    assert 'cat >"$site/foretide_kernels.py"' in INSTALL
    code = INSTALL.split("<<'PYTHON'\n", 1)[1].split("\nPYTHON\n", 1)[0]
    built, own = tmp_path / "built", tmp_path / "scratch" / "numba"
    (built / "models_1").mkdir(parents=True)
    (built / "models_1" / "kernel.nbc").write_bytes(b"machine code")
    code = code.replace("/opt/foretide/kernels", str(built))

    def start(env: dict[str, str]) -> None:
        subprocess.run([sys.executable, "-I", "-c", code], check=True, env=env)

    start({})
    assert not own.exists()
    start({"NUMBA_CACHE_DIR": str(own)})
    assert (own / "models_1" / "kernel.nbc").read_bytes() == b"machine code"
    (own / "models_1" / "kernel.nbc").write_bytes(b"newer")
    start({"NUMBA_CACHE_DIR": str(own)})
    assert (own / "models_1" / "kernel.nbc").read_bytes() == b"newer"
    assert sorted(p.name for p in own.parent.iterdir()) == ["numba"]
    blocked = tmp_path / "file"
    blocked.touch()
    start({"NUMBA_CACHE_DIR": str(blocked / "below")})  # nowhere to write: as without
