from pathlib import Path

import pytest

from benchmarks import latency
from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.distillation import student_scheduler
from tests.tiny_models import tiny_pipeline


def test_every_way_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latency, "THESIS_STEPS", 3)
    monkeypatch.setattr(latency, "MANY", 2)
    pipeline = tiny_pipeline(size=32)
    pipeline.save_pretrained(tmp_path / "model")
    parts = (pipeline.unet, pipeline.conditioner, student_scheduler(pipeline.scheduler))
    PokemonDDPMPipeline(*parts, 2, guidance_scale=1.0).save_pretrained(tmp_path / "student-2")
    flags = ["--model", str(tmp_path / "model"), "--turns", "2", "--num_inference_steps", "2"]
    report = latency.measure(
        latency.parse([*flags, "--num_cpu_threads", "1", "--distilled", str(tmp_path / "student-2")])
    )
    counts = {name: len(times) for name, times in report["seconds"].items()}
    assert counts.pop("1 warm, fp32, 3 ancestral steps") == 1
    assert set(counts.values()) == {2} and len(counts) == 11
    assert latency.markdown(report).count("\n| ") == 13
