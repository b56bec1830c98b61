"""The table of several models, made of their reports."""

import json
import subprocess
import sys
from pathlib import Path

from tests.training_runs import ROOT

SCRIPT = ROOT / "benchmarks" / "compare_models.py"
REPORT = json.loads((ROOT / "docs" / "results" / "report.json").read_text(encoding="utf-8"))


def compare(*reports: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(SCRIPT), *reports], capture_output=True, text=True, timeout=120)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_columns_are_models_and_real_pictures(tmp_path: Path) -> None:
    bare = {**REPORT, "likelihood": None, "obedience": {}}
    for name, numbers in {"whole": REPORT, "bare": bare}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(numbers), encoding="utf-8")
    done = compare(f"one={tmp_path / 'whole'}", f"other={tmp_path / 'bare'}")
    assert done.returncode == 0, done.stderr
    head, _, *lines = map(cells, done.stdout.splitlines())
    assert head == ["", "one", "other", "real pictures"]
    found = {name: values for name, *values in lines}
    kids = {(each["name"], each["to"]): each["kid"]["value"] for each in REPORT["distances"]}
    ours, _, real = (float(value.split()[0]) for value in found["KID to training"])
    assert abs(ours - kids["all samples", "train"]) < 0.006 and abs(real - kids["held-out", "train"]) < 0.006
    seen = REPORT["obedience"]["type"]
    shares = [seen["obeyed"]["value"], seen["real"]["value"]]
    one, other, real = found["all types are seen"]
    assert [one.split()[0], real.split()[0]] == [f"{100 * share:.0f}" for share in shares] and other == "-"
    bits = REPORT["likelihood"]["held-out"]["mean"]
    assert found["bits a dimension, held-out"][0].startswith(f"{bits:.2f} ±")
    assert found["bits a dimension, held-out"][1:] == ["-", "-"]


def test_a_folder_without_a_report(tmp_path: Path) -> None:
    done = compare(f"one={tmp_path}")
    assert done.returncode == 1 and done.stderr.startswith(f"error: one={tmp_path}") and "Traceback" not in done.stderr
