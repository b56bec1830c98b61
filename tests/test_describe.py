"""`pokemon-ddpm describe`: what a model is and what it knows."""

from pathlib import Path

import pytest

from pokemon_ddpm.schedulers import make_sampler
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.conftest import tiny_pipeline
from tests.generating import knowing_all, run


def described(folder: Path, pipeline) -> str:
    pipeline.save_pretrained(folder)
    code, said = run("describe", folder)
    assert code == 0, said
    return said


def test_every_word_is_told(tmp_path: Path) -> None:
    said = described(tmp_path, knowing_all())
    for attribute, words in CONDITIONS.items():
        assert f"{attribute}: {', '.join(words)}" in said


def test_only_what_it_knows_is_told(tmp_path: Path) -> None:
    said = described(tmp_path, tiny_pipeline())
    assert "type: bug, " in said and "color:" not in said


def test_what_it_is_and_how_it_draws_is_told(tmp_path: Path) -> None:
    pipeline = knowing_all(steps=7)
    pipeline.register_to_config(guidance_scale=2.5)
    pipeline.scheduler = make_sampler("dpmsolver++", pipeline.scheduler)
    said = described(tmp_path, pipeline)
    weights = sum(weight.numel() for part in (pipeline.unet, pipeline.conditioner) for weight in part.parameters())
    assert said.startswith(f"{tmp_path} 16x16 pixels, {weights / 1e6:.1f} million parameters ")
    assert "draws in 7 steps of dpmsolver++ with a guidance of 2.5; " in said
    assert "trained with 1,000 timesteps of squaredcos_cap_v2, predicting v_prediction " in said


@pytest.mark.parametrize("content", [None, "", "{", '{"_class_name": "DDPMPipeline"}'])
def test_what_is_no_model_is_told_in_a_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "model_index.json").write_text(content)
    code, said = run("describe", tmp_path)
    assert code == 2 and said.startswith(f"error: {tmp_path} ") and "Traceback" not in said


def test_a_folder_that_is_not_there_is_named() -> None:
    assert run("describe", "/nowhere") == (2, "error: There is no model folder '/nowhere'.")
