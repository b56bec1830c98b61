"""The notebook: stored without outputs, and it runs from top to bottom."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.test_package import ROOT


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / "pokemon_ddpm.ipynb", as_version=4)


def test_it_is_stored_without_outputs(notebook) -> None:
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def test_it_runs(notebook, tmp_path, monkeypatch) -> None:
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
