"""Models by name, and the digest of their weights."""

from pathlib import Path

import pytest

from pokemon_ddpm import RELEASED, PokemonDDPMPipeline, models
from pokemon_ddpm.training.networks import build_conditioner
from tests.tiny_models import seeded
from tests.training.test_networks import tiny

TYPES = {"pokemon_type": ["fire", "water"], "color": "red"}
UNITS = {"class_labels": ["orcs", "undead-skeletal"], "action": "attack"}
MODELS = {"pokemon-ddpm-64": TYPES, "wesnoth-ddpm-64": UNITS}
RELEASED_MODELS = {f"{name}{end}": given for name, given in MODELS.items() for end in ("", "-fast")}


def test_the_digest_is_of_the_weights_in_float32():
    digest, coarse = models.weights_digest(tiny()), tiny().bfloat16()
    assert len(digest) == 64 and digest == models.weights_digest(tiny())
    assert digest != models.weights_digest(tiny(), build_conditioner(tiny()))
    assert models.weights_digest(coarse) == models.weights_digest(coarse.float()) != digest


def test_a_pipeline_without_its_loader_says_where_it_is(monkeypatch):
    monkeypatch.setattr(PokemonDDPMPipeline, "load", None)  # as where only pokemon_ddpm.pipelines was imported
    with pytest.raises(ImportError, match="^Import PokemonDDPMPipeline from pokemon_ddpm, not from pokemon_ddpm.pipe"):
        PokemonDDPMPipeline.from_pretrained("pokemon-ddpm-64")


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_a_released_model_is_located_loaded_and_generates(name, tmp_path, monkeypatch):
    folder = str(RELEASED / name)
    assert models.locate_model(name) == folder and models.model_name(folder) == name
    pipeline = PokemonDDPMPipeline.from_pretrained(name)
    steps = None if "fast" in name else 2
    conditions = RELEASED_MODELS[name]
    images = pipeline(num_inference_steps=steps, **conditions, generator=seeded(0, 1), output_type="np").images
    assert images.shape == (2, 64, 64, 4) and images.std() > 0.05
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()  # a folder of that name takes precedence
    for other in (name, "someone/pokemon-ddpm-32", "pokemon-ddpm-128", "..", "sprite-features"):
        assert models.locate_model(other) == models.model_name(other) == other
