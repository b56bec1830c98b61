import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import compare_models

RESULTS = Path(__file__).parents[2] / "docs" / "results"
REPORT = json.loads((RESULTS / "pokemon-ddpm-32-earlier" / "report.json").read_text(encoding="utf-8"))


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs the script; returns the rows of the table, by title, or the error."""

    def run(*arguments: object) -> dict[str, list[str]] | str:
        monkeypatch.setattr(sys, "argv", ["compare_models.py", *map(str, arguments)])
        try:
            compare_models.main()
        except SystemExit as error:
            return str(error)
        rows = [map(str.strip, line.strip("|").split("|")) for line in capsys.readouterr().out.splitlines()]
        return {title: cells for title, *cells in rows}

    return run


def write_report(folder: Path, **values: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps({**REPORT, **values}), encoding="utf-8")
    return folder


def test_columns_are_models_and_real_images(compare, tmp_path: Path):
    same = {"value": 0.031, "low": 0.02, "high": 0.05}
    variety = {name: dict.fromkeys(("near", "color", "rke"), same) for name in ("by type alone", "real")}
    bare = write_report(tmp_path / "bare", condition_accuracy={}, variety=variety)
    found = compare(f"one={RESULTS / 'pokemon-ddpm-32-earlier'}", f"other={bare}")
    assert found[""] == ["one", "other", "real images"]
    assert found["KID to training"] == ["0.081 (0.051 to 0.11)"] * 2 + ["0.12 (0.025 to 0.22)"]
    assert found["precision"] == ["0.56 (0.51 to 0.61)"] * 2 + ["0.54 (0.49 to 0.59)"]
    assert found["near pairs of one type"] == ["-", "0.031 (0.020 to 0.050)", "-"]
    assert found["condition accuracy, types"] == ["28 % (26 to 30)", "-", "15 % (12 to 19)"]


def test_all_published_reports_are_read(compare):
    folders = [f"{folder.name}={folder}" for folder in RESULTS.iterdir()]
    assert len(compare(*folders)[""]) == len(folders) + 1


def test_mistakes_are_reported(compare, tmp_path: Path):
    assert re.fullmatch(rf"error: .*No such file.*{tmp_path / 'report.json'}'", compare(f"one={tmp_path}"))
    (tmp_path / "report.json").write_text(json.dumps({"images": 3}))
    assert compare(f"one={tmp_path}").endswith("Run the evaluation again.")
