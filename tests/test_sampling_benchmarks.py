"""The benchmarks of sampling: what they time and compare, and how they choose."""

import importlib.util
import itertools
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.distillation import student_scheduler
from tests.conftest import tiny_pipeline
from tests.training_runs import ROOT

pytest.importorskip("ot")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline(size=32).save_pretrained(folder)
    return folder


def tiny_student(folder: Path) -> Path:
    """One that draws in two steps without guidance."""
    teacher = tiny_pipeline(size=32)
    scheduler = student_scheduler(teacher.scheduler)
    PokemonDDPMPipeline(teacher.unet, teacher.conditioner, scheduler, 2, guidance_scale=1.0).save_pretrained(folder)
    return folder


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_latency_times_every_way(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latency = load("latency")
    monkeypatch.setattr(latency, "THESIS_STEPS", 40)
    monkeypatch.setattr(latency, "MANY", 2)
    flags = ["--model", str(model), "--turns", "2", "--num_inference_steps", "2", "--num_cpu_threads", "1"]
    flags += ["--distilled", str(tiny_student(tmp_path / "student-2"))]
    report = latency.measure(latency.parse(flags))
    counts = {name: len(times) for name, times in report["seconds"].items()}
    thesis = "1 warm, fp32, 40 ancestral steps"
    assert counts.pop(thesis) == 1 and set(counts.values()) == {2} and len(counts) == 11
    slowest = max(report["seconds"], key=lambda name: min(report["seconds"][name]) * ("cold" not in name))
    assert slowest == thesis  # twenty times as many steps
    assert latency.markdown(report).count("\n| ") == 13
