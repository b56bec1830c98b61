import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation import features as module
from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, extract_features, fit_features, load_features, predict
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.vocabulary import COLORS, TYPES

IMAGES = torch.randint(256, (70, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

WEIGHTS = load_file(RELEASED_FEATURES / "model.safetensors")


def test_the_released_network():
    """Published results name its digest, and do not depend on other images."""
    network = load_features()
    assert network.vocabulary["type"] == TYPES and network.feature_mean.dtype == torch.float32 and not network.training
    assert network.name == "sprite-features 9a386896"
    assert json.loads((RELEASED_FEATURES / "report.json").read_text())["network"] == weights_digest(network)
    other = Path(__file__).parents[2] / "benchmarks/training/sprite-features-32"
    assert load_features(other).name == "sprite-features da2519d6"
    features, values = extract_features(network, IMAGES), predict(network, IMAGES)  # alone and beside others
    assert features.dtype == torch.float32 and features.shape == (70, network.dimension)
    assert torch.equal(features[65:], extract_features(network, IMAGES[65:]))
    assert torch.equal(values["color"][65:], predict(network, IMAGES[65:])["color"])


def test_types_above_one_half_and_the_likeliest_value_are_recognized():
    logits = torch.tensor([[-80.0, -40.0, -60.0], [20.0, 60.0, 0.0], [-100.0, -100.0, 155.0]])
    for name, expected in {"type": [[1], [0, 1], [2]], "color": [[1], [1], [2]]}.items():
        assert [row.nonzero().flatten().tolist() for row in module.recognized(name, logits)] == expected


def test_larger_images_are_reduced_by_the_mean_and_smaller_ones_enlarged():
    network = load_features()
    large = IMAGES.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(network.to_pixels(large), network.to_pixels(IMAGES), atol=1e-6)
    mixed = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    mixed[:, :, ::2, ::2] = 255
    assert torch.allclose(network.to_pixels(mixed), torch.full((1, 3, 64, 64), -0.5))
    pixels, small = network.to_pixels(IMAGES), IMAGES[:, :, ::2, ::2]
    assert torch.equal(network.to_pixels(small)[:, :, 1::2, 1::2], pixels[:, :, ::2, ::2])
    with pytest.raises(ValueError, match="images from 64 px, or smaller by a whole factor, but these have 24 px"):
        network(IMAGES[:, :, :24, :24])


def changed(**backbone: object) -> bytes:
    config = json.loads((RELEASED_FEATURES / "config.json").read_bytes())
    return json.dumps({**config, "backbone": {**config["backbone"], **backbone}}).encode()


@pytest.mark.parametrize(("file", "content", "message"), [
    ("config.json", None, "no usable feature network.*config.json"),
    ("config.json", changed(depths=[10**5, 1, 1]), "it has more than 100 layers"),
    ("config.json", changed(hidden_sizes=[10**9] * 3), "size mismatch"),
    ("model.safetensors", None, "no usable feature network.*model.safetensors"),
    ("model.safetensors", save({k: v for k, v in WEIGHTS.items() if k != "feature_std"}), "feature_std"),
    ("model.safetensors", save({**WEIGHTS, "feature_mean": torch.full((64,), math.nan)}), "NaN or infinite"),
])  # fmt: skip
def test_a_damaged_network_is_refused(file: str, content: bytes | None, message: str, tmp_path: Path):
    folder = shutil.copytree(RELEASED_FEATURES, tmp_path / "network")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=message) as refusal:
        load_features(folder)
    assert "\n" not in str(refusal.value)


MODULE = "pokemon_ddpm.evaluation.features"
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
        monkeypatch.setattr(f"{MODULE}.{name}", value)


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
    monkeypatch.setattr(f"{MODULE}.NUM_EPOCHS", 12)
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
