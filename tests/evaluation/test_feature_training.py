import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation import feature_training
from pokemon_ddpm.evaluation.feature_training import (
    FILES,
    FitSettings,
    fit,
    negative_log_likelihood,
    standardize,
    train_features,
)
from pokemon_ddpm.evaluation.features import SpriteFeatures, load_features
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.vocabulary import COLORS, TYPES

BACKBONE = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8, "layer_type": "y"}
TINY = FitSettings(num_epochs=2, batch_size=16, learning_rate=1e-2, seed=3)
FIRE, FLYING, WATER, NO_TYPE = TYPES.index("fire"), TYPES.index("flying"), TYPES.index("water"), len(TYPES)
RED, BLUE, ANY_COLOR = COLORS.index("red"), COLORS.index("blue"), len(COLORS)


def squares(count: int, seed: int = 0, side: int = 32) -> SpriteTensors:
    """Red squares of fire, and blue ones of water and flying; every fifth has no known color."""
    generator = torch.Generator().manual_seed(seed)
    red = torch.rand(count, generator=generator) < 0.5
    images = torch.full((count, 3, side, side), 255, dtype=torch.uint8)
    for image, is_red in zip(images, red, strict=True):
        top, left = torch.randint(4, 12, (2,), generator=generator).tolist()
        color = torch.tensor([220, 30, 30] if is_red else [30, 30, 220], dtype=torch.uint8)
        image[:, top : top + 16, left : left + 16] = color.view(3, 1, 1)
    types = torch.where(red[:, None], torch.tensor([FIRE, NO_TYPE]), torch.tensor([WATER, FLYING]))
    colors = torch.where(red, RED, BLUE)
    colors[::5] = ANY_COLOR
    front = torch.zeros(count, dtype=torch.long)
    return SpriteTensors(images, {"type": types, "color": colors, "view": front, "finish": front})


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_training, "BACKBONE", BACKBONE)
        yield


@pytest.fixture(scope="module")
def network(tiny: None) -> SpriteFeatures:
    return fit(squares(96), squares(48, seed=1), TINY)[0]


def test_the_loss_is_the_sum_of_the_cross_entropies_of_known_labels():
    generator = torch.Generator().manual_seed(0)
    logits = {"type": torch.randn(4, 18, generator=generator), "color": torch.randn(4, 10, generator=generator)}
    types = torch.tensor([[FIRE, NO_TYPE], [FLYING, FIRE], [NO_TYPE, NO_TYPE], [-1, -1]])
    labels = {"type": types, "color": torch.tensor([RED, ANY_COLOR, BLUE, -1])}
    of_type = [
        sum(math.log1p(math.exp(-x if k in present else x)) for k, x in enumerate(logits["type"][row].tolist()))
        for row, present in ((0, {FIRE}), (1, {FIRE, FLYING}))
    ]
    of_color = [
        (logits["color"][row].logsumexp(0) - logits["color"][row, k]).item() for row, k in ((0, RED), (2, BLUE))
    ]
    expected = [of_type[0] + of_color[0], of_type[1], of_color[1], 0]
    assert negative_log_likelihood(logits, labels).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_training_is_a_function_of_the_seed(network):
    state = torch.get_rng_state()
    again, other = (fit(squares(96), squares(48, seed=1), replace(TINY, seed=seed))[0] for seed in (3, 4))
    assert weights_digest(again) == weights_digest(network) != weights_digest(other)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.vocabulary == {"type": TYPES, "color": COLORS}  # what varies


def test_larger_images_are_halved_once_more():
    large, small = (fit(squares(32, side=side), squares(16, side=side), TINY)[0].config for side in (64, 32))
    assert (large.resolution, large.backbone["downsample_in_first_stage"]) == (64, True)
    assert (small.resolution, small.backbone["downsample_in_first_stage"]) == (32, False)


def test_the_epoch_with_the_lowest_validation_loss_is_kept(monkeypatch):
    states, losses = [], iter([3.0, 1.0, 2.0])

    def loss(network: SpriteFeatures, data: SpriteTensors) -> float:
        states.append(network.projection.weight.clone())
        return next(losses)

    monkeypatch.setattr(feature_training, "validation_loss", loss)
    kept, epochs = fit(squares(32), squares(16), replace(TINY, num_epochs=3))
    assert [epoch["validation_loss"] for epoch in epochs] == [3, 1, 2]
    assert torch.equal(kept.projection.weight, states[1].half().float())
    monkeypatch.setattr(feature_training, "validation_loss", lambda *_: math.nan)
    with pytest.raises(ValueError, match="not finite"):
        fit(squares(16), squares(16), TINY)


def test_features_of_training_images_have_mean_0_and_standard_deviation_1(network):
    features = network.features(squares(96).images)
    assert torch.allclose(features.mean(dim=0), torch.zeros(64), atol=1e-2)
    assert torch.allclose(features.std(dim=0, unbiased=False), torch.ones(64), atol=1e-2)
    constant = SpriteFeatures(network.config)
    standardize(constant, squares(1).images.repeat(3, 1, 1, 1))
    assert torch.equal(constant.feature_std, torch.ones(64))


def test_the_folder_has_the_network_and_its_accuracy(tmp_path: Path):
    held_out = squares(48, seed=1)
    held_out.labels["view"][:20] = 1
    found = train_features(squares(96), held_out, replace(TINY, num_epochs=12), tmp_path, "sprites", "squares")
    assert found["type, likeliest"]["value"] == found["color"]["value"] == 1
    assert found["color (front, not shiny)"]["n"] == (held_out.labels["color"][20:] < ANY_COLOR).sum()
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    assert load_file(tmp_path / "model.safetensors")["projection.weight"].dtype == torch.float16
    report, loaded = json.loads((tmp_path / "report.json").read_text()), load_features(tmp_path)
    assert report["network"] == weights_digest(loaded) and loaded.vocabulary == {"type": TYPES, "color": COLORS}
    assert report["images"] == {"train": 96, "validation": 48} and len(report["epochs"]) == 12
    card = (tmp_path / "README.md").read_text()
    assert "| color | 1.000 |" in card and "license: other" in card
