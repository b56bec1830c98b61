"""Embeddings that learn from a ranker: gradients against differences, and what stays as it was."""

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import tune_embeddings
from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.likeness import overlaps
from pokemon_ddpm.ranking import PROBES_FILE, RANKER_FILE, SpriteRanker
from pokemon_ddpm.vocabulary import BODIES
from tests.tiny_models import drawing_pipeline, ranking_student, seeded


@pytest.fixture
def model(tmp_path):
    config = drawing_pipeline().conditioner.config
    known = {**config["vocabulary"], "size": ["small", "large"], "view": ["front", "back"]}
    pipeline, folder = ranking_student(64, known), tmp_path / "model"
    config |= {"vocabulary": known, "embedding_dim": pipeline.conditioner.config.embedding_dim}
    pipeline.conditioner = SpriteConditioner(**config).half().float()
    pipeline.register_to_config(default_conditions={"view": "front"})
    pipeline.save_pretrained(folder)
    head = SpriteRanker(pipeline).head
    save_file(head.state_dict(), folder / RANKER_FILE)
    counts = {"body": len(BODIES), "color": len(known["color"]), "shape": len(known["shape"])}
    probes = {f"{name}.weight": torch.randn(count, head.in_features) for name, count in counts.items()}
    save_file(probes | {f"{name}.bias": torch.zeros(count) for name, count in counts.items()}, folder / PROBES_FILE)
    return str(folder)


def test_what_is_drawn_and_views_are_learned(model, tmp_path, monkeypatch):
    monkeypatch.setattr(tune_embeddings, "FRONT_STEPS", 2)
    monkeypatch.setattr(tune_embeddings, "BACK_STEPS", 1)
    tune_embeddings.main([model, str(tmp_path / "tuned")])
    before, after = (PokemonDDPMPipeline.from_pretrained(path) for path in (model, tmp_path / "tuned"))
    for name, table in before.conditioner.tables.items():
        changed = (after.conditioner.tables[name].weight != table.weight).any(dim=1)
        assert changed.any() == (name not in ("type_embedding", "size_embedding")) and not changed[-1]
    assert all(map(torch.equal, before.unet.parameters(), after.unet.parameters()))


def test_gradients_are_differences(model):
    pipeline = PokemonDDPMPipeline.from_pretrained(model)
    samples, types, seeds = tune_embeddings.Samples(pipeline, None), ["fire"] * 4, [*range(4)]
    embeddings = pipeline.conditioner.encode(types, **samples.conditions(types, seeds)).detach().requires_grad_()
    expected = pipeline(types, generator=seeded(*seeds), output_type="latent").images
    torch.testing.assert_close(samples(embeddings, seeds), expected)
    direction = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(samples(embeddings, seeds).square().mean(), embeddings)
    ends = [samples(embeddings + sign * 0.01 * direction, seeds).square().mean() for sign in (1, -1)]
    assert (gradient * direction).sum().item() == pytest.approx(((ends[0] - ends[1]) / 0.02).item(), rel=0.02)


def test_overlaps_are_those_of_silhouettes():
    sprites = torch.zeros(8, 4, 64, 64, dtype=torch.uint8)
    for i, sprite in enumerate(sprites):
        sprite[:, 4 + 3 * i : 60 - 3 * i, 20:44] = 255
    expected = overlaps(sprites, sprites)[~torch.eye(8, dtype=torch.bool)].mean().float()
    torch.testing.assert_close(tune_embeddings.mean_overlap(sprites.float() / 127.5 - 1), expected)
