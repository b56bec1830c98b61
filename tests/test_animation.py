"""Animations read back: which pixels are shown, for how long, and how often."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.animation import save_animation

BOTH = pytest.mark.parametrize("suffix", [".gif", ".webp"])


def frames_of(path: Path) -> tuple[list[np.ndarray], list[int], int]:
    """Frames in RGBA, their milliseconds, and the number of repetitions (0: for ever)."""
    pixels, durations = [], []
    with Image.open(path) as animation:
        for i in range(animation.n_frames):
            animation.seek(i)
            animation.load()
            durations.append(animation.info["duration"])
            pixels.append(np.asarray(animation.convert("RGBA")))
        return pixels, durations, animation.info["loop"]


def shown_at(path: Path, millisecond: int) -> np.ndarray:
    """The frame (H, W, 4) that a viewer shows at a moment of the first run."""
    pixels, durations, _ = frames_of(path)
    return pixels[int(np.searchsorted(np.cumsum(durations), millisecond, side="right"))]


def gif_blocks(path: Path) -> list[str]:
    """The kinds of a GIF's blocks, read strictly, as a browser does (which Pillow does not)."""
    content, kinds = path.read_bytes(), []
    assert content[:6] == b"GIF89a" and content[10] & 128
    position = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    while content[position] != ord(";"):
        introducer, label = content[position], content[position + 1]
        kinds.append({(0x21, 0xFF): "repeat", (0x21, 0xF9): "control"}.get((introducer, label), "image"))
        if kinds[-1] == "image":
            assert introducer == ord(","), f"no block at byte {position}"
            assert not content[position + 9] & 128, "a palette of its own"
        position += 11 if kinds[-1] == "image" else 2
        while content[position]:
            position += 1 + content[position]
        position += 1
    assert position == len(content) - 1
    return kinds


def few_colors(count: int, seed: int = 0, size: tuple[int, int] = (6, 9)) -> list[Image.Image]:
    """Noise of eight colours, another in each frame."""
    random = np.random.default_rng(seed)
    colors = random.integers(0, 256, (8, 3), dtype=np.uint8)
    return [Image.fromarray(colors[random.integers(0, 8, size)]) for _ in range(count)]


