"""Notebooks: a py:percent source run in a kernel of its own, into an .ipynb that is the same twice.

``python tests/kit/notebook_rendering.py [--out DIR] [SOURCE …]``, by default all of ``notebooks/``
into itself. Cells are numbered, nothing is timed, and no path of this machine is kept.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

__all__ = ["FOLDER", "parsed", "rendered"]

FOLDER = Path(__file__).parents[2] / "notebooks"
_KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
_CELL_S = 240


def parsed(source: Path) -> NotebookNode:
    """The cells of a py:percent file, numbered, without outputs."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = NotebookNode(kernelspec=NotebookNode(_KERNEL))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for i, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{i}", NotebookNode()
    return notebook


def rendered(source: Path) -> NotebookNode:
    """The same, run from top to bottom in an empty folder.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell failed.
    """
    notebook = parsed(source)
    with TemporaryDirectory(prefix="notebook-") as folder:
        client = NotebookClient(
            notebook, timeout=_CELL_S, resources={"metadata": {"path": folder}},
            record_timing=False, kernel_name="python3",
        )  # fmt: skip
        client.execute()
    notebook.metadata = NotebookNode(kernelspec=NotebookNode(_KERNEL))
    return notebook


def _main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Run notebooks and keep them with their outputs.")
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args(arguments)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    os.environ |= {
        "PYTHONWARNINGS": "ignore",
        "TQDM_DISABLE": "1",
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    for source in given.sources or sorted(FOLDER.glob("*.py")):
        out = given.out / f"{source.stem}.ipynb"
        nbformat.write(rendered(source), out)
        print(f"{out.name}: {out.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    _main()
