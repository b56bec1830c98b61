import itertools
from pathlib import Path

import pytest
import torch

from benchmarks import samplers
from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.distillation import student_scheduler
from tests.tiny_models import tiny_pipeline


def test_samplers_are_compared_and_samples_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in (("ODE_STEPS", 10), ("TIMED_BATCH_SIZE", 1), ("TIMED_STEPS", 2), ("TIMED_TURNS", 1)):
        monkeypatch.setattr(samplers, name, value)
    pipeline = tiny_pipeline(size=32, channels=4)
    pipeline.save_pretrained(tmp_path / "model")
    parts = (pipeline.unet, pipeline.conditioner, student_scheduler(pipeline.scheduler))
    PokemonDDPMPipeline(*parts, 2, guidance_scale=1.0).save_pretrained(tmp_path / "student-2")
    flags = ["--model", str(tmp_path / "model"), "--work_dir", str(tmp_path / "kept"), "--num_cpu_threads", "1"]
    flags += ["--num_images", "4", "--num_ode_images", "2", "--steps", "2", "3", "--num_reference_steps", "5"]
    options = samplers.parse([*flags, "--distilled", str(tmp_path / "student-2")])
    found = samplers.measure(options)
    assert [(row["sampler"], row["steps"]) for row in found["rows"]] == [*itertools.product(samplers.SAMPLERS, (2, 3))]
    assert all(("ode_error" in row) == (row["sampler"] != "ddpm") for row in found["rows"])
    assert {row["first_timestep"] for row in found["rows"]} == {999}
    (student,) = found["few_steps"]
    assert (student["sampler"], student["steps"], student["evaluations"]) == ("student-2", 2, 2)
    assert student["ode_error"] > 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    again = samplers.measure(options)
    for one, other in zip(found["rows"] + found["few_steps"], again["rows"] + again["few_steps"], strict=True):
        assert repr({**one, "seconds": 0}) == repr({**other, "seconds": 0})  # NaN does not equal itself
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == before
    assert samplers.markdown(found).count("\n| ") == 16


def test_the_sliced_wasserstein_distance_of_a_translation():
    """By 0.3 in each of 192 dimensions: 0.3 on average over directions of length 1."""
    images = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found, low, high = samplers.sliced_wasserstein(images, images + 0.3)
    assert found == pytest.approx(0.3, rel=0.15) and low < found < high
    assert samplers.sliced_wasserstein(images, images)[0] == pytest.approx(0, abs=1e-6)


def test_the_choice_has_the_fewest_evaluations_within_the_interval_of_the_lowest_kid():
    rows = [
        {"sampler": name, "evaluations": evaluations, "kid": kid, "kid_interval": [kid - 1, kid + 1]}
        for name, evaluations, kid in (("bad", 1, 6), ("near", 5, 0.9), ("best", 50, 0), ("nearer", 10, 0.2))
    ]
    assert samplers.choose(rows)["sampler"] == "near"
