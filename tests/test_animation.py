from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.animation import save_animation, squash


def read(path: Path) -> tuple[list[np.ndarray], list[int]]:
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
    for found, frame in zip(pixels, frames, strict=True):
        expected = np.array(frame)
        expected[expected[..., 3] == 0] = 255
        assert np.array_equal(found, expected[..., :3].repeat(scale, axis=0).repeat(scale, axis=1))


def test_the_last_frame_is_exact_beside_frames_of_many_colors(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 9, 3), dtype=np.uint8)
    (last,) = few_colors(1)
    save_animation([*map(Image.fromarray, noise), last], tmp_path / "a.gif")
    white = Image.new("RGBA", last.size, "white")
    white.alpha_composite(last)
    assert np.array_equal(read(tmp_path / "a.gif")[0][-1], np.asarray(white)[..., :3])


def test_equal_frames_in_a_row_lose_no_time(tmp_path):
    a, b, c = few_colors(3)
    save_animation([a, a.copy(), a.copy(), b, a, c, c.copy()], tmp_path / "a.gif", duration_ms=50)
    assert read(tmp_path / "a.gif")[1] == [150, 50, 50, 2050]


@pytest.mark.parametrize(("side", "scale", "message"), [(9, 7282, "a side of 65,538"), (100, 100, "from 1 to 81")])
def test_frames_that_are_too_large_are_refused(tmp_path, side, scale, message):
    with pytest.raises(ValueError, match=message):
        save_animation([Image.new("RGB", (side, side))] * 2, tmp_path / "a.gif", scale=scale)


def test_an_idle_frame_is_lower_by_whole_rows_and_has_no_new_color() -> None:
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    pixels[...] = (255, 255, 255, 0)
    pixels[10:60, 20:40] = (200, 30, 30, 255)
    pixels[20, 25:30] = pixels[59, 20:40] = (16, 16, 16, 255)  # an eye and the outline
    image = Image.fromarray(pixels)
    frame = np.asarray(squash(image))
    assert not frame[:12, :, 3].any() and frame[12:60, 20:40, 3].all() and not frame[60:, :, 3].any()
    assert (frame[59, 20:40, 0] == 16).all() and (frame[..., 0] == 16).sum() == 25  # both stay
    for empty in (Image.new("RGBA", (4, 4), (255, 255, 255, 0)), Image.fromarray(pixels[59:60])):
        assert squash(empty) == empty
