import pytest
import torch
from PIL import Image

from pokemon_ddpm import SpriteTensors
from pokemon_ddpm.evaluation import images as module
from pokemon_ddpm.evaluation.images import as_rgba, default_output, generate_samples, reduced, row_requests
from pokemon_ddpm.files import read_png
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.preprocessing import as_tensor, over_white
from pokemon_ddpm.vocabulary import COLORS, TYPES
from tests.tiny_models import tiny_pipeline


def square(side: int) -> torch.Tensor:
    """RGB on a white that is noisy in the first row, with a white hole."""
    images = torch.full((1, 3, side, side), 255, dtype=torch.uint8)
    images[:, :, 2:-2, 2:-2] = torch.tensor([10, 90, 170], dtype=torch.uint8).view(1, 3, 1, 1)
    images[:, :, 6:8, 6:8] = 255
    images[:, :, 0] = 250
    return images


def test_sprites_are_reduced_by_a_vote_and_small_ones_kept():
    images = as_rgba(square(24))
    smaller = reduced(images, 16)  # 20 to 14 pixels
    assert smaller.shape == (1, 4, 16, 16) and (smaller[0, 3] == 255).sum() == 14**2
    assert set(smaller[0, :3].flatten(1).T.unique(dim=0).flatten().tolist()) == {10, 90, 170, 255}
    small = torch.tensor([255, 255, 255, 0], dtype=torch.uint8).view(1, 4, 1, 1).repeat(1, 1, 24, 24)
    small[:, :, 3:7, 3:7] = images[:, :, 4:5, 4:5]
    kept = reduced(small, 16)
    assert torch.equal(kept[:, :, 6:10, 6:10], small[:, :, 3:7, 3:7]) and (kept[0, 3] == 255).sum() == 16


@pytest.mark.parametrize("background", [[255, 255, 255], [255, 255, 255, 0]])
def test_images_are_mirrored_and_shifted_on_white(background: list[int]):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (40, len(background), 16, 16), dtype=torch.uint8, generator=generator)
    seen = set()
    for before, after in zip(images, module.flip_and_shift(images, torch.Generator().manual_seed(1), 3), strict=True):
        views = {}
        for mirrored in (False, True):
            padded = torch.tensor(background, dtype=torch.uint8).view(-1, 1, 1).repeat(1, 22, 22)
            padded[:, 3:-3, 3:-3] = before.flip(2) if mirrored else before
            views |= {(mirrored, y, x): padded[:, y : y + 16, x : x + 16] for y in range(7) for x in range(7)}
        (view,) = (key for key, image in views.items() if torch.equal(image, after))
        seen.add(view)
    assert {view[0] for view in seen} == {False, True} and len(seen) > 20


VOCABULARY = {"type": TYPES, "color": COLORS}
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
    rows = module.random_rows(30, 61, 5)
    assert sorted(rows[:30].tolist()) == sorted(rows[30:60].tolist()) == list(range(30))
    assert rows[:30].tolist() != rows[30:60].tolist()
    requests = row_requests(data, conditioner, rows, 5)
    assert [request.seed for request in requests] == list(range(5, 66))
    conditions = [(request.pokemon_type, request.attributes["color"]) for request in requests]
    names, colors = (*TYPES, "none"), (*COLORS, "any")
    ids = zip(data.labels["type"].tolist(), data.labels["color"].tolist(), strict=True)
    expected = [(tuple(names[k] for k in types), colors[color]) for types, color in ids]
    assert conditions == [expected[row] for row in rows.tolist()]
    data.labels["type"][:] = -1
    assert row_requests(data, conditioner, torch.arange(1))[0].pokemon_type is None
    with pytest.raises(ValueError, match="trained on 2 classes such as cat, dog, but the data have 18"):
        row_requests(data, tiny_pipeline(vocabulary={"type": ["cat", "dog"]}).conditioner, torch.arange(4))


def test_samples_are_kept_and_read_in_the_order_of_their_names(tmp_path):
    pipeline, settings = tiny_pipeline(channels=4), GenerationSettings("model", num_inference_steps=2)
    requests = row_requests(labelled(), pipeline.conditioner, torch.arange(6))
    samples, again = (generate_samples(pipeline, settings, requests, tmp_path) for _ in range(2))
    files = sorted(tmp_path.iterdir())
    assert samples.provenances == again.provenances == tuple(map(read_png, files))
    assert samples.conditions[0]["type"] == [TYPES[0], "none"]
    assert torch.equal(samples.images, as_tensor(map(Image.open, files)))
    assert all(len(image[3].unique()) > 2 for image in samples.images)  # as predicted
    assert torch.equal(samples.on_white().images, over_white(default_output(samples.images)))
