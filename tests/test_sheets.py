import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.postprocessing import MAX_OUTPUT_PIXELS
from pokemon_ddpm.sheets import MARGIN, check_sheet_size, save_animation, sprite_sheet


def noise_images(count: int, width: int = 5, height: int = 7, channels: int = 3) -> list[Image.Image]:
    """Different images without a white pixel."""
    pixels = np.random.default_rng(0).integers(0, 250, (count, height, width, channels), dtype=np.uint8)
    return [Image.fromarray(image) for image in pixels]


@pytest.mark.parametrize(("scale", "panels"), [(3, 1), (1, 2)])
def test_images_are_in_rows_and_panels_and_every_pixel_is_a_square(scale, panels):
    images, width, height = noise_images(9), 5 * scale, 7 * scale
    sheet = np.asarray(sprite_sheet(images, columns=2, scale=scale, panels=panels))
    panel_rows, panel_width = {1: 5, 2: 3}[panels], MARGIN + 2 * (width + MARGIN)
    assert sheet.shape == (MARGIN + panel_rows * (height + MARGIN), panels * panel_width, 3)
    for i, image in enumerate(images):
        panel, row = divmod(i // 2, panel_rows)
        top, left = MARGIN + row * (height + MARGIN), panel * panel_width + MARGIN + i % 2 * (width + MARGIN)
        expected = np.asarray(image).repeat(scale, axis=0).repeat(scale, axis=1)
        assert np.array_equal(sheet[top : top + height, left : left + width], expected)
    assert (sheet == 255).all(axis=2).sum() == sheet[..., 0].size - 9 * width * height


def test_every_row_of_every_panel_has_its_label_to_the_left():
    images = noise_images(4, 16, 16)
    sheet = np.asarray(sprite_sheet(images, columns=1, row_labels=["a", "bb", "electric", "d"], panels=2))
    without = np.asarray(sprite_sheet(images, columns=1, panels=2))
    assert len(sheet) == len(without)
    for panel, plain in zip(np.split(sheet, 2, axis=1), np.split(without, 2, axis=1), strict=True):
        labels, rest = panel[:, : -plain.shape[1]], panel[:, -plain.shape[1] :]
        assert np.array_equal(rest, plain)
        assert [(labels[top : top + 32] < 128).any() for top in (MARGIN, MARGIN + 36)] == [True, True]


@pytest.mark.parametrize(
    ("count", "columns", "size", "scale", "panels"),
    [(1, 1, 32, 100_000, 1), (10**9, 8, 32, 4, 1), (1, 1, 64, 1, 10**9), (1, 10**9, 64, 1, 1), (1, 1, 8189, 1, 1)],
)
def test_a_sheet_that_is_too_large_is_refused(count, columns, size, scale, panels):
    check_sheet_size(1, 1, 8188)
    with pytest.raises(ValueError, match=f"{MAX_OUTPUT_PIXELS:,} are possible. Choose fewer sprites or a smaller"):
        check_sheet_size(count, columns, size, scale, panels)


def read(path) -> tuple[list[np.ndarray], list[int]]:
    """Frames in RGB and their milliseconds, of an animation that repeats forever."""
    pixels, durations = [], []
    with Image.open(path) as animation:
        for i in range(animation.n_frames):
            animation.seek(i)
            animation.load()
            pixels.append(np.asarray(animation.convert("RGB")))
            durations.append(animation.info["duration"])
        assert animation.info["loop"] == 0
    return pixels, durations


def few_colors(count: int) -> list[Image.Image]:
    """Noise of eight colors, partly transparent."""
    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (8, 4), dtype=np.uint8)
    colors[:, 3] = [0, *7 * [255]]
    return [Image.fromarray(colors[random.integers(0, 8, (6, 9))]) for _ in range(count)]


@pytest.mark.parametrize("scale", [1, 3])
def test_frames_of_few_colors_are_exact_on_white_and_the_last_is_held(tmp_path, scale):
    frames = few_colors(5)
    save_animation(frames, tmp_path / "a.GIF", duration_ms=40, scale=scale)
    pixels, durations = read(tmp_path / "a.GIF")
    assert durations == [40, 40, 40, 40, 2000]
    for shown, frame in zip(pixels, frames, strict=True):
        expected = np.array(frame)
        expected[expected[..., 3] == 0] = 255
        assert np.array_equal(shown, expected[..., :3].repeat(scale, axis=0).repeat(scale, axis=1))


@pytest.mark.parametrize(("side", "scale", "message"), [(9, 7282, "65,538 pixels"), (100, 100, "from 1 to 81")])
def test_frames_that_are_too_large_are_refused(tmp_path, side, scale, message):
    with pytest.raises(ValueError, match=message):
        save_animation([Image.new("RGB", (side, side))] * 2, tmp_path / "a.gif", scale=scale)
