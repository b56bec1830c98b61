"""Cropping and scaling, on pictures drawn for a test and on the measured statistics of the real sprites."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm.preprocessing import check_resolution, preprocess


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The pictures are too small to share out: threads only wait for each other, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn(top: int, left: int, block: np.ndarray, canvas: tuple[int, int] = (96, 96)) -> Image.Image:
    """A picture that is white but for a block of pixels."""
    pixels = np.full((*canvas, 3), 255, dtype=np.uint8)
    pixels[top : top + block.shape[0], left : left + block.shape[1]] = block
    return Image.fromarray(pixels)


def colorful(height: int, width: int) -> np.ndarray:
    """A block of random colours of which none has a channel at 255."""
    return np.random.default_rng([height, width]).integers(0, 255, (height, width, 3), dtype=np.uint8)


def plain(height: int, width: int, color: tuple[int, int, int] = (10, 120, 230)) -> np.ndarray:
    return np.full((height, width, 3), color, dtype=np.uint8)


def margins(result: np.ndarray) -> tuple[int, int, int, int]:
    """Rows and columns that are white at the top, bottom, left and right."""
    drawn_pixels = (result != 255).any(axis=2)
    rows, columns = np.flatnonzero(drawn_pixels.any(axis=1)), np.flatnonzero(drawn_pixels.any(axis=0))
    height, width = drawn_pixels.shape
    return rows[0], height - 1 - rows[-1], columns[0], width - 1 - columns[-1]


def box(result: np.ndarray) -> np.ndarray:
    """What is left when white is cut off at all sides."""
    top, bottom, left, right = margins(result)
    return result[top : len(result) - bottom, left : result.shape[1] - right]


def assert_centred(result: np.ndarray) -> None:
    top, bottom, left, right = margins(result)
    assert abs(top - bottom) <= 1 and abs(left - right) <= 1


# ------------------------------------------------------------------------------------------------------- mode "fit"


@pytest.mark.parametrize(
    "resolution, size",
    [
        (32, (20, 10)),
        (32, (30, 30)),
        (32, (1, 1)),
        (32, (7, 30)),
        (64, (64, 64)),
        (64, (63, 20)),
        (64, (1, 64)),
        (64, (31, 33)),
        (40, (38, 21)),
        (96, (96, 96)),
        (96, (95, 50)),
        (128, (96, 70)),
    ],
)
@pytest.mark.parametrize("corner", ["top left", "bottom right", "off centre"])
def test_a_sprite_that_fits_is_moved_to_the_centre_and_not_touched(
    resolution: int, size: tuple[int, int], corner: str
) -> None:
    block = colorful(*size)
    room = (96 - size[0], 96 - size[1])
    top, left = {"top left": (0, 0), "bottom right": room, "off centre": (room[0] // 3, room[1] // 5)}[corner]
    result = preprocess(drawn(top, left, block), resolution)
    assert result.shape == (resolution, resolution, 3) and result.dtype == np.uint8
    assert np.array_equal(box(result), block)
    assert_centred(result)


@pytest.mark.parametrize(
    "resolution, size, expected",
    [
        (32, (31, 31), (30, 30)),  # would fit, but not with its margin
        (32, (32, 16), (30, 15)),
        (32, (60, 20), (30, 10)),
        (32, (45, 90), (15, 30)),
        (32, (96, 96), (30, 30)),
        (32, (80, 52), (30, 20)),  # 19.5, and a half goes to the even number
        (32, (1, 96), (1, 30)),  # a third of a row would be none
        (64, (65, 65), (64, 64)),
        (64, (96, 48), (64, 32)),
        (64, (60, 80), (48, 64)),
        (48, (92, 46), (46, 23)),
        (56, (96, 96), (54, 54)),
        (8, (90, 30), (6, 2)),
    ],
)
def test_a_larger_sprite_is_reduced_and_keeps_its_aspect_ratio(
    resolution: int, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    result = preprocess(drawn(0, 96 - size[1], plain(*size)), resolution)
    # one colour alone stays that colour whatever the filter
    assert np.array_equal(box(result), plain(*expected))
    assert_centred(result)


def hamming_matrix(old: int, new: int) -> np.ndarray:
    """The weights (new, old) of a resampling with the Hamming-windowed sinc of one lobe, widened to the reduction."""
    scale = old / new
    x = (np.arange(old) + 0.5 - (np.arange(new)[:, None] + 0.5) * scale) / scale
    weights = np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("resolution, size, new", [(32, (75, 90), (25, 30)), (64, (96, 72), (64, 48))])
def test_the_filter_is_hamming(resolution: int, size: tuple[int, int], new: tuple[int, int]) -> None:
    block = colorful(*size)
    expected = np.einsum("yh,xw,hwc->yxc", hamming_matrix(size[0], new[0]), hamming_matrix(size[1], new[1]), block)
    result = box(preprocess(drawn(3, 0, block, (100, 96)), resolution)).astype(float)
    assert result.shape == expected.shape
    # rounded twice: between the directions and at the end
    assert np.abs(result - expected.clip(0, 255)).max() < 1.5


@pytest.mark.parametrize("mode", ["fit", "thesis"])
@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_a_white_picture_stays_white(resolution: int, mode: str) -> None:
    result = preprocess(Image.new("RGB", (96, 96), "white"), resolution, mode)
    assert result.shape == (resolution, resolution, 3)
    assert (result == 255).all()


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_almost_white_belongs_to_the_sprite(channel: int) -> None:
    block = np.full((40, 50, 3), 255, dtype=np.uint8)
    block[10:20, 10:20] = (10, 120, 230)
    block[0, 0, channel] = block[39, 49, channel] = 254
    result = preprocess(drawn(5, 7, block), 64)
    assert np.array_equal(box(result), block)
    assert_centred(result)


def test_white_inside_a_sprite_stays() -> None:
    block = plain(24, 28)
    block[4:20, 4:24] = 255
    assert np.array_equal(box(preprocess(drawn(30, 30, block), 32)), block)


def test_a_canvas_of_another_size_makes_no_difference() -> None:
    block = colorful(50, 40)
    for resolution in (32, 64):
        results = [
            preprocess(drawn(*place, block, canvas), resolution)
            for canvas, place in {(50, 40): (0, 0), (96, 96): (20, 30), (200, 70): (149, 29)}.items()
        ]
        assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_the_picture_is_not_changed() -> None:
    image = drawn(10, 10, colorful(80, 70))
    before = image.tobytes()
    for mode in ("fit", "thesis"):
        preprocess(image, 32, mode)
    assert image.tobytes() == before


@pytest.mark.parametrize("mode", ["fit", "thesis"])
@pytest.mark.parametrize("resolution", [8, 16, 24, 40, 72, 128])
def test_multiples_of_8_are_accepted(resolution: int, mode: str) -> None:
    check_resolution(resolution)
    result = preprocess(drawn(10, 10, plain(30, 40)), resolution, mode)
    assert result.shape == (resolution, resolution, 3) and result.dtype == np.uint8


@pytest.mark.parametrize("mode", ["fit", "thesis"])
@pytest.mark.parametrize("resolution", [-32, -8, 0, 1, 4, 7, 12, 30, 33, 100])
def test_other_resolutions_are_refused(resolution: int, mode: str) -> None:
    with pytest.raises(ValueError, match=f"multiple of 8 .* is {resolution}"):
        check_resolution(resolution)
    with pytest.raises(ValueError, match=f"multiple of 8 .* is {resolution}"):
        preprocess(drawn(10, 10, plain(30, 40)), resolution, mode)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'crop'.*fit, thesis"):
        preprocess(drawn(10, 10, plain(30, 40)), 32, "crop")


# ---------------------------------------------------------------------------------------------------- mode "thesis"


def bilinear(pixels: np.ndarray, size: int) -> np.ndarray:
    """Bilinear without antialiasing: the centre of each new pixel falls between two old centres, in each direction."""

    def along_rows(values: np.ndarray) -> np.ndarray:
        old = len(values)
        position = ((np.arange(size) + 0.5) * old / size - 0.5).clip(0, old - 1)
        before = np.floor(position).astype(int)
        after = np.minimum(before + 1, old - 1)
        share = (position - before)[:, None, None]
        return values[before] * (1 - share) + values[after] * share

    return along_rows(along_rows(pixels.astype(float)).swapaxes(0, 1)).swapaxes(0, 1)


def thesis(pixels: np.ndarray, size: int) -> np.ndarray:
    """The thesis's crop, in which a single channel at 255 makes background, stretched to the square; not rounded."""
    foreground = np.argwhere((pixels < 255).all(axis=2))
    (top, left), (bottom, right) = foreground.min(axis=0), foreground.max(axis=0)
    # one pixel of margin, of which the end of a slice swallows the lower and the right one
    return bilinear(pixels[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1], size)


