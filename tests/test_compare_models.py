"""The table of several models, made of their reports."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pokemon_ddpm.provenance import Provenance, write_png
from tests.training_runs import ROOT

SCRIPT = ROOT / "benchmarks" / "compare_models.py"
REPORT = json.loads((ROOT / "docs" / "results" / "released" / "report.json").read_text(encoding="utf-8"))


def compare(*reports: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(SCRIPT), *reports], capture_output=True, text=True, timeout=120)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_columns_are_models_and_real_pictures(tmp_path: Path) -> None:
    bits = {"mean": 4.2345, "standard_error": 0.15}
    whole = {**REPORT, "likelihood": {"train": {**bits, "mean": 4.1}, "held-out": bits}}
    drawn = {"network evaluations a sample": 32, "network evaluations a second": 100.0, "dtype": "bfloat16"}
    whole["about"] = {**REPORT["about"], **drawn}
    told = {name: value for name, value in REPORT["about"].items() if name not in drawn}
    bare = {**REPORT, "likelihood": None, "obedience": {}, "about": told}
    for name, numbers in {"whole": whole, "bare": bare}.items():
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
    assert found["bits a dimension, held-out"] == ["4.23 ± 0.15", "-", "-"]
    assert found["seconds a sprite, while these were drawn"] == ["0.32 (bfloat16)", "-", "-"]
    assert found["bits a dimension, training"] == ["4.10 ± 0.15", "-", "-"]
    assert "bits" not in compare(f"other={tmp_path / 'bare'}").stdout  # what nobody has is no row


def drawn(folder: Path, seed: int, noise: float) -> str:
    """A report with sixty samples: pictures of a few levels of grey, and as much noise."""
    (folder / "samples").mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(REPORT), encoding="utf-8")
    rng = np.random.default_rng(0)
    for i in range(60):
        picture = np.full((32, 32, 3), rng.integers(256)) + noise * rng.normal(size=(32, 32, 3))
        how = {
            "scheduler": "UniPC",
            "num_inference_steps": 1,
            "guidance_scale": 1,
            "dtype": "float32",
            "chunk_size": 1,
        }
        made = Provenance(model="m", condition={}, seed=seed + i, **how)
        write_png(Image.fromarray(picture.clip(0, 255).astype(np.uint8)), folder / "samples" / f"{i:03}.png", made)
    return str(folder)


def test_samples_of_the_same_noise_are_compared_in_pairs(sprites_dir: Path, tmp_path: Path) -> None:
    grey, same = drawn(tmp_path / "grey", 0, 0), drawn(tmp_path / "same", 0, 0)
    noisy, other = drawn(tmp_path / "noisy", 0, 50), drawn(tmp_path / "other", 1, 0)
    data = f"--data-dir={sprites_dir}"
    done = compare(data, f"grey={grey}", f"same={same}", f"noisy={noisy}")
    assert done.returncode == 0, done.stderr
    rows = {name: values for name, *values in map(cells, done.stdout.splitlines())}
    first, equal, different, real = rows["above the first, same noise"]
    assert (first, real, equal) == ("-", "-", "0.000 (0.000 to 0.000)")
    assert abs(float(different.split()[0])) > 0.1
    done = compare(data, f"grey={grey}", f"other={other}")
    assert done.returncode == 1 and done.stderr.startswith(f"error: {other}: its samples are not of the same size")


def test_reports_of_other_pictures_are_not_compared_in_pairs(sprites_dir: Path, tmp_path: Path) -> None:
    folders = [drawn(tmp_path / name, 0, 0) for name in ("fronts", "test")]
    about = {**REPORT["about"], "held out": "test split, 409 pictures"}
    Path(folders[1], "report.json").write_text(json.dumps({**REPORT, "about": about}), encoding="utf-8")
    done = compare(f"--data-dir={sprites_dir}", *(f"{Path(folder).name}={folder}" for folder in folders))
    assert done.returncode == 1
    assert done.stderr.endswith("test split, 409 pictures there; with --data-dir it must be validation.\n")


def test_a_folder_without_a_report(tmp_path: Path) -> None:
    one = f"one={tmp_path}"
    done = compare(one)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {one}") and "Traceback" not in done.stderr
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"pictures": 3}))
    done = compare(one)
    assert done.returncode == 1 and "(it is another command's)" in done.stderr
    report.write_text(json.dumps(REPORT))
    done = compare(one, one)
    assert done.returncode == 1 and done.stderr.endswith("there are two columns one.\n")
