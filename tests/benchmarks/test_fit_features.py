"""The training of a feature network, on squares."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import fit_features as module
from benchmarks.fit_features import fit_features
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.features import load_features
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.vocabulary import COLORS, TYPES

BACKBONE = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8, "layer_type": "y"}
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


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"BACKBONE": BACKBONE, "NUM_EPOCHS": 2, "MIN_UPDATES": 1, "TRAIN_BATCH_SIZE": 16, "LEARNING_RATE": 1e-2}
    for name, value in values.items():
        monkeypatch.setattr(module, name, value)


def test_the_loss_is_the_sum_of_the_cross_entropies_of_known_labels():
    generator = torch.Generator().manual_seed(0)
    logits = {"type": torch.randn(4, 18, generator=generator), "color": torch.randn(4, 10, generator=generator)}
    types = torch.tensor([[FIRE, NO_TYPE], [FLYING, FIRE], [NO_TYPE, NO_TYPE], [-1, -1]])
    labels = {"type": types, "color": torch.tensor([RED, ANY_COLOR, BLUE, -1])}
    of_type = [
        sum(math.log1p(math.exp(-x if k in present else x)) for k, x in enumerate(logits["type"][row].tolist()))
        for row, present in ((0, {FIRE}), (1, {FIRE, FLYING}))
    ]
    color = logits["color"]
    of_color = [(color[row].logsumexp(0) - color[row, k]).item() for row, k in ((0, RED), (2, BLUE))]
    expected = [of_type[0] + of_color[0], of_type[1], of_color[1], 0]
    assert module.negative_log_likelihood(logits, labels).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_folder_has_the_network_and_its_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "NUM_EPOCHS", 12)
    state, sets = torch.get_rng_state(), (squares(96), squares(48, seed=1))
    again, report = (fit_features(*sets, tmp_path) for _ in range(2))
    assert again == report and torch.equal(torch.get_rng_state(), state)
    assert report["accuracies"]["type"]["value"] == report["accuracies"]["color"]["value"] == 1
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert load_file(tmp_path / "model.safetensors")["projection.weight"].dtype == torch.float16
    loaded = load_features(tmp_path)
    assert report["network"] == weights_digest(loaded) and loaded.vocabulary == {"type": TYPES, "color": COLORS}
    assert report["images"] == {"train": 96, "validation": 48} and len(report["epochs"]) == 12
    features, _ = loaded(squares(96).images)
    assert torch.allclose(features.mean(dim=0), torch.zeros(64), atol=1e-2)
    assert torch.allclose(features.std(dim=0, unbiased=False), torch.ones(64), atol=1e-2)