def red_fringe() -> np.ndarray:
    """A block whose outer rows and columns have their red at 255, for which the thesis cut them off."""
    block = colorful(40, 30)
    block[:3, :, 0] = block[-4:, :, 0] = block[:, :2, 0] = block[:, -5:, 0] = 255
    return block


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize(
    "image",
    [
        pytest.param(drawn(20, 30, colorful(53, 52)), id="larger"),
        pytest.param(drawn(40, 41, colorful(11, 17)), id="enlarged"),
        pytest.param(drawn(30, 2, colorful(10, 90)), id="stretched"),
        pytest.param(drawn(0, 0, colorful(96, 96)), id="whole canvas"),
        pytest.param(drawn(0, 50, colorful(40, 46)), id="top right corner"),
        pytest.param(drawn(56, 0, colorful(40, 46)), id="bottom left corner"),
        pytest.param(drawn(20, 20, colorful(1, 1)), id="one pixel"),
        pytest.param(drawn(20, 20, red_fringe()), id="one channel at 255"),
    ],
)
def test_the_thesis_mode_does_what_the_thesis_did(image: Image.Image, resolution: int) -> None:
    result = preprocess(image, resolution, "thesis")
    assert result.shape == (resolution, resolution, 3) and result.dtype == np.uint8
    assert np.abs(result - thesis(np.asarray(image), resolution)).max() < 0.501


