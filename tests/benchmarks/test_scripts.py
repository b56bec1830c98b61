"""Scripts with tiny models, but for those of times; blind readings and creatures have files of their own."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks import count_sprites, cut_references, diffusion_figures, free_creatures
from benchmarks.release_model import extrapolate, factor, weighted_sum
from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.models import PLAIN_WEIGHTS
from tests.tiny_models import tiny_pipeline


def test_count_sprites(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.argv", ["", "--data_dir", str(small), "--output", str(tmp_path / "data.png")])
    count_sprites.main()
    assert Image.open(tmp_path / "data.png").size == (1000, 660)
    printed = capsys.readouterr().out
    assert "| either type | 7 | grass 3 | normal 1 |" in printed and "| view | 2 | front 6 | back 1 |" in printed


def test_diffusion_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two Gaussian variables with correlation rho share -1/2 log2(1 - rho^2) bits: here rho is sqrt(alpha_bar)."""
    tiny_pipeline(size=32).save_pretrained(tmp_path)
    monkeypatch.setattr("sys.argv", ["", "--model", str(tmp_path), "--output-dir", str(tmp_path)])
    diffusion_figures.main()
    assert Image.open(tmp_path / "forward_process.png").size == (1080, 600)
    assert Image.open(tmp_path / "reverse_process.png").size == (1080, 320)
    figure = diffusion_figures.forward_process_figure(np.zeros((8, 8, 3), np.uint8), seed=3)
    snr, bits = (axes for axes in figure.axes if not axes.images)
    for row, schedule in enumerate(diffusion_figures.SCHEDULES.values()):
        alpha_bar = schedule.alpha_bar.numpy()
        expected = np.maximum(alpha_bar / (1 - alpha_bar), 1e-8)
        np.testing.assert_allclose(snr.lines[row].get_ydata(), expected, rtol=1e-3)
        np.testing.assert_allclose(bits.lines[row].get_ydata(), -np.log2(1 - alpha_bar) / 2, rtol=1e-3, atol=1e-6)


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


def test_cut_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A model of version 1 has four more channels, zero without a reference, and "no relation" in each sum."""
    pipeline = tiny_pipeline(channels=4)
    pipeline.save_pretrained(tmp_path / "old")
    relations, table = torch.randn(4, 32), "tables.type_embedding.weight"
    for part, setting in (("unet", {"reference_channels": 4}), ("conditioner", {})):
        file, config = (tmp_path / "old" / part / name for name in (PLAIN_WEIGHTS, "config.json"))
        weights, settings = load_file(file), json.loads(config.read_text()) | setting
        if part == "unet":
            weights["conv_in.weight"] = torch.cat([own := weights["conv_in.weight"], torch.randn_like(own)], dim=1)
        else:
            settings["vocabulary"]["relation"] = ["same", "next", "previous"]
            weights |= {"tables.relation_embedding.weight": relations, table: weights[table] - relations[-1] / 2}
        save_file(weights, file)
        config.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="of version 1, with an input for references; benchmarks/cut_references.py"):
        PokemonDDPMPipeline.from_pretrained(tmp_path / "old")
    monkeypatch.setattr("sys.argv", ["", str(tmp_path / "old"), str(tmp_path / "new")])
    cut_references.main()
    cut = PokemonDDPMPipeline.from_pretrained(tmp_path / "new")
    given = {"num_inference_steps": 2, "output_type": "pt"}
    images = [one("fire", generator=torch.Generator().manual_seed(1), **given).images for one in (pipeline, cut)]
    torch.testing.assert_close(*images, rtol=0, atol=1e-5)


def test_release_model():
    table = torch.tensor([[1.0, 2.0], [3.0, -1.0], [1.0, 1.0]])
    extrapolate(table, factor("color=2")[1])
    assert table.tolist() == [[1, 3], [5, -3], [1, 1]]
    states = [{"a": torch.ones(2, 3), "b": torch.ones(2)}, {"a": torch.full((2, 2), 4.0), "b": torch.full((2,), 4.0)}]
    total = weighted_sum(states, [3.0, -0.5])  # the other knows fewer augmentations
    assert total["a"].tolist() == [[1, 1, 3], [1, 1, 3]] and total["b"].tolist() == [1, 1]
