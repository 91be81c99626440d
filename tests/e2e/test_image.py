"""The image's own scripts in a bare Debian: no container engine is needed, and root is.

It takes minutes, so it runs by `make image-test` alone, which names the folder for the root;
tests/pipelines/test_image_files.py holds the files to what this relies on, at every commit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from debian_root import DebianRoot, dockerfile_env

ROOT = Path(__file__).parents[2]
FOLDER = os.environ.get("FORETIDE_IMAGE_ROOT", "")
CPU = "x86-64-v3"
NOBODY = 65534

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not FOLDER, reason="takes minutes: make image-test"),
]


@pytest.fixture(scope="module")
def image() -> DebianRoot:
    """Built as the Dockerfile builds: the same files, the same script, the same environment."""
    root = DebianRoot(Path(FOLDER))
    began = time.monotonic()
    root.make()
    print(f"\nfigure image_debian_seconds {time.monotonic() - began:.0f} s")
    source = root.folder / "src"
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(root.folder / "opt/foretide", ignore_errors=True)
    for name in ("pyproject.toml", "README.md", "config", "features", "models", "pipelines"):
        whole = ROOT / name
        if whole.is_dir():
            shutil.copytree(whole, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(whole, source / name)
    settings, mounts = root.lend_settings()
    build = {"NUMBA_CPU_NAME": CPU, "NUMBA_CPU_FEATURES": "", "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    try:
        root.run(
            "sh /src/config/image/install.sh /src",
            env=settings | build | {"OPENBLAS_NUM_THREADS": "1"}, mounts=mounts,
        )  # fmt: skip
    finally:
        root.take_back_settings()
    print(f"figure image_install_seconds {time.monotonic() - began:.0f} s")
    shutil.rmtree(source)
    (root.folder / "foretide/config").mkdir(parents=True, exist_ok=True)
    return root


def environment() -> dict[str, str]:
    return dockerfile_env((ROOT / "Dockerfile").read_text(), {"CPU": CPU})


def test_it_does_its_work_as_nobody_on_a_read_only_root(image: DebianRoot) -> None:
    before = listing(image.folder)
    began = time.monotonic()
    said = image.run(
        (ROOT / "config/image/check.sh").read_text(),
        env=environment(), user=NOBODY, read_only=True, folder="/foretide",
    )  # fmt: skip
    print(said)
    print(f"figure image_check_seconds {time.monotonic() - began:.0f} s")
    assert "files shipped" in said
    assert listing(image.folder) == before


def test_its_size_is_told(image: DebianRoot) -> None:
    for name, folder in (("image_total", image.folder), ("image_foretide", image.folder / "opt")):
        told = subprocess.run(
            ["du", "-sxm", str(folder)], capture_output=True, text=True, check=True
        ).stdout
        print(f"figure {name}_mib {told.split()[0]} MiB")
        assert int(told.split()[0]) < 3000


def test_the_health_check_answers_in_time(image: DebianRoot) -> None:
    began = time.monotonic()
    image.run("foretide --version", env=environment(), user=NOBODY, read_only=True)
    assert time.monotonic() - began < 20


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file there is, its size and when it was written."""
    files = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return {str(f): (f.lstat().st_size, f.lstat().st_mtime_ns) for f in files}
