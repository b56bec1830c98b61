"""Folders of samples: those that are read, in which order, and those that are refused, with the numbers."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pokemon_ddpm.evaluation.samples import read_samples
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.preprocessing import preprocess
from pokemon_ddpm.provenance import KEYWORD, Provenance, write_png


def picture(shade: int, width: int = 8, height: int = 8) -> Image.Image:
    """A sprite on white that no other shade has."""
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    pixels[2:-2, 1:-1] = np.arange(width - 2)[:, None] * 3 + shade
    return Image.fromarray(pixels)


def provenance(seed: int) -> Provenance:
    return Provenance(
        model="model",
        condition={"type": "fire"},
        seed=seed,
        scheduler="ddim",
        num_inference_steps=5,
        guidance_scale=2.0,
        dtype="float32",
        chunk_size=4,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of 8x8, written in another order than that of their names."""
    for i in (3, 1, 5, 0, 2, 4):
        picture(10 * i).save(tmp_path / f"{i}.png")
    return tmp_path


def tensor(*images: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


def test_pictures_are_read_in_the_order_of_their_names(folder: Path) -> None:
    (folder / ".hidden.png").write_text("no picture")
    (folder / "samples.json").write_text("{}")
    samples = read_samples(folder, 8, minimum=6)
    assert len(samples) == 6 and samples.names == tuple(f"{i}.png" for i in range(6))
    assert samples.images.dtype == torch.uint8 and samples.images.is_contiguous()
    assert torch.equal(samples.images, tensor(*(picture(10 * i) for i in range(6))))
    assert samples.conditions == samples.seeds == (None,) * 6 and samples.enlarged_by == 1
    assert torch.equal(read_samples(str(folder), minimum=1).images, samples.images)


def test_files_say_how_they_were_made(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_png(picture(1), folder / "1.png", provenance(7))
    info = Image.open(folder / "1.png").info[KEYWORD]
    write_png(picture(2), folder / "2.png", provenance(8))
    damaged = (folder / "2.png").read_bytes().replace(b'"seed"', b'"sead"')
    with caplog.at_level(logging.WARNING):
        samples = read_samples(folder, minimum=6)
    assert "seed" in info and not caplog.records
    assert samples.seeds == (None, 7, 8, None, None, None)
    assert samples.conditions[1] == {"type": "fire"} and samples.provenances[2] == provenance(8)
    (folder / "2.png").write_bytes(damaged)
    with pytest.raises(ValueError, match="1 of 6 files are no pictures"):  # its checksum is wrong
        read_samples(folder, minimum=6)


def test_another_versions_provenance_is_passed_over_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    info = PngInfo()
    info.add_text(KEYWORD, '{"seed": 3, "novel": true}')
    picture(4).save(folder / "4.png", pnginfo=info)
    with caplog.at_level(logging.WARNING):
        assert read_samples(folder, minimum=6).provenances == (None,) * 6
    assert "1 of 6 samples do not say how they were made" in caplog.text and "4.png" in caplog.text


def test_other_modes_become_rgb_on_white(folder: Path) -> None:
    transparent = picture(0).convert("RGBA")
    transparent.putpixel((0, 0), (9, 9, 9, 0))
    transparent.save(folder / "0.png")
    picture(10).quantize(16).save(folder / "1.png")
    picture(20).convert("L").save(folder / "2.png")
    images = read_samples(folder, minimum=6).images
    assert torch.equal(images[:2], tensor(picture(0), picture(10)))
    assert torch.equal(images[2], tensor(picture(20).convert("L").convert("RGB"))[0])


def test_an_enlargement_is_undone(folder: Path) -> None:
    original = read_samples(folder, 8, minimum=6)
    for i in range(6):
        enlarge(picture(10 * i), 4).save(folder / f"{i}.png")
    samples = read_samples(folder, 8, minimum=6)
    assert torch.equal(samples.images, original.images) and samples.enlarged_by == 4
    assert read_samples(folder, minimum=6).images.shape == (6, 3, 32, 32)
    smooth = picture(0).resize((32, 32), Image.Resampling.BICUBIC)
    smooth.save(folder / "0.png")
    with pytest.raises(
        ValueError, match="6 pictures of 32x32, and 8x8 is asked for. 1 of them are no enlargement by 4"
    ):
        read_samples(folder, 8, minimum=6)


@pytest.mark.parametrize("resolution", [16, 6])
def test_another_size_is_refused(folder: Path, resolution: int) -> None:
    with pytest.raises(ValueError, match=f"6 pictures of 8x8, and {resolution}x{resolution} is asked for"):
        read_samples(folder, resolution, minimum=6)


def test_several_sizes_are_refused_or_preprocessed(folder: Path) -> None:
    picture(0, 20, 12).save(folder / "0.png")
    with pytest.raises(ValueError, match="pictures of 2 sizes: 5 of 8x8, 1 of 20x12"):
        read_samples(folder, 8, minimum=6)
    samples = read_samples(folder, 16, minimum=6, preprocessing="fit")
    expected = preprocess(picture(0, 20, 12), 16).transpose(2, 0, 1)
    assert samples.images.shape == (6, 3, 16, 16) and (samples.images[0].numpy() == expected).all()


def test_pictures_that_are_not_square_are_refused(tmp_path: Path) -> None:
    picture(0, 20, 12).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="1 of 20x12, and samples must be square"):
        read_samples(tmp_path, minimum=1)


@pytest.mark.parametrize(("resolution", "preprocessing"), [(None, "fit"), (8, "crop"), (12, "fit")])
def test_preprocessing_that_cannot_be_done_is_refused(folder: Path, resolution: int, preprocessing: str) -> None:
    with pytest.raises(ValueError, match="To preprocess samples takes|multiple of 8"):
        read_samples(folder, resolution, 6, preprocessing)


def test_too_few_pictures_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds 6 pictures, and at least 50 are needed"):
        read_samples(folder)
    with pytest.raises(ValueError, match="no folder"):
        read_samples(folder / "0.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="empty is empty"):
        read_samples(empty)
    (empty / "notes.txt").write_text("")
    with pytest.raises(ValueError, match="holds no PNG, only 1 other files"):
        read_samples(empty)
    with pytest.raises(ValueError, match="1 sub-folders \\(empty\\)"):
        read_samples(folder)


def test_what_is_no_png_is_refused(folder: Path) -> None:
    (folder / "1.png").write_text("text")
    content = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(content[: len(content) // 2])
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(folder / "5.png")
    picture(0).save(folder / "4.png", "JPEG")
    with pytest.raises(ValueError, match="4 of 6 files are no pictures") as refusal:
        read_samples(folder, minimum=6)
    lines = str(refusal.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["1.png", "3.png", "4.png", "5.png"]
    assert "more than 8 bits" in lines[3]
    picture(0).save(folder / "6.jpg")
    with pytest.raises(ValueError, match="1 pictures that are no PNGs, 6.jpg first"):
        read_samples(folder, minimum=6)
