import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.runs import NETWORK

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_throughput.py"
pytest.importorskip("torchvision")
from benchmarks.train_throughput import has_bf16  # noqa: E402


def benchmark(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_both_ways_are_timed(sprites_cache: Path, tmp_path: Path):
    network = tmp_path / "tiny.json"
    network.write_text(json.dumps(NETWORK))
    done = benchmark(
        "--model_config_name_or_path", network, "--cache_dir", sprites_cache, "--resolution", 16,
        "--train_batch_size", 8, "--turns", 1, "--steps", 2, "--warmup", 1, "--num_cpu_threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^\| (\w+, \w+) \| ([\d.]+) ", done.stdout, flags=re.MULTILINE))
    precisions = ("fp32", "bf16") if has_bf16(torch.device("cpu")) else ("fp32",)
    assert [*rows] == [f"{name}, {precision}" for precision in precisions for name in ("ours", "example")]
    ratio = float(re.search(r"\| ours, fp32 \|[^|]+\| ([\d.]+) ", done.stdout)[1])
    assert ratio == pytest.approx(float(rows["ours, fp32"]) / float(rows["example, fp32"]), abs=0.02)


def test_a_mistake_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["train_throughput.py", "--train_data_dir", "/nowhere", "--turns", "1"])
    with pytest.raises(SystemExit, match="/nowhere does not exist"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
