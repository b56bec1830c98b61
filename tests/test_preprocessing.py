"""Decoding, cropping and scaling: hostile files, and images made for a test."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from pokemon_ddpm.preprocessing import on_white, open_image, preprocess
from tests.small_archives import png


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
    """What is left without the white border, which must be even."""
    foreground = np.argwhere((result != 255).any(axis=2))
    (top, left), (bottom, right) = foreground.min(axis=0), foreground.max(axis=0)
    assert abs(top - (result.shape[0] - 1 - bottom)) <= 1 and abs(left - (result.shape[1] - 1 - right)) <= 1
    return result[top : bottom + 1, left : right + 1]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_known_formats_are_decoded(format: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4), (200, 200, 200))
    image.save(tmp_path / "image", format)
    for source in (tmp_path / "image", (tmp_path / "image").read_bytes()):
        assert np.array_equal(on_white(open_image(source)), image)
    exif = Image.Exif()
    exif[0x112] = 6  # rotated, as photographs are
    assert open_image(png(image, exif=exif)).size == (4, 6)


def test_other_files_are_refused(tmp_path: Path) -> None:
    # For PostScript, Pillow would start Ghostscript.
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    for content in (b"", b"no image", b"P6 1 1 255 abc", png(Image.new("L", (50, 50)))[:60], postscript):
        (tmp_path / "image.png").write_bytes(content)
        for source in (content, tmp_path / "image.png"):
            with pytest.raises(ValueError, match=r"does not decode \("):
                open_image(source)
    for path in (tmp_path, tmp_path / "missing.png", Path("/dev/zero")):
        with pytest.raises(ValueError, match="is no file"):
            open_image(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "TIFF"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (9000, 9000)).save(tmp_path / "bomb", format, compression="tiff_deflate", method=0)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it is decoded"))
    with pytest.raises(ValueError, match=r"does not decode \(9000x9000 px are too many, at most 33,554,432\)"):
        open_image(tmp_path / "bomb")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "P with transparency", "RGB", "RGBA", "CMYK", "I;16"])
def test_images_of_any_mode_become_rgb_on_white(mode: str) -> None:
    """A black box on white, or on nothing where the mode has transparency."""
    gray = Image.new("L", (8, 6), 255)
    gray.paste(0, (3, 2, 7, 4))
    image = gray
    if mode == "I;16":
        image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA", "P with transparency"):
        image = Image.new("LA", gray.size, (0, 0))
        image.putalpha(Image.eval(gray, lambda value: 255 - value))
        image = image.convert("RGBA").quantize(4) if mode.startswith("P") else image.convert(mode)
    else:
        image = gray.convert(mode)
    result = on_white(image)
    assert result.mode == "RGB"
    assert np.abs(np.asarray(result) - np.asarray(gray)[..., None].astype(float)).max() <= 1


def test_transparency_is_composited_and_an_opaque_image_returned_unchanged() -> None:
    keyed = Image.new("RGB", (4, 4), (1, 2, 3))
    keyed.putpixel((2, 2), (200, 0, 0))
    keyed = on_white(open_image(png(keyed, transparency=(1, 2, 3))))
    assert [keyed.getpixel(place) for place in ((0, 0), (2, 2))] == [(255, 255, 255), (200, 0, 0)]
    # 102 of 255 is 40 %: 0.4 * (200, 40, 0) + 0.6 * 255
    assert on_white(Image.new("RGBA", (1, 1), (200, 40, 0, 102))).getpixel((0, 0)) == (233, 169, 153)
    image = Image.new("RGB", (2, 2))
    assert on_white(image) is image
    with pytest.raises(ValueError, match="pixels of mode F, which have no known range"):
        on_white(Image.new("F", (2, 2)))


@pytest.mark.parametrize(
    "resolution, size", [(32, (30, 30)), (32, (1, 1)), (64, (64, 64)), (64, (63, 20)), (40, (38, 21)), (128, (96, 70))]
)
def test_a_sprite_that_fits_is_moved_to_the_center(resolution: int, size: tuple[int, int]) -> None:
    block, room = random_block(*size), (96 - size[0], 96 - size[1])
    for top, left in ((0, 0), room, (room[0] // 3, room[1] // 5)):
        result = preprocess(canvas(top, left, block), resolution)
        assert result.shape == (resolution, resolution, 3) and result.dtype == np.uint8
        assert np.array_equal(box(result), block)


@pytest.mark.parametrize(
    "resolution, size, expected",
    # The first would fit, but not with its margin; 19.5 is rounded to an even number; a third of a row would be none.
    [(32, (31, 31), (30, 30)), (32, (45, 90), (15, 30)), (32, (80, 52), (30, 20)), (32, (1, 96), (1, 30)),
     (64, (65, 65), (64, 64)), (64, (60, 80), (48, 64)), (56, (96, 96), (54, 54)), (8, (90, 30), (6, 2))],
)  # fmt: skip
def test_a_larger_sprite_is_reduced_in_its_proportions(resolution: int, size: tuple, expected: tuple) -> None:
    result = preprocess(canvas(0, 96 - size[1], plain_block(*size)), resolution)
    assert np.array_equal(box(result), plain_block(*expected))  # one color stays, whatever the filter


def hamming_matrix(old: int, new: int) -> np.ndarray:
    """The weights (new, old) of a resampling with the Hamming-windowed sinc of one lobe, widened to the reduction."""
    scale = old / new
    x = (np.arange(old) + 0.5 - (np.arange(new)[:, None] + 0.5) * scale) / scale
    weights = np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("resolution, size, new", [(32, (75, 90), (25, 30)), (64, (96, 72), (64, 48))])
def test_the_filter_is_hamming(resolution: int, size: tuple[int, int], new: tuple[int, int]) -> None:
    block = random_block(*size)
    expected = np.einsum("yh,xw,hwc->yxc", hamming_matrix(size[0], new[0]), hamming_matrix(size[1], new[1]), block)
    result = box(preprocess(canvas(3, 0, block, (100, 96)), resolution)).astype(float)
    assert np.abs(result - expected.clip(0, 255)).max() < 1.5  # rounded between the directions and at the end


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_almost_white_and_white_inside_belong_to_the_sprite(channel: int) -> None:
    block = np.full((40, 50, 3), 255, dtype=np.uint8)
    block[10:20, 10:20] = (10, 120, 230)
    block[0, 0, channel] = block[39, 49, channel] = 254
    for size, top, left in (((96, 96), 5, 7), ((40, 50), 0, 0), ((200, 70), 149, 20)):
        result = preprocess(canvas(top, left, block, size), 64)
        assert np.array_equal(result[12:52, 7:57], block) and (result == 255).all(axis=2).sum() == 64 * 64 - 102


def test_a_photograph_gets_no_margin() -> None:
    for size in (16, 64):
        image = Image.new("RGB", (size, size), (10, 20, 30))
        assert (preprocess(image, 16, full_frame=True) == (10, 20, 30)).all()
        assert box(preprocess(image, 16)).shape == (14, 14, 3)
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    pixels = preprocess(image, 16, full_frame=True)
    assert (pixels[:4] == 255).all() and (pixels[12:] == 255).all() and (pixels[4:12] == (255, 0, 0)).all()
    image.paste("white", (0, 0, 64, 1))  # a white edge: no photograph
    assert np.array_equal(preprocess(image, 16, full_frame=True), preprocess(image, 16))


@pytest.mark.parametrize("mode", ["fit", "thesis"])
def test_borders_of_the_input(mode: str) -> None:
    assert (preprocess(Image.new("RGB", (96, 96), "white"), 32, mode) == 255).all()
    image = canvas(10, 10, random_block(30, 40))
    before = image.tobytes()
    for resolution in (8, 24, 72):
        assert preprocess(image, resolution, mode).shape == (resolution, resolution, 3)
    assert image.tobytes() == before
    for resolution in (-8, 0, 4, 12, 33):
        with pytest.raises(ValueError, match=f"multiple of 8 .* is {resolution}"):
            preprocess(image, resolution, mode)
    with pytest.raises(ValueError, match="'crop'.*fit, thesis"):
        preprocess(image, 32, "crop")


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
    weights = [bilinear_matrix(side, resolution) for side in crop.shape[:2]]
    expected = np.einsum("yh,xw,hwc->yxc", *weights, crop)
    assert np.abs(preprocess(image, resolution, "thesis") - expected).max() < 0.501