# --------------------------------------------------------------------------------------------------- the real set


@pytest.fixture(scope="module")
def originals(sprites_dir: Path) -> list[Image.Image]:
    """All pictures that are front and not shiny."""
    originals = []
    for path in sorted(sprites_dir.glob("sprites/*/front/normal/*.png")):
        with Image.open(path) as image:
            originals.append(image.convert("RGB"))
    assert len(originals) == 4086
    return originals


@pytest.mark.parametrize(
    "resolution, mode, means, deviation, white, white_tolerance",
    [
        (32, "fit", (0.638, 0.588, 0.545), 0.554, 0.505, 0.002),
        (64, "fit", (0.702, 0.662, 0.630), 0.579, 0.660, 0.002),
        (32, "thesis", (0.533, 0.469, 0.413), 0.606, 0.42, 0.006),  # measured to a percent
    ],
)
def test_the_real_set_has_the_measured_statistics(
    resolution: int,
    mode: str,
    means: tuple[float, ...],
    deviation: float,
    white: float,
    white_tolerance: float,
    originals: list[Image.Image],
) -> None:
    pictures = np.stack([preprocess(image, resolution, mode) for image in originals])
    in_network_range = pictures.astype(np.float32) / 127.5 - 1
    assert in_network_range.mean(axis=(0, 1, 2), dtype=np.float64) == pytest.approx(means, abs=0.002)
    assert in_network_range.std(dtype=np.float64) == pytest.approx(deviation, abs=0.002)
    assert (pictures == 255).all(axis=3).mean() == pytest.approx(white, abs=white_tolerance)
    assert len({picture.tobytes() for picture in pictures}) == 3785


def test_at_64_pixels_2924_sprites_are_untouched(originals: list[Image.Image]) -> None:
    untouched = 0
    for image in originals:
        sprite, result = box(np.asarray(image)), box(preprocess(image, 64))
        untouched += np.array_equal(sprite, result)
        assert max(result.shape[:2]) == min(max(sprite.shape[:2]), 64)
    assert untouched == 2924
