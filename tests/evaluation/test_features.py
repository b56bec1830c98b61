import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from pokemon_ddpm.evaluation import features as module
from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, extract_features, load_features, predict
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.vocabulary import TYPES

IMAGES = torch.randint(256, (70, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

WEIGHTS = load_file(RELEASED_FEATURES / "model.safetensors")


def test_the_released_network():
    """Published results name its digest, and do not depend on other images."""
    network = load_features()
    assert network.vocabulary["type"] == TYPES and network.feature_mean.dtype == torch.float32 and not network.training
    assert network.name == "sprite-features 9a386896"
    assert json.loads((RELEASED_FEATURES / "report.json").read_text())["network"] == weights_digest(network)
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
