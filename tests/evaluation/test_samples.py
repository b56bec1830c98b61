import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pokemon_ddpm import SpriteTensors
from pokemon_ddpm.evaluation import samples as module
from pokemon_ddpm.evaluation.images import default_output, random_rows
from pokemon_ddpm.evaluation.samples import (
    generate_samples,
    read_samples,
    reduce_enlarged,
    sample_requests,
)
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.preprocessing import over_white
from pokemon_ddpm.provenance import KEYWORD, read_png, write_png
from pokemon_ddpm.vocabulary import COLORS, TYPES
from tests.sprite_sets import provenance
from tests.tiny_models import tiny_pipeline

VOCABULARY = {"type": list(TYPES), "color": list(COLORS)}
NO_TYPE = len(TYPES)


def sprite(shade: int, width: int = 8, height: int = 8) -> Image.Image:
    """A different sprite for each shade."""
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    pixels[2:-2, 1:-1] = np.arange(width - 2)[:, None] * 3 + shade
    return Image.fromarray(pixels)


def pixels(*images: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(image.convert("RGB")) for image in images])).permute(0, 3, 1, 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six sprites of 8x8 pixels, which were not written in the order of their names."""
    monkeypatch.setattr(module, "MIN_SAMPLES", 6)
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in (3, 1, 5, 0, 2, 4):
        sprite(10 * i).save(folder / f"{i}.png")
    return folder


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
    with pytest.raises(ValueError, match="has 6 other files, such as"):
        others = sample_requests(labelled(), pipeline.conditioner, 4, seed=99)
        generate_samples(pipeline, settings, others, tmp_path / "samples")


def test_files_are_read_with_their_provenance_in_the_order_of_their_names(folder: Path, caplog):
    (folder / ".hidden.png").write_text("")
    (folder / "samples.json").write_text("{}")
    sprite(0).quantize(16).save(folder / "0.png")
    write_png(sprite(10), folder / "1.png", provenance(7))
    info = PngInfo()
    info.add_text(KEYWORD, '{"seed": 3}')  # of another version
    sprite(40).save(folder / "4.png", pnginfo=info)
    with caplog.at_level(logging.WARNING):
        samples = read_samples(folder)
    assert torch.equal(samples.images, pixels(*(sprite(10 * i) for i in range(6)))) and samples.images.is_contiguous()
    assert samples.provenances == (None, provenance(7), None, None, None, None)
    assert samples.conditions[1] == {"type": "fire"} and "5 of 6 samples do not say" in caplog.text


def test_enlarged_images_are_reduced_if_all_are(folder: Path):
    original = read_samples(folder)
    assert reduce_enlarged(original) is original
    for i in range(6):
        enlarge(sprite(10 * i), 4).save(folder / f"{i}.png")
    assert torch.equal(reduce_enlarged(read_samples(folder)).images, original.images)
    sprite(0).resize((32, 32), Image.Resampling.BICUBIC).save(folder / "0.png")
    assert reduce_enlarged(read_samples(folder)).images.shape == (6, 3, 32, 32)


def test_transparency_is_kept(folder: Path):
    soft = sprite(0).convert("RGBA")
    soft.putalpha(Image.linear_gradient("L").resize(soft.size))
    soft.save(folder / "0.png")
    samples = read_samples(folder)
    assert torch.equal(samples.images[0], torch.from_numpy(np.array(soft)).permute(2, 0, 1))
    assert (samples.images[1:, 3] == 255).all() and torch.equal(samples.images[1:2, :3], pixels(sprite(10)))
    white, output = samples.on_white().images, default_output(samples.images)
    assert white.shape == (6, 3, 8, 8) and torch.equal(white, over_white(output))
    assert (white.permute(0, 2, 3, 1)[output[:, 3] == 0] == 255).all()


def test_unusable_files_and_folders_are_refused(folder: Path):
    (folder / "1.png").write_text("text")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:50])
    os.mkfifo(folder / "6.png")
    with pytest.raises(
        ValueError, match="3 of 7 images cannot be used:\n  1.png: .*\n  3.png: .*\n  6.png: is no file"
    ):
        read_samples(folder)
    for other in ("6.jpg", "5-folder"):
        (folder / other).mkdir()
        with pytest.raises(ValueError, match=f"must have PNGs only, no sub-folders or other images such as {other}"):
            read_samples(folder)
