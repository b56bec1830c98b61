"""The benchmarks run to their end; their figures are for people, and no test depends on them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pokemon_ddpm.models import build_unet
from tests.training_runs import ROOT, TINY_NETWORK

pytest.importorskip("torchvision")
SCRIPT = ROOT / "benchmarks" / "train_throughput.py"


def benchmark(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)], cwd="/", capture_output=True, text=True, timeout=300
    )


def flops_of_a_forward_pass(batch_size: int) -> int:
    """A third of a step's: the backward pass computes two gradients where the forward pass computes one output."""
    unet = build_unet(TINY_NETWORK, resolution=16)
    embedding = torch.zeros(batch_size, unet.time_embedding.linear_2.out_features)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        unet(torch.zeros(batch_size, 3, 16, 16), 0, class_labels=embedding)
    return counter.get_total_flops()


def test_train_throughput_reports_both_ways(sprites_cache: Path, tmp_path: Path) -> None:
    network, report = tmp_path / "tiny.json", tmp_path / "report.json"
    network.write_text(json.dumps(TINY_NETWORK))
    done = benchmark(
        "--model_config_name_or_path", network, "--cache_dir", sprites_cache, "--resolution", 16,
        "--train_batch_size", 8, "--turns", 1, "--steps", 2, "--warmup", 1, "--num_cpu_threads", 1,
        "--output", report,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| ours | diffusers' example |" in done.stdout
    found = json.loads(report.read_text())
    ours, example = (found["ways"][name]["images_per_second"]["median"] for name in ("ours", "example"))
    assert found["ratio"]["median"] == pytest.approx(ours / example)
    assert found["flops_per_step"] == pytest.approx(3 * flops_of_a_forward_pass(batch_size=8), rel=0.1)
    shares = found["shares_of_our_step"]
    assert shares["forward"] + shares["backward"] + shares["optimiser"] == pytest.approx(
        1 - shares["data and bookkeeping: all but the first three"]
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", 0], "must be a whole number above 0, but is 0"),
        (["--output", "/nowhere/report.json"], "must be a file in a folder that exists"),
        (["--train_data_dir", "/nowhere", "--turns", 1], "/nowhere does not exist"),
        (["--model_config_name_or_path", "huge", "--turns", 1], "neither a preset"),
    ],
)
def test_a_mistake_is_a_sentence(words: list[object], said: str) -> None:
    done = benchmark(*words)
    assert done.returncode in (1, 2)
    assert said in done.stderr and "Traceback" not in done.stderr
