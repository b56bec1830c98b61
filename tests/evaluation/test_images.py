import pytest
import torch

from pokemon_ddpm.evaluation.images import as_rgba, flip_and_shift, reduced


def squares(side: int = 16) -> torch.Tensor:
    """RGB on a white that is noisy in the second image, with a white hole."""
    images = torch.full((2, 3, side, side), 255, dtype=torch.uint8)
    images[:, :, 2:-2, 2:-2] = torch.tensor([10, 90, 170], dtype=torch.uint8).view(1, 3, 1, 1)
    images[:, :, 6:8, 6:8] = 255
    images[1, :, 0] = 250
    return images


def test_the_background_of_rgb_becomes_transparent():
    found = as_rgba(squares())
    assert (found[:, 3] == 255).sum(dim=(1, 2)).tolist() == [144, 144]  # with the hole
    assert as_rgba(found) is found


def test_sprites_are_reduced_by_a_vote_and_small_ones_kept():
    images = as_rgba(squares(24)[:1])
    found = reduced(images, 16)  # 20 to 14 pixels
    assert found.shape == (1, 4, 16, 16) and (found[0, 3] == 255).sum() == 14**2
    assert set(found[0, :3].flatten(1).T.unique(dim=0).flatten().tolist()) == {10, 90, 170, 255}
    small = torch.tensor([255, 255, 255, 0], dtype=torch.uint8).view(1, 4, 1, 1).repeat(1, 1, 24, 24)
    small[:, :, 3:7, 3:7] = images[:, :, 4:5, 4:5]
    kept = reduced(small, 16)
    assert torch.equal(kept[:, :, 6:10, 6:10], small[:, :, 3:7, 3:7]) and (kept[0, 3] == 255).sum() == 16


@pytest.mark.parametrize("background", [[255, 255, 255], [255, 255, 255, 0]])
def test_images_are_mirrored_and_shifted_on_white(background: list[int]):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (40, len(background), 16, 16), dtype=torch.uint8, generator=generator)
    found = set()
    for before, after in zip(images, flip_and_shift(images, torch.Generator().manual_seed(1), 3), strict=True):
        views = {}
        for mirrored in (False, True):
            padded = torch.tensor(background, dtype=torch.uint8).view(-1, 1, 1).repeat(1, 22, 22)
            padded[:, 3:-3, 3:-3] = before.flip(2) if mirrored else before
            views |= {(mirrored, y, x): padded[:, y : y + 16, x : x + 16] for y in range(7) for x in range(7)}
        (view,) = (key for key, image in views.items() if torch.equal(image, after))
        found.add(view)
    assert {view[0] for view in found} == {False, True} and len(found) > 20
