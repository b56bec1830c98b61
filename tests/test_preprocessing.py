"""Decoding, cropping and scaling: hostile files, and images made for a test."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from pokemon_ddpm.pipelines.sprite_preprocessing import DARK, DARK_WEIGHT, MAX_VOTING_COLORS, oklab, transparent, vote
from pokemon_ddpm.preprocessing import CHANNELS, on_white, open_image, preprocess
from tests.small_archives import png

CLEAR = (255, 255, 255, 0)


def canvas(top: int, left: int, block: np.ndarray, size: tuple[int, int] = (96, 96)) -> Image.Image:
    """An image that is white but for a block of pixels."""
    pixels = np.full((*size, 3), 255, dtype=np.uint8)
    pixels[top : top + block.shape[0], left : left + block.shape[1]] = block
    return Image.fromarray(pixels)


def random_block(height: int, width: int) -> np.ndarray:
    """Random colors; no channel is 255."""
    return np.random.default_rng([height, width]).integers(0, 255, (height, width, 3), dtype=np.uint8)


def plain_block(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), (10, 120, 230), dtype=np.uint8)


def box(result: np.ndarray) -> np.ndarray:
    """RGB of what is left without the border, white or transparent, which must be even; the rest must be opaque."""
    foreground = np.argwhere((result != CLEAR[: result.shape[2]]).any(axis=2))
    (top, left), (bottom, right) = foreground.min(axis=0), foreground.max(axis=0)
    assert abs(top - (result.shape[0] - 1 - bottom)) <= 1 and abs(left - (result.shape[1] - 1 - right)) <= 1
    return opaque(result[top : bottom + 1, left : right + 1])


def opaque(result: np.ndarray) -> np.ndarray:
    """RGB of RGB or of opaque RGBA."""
    assert (result[..., 3:] == 255).all()
    return result[..., :3]


def test_other_files_are_refused(tmp_path: Path) -> None:
    # For PostScript, Pillow would start Ghostscript.
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    for content in (b"", b"no image", b"P6 1 1 255 abc", png(Image.new("L", (50, 50)))[:60], postscript):
        (tmp_path / "image.png").write_bytes(content)
        for source in (content, tmp_path / "image.png"):
            with pytest.raises(ValueError, match=r"cannot be decoded \("):
                open_image(source)
    for path in (tmp_path, tmp_path / "missing.png", Path("/dev/zero")):
        with pytest.raises(ValueError, match="is not a file"):
            open_image(path)
    (tmp_path / "endless.webp").write_bytes(b"RIFF\0\0\0\0WEBP")
    os.truncate(tmp_path / "endless.webp", 2**40)  # Pillow would read all of it
    with pytest.raises(ValueError, match="larger than 128 MiB"):
        open_image(tmp_path / "endless.webp")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "TIFF"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(format, tmp_path, monkeypatch) -> None:
    Image.new("L", (9000, 9000)).save(tmp_path / "bomb", format, compression="tiff_deflate", method=0)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it is decoded"))
    with pytest.raises(ValueError, match=r"cannot be decoded \(9000x9000 px are too many \(at most 33,554,432\)\)"):
        open_image(tmp_path / "bomb")


def test_transparency_is_composited_and_an_opaque_image_returned_unchanged() -> None:
    keyed = Image.new("RGB", (4, 4), (1, 2, 3))
    keyed.putpixel((2, 2), (200, 0, 0))
    keyed = on_white(open_image(png(keyed, transparency=(1, 2, 3))))
    assert [keyed.getpixel(place) for place in ((0, 0), (2, 2))] == [(255, 255, 255), (200, 0, 0)]
    # 102 of 255 is 40 %: 0.4 * (200, 40, 0) + 0.6 * 255
    assert on_white(Image.new("RGBA", (1, 1), (200, 40, 0, 102))).getpixel((0, 0)) == (233, 169, 153)
    image = Image.new("RGB", (2, 3))
    assert on_white(image) is image
    exif = Image.Exif()
    exif[0x112] = 6  # rotated, as photographs are
    assert open_image(png(image, exif=exif)).size == (3, 2)
    with pytest.raises(ValueError, match="pixels of mode F, which have no known range"):
        on_white(Image.new("F", (2, 2)))


@pytest.mark.parametrize("mode", ["pixel", "fit"])
@pytest.mark.parametrize(
    "resolution, size", [(32, (30, 30)), (32, (1, 1)), (64, (64, 64)), (64, (63, 20)), (40, (38, 21)), (128, (96, 70))]
)
def test_a_sprite_that_fits_is_moved_to_the_center(resolution: int, size: tuple[int, int], mode: str) -> None:
    block, room = random_block(*size), (96 - size[0], 96 - size[1])
    for top, left in ((0, 0), room, (room[0] // 3, room[1] // 5)):
        result = preprocess(canvas(top, left, block), resolution, mode)
        assert result.shape == (resolution, resolution, CHANNELS[mode]) and result.dtype == np.uint8
        assert np.array_equal(box(result), block)


@pytest.mark.parametrize("mode", ["pixel", "fit"])
@pytest.mark.parametrize(
    "resolution, size, expected",
    # The first would fit, but not with its margin; 19.5 is rounded to an even number; a third of a row would be none.
    [(32, (31, 31), (30, 30)), (32, (45, 90), (15, 30)), (32, (80, 52), (30, 20)), (32, (1, 96), (1, 30)),
     (64, (65, 65), (64, 64)), (64, (60, 80), (48, 64)), (56, (96, 96), (54, 54)), (8, (90, 30), (6, 2))],
)  # fmt: skip
def test_a_larger_sprite_is_reduced_in_its_proportions(resolution: int, size: tuple, expected: tuple, mode) -> None:
    result = preprocess(canvas(0, 96 - size[1], plain_block(*size)), resolution, mode)
    assert np.array_equal(box(result), plain_block(*expected))  # one color stays, whatever the filter


@pytest.mark.parametrize("mode", ["pixel", "fit"])
def test_a_photograph_gets_no_margin(mode: str) -> None:
    for size in (16, 64):
        image = Image.new("RGB", (size, size), (10, 20, 30))
        assert (opaque(preprocess(image, 16, mode, full_frame=True)) == (10, 20, 30)).all()
        assert box(preprocess(image, 16, mode)).shape == (14, 14, 3)
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    pixels, border = preprocess(image, 16, mode, full_frame=True), CLEAR[: CHANNELS[mode]]
    assert (pixels[:4] == border).all() and (pixels[12:] == border).all()
    assert (opaque(pixels[4:12]) == (255, 0, 0)).all()
    image.paste("white", (0, 0, 64, 1))  # a white edge: no photograph
    assert np.array_equal(preprocess(image, 16, mode, full_frame=True), preprocess(image, 16, mode))


@pytest.mark.parametrize("mode", ["pixel", "fit", "thesis"])
def test_borders_of_the_input(mode: str) -> None:
    assert (preprocess(Image.new("RGB", (96, 96), "white"), 32, mode) == CLEAR[: CHANNELS[mode]]).all()
    image = canvas(10, 10, random_block(30, 40))
    before = image.tobytes()
    for resolution in (8, 24, 72):
        assert preprocess(image, resolution, mode).shape == (resolution, resolution, CHANNELS[mode])
    assert image.tobytes() == before
    for resolution in (-8, 0, 4, 12, 33):
        with pytest.raises(ValueError, match=f"multiple of 8 .* not {resolution} and"):
            preprocess(image, resolution, mode)
    with pytest.raises(ValueError, match="one of pixel, fit, thesis, not 32 and crop"):
        preprocess(image, 32, "crop")


@pytest.mark.parametrize("tolerance", [0, 40])
def test_the_background_is_what_is_connected_to_the_border(tolerance: int) -> None:
    pixels = np.random.default_rng(tolerance).choice([0, 210, 255], (24, 31, 1), p=[0.45, 0.05, 0.5])
    pixels = pixels.repeat(3, axis=2).astype(np.uint8)
    pixels[..., 1] = 255
    height, width = pixels.shape[:2]
    free = {(y, x) for y in range(height) for x in range(width) if pixels[y, x].min() >= 255 - tolerance}
    reached = {(y, x) for y, x in free if y in (0, height - 1) or x in (0, width - 1)}
    queue = list(reached)
    while queue:
        y, x = queue.pop()
        new = free & {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} - reached
        reached |= new
        queue += new
    assert 0 < len(reached) < len(free)  # some of it is enclosed
    result = transparent(pixels, tolerance)
    assert {tuple(place) for place in np.argwhere(result[..., 3] == 0)} == reached
    assert all(tuple(result[place]) == (CLEAR if place in reached else (*pixels[place], 255)) for place in free)
    assert np.array_equal(opaque(result[pixels[..., 0] == 0]), pixels[pixels[..., 0] == 0])


def test_white_of_a_transparent_sprite_stays() -> None:
    """A white sprite without an outline, its half-transparent shadow as on white, and a faint pixel."""
    pixels = np.zeros((40, 50, 4), dtype=np.uint8)
    pixels[10:20, 5:15] = 255
    pixels[20, 5:15] = (100, 0, 50, 153)  # 0.6 of (100, 0, 50) on white
    pixels[21, 5] = (0, 0, 0, 100)
    sprite = np.full((11, 10, 4), 255, dtype=np.uint8)
    sprite[10] = (162, 102, 132, 255)
    result = preprocess(Image.fromarray(pixels), 64)
    assert np.array_equal(box(result), opaque(sprite)) and np.count_nonzero(result[..., 3]) == 110
    faint = np.full((40, 40, 4), 100, dtype=np.uint8)  # a ghost of which nothing is more than half opaque
    assert np.count_nonzero(preprocess(Image.fromarray(faint), 64)[..., 3]) == 1600
    # Without transparency the white that is connected to the border is the background, whatever the mode.
    pixels[..., 3], pixels[pixels[..., :3].sum(axis=2) == 0] = 255, 255
    results = [preprocess(Image.fromarray(image), 64) for image in (pixels, pixels[..., :3])]
    assert np.array_equal(*results) and np.count_nonzero(results[0][..., 3]) == 10


@pytest.mark.parametrize("size, reduced", [((6, 8), (3, 4)), ((9, 7), (4, 5)), ((11, 5), (1, 2)), ((12, 12), (8, 8))])
def test_a_vote_takes_the_color_with_the_largest_weighted_area(size: tuple, reduced: tuple) -> None:
    colors = np.array([CLEAR, (0, 0, 0, 255), (40, 90, 30, 255), (255, 255, 255, 255), (250, 120, 10, 255)], np.uint8)
    pixels = colors[np.random.default_rng(size).integers(0, 5, size)]
    result = vote(pixels, *reduced)
    assert result.dtype == np.uint8 and result.shape == (*reduced, 4)
    steps = [Fraction(old, new) for old, new in zip(size, reduced, strict=True)]
    for place in np.ndindex(reduced):
        areas = dict.fromkeys(map(tuple, colors.tolist()), 0.0)
        for source in np.ndindex(size):
            overlaps = [
                max(0, min(step * (i + 1), j + 1) - max(step * i, j))
                for step, i, j in zip(steps, place, source, strict=True)
            ]
            color = tuple(pixels[source].tolist())
            darkness = max(0.0, 1 - float(oklab(pixels[source][:3])[0]) / DARK)
            weight = 1 + DARK_WEIGHT * darkness * bool(color[3])
            areas[color] += weight * float(overlaps[0] * overlaps[1])
        assert areas[tuple(result[place].tolist())] == pytest.approx(max(areas.values()), rel=1e-9)


def test_an_image_of_many_colors_is_smoothed() -> None:
    block = random_block(75, 90)
    assert len(np.unique(block.reshape(-1, 3), axis=0)) > MAX_VOTING_COLORS
    expected = np.asarray(Image.fromarray(block).resize((30, 25), Image.Resampling.HAMMING))
    assert np.array_equal(box(preprocess(canvas(3, 0, block, (100, 96)), 32, "fit")), expected)
    pixels = np.insert(block, 3, 255, axis=2)
    assert np.array_equal(vote(pixels, 25, 30), np.insert(expected, 3, 255, axis=2))
    pixels[:, :45] = CLEAR
    result = vote(pixels, 20, 20)
    assert (result[:, :10] == CLEAR).all() and (result[:, 10:, 3] == 255).all()


def bilinear_matrix(old: int, new: int) -> np.ndarray:
    """The weights (new, old) of linear interpolation between the centers of two pixels."""
    position = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(old)))


RED_FRINGE = random_block(40, 30)  # the thesis cut off what has a red of 255
RED_FRINGE[:3, :, 0] = RED_FRINGE[-4:, :, 0] = RED_FRINGE[:, :2, 0] = RED_FRINGE[:, -5:, 0] = 255


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize(
    "top, left, block",
    [(20, 30, random_block(53, 52)), (30, 2, random_block(10, 90)), (0, 0, random_block(96, 96)),
     (0, 50, random_block(40, 46)), (56, 0, random_block(40, 46)), (20, 20, RED_FRINGE)],
    ids=["larger", "stretched", "whole canvas", "top right", "bottom left", "one channel at 255"],
)  # fmt: skip
def test_the_thesis_mode_does_what_the_thesis_did(top: int, left: int, block: np.ndarray, resolution: int) -> None:
    image = canvas(top, left, block)
    pixels = np.asarray(image)
    foreground = np.argwhere((pixels < 255).all(axis=2))
    (top, left), (bottom, right) = foreground.min(axis=0), foreground.max(axis=0)
    # A margin of one pixel; the end of the slice swallows the lower and the right one.
    crop = pixels[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1]
    expected = np.einsum("yh,xw,hwc->yxc", *[bilinear_matrix(side, resolution) for side in crop.shape[:2]], crop)
    assert np.abs(preprocess(image, resolution, "thesis") - expected).max() < 0.501
