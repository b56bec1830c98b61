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


def untimed(rows: list[dict]) -> str:
    """As JSON, in which NaN, KID's interval of so few samples, equals itself."""
    return json.dumps([{name: value for name, value in row.items() if name != "seconds"} for row in rows])


def test_samplers_are_compared_and_kept(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samplers = load("samplers")
    monkeypatch.setattr(samplers, "ODE_STEPS", 10)
    flags = ["--model", str(model), "--work_dir", str(tmp_path / "kept"), "--num_images", "4", "--num_ode_images", "2"]
    student = tiny_student(tmp_path / "student-2")
    flags += ["--steps", "2", "3", "--num_reference_steps", "5", "--num_cpu_threads", "1", "--distilled", str(student)]
    options = samplers.parse(flags)
    report = samplers.measure(options)
    assert [(row["sampler"], row["steps"]) for row in report["rows"]] == list(
        itertools.product(samplers.SAMPLERS, (2, 3))
    )
    assert all(("ode_error" in row) == (row["sampler"] != "ddpm") for row in report["rows"])
    assert {row["first_timestep"] for row in report["rows"]} == {999}
    (student_row,) = report["few_steps"]
    assert (student_row["sampler"], student_row["steps"], student_row["evaluations"]) == ("student-2", 2, 2)
    assert student_row["ode_error"] > 0 and student_row not in report["rows"]
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").iterdir()}
    again = samplers.measure(options)
    assert untimed(again["few_steps"]) == untimed(report["few_steps"])
    assert untimed(again["rows"]) == untimed(report["rows"])
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").iterdir()} == before
    assert samplers.markdown(report).count("\n| ") == 14


def test_the_distance_of_a_translation_is_its_length_over_the_root_of_the_dimension() -> None:
    pictures = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = pictures + 0.3  # by 0.3 * sqrt(192) in 192 dimensions
    found, low, high = load("samplers").sliced_wasserstein(pictures, moved)
    assert found == pytest.approx(0.3, rel=0.15) and low < found < high
    assert load("samplers").sliced_wasserstein(pictures, pictures)[0] == pytest.approx(0, abs=1e-6)


def test_the_choice_is_the_cheapest_within_the_interval_of_the_best() -> None:
    rows = [
        {"sampler": name, "evaluations": evaluations, "kid": kid, "kid_interval": [kid - 1, kid + 1]}
        for name, evaluations, kid in (("bad", 1, 6), ("near", 5, 0.9), ("best", 50, 0), ("nearer", 10, 0.2))
    ]
    assert load("samplers").choose(rows)["sampler"] == "near"
