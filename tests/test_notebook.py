"""The notebook: stored with its outputs, and it runs from top to bottom."""

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.test_package import ROOT

FILE = ROOT / "notebooks" / "pokemon_ddpm.ipynb"
SHOWS = re.compile("^(sprite_sheet|!|    print)", flags=re.MULTILINE)


def test_it_is_stored_with_the_outputs_of_all_cells() -> None:
    notebook = nbformat.read(FILE, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [bool(cell.outputs) for cell in cells] == [bool(SHOWS.search(cell.source)) for cell in cells]
    assert sum("image/png" in output.get("data", ()) for cell in cells for output in cell.outputs) == 6
    assert len(text := FILE.read_text()) < 1e6 and not any(word in text for word in ("Traceback", "/home/", "/root/"))


def test_it_runs(tmp_path, monkeypatch) -> None:
    notebook = nbformat.read(FILE, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += "\nSTEPS = 1\nTRAIN_SECONDS = 1"
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    patience = {"startup_timeout": 300, "iopub_timeout": 60}  # on a busy machine
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, **patience).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", ()) for output in outputs) == 6
    assert any("The model is in own-model." in output.get("text", "") for output in outputs)
    assert any(output.get("text", "").startswith("Not pushed") for output in outputs)
