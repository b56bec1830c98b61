import json
import shutil
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch_fidelity import feature_extractor_inceptionv3 as library
from transformers import Dinov2Config, Dinov2Model

from pokemon_ddpm.evaluation import pretrained_features
from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, extract_features, load_features, predict
from pokemon_ddpm.evaluation.pretrained_features import dinov2, inception
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.vocabulary import TYPES

IMAGES = torch.randint(256, (70, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_released_network():
    """Its config.json is of an earlier version, and published results name its digest."""
    network = load_features()
    assert "words" in json.loads((RELEASED_FEATURES / "config.json").read_text())
    assert network.vocabulary["type"] == TYPES and network.dtype == torch.float32 and not network.training
    assert network.name == "sprite-features da2519d6"
    assert json.loads((RELEASED_FEATURES / "report.json").read_text())["network"] == weights_digest(network)


def test_results_do_not_depend_on_other_images():
    network = load_features()
    features, values = extract_features(network, IMAGES), predict(network, IMAGES)
    assert features.dtype == torch.float32 and features.shape == (70, network.dimension)
    assert torch.equal(features[65:], extract_features(network, IMAGES[65:]))
    assert torch.equal(values["color"][65:], predict(network, IMAGES[65:])["color"])


def test_predict_types_above_one_half_and_the_likeliest_value():
    class Classifier:
        vocabulary = {"type": ("fire", "water", "grass"), "color": ("red", "blue")}

        def logits(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"type": images[:, 0, 0, :3].float() - 100, "color": images[:, 0, 1, :2].float()}

    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, :3] = torch.tensor([[20, 60, 40], [120, 160, 100], [0, 0, 255]])
    images[2, 0, 1, :2] = torch.tensor([5, 9])
    predicted = predict(Classifier(), images)
    assert predicted["type"].tolist() == [[False, True, False], [True, True, False], [False, False, True]]
    assert predicted["color"].tolist() == [[True, False], [True, False], [False, True]]


def test_larger_images_are_reduced_by_the_mean_and_smaller_ones_refused():
    network = load_features()
    large = IMAGES.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(network.to_pixels(large), network.to_pixels(IMAGES), atol=1e-6)
    mixed = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    mixed[:, :, ::2, ::2] = 255
    assert torch.allclose(network.to_pixels(mixed), torch.full((1, 3, 32, 32), -0.5))
    with pytest.raises(ValueError, match="images from 32 px, but these have 16 px"):
        network.features(IMAGES[:, :, :16, :16])


def _without_std(folder: Path, weights: dict) -> None:
    save_file({name: each for name, each in weights.items() if name != "feature_std"}, folder / "model.safetensors")


def _not_finite(folder: Path, weights: dict) -> None:
    save_file({**weights, "feature_mean": weights["feature_mean"] * float("nan")}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder, _: (folder / "config.json").unlink(), "it has no config.json"),
        (lambda folder, _: (folder / "model.safetensors").unlink(), "no usable network .*model.safetensors"),
        (lambda folder, _: (folder / "config.json").write_text('{"model_type": "bert"}'), "no usable network"),
        (lambda folder, _: (folder / "model.safetensors").write_bytes(b"broken"), "no usable network"),
        (_without_std, "feature_std"),
        (_not_finite, "NaN or infinite"),
    ],
)
def test_a_damaged_network_is_refused(damage, message: str, tmp_path: Path):
    folder = tmp_path / "network"
    shutil.copytree(RELEASED_FEATURES, folder)
    damage(folder, load_file(folder / "model.safetensors"))
    with pytest.raises(ValueError, match=message) as refusal:
        load_features(folder)
    assert "\n" not in str(refusal.value)


def test_networks_of_others_are_unavailable_offline(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="Inception cannot be loaded: .*no network.*weights-inception"):
        inception()
    with pytest.raises(ValueError, match="DINOv2 cannot be loaded: .*facebook/dinov2-small"):
        dinov2()


def test_inception_by_torch_fidelity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / library.URL_INCEPTION_V3.rsplit("/", 1)[1]
    file.parent.mkdir()
    torch.save({"a": Path("x")}, file)  # a pickle that would run code
    with pytest.raises(ValueError, match="Weights only load failed"):
        inception()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    features = inception().features(IMAGES[:2])
    assert features.shape == (2, 2048) and features.dtype == torch.float32


def test_dinov2_by_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=518, patch_size=14)
    model = Dinov2Model(config).eval()
    model.save_pretrained(tmp_path / "tiny-dinov2")
    monkeypatch.setattr(pretrained_features, "DINOV2", str(tmp_path / "tiny-dinov2"))
    extractor = dinov2()
    features = extract_features(extractor, IMAGES[:3])
    assert (extractor.name, extractor.dimension, features.shape) == ("tiny-dinov2", 16, (3, 16))
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = model(white.view(1, 3, 1, 1).expand(1, 3, 224, 224)).last_hidden_state[:, 0]
        assert torch.allclose(
            extractor.features(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)), expected, atol=1e-4
        )
