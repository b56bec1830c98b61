"""The regression against its normal equations, and what is read of sprites and verdicts."""

import numpy as np
import pandas
import torch
from PIL import Image

from benchmarks import train_ranker
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.ranking import load_ranker
from tests.tiny_models import ranking_student


def test_the_regression_solves_its_normal_equations():
    """(Z' W Z + penalty) b = Z' W (y - mean), with more features than images, for standardized features Z."""
    x, y = torch.randn(2, 12, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, weights = y[:, :2], torch.linspace(0.5, 1, 12, dtype=torch.float64)
    solution, bias = train_ranker.ridge(3 * x + 1, y, weights)
    z = (x - x.mean(dim=0)) / x.std(dim=0)
    center = (weights[:, None] * y).sum(dim=0) / weights.sum()
    left = z.T @ (weights[:, None] * z) + train_ranker.PENALTY * torch.eye(20, dtype=torch.float64)
    expected = torch.linalg.solve(left, z.T @ (weights[:, None] * (y - center)))
    torch.testing.assert_close((3 * x + 1) @ solution.T + bias, z @ expected + center, rtol=1e-5, atol=1e-8)


def test_the_ranker_learns_what_readers_liked(tmp_path, monkeypatch):
    """Readers like horizontal stripes, which no size nor color explains, and of vertical ones the backs."""
    sprites = [np.zeros((64, 64, 4), np.uint8) for _ in range(50)]
    for i, sprite in enumerate(sprites):
        edge = 6 + i // 2 % 4  # so that there are more sprites than size and colors can explain
        drawn = sprite[edge:-edge, edge:-edge]
        drawn[::2] = ((255, 240, 230, 255), (20, 30, 40, 255))[i // 8 % 2]
        drawn[:] = drawn if i % 2 else drawn.transpose(1, 0, 2).copy()
    for name in ("sprites", "backs"):
        Image.fromarray(np.hstack(sprites)).save(tmp_path / f"{name}-1.webp", lossless=True)
    rows = [f"{i},{i},ash,{i % 2},{2 + 2 * (i % 2)},,first" for i in range(50)]
    (tmp_path / "verdicts.csv").write_text("\n".join(["sprite,seed,reader,face,quality,known,reading", *rows]))
    rows = [f"{i},{i},{1 - i % 2},4,{3 + j}" for i in range(50) for j in (0, 1)]
    (tmp_path / "backs.csv").write_text("\n".join(["sprite,front,behind,same,quality", *rows]))
    assert train_ranker.read_backs(tmp_path)[1].back.tolist() == [3.75, 2.75] * 25
    ranking_student(64).save_pretrained(tmp_path / "model")
    monkeypatch.setattr(train_ranker, "PENALTY", 100.0)  # of few sprites
    train_ranker.main(["--model", str(tmp_path / "model"), "--verdicts", str(tmp_path)])
    ranker, images = load_ranker(str(tmp_path / "model")), as_tensor(sprites)
    for good, scores in ((1, ranker.score(images)), (0, ranker.verdicts(images)[:, 3])):
        assert (scores[good::2, None] > scores[None, 1 - good :: 2]).float().mean() > 0.95


def test_verdicts_are_means_in_which_readers_differ_no_more(tmp_path):
    sheet = Image.new("RGBA", (50 * 64, 64))
    for i in range(3):
        sheet.paste((i, 9, 9, 255), (i * 64, 0, i * 64 + 32, 64))
    sheet.save(tmp_path / "sprites-1.webp", lossless=True)
    readers = [(f"strict,0,{1 + i},", f"mild,1,{3 + i},Mew") for i in range(3)]
    rows = [f"{i},{i},{verdict},first" for i, verdicts in enumerate(readers) for verdict in verdicts]
    (tmp_path / "verdicts.csv").write_text("\n".join(["sprite,seed,reader,face,quality,known,reading", *rows]))
    sprites, means = train_ranker.read(tmp_path)
    assert sprites.shape == (3, 4, 64, 64) and [sprites[i, 0, 0, 0].item() for i in range(3)] == [0, 1, 2]
    assert means.quality.tolist() == [2, 3, 4] and means.face.tolist() == means.known.tolist() == [0.5] * 3
    assert means.usable.tolist() == [0.5, 0.5, 1.0] and means.readings.tolist() == [2] * 3
    looks = train_ranker.looks(sprites)
    assert np.allclose(looks["size"], 0.5) and np.allclose(looks["darkness"], 1) and looks["colorfulness"][0] < 0.03


def test_verdicts_are_of_sprites():
    """Not of the empty places at the end of a sheet; one sample was empty."""
    for file, name in (("verdicts.csv", "sprites"), ("backs.csv", "backs"), ("units/verdicts.csv", "sprites")):
        path = train_ranker.FOLDER / file
        places = pandas.read_csv(path).sprite.dropna().unique().astype(int)
        shown = train_ranker.read_sheets(path.parent, name)[places, 3].amax(dim=(1, 2)) > 0
        assert (~shown).sum() == (file == "verdicts.csv")
