"""Copies, and sprites in pieces."""

import pytest
import torch
from PIL import Image

from pokemon_ddpm.likeness import color_change, fault, is_torn, overlaps, silhouettes
from pokemon_ddpm.preprocessing import as_tensor

RED, PINK, BLUE = (200, 30, 30, 255), (250, 110, 110, 255), (30, 30, 200, 255)


def boxes(*corners: tuple[int, int, int, int], color: tuple[int, ...] = RED) -> Image.Image:
    image = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    for corner in corners:
        image.paste(color, corner)
    return image


BODY, WIDE, PARTS = boxes((8, 8, 20, 24)), boxes((2, 12, 30, 24)), boxes((8, 8, 20, 24), (24, 8, 28, 16))
FAMILY = WIDE.copy()  # other colors in the middle only
FAMILY.paste(PINK, (8, 12, 20, 24))


def test_silhouettes_overlap_wherever_they_are_and_the_better_facing_counts() -> None:
    images = as_tensor([boxes((0, 0, 4, 10)), boxes((27, 22, 31, 32)), boxes((3, 3, 13, 7)), boxes((5, 5, 13, 25))])
    torch.testing.assert_close(overlaps(images[:2], images), torch.tensor([[1, 1, 16 / 64, 40 / 160]] * 2).double())
    assert silhouettes(images)[0].nonzero()[0].tolist() == [11, 14]
    assert torch.equal(*silhouettes(images[:2]))
    blank = as_tensor([boxes(), BODY])
    assert overlaps(blank, blank).tolist() == [[1, 0], [0, 1]]
    images = as_tensor([boxes((0, 0, 3, 9), (0, 6, 9, 9)), boxes((11, 0, 14, 9), (5, 6, 14, 9))])  # as L, and as J
    assert overlaps(images, images)[0, 1] == 1


def test_colors_change_by_their_distance_in_oklab() -> None:
    black, white = boxes((0, 2, 8, 6), color=(0, 0, 0, 255)), boxes((4, 2, 12, 6), color=(255, 255, 255, 255))
    assert color_change(as_tensor([black]), as_tensor([white])).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("sprite", "relation", "expected"), [
    (boxes((8, 8, 20, 24), color=BLUE), "same", None),  # the outline of a back is that of its front, mirrored
    (WIDE, "same", None),  # with one color nobody can tell
    (boxes((2, 12, 30, 24), color=BLUE), "next", "palette"),
    (FAMILY, "next", None),
    (WIDE, "next", "colors"),
    (boxes((12, 2, 18, 6)), "next", "smaller"),
    (boxes((2, 12, 30, 24), (2, 2, 10, 8), color=BLUE), "next", "torn"),
    (boxes(), "same", "torn"),
    (BODY, None, None),
    (BODY, "previous", None),
])  # fmt: skip
def test_faults(sprite: Image.Image, relation: str | None, expected: str | None) -> None:
    assert fault(sprite, sprite, None if relation is None else BODY, relation) == expected


def test_copies_of_sprites_with_two_colors() -> None:
    body, turned, taller = boxes((8, 8, 20, 24)), boxes((8, 8, 20, 24), color=PINK), boxes((8, 8, 20, 27), color=PINK)
    body.paste(PINK, (8, 16, 20, 24))
    for image in (turned, taller):
        image.paste(RED, (8, 16, 20, image.getbbox()[3]))
    for image, kind, expected in ((body, "same", "drawing"), (turned, "same", None), (taller, "next", "silhouette")):
        assert fault(image, image, body, kind) == expected


def test_what_is_made_of_a_sprite_in_pieces_may_be_in_pieces() -> None:
    assert is_torn(PARTS) and not is_torn(BODY) and not is_torn(boxes((8, 8, 20, 24), (24, 8, 27, 11)))
    blue = boxes((2, 12, 30, 24), (2, 2, 10, 8), color=BLUE)
    assert fault(blue, blue, PARTS, "same") is None
