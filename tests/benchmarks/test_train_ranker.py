"""The regression against its normal equations, and what is read of sprites and verdicts."""

import numpy as np
import pandas
import torch
from PIL import Image

from benchmarks import train_ranker


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


def test_verdicts_are_means_in_which_readers_differ_no_more(tmp_path):
    sheet = Image.new("RGBA", (50 * 64, 64))
    for i in range(3):
        sheet.paste((i, 9, 9, 255), (i * 64, 0, i * 64 + 32, 64))
    sheet.save(tmp_path / "sprites-1.png")
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
