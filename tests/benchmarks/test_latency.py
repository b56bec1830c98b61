from pathlib import Path

import pytest

from benchmarks import latency
from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.diffusion import student_scheduler
from tests.tiny_models import tiny_pipeline


@pytest.mark.slow
def test_every_way_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latency, "THESIS_STEPS", 3)
    monkeypatch.setattr(latency, "MANY", 2)
    pipeline = tiny_pipeline(size=32)
    parts = (pipeline.unet, pipeline.conditioner)
    PokemonDDPMPipeline(*parts, pipeline.scheduler, 3, guidance_scale=2.0).save_pretrained(tmp_path / "model")
    student = PokemonDDPMPipeline(*parts, student_scheduler(pipeline.scheduler), 2, guidance_scale=1.0)
    student.save_pretrained(tmp_path / "student-2")
    seconds = latency.measure(str(tmp_path / "model"), [str(tmp_path / "student-2")], turns=2)
    counts = {name: len(times) for name, times in seconds.items()}
    assert counts.pop("1 warm, fp32, 3 ancestral steps") == 1
    assert set(counts.values()) == {2} and len(counts) == 19
    assert latency.markdown(seconds).count("\n| ") == 21
