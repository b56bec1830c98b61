from pathlib import Path

import pytest
import torch
from PIL import Image

from pokemon_ddpm import SpriteTensors
from pokemon_ddpm.evaluation.images import default_output, random_rows
from pokemon_ddpm.evaluation.samples import (
    generate_samples,
    read_samples,
    sample_requests,
)
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.preprocessing import over_white
from pokemon_ddpm.provenance import read_png, write_png
from pokemon_ddpm.vocabulary import COLORS, TYPES
from tests.sprite_sets import provenance
from tests.tiny_models import tiny_pipeline

VOCABULARY = {"type": list(TYPES), "color": list(COLORS)}
NO_TYPE = len(TYPES)


def labelled(count: int = 30) -> SpriteTensors:
    """Images of which every third has one type, and every fifth no known color."""
    number = torch.arange(count)
    second = torch.where(number % 3 == 0, NO_TYPE, (number + 5) % NO_TYPE)
    color = torch.where(number % 5 == 0, -1, number % len(COLORS))
    images = torch.zeros(count, 3, 16, 16, dtype=torch.uint8)
    return SpriteTensors(images, {"type": torch.stack([number % NO_TYPE, second], dim=1), "color": color})


def test_requests_have_the_conditions_of_images():
    data, conditioner = labelled(), tiny_pipeline(vocabulary=VOCABULARY).conditioner
    requests = sample_requests(data, conditioner, 61, seed=5)
    assert [request.seed for request in requests] == list(range(5, 66))
    conditions = [(request.pokemon_type, request.attributes["color"]) for request in requests]
    names, colors = (*TYPES, "none"), (*COLORS, "any")
    ids = zip(data.labels["type"].tolist(), data.labels["color"].tolist(), strict=True)
    expected = [(tuple(names[k] for k in types), colors[color]) for types, color in ids]
    for order in (conditions[:30], conditions[30:60]):
        assert sorted(order, key=str) == sorted(expected, key=str)
    assert conditions[:30] != conditions[30:60]
    assert sample_requests(data, conditioner, 61, seed=5) == requests
    assert conditions == [expected[row] for row in random_rows(30, 61, 5).tolist()]


def test_requests_for_other_classes_or_without_types():
    data, conditioner = labelled(), tiny_pipeline(vocabulary=VOCABULARY).conditioner
    data.labels["type"][:] = -1
    assert sample_requests(data, conditioner, 1)[0].pokemon_type is None
    with pytest.raises(ValueError, match=r"trained on 2 classes \(cat, dog\), but the data have 18"):
        sample_requests(data, tiny_pipeline(vocabulary={"type": ["cat", "dog"]}).conditioner, 4)


def test_samples_are_generated_once(tmp_path: Path):
    pipeline, settings = tiny_pipeline(channels=4), GenerationSettings("model", num_inference_steps=2)
    requests = sample_requests(labelled(), pipeline.conditioner, 6)
    generate_samples(pipeline, settings, requests, tmp_path / "samples")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "samples").iterdir()}
    assert sorted(read_png(path).seed for path in kept) == list(range(6))
    assert all(len(Image.open(path).getchannel("A").getcolors()) > 2 for path in kept)  # as predicted
    generate_samples(pipeline, settings, requests, tmp_path / "samples")
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    with pytest.raises(ValueError, match="contains 6 other files, such as"):
        others = sample_requests(labelled(), pipeline.conditioner, 4, seed=99)
        generate_samples(pipeline, settings, others, tmp_path / "samples")


def test_samples_are_read_in_the_order_of_their_names(tmp_path: Path):
    images = torch.randint(256, (3, 4, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for seed in (2, 0, 1):
        write_png(Image.fromarray(images[seed].permute(1, 2, 0).numpy()), tmp_path / f"{seed}.png", provenance(seed))
    samples = read_samples(tmp_path)
    assert torch.equal(samples.images, images) and samples.provenances == tuple(map(provenance, range(3)))
    assert samples.conditions == [{"type": "fire"}] * 3
    assert torch.equal(samples.on_white().images, over_white(default_output(images)))
