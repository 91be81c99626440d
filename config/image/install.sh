#!/bin/sh
# The build stage of the image, and what `make image-test` runs in a bare Debian: everything that
# runs goes to /opt/foretide. Downloads are pinned by hash; nothing is compiled from source but our
# own wheel, which has no C.
#
#   install.sh SOURCE    the checkout; needs python3.11 with venv, or the one that PYTHON names
set -eu
source=${1:?the folder of the checkout}
home=/opt/foretide
locks=$source/config/lock

"${PYTHON:-python3.11}" -m venv "$home"
"$home/bin/pip" install -q --no-cache-dir --disable-pip-version-check --require-hashes -r "$locks/uv.txt"
uv() { "$home/bin/uv" pip "$@" --python "$home/bin/python"; }
uv install -q --require-hashes -r "$locks/runtime.txt"
uv install -q --no-deps --no-build-isolation "$source"

# Compiled kernels are found by the processor they are for: the image names one, so that a node of
# another type does not compile for a minute in each pod. NUMBA_CACHE_DIR is where pods write.
: "${NUMBA_CPU_NAME:?}"
cd /
NUMBA_CACHE_DIR=$home/kernels "$home/bin/python" -m pipelines.warm
# Numba reads only where it may write. Each pod begins with a copy of the kernels in its own /tmp.
site=$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo 'import foretide_kernels' >"$site/foretide_kernels.pth"
cat >"$site/foretide_kernels.py" <<'PYTHON'
import os
import shutil
import tempfile

_built, _own = "/opt/foretide/kernels", os.environ.get("NUMBA_CACHE_DIR", "")
if _own and not os.path.isdir(_own) and os.path.isdir(_built):
    try:
        _parent = os.path.dirname(_own)
        os.makedirs(_parent, exist_ok=True)
        _aside = tempfile.mkdtemp(dir=_parent)
        shutil.copytree(_built, _aside, dirs_exist_ok=True)
        os.rename(_aside, _own)
    except OSError:  # nowhere to write, or another process was faster
        pass
PYTHON

# What only builds, and other packages' own tests: a quarter of the image.
for name in pandas numpy scipy sklearn statsmodels pyarrow numba; do
  find "$site/$name" -type d -name tests -prune -exec rm -rf {} +
done
rm -rf "$site/pyarrow/include" "$site/numpy/_core/include"
uv uninstall -q hatchling editables pip
rm -rf "$home"/bin/uv* "$site"/uv "$site"/uv-*
"$home/bin/python" -m compileall -q -j 0 "$site" || true  # some packages ship files of other Pythons
chmod -R a+rX "$home"
