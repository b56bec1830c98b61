from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.animation import save_animation


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