def noise(count: int, size: int = 24, seed: int = 0) -> list[Image.Image]:
    """Frames of 576 colours each."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


def with_colors(count: int, size: int = 24, seed: int = 1) -> Image.Image:
    """A picture of exactly so many colours, neighbours among them."""
    random = np.random.default_rng(seed)
    index = np.concatenate([np.arange(count), random.integers(0, count, size * size - count)])
    shades = np.array([(200 + i % 7, 100 + i // 7 % 7, 3 * (i // 49)) for i in range(count)], dtype=np.uint8)
    return Image.fromarray(shades[random.permutation(index)].reshape(size, size, 3))


def rgba(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGBA"))


@BOTH
@pytest.mark.parametrize("scale", [1, 3])
def test_frames_of_few_colors_come_back_exactly_and_the_last_is_held(tmp_path, suffix, scale):
    frames = few_colors(5)
    path = tmp_path / f"appearing{suffix}"
    save_animation(frames, path, duration_ms=40, hold_ms=1500, scale=scale)
    pixels, durations, loop = frames_of(path)
    assert durations == [40, 40, 40, 40, 1500]
    assert loop == 0
    for found, frame in zip(pixels, frames, strict=True):
        assert np.array_equal(found, rgba(frame).repeat(scale, axis=0).repeat(scale, axis=1))


def test_webp_keeps_every_alpha_and_every_color_that_is_seen(tmp_path):
    alpha = np.random.default_rng(5).integers(0, 256, (4, 24, 24, 1), dtype=np.uint8)
    alpha[:, ::2] = 0
    frames = [Image.fromarray(np.dstack([np.asarray(frame), a])) for frame, a in zip(noise(4), alpha, strict=True)]
    save_animation(frames, tmp_path / "a.webp")
    pixels, _, _ = frames_of(tmp_path / "a.webp")
    for found, frame in zip(pixels, frames, strict=True):
        assert np.array_equal(found[..., 3], rgba(frame)[..., 3])
        seen = found[..., 3] > 0
        assert np.array_equal(found[seen], rgba(frame)[seen])


def test_webp_keeps_noise_exactly(tmp_path):
    frames = noise(4)
    save_animation(frames, tmp_path / "a.WEBP")
    for found, frame in zip(frames_of(tmp_path / "a.WEBP")[0], frames, strict=True):
        assert np.array_equal(found, rgba(frame))


@pytest.mark.parametrize("count", [1, 2, 16, 254, 255])
def test_the_last_frame_of_a_gif_is_exact_up_to_255_colors(tmp_path, count):
    last = with_colors(count)
    save_animation([*noise(6), last], tmp_path / "a.gif")
    pixels, _, _ = frames_of(tmp_path / "a.gif")
    assert len(pixels) == 7
    assert np.array_equal(pixels[-1], rgba(last))


@pytest.mark.parametrize("count", [16, 200])
def test_what_the_last_frame_leaves_of_a_gif_s_colors_serves_the_others(tmp_path, count):
    frames = [*noise(3), with_colors(count)]
    save_animation(frames, tmp_path / "a.gif")
    for found, frame in zip(frames_of(tmp_path / "a.gif")[0], frames, strict=True):
        assert np.abs(found.astype(int) - rgba(frame)).mean() < 30  # with the last frame's alone it is above 60


def test_a_last_frame_of_too_many_colors_comes_close(tmp_path):
    y, x = np.mgrid[:24, :24] * 10
    last = Image.fromarray(np.dstack([x, y, (x + y) // 2]).astype(np.uint8))  # 576 colours
    save_animation([*noise(6), last], tmp_path / "a.gif")
    save_animation([last], tmp_path / "alone.gif")
    together, alone = (
        frames_of(tmp_path / "a.gif")[0][-1],
        np.asarray(Image.open(tmp_path / "alone.gif").convert("RGB")),
    )
    assert np.abs(together[..., :3].astype(int) - np.asarray(last)).mean() < 5
    assert np.abs(alone.astype(int) - np.asarray(last)).mean() < 5


@BOTH
def test_equal_frames_in_a_row_lose_no_time(tmp_path, suffix):
    a, b, c = few_colors(3)
    path = tmp_path / f"x{suffix}"
    save_animation([a, a.copy(), a.copy(), b, a, c, c.copy()], path, duration_ms=50, hold_ms=700)
    pixels, durations, _ = frames_of(path)
    assert sum(durations) == 6 * 50 + 700
    for millisecond, frame in [(0, a), (149, a), (150, b), (199, b), (200, a), (250, c), (999, c)]:
        assert np.array_equal(shown_at(path, millisecond), rgba(frame)), millisecond
    assert len(pixels) == 4


@BOTH
def test_frames_that_differ_only_unseen_are_equal(tmp_path, suffix):
    pixels = np.zeros((2, 4, 4, 4), dtype=np.uint8)
    pixels[:, :2] = (9, 8, 7, 255)
    pixels[1, 3] = (200, 100, 50, 0)
    path = tmp_path / f"x{suffix}"
    save_animation([*(Image.fromarray(each) for each in pixels), Image.new("RGB", (4, 4))], path, 50, 100)
    assert frames_of(path)[1] == [100, 100]


@BOTH
def test_a_still_picture_is_an_animation_of_one_frame(tmp_path, suffix):
    (frame,) = few_colors(1)
    path = tmp_path / f"x{suffix}"
    save_animation([frame] * 3, path)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 1
        assert np.array_equal(np.asarray(image.convert("RGBA")), rgba(frame))


def blobs(opaque: bool) -> list[Image.Image]:
    """A square that wanders over transparency (with the parts that it leaves behind); in one frame it is away."""
    frames = []
    for left in (0, 3, None, 6, 6, 2):
        pixels = np.zeros((10, 12, 4), dtype=np.uint8)
        if left is not None:
            pixels[2:7, left : left + 5] = (10 * left, 120, 200, 255)
            pixels[3, left + 1] = (255, 255, 255, 255 if opaque else 0)
        frames.append(Image.fromarray(pixels))
    return frames


@BOTH
@pytest.mark.parametrize("opaque", [True, False])
def test_transparent_frames_show_nothing_of_those_before(tmp_path, suffix, opaque):
    frames = blobs(opaque)
    path = tmp_path / f"x{suffix}"
    save_animation(frames, path, duration_ms=30, hold_ms=300)
    for i, frame in enumerate(frames):
        found, expected = shown_at(path, 30 * i), rgba(frame)
        assert np.array_equal(found[..., 3], expected[..., 3]), i
        assert np.array_equal(found[expected[..., 3] > 0], expected[expected[..., 3] > 0])
    assert sum(frames_of(path)[1]) == 5 * 30 + 300


@pytest.mark.parametrize("frames", [blobs(True), blobs(False), noise(5), few_colors(5)])
def test_a_gif_is_one_header_and_whole_blocks(tmp_path, frames):
    save_animation(frames, tmp_path / "a.gif")
    assert gif_blocks(tmp_path / "a.gif") == ["repeat"] + 5 * ["control", "image"]


def test_a_transparent_gif_of_255_colors_is_exact(tmp_path):
    pixels = np.array(rgba(with_colors(255)))
    last = Image.fromarray(np.concatenate([pixels, np.zeros_like(pixels[:3])]))
    before = [Image.fromarray(np.concatenate([rgba(frame), rgba(frame)[:3]])) for frame in noise(3)]
    save_animation([*before, last], tmp_path / "a.gif")
    found = frames_of(tmp_path / "a.gif")[0][-1]
    assert np.array_equal(found[:24], rgba(last)[:24])
    assert (found[24:, :, 3] == 0).all()


def test_half_transparency_is_all_or_nothing_in_a_gif(tmp_path):
    pixels = np.full((2, 4, 4), 90, dtype=np.uint8)
    pixels[..., 3] = [0, 127, 128, 255]
    save_animation([Image.fromarray(pixels), Image.fromarray(pixels[::-1] // 2 * 2)], tmp_path / "a.gif")
    assert frames_of(tmp_path / "a.gif")[0][0][0, :, 3].tolist() == [0, 0, 255, 255]


def test_a_gif_counts_in_hundredths_of_a_second(tmp_path):
    save_animation(few_colors(3), tmp_path / "a.gif", duration_ms=33, hold_ms=1004)
    assert frames_of(tmp_path / "a.gif")[1] == [30, 30, 1000]
    save_animation(few_colors(3), tmp_path / "a.webp", duration_ms=33, hold_ms=1004)
    assert frames_of(tmp_path / "a.webp")[1] == [33, 33, 1004]


def test_frames_of_both_modes_may_be_mixed(tmp_path):
    opaque, _ = few_colors(2)
    save_animation([opaque, blobs(True)[0].resize(opaque.size, 0)], tmp_path / "a.gif")
    pixels, _, _ = frames_of(tmp_path / "a.gif")
    assert np.array_equal(pixels[0], rgba(opaque)) and (pixels[1][..., 3] == 0).any()


def test_the_same_frames_make_the_same_file(tmp_path):
    for name in ("a.gif", "b.gif", "a.webp", "b.webp"):
        save_animation(noise(3), tmp_path / name)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    assert (tmp_path / "a.webp").read_bytes() == (tmp_path / "b.webp").read_bytes()


@pytest.mark.parametrize("name", ["a.png", "a", "a.apng", "gif"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.gif or \.webp"):
        save_animation(few_colors(2), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration_ms": 19}, "duration_ms must be from 20 to 60000, but is 19"),
        ({"duration_ms": 50.0}, "duration_ms must be a whole number"),
        ({"duration_ms": 60001}, "duration_ms must be from 20"),
        ({"duration_ms": 100, "hold_ms": 99}, "hold_ms must be from 100 to 60000, but is 99"),
        ({"scale": 0}, "scale must be from 1"),
        ({"scale": True}, "scale must be a whole number"),
        ({"scale": 1821}, "scale must be from 1 to 1820, but is 1821"),  # 9 pixels wide, and 16,383 is WebP's limit
    ],
)
def test_a_number_out_of_range_is_refused_by_name(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        save_animation(few_colors(2), tmp_path / "a.gif", **arguments)


def test_frames_that_make_no_animation_are_refused(tmp_path):
    for frames, message in [
        ([], "no frames"),
        ([*few_colors(1), *few_colors(1, size=(9, 6))], r"one size, but got \[\(6, 9\), \(9, 6\)\]"),
        ([*few_colors(1), few_colors(1)[0].convert("L")], "some are in L"),
        ([Image.new("RGB", (16_384, 1))], "sides from 1 to 16383"),
    ]:
        with pytest.raises(ValueError, match=message):
            save_animation(frames, tmp_path / "a.gif")


def test_a_longer_standstill_than_a_gif_can_say_is_refused(tmp_path):
    frames = few_colors(1) * 12
    with pytest.raises(ValueError, match="at most 655350 ms, but equal frames in a row take 720000 ms"):
        save_animation(frames, tmp_path / "a.gif", duration_ms=60_000, hold_ms=60_000)
    save_animation([*few_colors(2)[1:], *frames], tmp_path / "a.webp", duration_ms=60_000, hold_ms=60_000)
    assert frames_of(tmp_path / "a.webp")[1] == [60_000, 720_000]
