"""The counts of the sprites are those of their labels."""

import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import count_sprites


def test_the_script(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--data_dir", str(small), "--output", str(tmp_path / "data.png")])
    count_sprites.main()
    assert Image.open(tmp_path / "data.png").size == (1000, 660)
    printed = capsys.readouterr().out
    assert "| either type | 7 | grass 3 | normal 1 |" in printed and "| view | 2 | front 6 | back 1 |" in printed


def test_bars_of_two_parts() -> None:
    axes = Figure().add_subplot()
    count_sprites.bars(axes, "types", {"fire": 3, "water": 1}, {"water": 4})
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 3), (0, 1), (3, 0), (1, 4)]
    assert [text.get_text() for text in axes.texts] == ["3 + 0", "1 + 4"]
