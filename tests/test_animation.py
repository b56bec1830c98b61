from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.animation import SUFFIXES, save_animation, squash

BOTH = pytest.mark.parametrize("suffix", [*SUFFIXES, ".GIF"])


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
    """Noise of eight colors."""
    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (8, 3), dtype=np.uint8)
    return [Image.fromarray(colors[random.integers(0, 8, (6, 9))]) for _ in range(count)]


def noise(count: int) -> list[Image.Image]:
    """Frames of 576 colors each."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


def with_colors(count: int) -> Image.Image:
    """An image of exactly `count` similar colors."""
    i = np.random.default_rng(1).permutation(np.arange(576) % count).reshape(24, 24)
    return Image.fromarray(np.dstack([200 + i % 7, 100 + i // 7 % 7, 3 * (i // 49)]).astype(np.uint8))


def error(found: np.ndarray, frame: Image.Image) -> float:
    return np.abs(found.astype(int) - np.asarray(frame)).mean()


@BOTH
@pytest.mark.parametrize("scale", [1, 3])
def test_frames_of_few_colors_are_exact_and_the_last_is_held(tmp_path, suffix, scale):
    frames, path = few_colors(5), tmp_path / f"a{suffix}"
    save_animation(frames, path, duration_ms=40, hold_ms=1500, scale=scale)
    pixels, durations = read(path)
    assert durations == [40, 40, 40, 40, 1500]
    for found, frame in zip(pixels, frames, strict=True):
        assert np.array_equal(found, np.asarray(frame).repeat(scale, axis=0).repeat(scale, axis=1))


@BOTH
def test_transparent_frames_are_on_white(tmp_path, suffix):
    frames, path = few_colors(3), tmp_path / f"a{suffix}"
    expected = [np.asarray(frame).copy() for frame in frames]
    for frame, pixels in zip(frames, expected, strict=True):
        frame.putalpha(Image.new("L", frame.size, 255))
        frame.paste((9, 9, 9, 0), (0, 0, 4, 3))
        pixels[:3, :4] = 255
    save_animation(frames, path)
    assert np.array_equal(read(path)[0], np.stack(expected))


def test_webp_is_lossless(tmp_path):
    save_animation(noise(4), tmp_path / "a.webp")
    assert np.array_equal(read(tmp_path / "a.webp")[0], np.stack(noise(4)))


@pytest.mark.parametrize("count", [1, 16, 254, 255])
def test_the_last_frame_of_a_gif_is_exact_up_to_255_colors(tmp_path, count):
    frames = [*noise(6), with_colors(count)]
    save_animation(frames, tmp_path / "a.gif")
    pixels, _ = read(tmp_path / "a.gif")
    assert len(pixels) == 7 and error(pixels[-1], frames[-1]) == 0
    # With the colors of the last frame alone, the error of the others is above 60.
    assert count > 200 or max(error(*each) for each in zip(pixels, frames, strict=True)) < 30


def test_a_last_frame_of_more_colors_is_approximated(tmp_path):
    y, x = np.mgrid[:24, :24] * 10
    last = Image.fromarray(np.dstack([x, y, (x + y) // 2]).astype(np.uint8))
    save_animation([*noise(6), last], tmp_path / "a.gif")
    assert error(read(tmp_path / "a.gif")[0][-1], last) < 5


@BOTH
def test_equal_frames_in_a_row_lose_no_time(tmp_path, suffix):
    a, b, c = few_colors(3)
    save_animation([a, a.copy(), a.copy(), b, a, c, c.copy()], tmp_path / f"a{suffix}", duration_ms=50, hold_ms=700)
    pixels, durations = read(tmp_path / f"a{suffix}")
    starts = np.cumsum([0, *durations])
    assert starts[-1] == 6 * 50 + 700
    for millisecond, frame in [(0, a), (149, a), (150, b), (199, b), (200, a), (250, c), (999, c)]:
        assert error(pixels[np.searchsorted(starts, millisecond, side="right") - 1], frame) == 0, millisecond


def test_a_gif_counts_in_hundredths_of_a_second(tmp_path):
    for name, expected in (("a.gif", [30, 30, 1000]), ("a.webp", [37, 37, 1006])):
        save_animation(few_colors(3), tmp_path / name, duration_ms=37, hold_ms=1006)
        assert read(tmp_path / name)[1] == expected


@pytest.mark.parametrize(("side", "scale", "message"), [(9, 1821, "a side of 16,389"), (100, 100, "from 1 to 81")])
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
