#!/bin/sh
# What the image must be able to do, as its user, with nothing writable but /tmp: run in it by
# `make image-test`, or on a built one:
#
#   docker run --rm --interactive --read-only --tmpfs /tmp --entrypoint sh IMAGE -s < config/image/check.sh
set -eu
test "$(id -u)" != 0
if touch /foretide/written /opt/foretide/written 2>/dev/null; then echo "the root can be written" >&2; exit 1; fi
for tool in cc gcc g++ make pip uv; do
  if command -v "$tool" >/dev/null; then echo "$tool is in the image" >&2; exit 1; fi
done
foretide --version
foretide release --help >/dev/null
prefect version >/dev/null
python - <<'PYTHON'
from pathlib import Path

import pyarrow.parquet as pq

from features.synthetic import ClusterSpec, simulate

Path("/tmp/check").mkdir()
pq.write_table(simulate(ClusterSpec(n_workloads=4, weeks=2, step_s=900)).samples, "/tmp/check/samples.parquet")
PYTHON
begun=$(date +%s)
foretide forecast --input /tmp/check/samples.parquet --horizon 24h --out /tmp/check/out
echo "forecast: $(($(date +%s) - begun)) s"
begun=$(date +%s)
foretide score --input /tmp/check/samples.parquet --train-until 2026-05-17T00:00Z --out /tmp/check/out
echo "score: $(($(date +%s) - begun)) s"
foretide doctor --json >/tmp/check/doctor.json || true  # no source is there to answer
grep -q '"configuration"' /tmp/check/doctor.json
python - <<'PYTHON'
import os

import numba


def files(folder):
    return {f"{os.path.basename(place)}/{name}" for place, _, names in os.walk(folder) for name in names}


shipped, own = files("/opt/foretide/kernels"), files(os.environ["NUMBA_CACHE_DIR"])
anew = sorted(own - shipped)
print(f"kernels: {len(shipped)} files shipped, {len(anew)} compiled anew, numba {numba.__version__}")
print(*(f"  {name.split('/')[1]}" for name in anew), sep="\n")
assert len(shipped) > 100, "no kernels were shipped"
assert len(anew) < len(shipped) / 20, "the shipped kernels are for another processor"
PYTHON
