"""Figures of details against closed forms, the judge on drawn eyes, and what is finished from which timestep."""

from types import MethodType

import numpy as np
import pytest
import torch

from benchmarks import detail_by_timestep as script
from pokemon_ddpm import SpriteTensors
from pokemon_ddpm.evaluation.images import default_output
from pokemon_ddpm.evaluation.two_sample import classifier_logits
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from tests.tiny_models import tiny_student

RED, GREEN = (200, 40, 40), (40, 160, 60)


def square(color: tuple[int, int, int], left: int = 16, side: int = 32) -> torch.Tensor:
    """A sprite of one color, uint8 (1, 4, 64, 64)."""
    image = torch.tensor([255, 255, 255, 0], dtype=torch.uint8).view(1, 4, 1, 1).repeat(1, 1, 64, 64)
    image[:, :, 16 : 16 + side, left : left + side] = torch.tensor([*color, 255], dtype=torch.uint8).view(4, 1, 1)
    return image


def faces(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smoothly shaded bodies with an eye, a dark pixel in a white square, in a random cell, and these cells."""
    generator = torch.Generator().manual_seed(seed)
    shades = torch.rand(count, 1, 16, 16, generator=generator) * 180 + 40
    bodies = torch.nn.functional.interpolate(shades, (64, 64), mode="bicubic").clamp(0, 255).byte().repeat(1, 4, 1, 1)
    bodies[:, 3] = 255
    cells = torch.cat([torch.arange(count)[:, None], torch.randint(8, (count, 2), generator=generator)], dim=1)
    for (i, row, column), (down, right) in zip(
        cells, torch.randint(1, 6, (count, 2), generator=generator), strict=True
    ):
        y, x = 8 * row + down, 8 * column + right
        bodies[i, :3, y - 1 : y + 2, x - 1 : x + 2], bodies[i, :3, y, x] = 250, 10
    return bodies, cells


def test_windows_are_cells_with_what_is_around_them():
    images = torch.randint(256, (2, 4, 64, 64), generator=torch.Generator().manual_seed(0)).byte()
    cells = script.eye_cells(["A1", "-", "D7"])
    assert cells.tolist() == [[0, 0, 0], [2, 6, 3]]
    first, other = script.windows(images, torch.tensor([[1, 0, 0], [0, 6, 3]]))
    assert torch.equal(other, images[0, :, 40:64, 16:40])
    assert torch.equal(first[:, 8:, 8:], images[1, :, :16, :16])
    assert (first[:3, :8] == 255).all() and (first[3, :8] == 0).all()


def test_other_cells_are_opaque_and_away_from_the_eye():
    images = torch.cat([square(RED, 0, 64), square(RED), square(RED)])
    images[0, :, :, :] = images[0, :, 20:21, 20:21]
    cells = script.other_cells(images, torch.tensor([[0, 0, 1], [1, 2, 2]]))
    expected = [[0, r, c] for r in range(8) for c in range(8) if max(r, abs(c - 1)) >= 3]
    expected += [[1, r, c] for r in range(2, 6) for c in range(2, 6) if max(r, c) == 5]
    expected += [[2, r, c] for r in range(2, 6) for c in range(2, 6)]
    assert cells.tolist() == expected


def test_figures():
    red = square(RED)
    assert script.figures(red, red)["color"] == 0 and script.figures(red, red)["chroma"] == 1
    lab = oklab(np.array([RED, GREEN]))
    found = script.figures(square(GREEN), red)
    assert found["color"] == pytest.approx(np.linalg.norm(lab[0] - lab[1]))
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    assert found["chroma"] == pytest.approx(chroma[1] / chroma[0]) and found["edges"] == 1
    assert script.figures(square(RED, 17), red)["edges"] == 1  # within a pixel
    # The left and the right side are elsewhere, and three or four pixels of the others.
    assert 0.4 < script.figures(square(RED, 20), red)["edges"] < 0.55
    halves = [square((low,) * 3) for low in (0, 100)]
    for image, gray in zip(halves, (200, 130), strict=True):
        image[:, :3, 16:32, 16:48] = gray
    levels = oklab(np.array([[0, 200], [100, 130]], dtype=np.uint8)[..., None].repeat(3, axis=-1))[..., 0]
    expected = np.ptp(levels[1]) / np.ptp(levels[0])
    assert script.figures(halves[1], halves[0])["contrast"] == pytest.approx(expected)


def test_smeared_sprites_have_their_pixels_a_little_elsewhere():
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    images = torch.stack([rows, columns, rows, columns])[None].repeat(20, 1, 1, 1).byte()
    inside = slice(12, -12)  # where no border is near
    moved = (script.smeared(images, 0).float() - images.float())[:, :2, inside, inside]
    assert moved.std().item() == pytest.approx(script.SMEAR, rel=0.1) and abs(moved.mean().item()) < 0.3
    assert moved.diff(dim=3).std() < 0.7 * moved.std()  # neighbors move alike
    assert not torch.equal(script.smeared(images, 0), script.smeared(images, 1))


def test_the_judge_sees_eyes_but_no_blurred_and_smeared_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(script, "STEPS", 60)
    monkeypatch.setattr(script, "SMEARS", 2)
    judge = script.fit_judge(*faces(60, 0))
    images, cells = faces(40, 1)
    views = (images, script.blurred(images), script.smeared(images, 9))
    real, *worse = (classifier_logits(judge, script.windows(view, cells)) for view in views)
    worse.append(classifier_logits(judge, script.windows(images, script.other_cells(images, cells)[::20])))
    assert [(real[:, None] > logits).float().mean().item() > 0.8 for logits in worse] == [True] * 3


@pytest.mark.parametrize(("timestep", "steps"), [(300, [249]), (499, [499, 249]), (999, [999, 749, 499, 249])])
def test_fronts_are_noised_to_the_models_own_timestep_and_finished(timestep: int, steps: list[int]):
    """With a network that knows the fronts, they come back; its first input is theirs with the noise of their row."""
    fronts = SpriteTensors(torch.cat([square(RED), square(GREEN)]), {"type": torch.ones(2, 2, dtype=torch.int64)})
    pipeline, seen = tiny_student(64), []
    clean = pipeline.scaling_factor * (fronts.images.float() / 127.5 - 1)

    def predict(self, sample, t, *_):
        seen.append((int(t), sample))
        return clean

    pipeline.predict = MethodType(predict, pipeline)
    own, made = script.finish(pipeline, fronts, timestep)
    assert own == steps[0] and [t for t, _ in seen] == steps
    assert torch.equal(made, default_output(fronts.images))
    noise = torch.stack([torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(row)) for row in (0, 1)])
    bar = pipeline.scheduler.alphas_cumprod[own]
    torch.testing.assert_close(seen[0][1], bar.sqrt() * clean + (1 - bar).sqrt() * noise)


def test_the_table(tmp_path, sprites_dir, capsys):
    """On real fronts, by the judge beside the annotations: it tells blurred ones and other ones from them."""
    tiny_student(64).save_pretrained(tmp_path / "model")
    sheet = tmp_path / "sheet.png"
    script.main(
        [
            str(tmp_path / "model"),
            "--data_dir",
            str(sprites_dir),
            "--count",
            "40",
            "--timesteps",
            "249",
            "--sheet",
            str(sheet),
        ]
    )
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith("| 40 held-out fronts | eyes | edges |")
    rates = [float(line.split("|")[2].split("%")[0]) for line in lines]
    real, blurred, other, made = rates
    assert real > 75 and blurred < 25 and other < 60 and made < 40
    assert lines[-1].startswith(f"| {tmp_path / 'model'}, 249 |") and sheet.is_file()
