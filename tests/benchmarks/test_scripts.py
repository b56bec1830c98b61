"""Scripts with tiny models, but for those of times; blind readings and creatures have files of their own."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import free_creatures
from benchmarks.release_model import extrapolate, factor, weighted_sum


def test_free_creatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Each part of a license must be free, or offer the choice of one that is; the GPL never is."""
    licenses = [
        "CC0-1.0",
        "CC BY 3.0; MIT or GPL-2.0",
        "CC BY-SA 3.0",
        "GPL-2.0 or CC BY-SA 3.0",
        "CC0; GPL-3.0",
        "GPL-2.0",
    ]
    columns, rows = "file_name,source,id,view,scale,types,line,license,author".split(","), []
    for i, license in enumerate(licenses):
        image = Image.new("RGBA", (64, 64))
        image.paste([(200, 40, 40), (20, 20, 20), (60, 160, 60)][i % 3], (10, 10, 30, 20 + 10 * (i % 3) + 8))
        image.save(tmp_path / f"{i}.png")
        rows.append(
            [f"{i}.png", "game", f"{i}_front", "front", "12"[i % 2], "fire wood" * (i == 0), f"l{i}", license, "A"]
        )
    (tmp_path / "metadata.csv").write_text("\n".join(",".join(row) for row in [columns, *rows]))
    (tmp_path / "tags.csv").write_text("id,tags\ngame/0_front,fox wings\n")
    for flags, native, enlarged in (([], [0], [1]), (["--share_alike"], [0, 2], [1, 3])):
        monkeypatch.setattr("sys.argv", ["", *map(str, (tmp_path, tmp_path / "tags.csv", tmp_path / "free")), *flags])
        free_creatures.main()
        for folder, kept in (("native", native), ("enlarged", enlarged)):
            table = list(csv.DictReader((tmp_path / "free" / folder / "metadata.csv").open()))
            assert [row["file_name"] for row in table] == [f"game-{i}_front.png" for i in kept]
    assert (table[0]["color"], table[0]["size"], table[0]["label"]) == ("black", "tiny", "game")
    first, third = csv.DictReader((tmp_path / "free" / "native" / "metadata.csv").open())
    assert [first[name] for name in ("tags", "color", "element")] == ["fox wings", "red", "fire"]
    assert (third["color"], third["size"]) == ("green", "small")
    assert "| game | A | CC0-1.0 | 1 |" in (tmp_path / "free" / "CREDITS.md").read_text()


def test_release_model():
    table = torch.tensor([[1.0, 2.0], [3.0, -1.0], [1.0, 1.0]])
    extrapolate(table, factor("color=2")[1])
    assert table.tolist() == [[1, 3], [5, -3], [1, 1]]
    states = [{"a": torch.ones(2, 3), "b": torch.ones(2)}, {"a": torch.full((2, 2), 4.0), "b": torch.full((2,), 4.0)}]
    total = weighted_sum(states, [3.0, -0.5])  # the other knows fewer augmentations
    assert total["a"].tolist() == [[1, 1, 3], [1, 1, 3]] and total["b"].tolist() == [1, 1]
