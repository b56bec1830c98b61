"""The regression against its normal equations, and what is read of sprites and verdicts."""

import numpy as np
import pandas
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks import train_ranker
from pokemon_ddpm import ranking
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.vocabulary import BODIES
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


def write_verdicts(folder, sheet: Image.Image, rows: list[str]) -> None:
    """Rows are sprite, seed, reader, face, quality and known."""
    sheet.save(folder / "sprites-1.png")
    header = "sprite,seed,reader,face,quality,known,reading"
    (folder / "verdicts.csv").write_text("\n".join([header, *(f"{row},first" for row in rows)]))


def test_the_ranker_learns_what_readers_liked(tmp_path, capsys, monkeypatch):
    """Readers like horizontal stripes, which no size nor color explains."""
    stripes = [np.zeros((64, 64, 4), np.uint8) for _ in range(50)]
    for i, each in enumerate(stripes):
        edge = 6 + i // 2 % 4  # more sprites than size, colors and bodies can explain
        drawn = each[edge:-edge, edge:-edge]
        drawn[::2] = ((255, 240, 230, 255), (20, 30, 40, 255))[i // 8 % 2]
        drawn[:] = drawn if i % 2 else drawn.transpose(1, 0, 2).copy()
    rows = [f"{i},{i},{reader},{i % 2},{2 + 2 * (i % 2)}," for i in range(50) for reader in "ab"]
    write_verdicts(tmp_path, Image.fromarray(np.hstack(stripes)), rows)
    Image.fromarray(np.hstack(stripes)).save(tmp_path / "backs-1.png")  # of which vertical ones are backs
    rows = ["sprite,front,behind,same,quality", *(f"{i},{i},{1 - i % 2},4,{3 + j}" for i in range(50) for j in (0, 1))]
    (tmp_path / "backs.csv").write_text("\n".join(rows))
    assert train_ranker.read_backs(tmp_path)[1].back.tolist() == [3.75, 2.75] * 25
    ranking_student(64).save_pretrained(tmp_path / "model")
    width = ranking.SpriteRanker(ranking_student(64)).head.in_features
    probe = {"body.weight": torch.zeros(len(BODIES), width), "body.bias": torch.zeros(len(BODIES))}
    probe["body.weight"][0, 0] = 9.0  # the error, which the stripes change
    save_file(probe, tmp_path / "model" / ranking.PROBES_FILE)
    monkeypatch.setattr(train_ranker, "PENALTY", 100.0)  # of few sprites
    train_ranker.main(["--model", str(tmp_path / "model"), "--verdicts", str(tmp_path)])
    said = capsys.readouterr().out
    assert "rank correlation with the readers' quality 0." in said and f"{BODIES[0]}: rank correlation" in said
    ranker, sprites = ranking.load_ranker(str(tmp_path / "model")), as_tensor(map(Image.fromarray, stripes))
    for good, values in ((1, ranker.score(sprites)), (0, ranker.verdicts(sprites)[:, 3])):
        assert (values[good::2, None] > values[None, 1 - good :: 2]).float().mean() > 0.95


def test_verdicts_are_means_in_which_readers_differ_no_more(tmp_path):
    sheet = Image.new("RGBA", (50 * 64, 64))
    for i in range(3):
        sheet.paste((i, 9, 9, 255), (i * 64, 0, i * 64 + 32, 64))
    rows = [f"{i},{i},{rest}" for i in range(3) for rest in (f"strict,0,{1 + i},", f"mild,1,{3 + i},Mew")]
    write_verdicts(tmp_path, sheet, rows)
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
