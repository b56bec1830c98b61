"""The network for sprites: its losses, its fit, its folder, what it is measured by; and the networks of the world."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation import feature_training
from pokemon_ddpm.evaluation.feature_card import FILES, write_features
from pokemon_ddpm.evaluation.feature_checks import Accuracy, Point
from pokemon_ddpm.evaluation.feature_training import (
    FitSettings,
    change,
    fit,
    negative_log_likelihood,
    standardise,
    validation_loss,
)
from pokemon_ddpm.evaluation.features import (
    SpriteClassifier,
    SpriteFeatureExtractor,
    SpriteFeatures,
    SpriteFeaturesConfig,
    load_features,
    to_pixels,
)
from pokemon_ddpm.evaluation.protocols import extract_features, predict
from pokemon_ddpm.vocabulary import COLORS, TYPES

BACKBONE = {
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "groups_width": 8,
    "layer_type": "y",
    "downsample_in_first_stage": True,
}
TINY = FitSettings(num_epochs=2, batch_size=16, learning_rate=1e-2, backbone=BACKBONE, dimension=6, seed=3)
FIRE, FLYING, NO_TYPE = TYPES.index("fire"), TYPES.index("flying"), len(TYPES)
RED, BLUE, ANY_COLOR = COLORS.index("red"), COLORS.index("blue"), len(COLORS)


def blobs(count: int, seed: int = 0) -> SpriteTensors:
    """Red squares that are of fire, and blue ones that are of water and flying; every fifth without a known colour."""
    generator = torch.Generator().manual_seed(seed)
    red = torch.rand(count, generator=generator) < 0.5
    images = torch.full((count, 3, 32, 32), 255, dtype=torch.uint8)
    for row, is_red in enumerate(red):
        top, left = torch.randint(4, 12, (2,), generator=generator).tolist()
        ink = torch.tensor([220, 30, 30] if is_red else [30, 30, 220], dtype=torch.uint8)
        images[row, :, top : top + 16, left : left + 16] = ink.view(3, 1, 1)
    water = torch.tensor([TYPES.index("water"), FLYING])
    types = torch.where(red[:, None], torch.tensor([FIRE, NO_TYPE]), water)
    colors = torch.where(red, RED, BLUE)
    colors[::5] = ANY_COLOR
    return SpriteTensors(images, {"type": types, "color": colors, "frame": torch.ones(count, dtype=torch.long)})


@pytest.fixture(scope="module")
def fitted() -> tuple[SpriteFeatures, list[feature_training.Epoch]]:
    return fit(blobs(96), blobs(48, seed=1), TINY)


@pytest.fixture
def network(fitted: tuple) -> SpriteFeatures:
    return fitted[0]


# The loss


def test_the_loss_of_types_is_the_sum_of_binary_cross_entropies() -> None:
    logits = torch.linspace(-2, 2, len(TYPES)).repeat(3, 1)
    types = torch.tensor([[FIRE, NO_TYPE], [FLYING, FIRE], [FIRE, FLYING]])
    found = negative_log_likelihood({"type": logits}, {"type": types})
    for row, present in enumerate(({FIRE}, {FIRE, FLYING}, {FIRE, FLYING})):
        expected = sum(math.log(1 + math.exp(-x if k in present else x)) for k, x in enumerate(logits[0].tolist()))
        assert found[row].item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_a_colour_is_its_cross_entropy_and_that_of_an_unknown_one_nothing() -> None:
    logits = torch.randn(4, len(COLORS), generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = negative_log_likelihood({"color": logits}, {"color": torch.tensor([RED, BLUE, -1, ANY_COLOR])})
    expected = torch.logsumexp(logits, dim=1) - logits[:, [RED, BLUE, 0, 0]].diagonal()
    assert torch.allclose(found[:2], expected[:2])
    assert found[2:].tolist() == [0, 0]
    found.sum().backward()
    assert not logits.grad[2:].any() and logits.grad[:2].all()


def test_the_losses_of_attributes_add_up_and_absent_ones_count_nothing() -> None:
    logits = {"type": torch.zeros(1, 18), "color": torch.zeros(1, 10), "shape": torch.zeros(1, 14)}
    labels = {"type": torch.tensor([[FIRE, NO_TYPE]]), "color": torch.tensor([RED])}
    assert negative_log_likelihood(logits, labels).item() == pytest.approx(18 * math.log(2) + math.log(10))


def test_a_picture_without_any_type_counts_nothing() -> None:
    labels = {"type": torch.tensor([[NO_TYPE, NO_TYPE], [-1, -1]])}
    assert negative_log_likelihood({"type": torch.ones(2, 18)}, labels).tolist() == [0, 0]


# The fit


def test_a_fit_learns_what_is_to_be_seen(network: SpriteFeatures) -> None:
    held_out = blobs(48, seed=1)
    answers = predict(SpriteClassifier(fit(blobs(96), held_out, FitSettings(**{**vars(TINY), "num_epochs": 12}))[0]),
                      held_out.images)  # fmt: skip
    assert (answers["type"][:, FIRE] == (held_out.labels["type"][:, 0] == FIRE)).all()
    assert network.words == {"type": TYPES, "color": COLORS}  # not frame, and nothing that does not vary


def test_a_fit_follows_from_its_seed(network: SpriteFeatures) -> None:
    before = torch.random.get_rng_state()
    again, _ = fit(blobs(96), blobs(48, seed=1), TINY)
    other, _ = fit(blobs(96), blobs(48, seed=1), FitSettings(**{**vars(TINY), "seed": 4}))
    assert again.digest() == network.digest() != other.digest()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_pass_with_the_lowest_validation_loss_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    states, losses = [], iter([3.0, 1.0, 2.0])

    def loss(network: SpriteFeatures, data: SpriteTensors) -> float:
        states.append({name: values.clone() for name, values in network.state_dict().items()})
        return next(losses)

    monkeypatch.setattr(feature_training, "validation_loss", loss)
    kept, passes = fit(blobs(32), blobs(16), FitSettings(**{**vars(TINY), "num_epochs": 3}))
    assert [each.validation_loss for each in passes] == [3.0, 1.0, 2.0]
    assert torch.equal(kept.projection.weight, states[1]["projection.weight"].half().float())


def test_a_loss_that_is_not_finite_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_training, "validation_loss", lambda *_: math.nan)
    with pytest.raises(ValueError, match="not finite"):
        fit(blobs(16), blobs(16), TINY)


def test_validation_pictures_count_alike(network: SpriteFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    data = blobs(30)
    whole = validation_loss(network, data)
    monkeypatch.setattr(feature_training, "_BATCH", 7)
    assert validation_loss(network, data) == pytest.approx(whole, rel=1e-5)


def test_changed_pictures_are_mirrored_and_shifted_on_white() -> None:
    images = torch.randint(0, 255, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = set()
    for before, after in zip(images, change(images, torch.Generator().manual_seed(1)), strict=True):
        ways = {}
        for mirrored in (False, True):
            padded = torch.nn.functional.pad(before.flip(2) if mirrored else before, (3,) * 4, value=255)
            for y in range(7):
                for x in range(7):
                    ways[mirrored, y, x] = padded[:, y : y + 16, x : x + 16]
        (way,) = (key for key, picture in ways.items() if torch.equal(picture, after))
        seen.add(way)
    assert {way[0] for way in seen} == {False, True} and len(seen) > 20


# The features


def test_training_features_have_mean_0_and_standard_deviation_1(network: SpriteFeatures) -> None:
    features = extract_features(SpriteFeatureExtractor(network), blobs(96).images)
    assert features.shape == (96, 6) and features.dtype == torch.float32
    assert torch.allclose(features.mean(dim=0), torch.zeros(6), atol=1e-2)
    assert torch.allclose(features.std(dim=0, unbiased=False), torch.ones(6), atol=1e-2)


def test_a_feature_that_never_varies_stays_finite() -> None:
    config = SpriteFeaturesConfig(backbone=BACKBONE, words={"type": list(TYPES)}, dimension=6)
    network = SpriteFeatures(config)
    standardise(network, blobs(4).images[:1].repeat(3, 1, 1, 1))
    assert network(to_pixels(blobs(2).images, 32)).isfinite().all()


def test_features_do_not_depend_on_the_pictures_beside(network: SpriteFeatures) -> None:
    images = blobs(70).images
    extractor, classifier = SpriteFeatureExtractor(network), SpriteClassifier(network)
    features = extract_features(extractor, images)
    assert torch.equal(extract_features(extractor, images[3:9]), features[3:9])
    assert torch.equal(predict(classifier, images[3:9])["type"], predict(classifier, images)["type"][3:9])


def test_larger_pictures_are_reduced_by_the_mean_and_smaller_ones_refused(network: SpriteFeatures) -> None:
    images = blobs(3).images
    large = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(to_pixels(large, 32), to_pixels(images, 32), atol=1e-6)
    mixed = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    mixed[:, :, ::2, ::2] = 255
    assert torch.allclose(to_pixels(mixed, 32), torch.full((1, 3, 32, 32), 2 / 4 - 1))
    assert SpriteFeatureExtractor(network)(torch.zeros(2, 3, 40, 40, dtype=torch.uint8)).shape == (2, 6)
    with pytest.raises(ValueError, match="from 32 pixels on"):
        SpriteFeatureExtractor(network)(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="uint8"):
        SpriteFeatureExtractor(network)(torch.zeros(2, 3, 32, 32))


# The folder


CURVES = {"blur": [Point(0.0, 0.1, 0.0, 0.2, 3.0), Point(1.0, 0.2, 0.1, 0.3, 2.0)]}


def written(network: SpriteFeatures, passes: list, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    found = {"color": Accuracy(0.5, 0.25, 0.3, 40)}
    write_features(network, TINY, passes, {"train": 96, "validation": 48}, found, CURVES, folder, starter=False)
    return folder


def test_a_saved_network_comes_back_to_the_bit(fitted: tuple, tmp_path: Path) -> None:
    network, passes = fitted
    folder = written(network, passes, tmp_path / "mine")
    assert {file.name for file in folder.iterdir()} == set(FILES)
    loaded, images = load_features(folder), blobs(5).images
    assert loaded.digest() == network.digest() and loaded.words == network.words
    assert load_file(folder / "model.safetensors")["projection.weight"].dtype == torch.float16
    assert loaded.dtype == network.dtype == torch.float32
    assert torch.equal(SpriteFeatureExtractor(loaded)(images), SpriteFeatureExtractor(network)(images))
    assert SpriteFeatureExtractor(loaded).name == f"sprite-features {network.digest()[:8]}"


def test_card_and_report_say_what_was_measured(fitted: tuple, tmp_path: Path) -> None:
    folder = written(*fitted, tmp_path / "mine")
    card, report = (folder / "README.md").read_text(), json.loads((folder / "report.json").read_text())
    assert "\nlicense: other\n" in card and "Research and education only" in card
    assert "# mine\n" in card and "| color | 0.500 | 0.250 | 0.300 | 40 |" in card
    assert "| blur | 0.1000 | 0.2000 | yes | no |" in card
    assert report["network"] == fitted[0].digest() and report["corruptions"]["blur"][1]["fid"] == 2.0
    assert report["held_out"]["color"] == {"value": 0.5, "chance": 0.25, "majority": 0.3, "n": 40}


def test_folders_without_a_network_are_told(fitted: tuple, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no config.json"):
        load_features(tmp_path)
    folder = written(*fitted, tmp_path / "mine")
    weights = load_file(folder / "model.safetensors")
    save_file({name: each for name, each in weights.items() if name != "feature_std"}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="lacks feature_std"):
        load_features(folder)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="can be used"):
        load_features(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="another model"):
        load_features(folder)
