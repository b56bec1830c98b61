"""Inception and DINOv2: their code paths with networks that know nothing, and what is said where they are not."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch_fidelity import feature_extractor_inceptionv3 as library
from transformers import Dinov2Config, Dinov2Model

from pokemon_ddpm.evaluation.pretrained_features import InceptionExtractor, dinov2, inception
from pokemon_ddpm.evaluation.protocols import extract_features

IMAGES = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_offline_both_say_what_to_download(offline: None) -> None:
    with pytest.raises(ValueError, match="could not be downloaded: no network.*weights-inception.*needs no download"):
        inception()
    with pytest.raises(ValueError, match="dinov2-small is not here.*hf download facebook/dinov2-small.*no download"):
        dinov2()


def test_broken_weights_of_inception_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / library.URL_INCEPTION_V3.rsplit("/", 1)[1]
    file.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="Delete it"):
        inception()


def test_inception_runs_through_torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    extractor = inception()
    assert isinstance(extractor, InceptionExtractor) and extractor.dimension == 2048
    features = extractor(IMAGES[:2])
    assert features.shape == (2, 2048) and features.dtype == torch.float32


def test_dinov2_runs_through_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=518, patch_size=14)
    model = Dinov2Model(config).eval()
    model.save_pretrained(tmp_path / "tiny-dinov2")
    extractor = dinov2(str(tmp_path / "tiny-dinov2"))
    features = extract_features(extractor, IMAGES)
    assert (extractor.name, extractor.dimension, features.shape) == ("tiny-dinov2", 16, (3, 16))
    # White is a plain picture of each channel's largest value.
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = model(white.view(1, 3, 1, 1).expand(1, 3, 224, 224)).last_hidden_state[:, 0]
    assert torch.allclose(extractor(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)), expected, atol=1e-4)


def test_another_model_is_no_dinov2(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ValueError, match="is no DINOv2 but a vit"):
        dinov2(str(tmp_path))
