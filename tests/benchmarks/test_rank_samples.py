"""The best and the worst samples: ranked in their type, without what their looks explain, as data for training."""

from types import SimpleNamespace

import numpy as np
import torch

from benchmarks import rank_samples
from benchmarks.train_ranker import looks
from pokemon_ddpm.data import SpriteTensors, load_named, load_tensors, sprite_tensors
from pokemon_ddpm.evaluation.features import load_features
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES
from tests.labelled_images import folder_of_classes
from tests.tiny_models import tiny_pipeline, tiny_student

REDDEST = SimpleNamespace(score=lambda images: images[:, 0].float().mean(dim=(1, 2)), probes={})


def test_ranks_are_within_types_and_not_by_size():
    sprites = torch.zeros(60, 4, 16, 16, dtype=torch.uint8)
    for i in range(60):
        sprites[i, :, : 2 + i % 10] = 255
    size, merit = looks(sprites)["size"], np.random.default_rng(0).normal(size=60)
    types = ["fire" if i < 40 else "ice" for i in range(60)]
    requests = [SpriteRequest(i, (name,)) for i, name in enumerate(types)]
    real = SpriteTensors(sprites, {"type": torch.tensor([[TYPES.index(name), 0] for name in types])})
    ranks = rank_samples.ranks(merit - 50 * size, sprites, requests, real, load_features(), np.zeros(60, int))
    assert abs(np.corrcoef(ranks, size)[0, 1]) < 0.1 and np.corrcoef(ranks, merit)[0, 1] > 0.8
    for name, count in (("fire", 40), ("ice", 20)):
        assert np.allclose(np.sort(ranks[[other == name for other in types]]), (np.arange(count) + 0.5) / count)


def test_both_sets_are_data_for_training(tmp_path, sprites_dir, monkeypatch):
    monkeypatch.setattr(rank_samples, "ranker_for", lambda pipeline: REDDEST)
    vocabulary = {name: CONDITIONS[name] for name in ("type", "color", "size", "legendary", "view")}
    defaults = {"num_inference_steps": 1, "default_conditions": {"view": "front"}}
    tiny_pipeline("sample", 16, vocabulary, channels=4, defaults=defaults).save_pretrained(tmp_path / "model")
    output = tmp_path / "ranked"
    flags = ["--model", tmp_path / "model", "--data_dir", sprites_dir, "--num_samples", "40", "--output", output]
    rank_samples.main(list(map(str, flags)))
    assert len(list((output / "samples").glob("*.png"))) == 40
    sets = [sprite_tensors(load_named(str(output / name), None, "train"), 16) for name in ("worst", "best")]
    assert -1 in torch.cat([data.labels["color"] for data in sets])  # where it was not given
    for data in sets:
        assert 3 <= len(data) <= 20 and data.images.shape[1:] == (4, 16, 16) and (data.labels["type"] >= 0).all()
        assert (data.labels["view"] == 0).all()


def test_sets_of_own_classes_are_folders_of_images(tmp_path, monkeypatch):
    art, output = folder_of_classes(tmp_path / "art", {"orcs": 6, "elves": 6}), tmp_path / "ranked"
    tiny_student(16, {"type": ["elves", "orcs"], "view": ["front", "back"]}).save_pretrained(tmp_path / "model")
    monkeypatch.setattr(rank_samples, "ranker_for", lambda pipeline: REDDEST)
    monkeypatch.setattr(rank_samples, "missed", lambda sprites, *_: np.zeros(len(sprites)))
    flags = ["--model", tmp_path / "model", "--data_dir", art, "--num_samples", "20", "--output", output]
    rank_samples.main([*map(str, flags), "--guidance_scales", "1"])
    sets = [load_tensors(str(output / name), "train", 16, mode="pixel") for name in ("worst", "best")]
    assert all(2 <= len(data) <= 8 and {*data.type_names} <= {"elves", "orcs"} for data in sets)
