"""`pokemon-ddpm fit-features`, what it measures, and the network that comes with the package."""

import functools
import json
from pathlib import Path

import pytest
import torch

import pokemon_ddpm
from pokemon_ddpm import load_sprites, sprite_tensors
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation import feature_checks, feature_training
from pokemon_ddpm.evaluation.feature_checks import Accuracy, accuracies, corruption_curves, fronts, rises
from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, SpriteClassifier, SpriteFeatureExtractor, load_features
from pokemon_ddpm.vocabulary import COLORS, TYPES
from tests.generating import run
from tests.test_features import ANY_COLOR, BACKBONE, NO_TYPE, blobs

# What it is measured by


class Answers:
    """A classifier that answers by the first pixel: its red value is the likeliest type, its green the colour."""

    name, words = "answers", {"type": TYPES, "color": COLORS}

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        one_hot = torch.nn.functional.one_hot
        red, green = images[:, 0, 0, 0].long(), images[:, 1, 0, 0].long()
        return {"type": 2.0 * one_hot(red, 18) - 1, "color": one_hot(green, 10).float()}


def test_accuracies_by_hand() -> None:
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[:, 0] = torch.tensor([0, 1, 1, 5]).view(4, 1, 1)
    images[:, 1] = torch.tensor([7, 7, 1, 1]).view(4, 1, 1)
    types = torch.tensor([[0, NO_TYPE], [2, 1], [3, NO_TYPE], [0, NO_TYPE]])
    colors = torch.tensor([7, 1, 1, ANY_COLOR])
    train = {"type": torch.tensor([[0, 4], [0, NO_TYPE], [3, NO_TYPE]]), "color": torch.tensor([7, 7, 1])}
    found = accuracies(Answers(), train, SpriteTensors(images, {"type": types, "color": colors}))
    # Of 16 pairs of an answer (0, 1, 1, 5) and a truth: 0 hits two, each 1 hits one, 5 none.
    assert found["type, likeliest"] == Accuracy(2 / 4, 4 / 16, 2 / 4, 4)
    # Four answers, five true types; two agree; by chance one; the commonest, 0, agrees twice.
    assert found["types, micro F1"] == Accuracy(4 / 9, pytest.approx(2 / 9), 4 / 9, 4)
    # Of the types 0 (2 true, 1 answered, 1 right), 1 (1, 2, 1), 2 (1, 0, 0), 3 (1, 0, 0).
    assert found["types, macro F1"].value == pytest.approx((2 / 3 + 2 / 3) / 4)
    assert found["types, macro F1"].majority == pytest.approx((4 / 6) / 4)
    # Of three known colours, two are right; 7 is the commonest in training.
    assert found["color"] == Accuracy(
        pytest.approx(2 / 3), pytest.approx((2 * 1 + 1 * 2) / 9), pytest.approx(1 / 3), 3
    )


def test_curves_rise_where_features_are_pixels() -> None:
    class Pixels:
        name, dimension = "pixels", 12

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.interpolate(images.float() / 255, (2, 2), mode="area").flatten(1)

    curves = corruption_curves(Pixels(), blobs(60).images, blobs(40, seed=2).images, (0.0, 0.5, 1.0))
    assert set(curves) == set(feature_checks.TITLES)
    assert rises(curves["add_noise"]) and rises(curves["add_noise"], "fid")
    assert [point.strength for point in curves["blur"]] == [0.0, 0.5, 1.0]
    assert len({points[0].kid for points in curves.values()}) == 1
    assert len(feature_checks.curves_figure(curves).axes) == 10


# The command


@pytest.fixture
def command(sprites_cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pokemon_ddpm, "load_sprites", functools.partial(load_sprites, cache_dir=sprites_cache))
    monkeypatch.setattr(feature_training, "BACKBONE", BACKBONE)
    monkeypatch.setattr(feature_checks, "STRENGTHS", (0.0, 1.0))
    return functools.partial(run, "fit-features")


def test_the_command_fits_measures_and_writes(command, tmp_path: Path) -> None:
    status, output = command("--output-dir", tmp_path / "net", "--num-epochs", 1)
    assert status == 0 and "type, likeliest: 0." in output
    assert "Apache 2.0" in (tmp_path / "net" / "README.md").read_text()
    assert load_features(tmp_path / "net").words["type"] == TYPES
    assert command("--output-dir", tmp_path / "net", "--num-epochs", 1)[0] == 0  # over an earlier fit


def test_mistakes_are_told_in_a_sentence(command, small: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for words, sentence in (
        (("--output-dir", tmp_path / "full"), "holds other things, such as thesis.txt"),
        (("--output-dir", tmp_path / "full" / "thesis.txt"), "is a file"),
        (("--output-dir", tmp_path / "a", "--mixed-precision", "fp8"), "must be no or bf16"),
        (("--output-dir", tmp_path / "a", "--learning-rate", "-1"), "must be between 0 and 1"),
        (("--output-dir", tmp_path / "a", "--data-dir", tmp_path / "nowhere"), "nowhere"),
    ):
        status, output = command(*words)
        assert status == 2 and sentence in output, output
    assert not (tmp_path / "a").exists()


def test_an_interrupted_fit_leaves_nothing(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(feature_training, "validation_loss", interrupt)
    status, output = command("--output-dir", tmp_path / "net", "--num-epochs", 1)
    assert status == 130 and "nothing was written" in output and not list((tmp_path / "net").iterdir())


# The network that comes with the package


def test_the_shipped_network_is_small_and_knows_the_words() -> None:
    assert (RELEASED_FEATURES / "model.safetensors").stat().st_size < 10e6
    network = load_features()
    assert network.config.dimension <= 128 and network.words["type"] == TYPES
    assert sum(each.numel() for each in network.parameters()) < 3e6
    assert json.loads((RELEASED_FEATURES / "report.json").read_text())["network"] == network.digest()
    assert not (RELEASED_FEATURES / "model_index.json").exists()


@pytest.mark.slow
def test_the_shipped_network_sees_damage_and_types(sprites_dir: Path, sprites_cache: Path) -> None:
    sprites = load_sprites(sprites_dir, "all", cache_dir=sprites_cache)
    train, held_out = (sprite_tensors(sprites[split], 32) for split in ("train", "validation"))
    network = load_features()
    found = accuracies(SpriteClassifier(network), train.labels, fronts(held_out))["type, likeliest"]
    assert found.value > 1.5 * max(found.chance, found.majority)
    curves = corruption_curves(SpriteFeatureExtractor(network), train.images, held_out.images)
    report = json.loads((RELEASED_FEATURES / "report.json").read_text())["corruptions"]
    told = {"posterise": (0.5, 1.0)}  # fewer levels are at first not to be seen
    for name, points in curves.items():
        low, high = told.get(name, (0.0, 1.0))
        within = [point for point in points if low <= point.strength <= high]
        assert rises(within) and rises(within, "fid"), name
        assert [point.kid for point in points] == pytest.approx([each["kid"] for each in report[name]], rel=1e-2)
