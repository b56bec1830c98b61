from pathlib import Path

import pytest

from benchmarks import samplers
from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.distillation import student_scheduler
from pokemon_ddpm.schedulers import SAMPLERS
from tests.tiny_models import tiny_pipeline


@pytest.mark.slow
def test_samplers_are_compared_and_samples_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = {"NUM_IMAGES": 4, "NUM_ODE_IMAGES": 2, "STEPS": (2, 3), "ANCESTRAL_STEPS": 5, "ODE_STEPS": 10}
    for name, value in {**values, "TIMED_BATCH_SIZE": 1, "TIMED_STEPS": 2, "TIMED_TURNS": 1}.items():
        monkeypatch.setattr(samplers, name, value)
    pipeline = tiny_pipeline(size=32, channels=4)
    pipeline.save_pretrained(tmp_path / "model")
    parts = (pipeline.unet, pipeline.conditioner, student_scheduler(pipeline.scheduler))
    PokemonDDPMPipeline(*parts, 2, guidance_scale=1.0).save_pretrained(tmp_path / "student-2")
    flags = ["--model", str(tmp_path / "model"), "--work_dir", str(tmp_path / "kept"), "--num_cpu_threads", "1"]
    options = samplers.parse([*flags, "--distilled", str(tmp_path / "student-2")])
    found = samplers.measure(options)
    expected = [(sampler, steps, sampler not in ("ddpm", "sde-dpmsolver++")) for sampler in SAMPLERS for steps in "23"]
    names, steps, evaluations, _, ode_errors, *_ = zip(*found, strict=True)
    assert [*zip(names, steps, map(bool, ode_errors), strict=True)] == [*expected, ("student-2", "2", True)]
    assert evaluations[-1] == "2" and float(ode_errors[-1]) > 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    again = samplers.measure(options)
    assert [row[:3] + row[4:] for row in again] == [row[:3] + row[4:] for row in found]  # without the times
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == before
