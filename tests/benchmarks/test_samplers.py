from pathlib import Path

import pytest

from benchmarks import samplers
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import SAMPLERS
from tests.tiny_models import tiny_pipeline


@pytest.mark.slow
def test_samplers_are_compared_and_samples_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = {"NUM_IMAGES": 4, "STEPS": (2, 3), "TIMED_BATCH_SIZE": 1, "TIMED_STEPS": 2, "TIMED_TURNS": 1}
    for name, value in values.items():
        monkeypatch.setattr(samplers, name, value)
    tiny_pipeline(size=32, channels=4).save_pretrained(tmp_path / "model")
    flags = ["--model", str(tmp_path / "model"), "--work_dir", str(tmp_path / "kept"), "--num_cpu_threads", "1"]
    found = samplers.measure(samplers.parse(flags))
    assert [row[:2] for row in found] == [(sampler, steps) for sampler in SAMPLERS for steps in "23"]
    assert all(row[3].endswith(" (nan to nan)") for row in found)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    again = samplers.measure(samplers.parse(flags))
    assert [row[:2] + row[3:] for row in again] == [row[:2] + row[3:] for row in found]  # without the times
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == before
