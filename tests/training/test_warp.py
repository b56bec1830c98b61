"""Warped composition: an affine map as Pillow's, an elastic field, and only where noise hides single pixels."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm import SpriteConditioner, SpriteTensors
from pokemon_ddpm.training import augmentation
from pokemon_ddpm.training.augmentation import warp, warp_strength
from pokemon_ddpm.training.batches import sample_batch
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.vocabulary import TYPES

SIDE = 32


@pytest.fixture
def images() -> torch.Tensor:
    images = torch.randint(0, 255, (6, 4, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return torch.cat([images[:, :3], torch.full((6, 1, SIDE, SIDE), 255, dtype=torch.uint8)], dim=1)


def test_an_affine_map_is_that_of_pillow(images, monkeypatch):
    monkeypatch.setattr(augmentation, "ELASTIC_STD", 0.0)
    strength = torch.tensor([1.0, 1, 1, 2, 0.5, 0])
    moved = warp(images, strength, torch.Generator().manual_seed(3))
    angle, shear, *scales = (torch.randn(6, 4, generator=torch.Generator().manual_seed(3)) * strength[:, None]).T
    for number, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        cos, sin = np.cos(np.radians(8) * angle[number]), np.sin(np.radians(8) * angle[number])
        matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, 0.08 * shear[number]], [0, 1]])
        matrix = matrix @ np.diag([np.exp(0.12 * scale[number]) for scale in scales])
        offset = np.full(2, SIDE / 2) - matrix @ np.full(2, SIDE / 2)
        data = [number for row, end in zip(matrix, offset, strict=True) for number in (*row, end)]
        expected = Image.fromarray(image).transform(
            (SIDE, SIDE), Image.Transform.AFFINE, data, fillcolor=(255, 255, 255, 0)
        )
        same = (moved[number].permute(1, 2, 0).numpy() == np.asarray(expected)).all(axis=2)
        assert same.mean() > 0.99  # but for points between two pixels, which are rounded differently
    assert torch.equal(moved[5], images[5]) and not torch.equal(moved[4], images[4])


def test_an_elastic_field_moves_pixels_smoothly(monkeypatch):
    for name in ("ROTATION_STD", "SCALE_STD", "SHEAR_STD"):
        monkeypatch.setattr(augmentation, name, 0.0)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    image = torch.stack([columns, rows, rows]).byte().repeat(200, 1, 1, 1)  # each pixel says where it is
    moved = warp(image, torch.ones(200), torch.Generator().manual_seed(0)).long()
    inside = (moved < SIDE).all(dim=1)
    for axis, start in enumerate((columns, rows)):
        shift = torch.where(inside, moved[:, axis] - start, 0)
        middle = shift[:, SIDE // 2, SIDE // 2].float()  # at a point of the grid
        assert 0.85 < middle.std() / (1.5 / 64 * SIDE) < 1.25 and abs(middle.mean()) < 0.2
        assert shift.diff(dim=2)[inside[:, :, 1:] & inside[:, :, :-1]].abs().max() <= 2


def test_its_strength_rises_from_timestep_300_to_600():
    timesteps = torch.tensor([0, 299, 300, 450, 600, 999])
    torch.testing.assert_close(warp_strength(timesteps, 1000), torch.tensor([0, 0, 0, 0.5, 1, 1]))
    torch.testing.assert_close(warp_strength(timesteps // 10, 100)[3], torch.tensor(0.5))


def test_a_batch_is_warped_where_noise_hides_pixels_and_shifted_inside_the_image(images):
    images[:, :, :, : SIDE // 2] = torch.tensor([255, 255, 255, 0], dtype=torch.uint8).view(1, 4, 1, 1)
    data = SpriteTensors(images, {"type": torch.tensor([[0, 18]] * 6)})
    conditioner = SpriteConditioner({"type": list(TYPES)}, 4)
    plain, warped = (
        sample_batch(data, conditioner, TrainingConfig(warp_prob=prob, translate_prob=1.0), 0, 400)
        for prob in (0, 0.5)
    )
    assert torch.equal(plain.timesteps, warped.timesteps) and torch.equal(plain.noise, warped.noise)
    changed = (plain.images != warped.images).flatten(1).any(dim=1)
    assert not changed[plain.timesteps < 300].any()
    assert 0.35 < changed[plain.timesteps > 600].float().mean() < 0.65
    shifted = (warped.clean()[:, 3] > 0).sum(dim=(1, 2))  # nothing leaves the image
    assert torch.equal(shifted, (warped.images[:, 3] > 0).sum(dim=(1, 2)))
    assert (warped.augmentation[:, :2] != 0).any() and dataclasses.is_dataclass(warped)
