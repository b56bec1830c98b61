"""Creatures beside real sprites: which are compared, and runs; the table of shinies."""

import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks import creatures
from benchmarks.shiny_table import pairs_of, shiny_colors
from pokemon_ddpm import creature
from pokemon_ddpm.data import SpriteTensors, load_tensors
from pokemon_ddpm.vocabulary import TYPES, VIEWS
from tests.tiny_models import tiny_pipeline


def test_a_form_counts_once_with_the_same_game_first() -> None:
    """Rows have form, form before, game, frame, view (1: back) and finish (1: shiny)."""
    names = ("index", "evolves_from", "game", "frame", "view", "finish")
    rows = [
        (1, -1, 0, 1, 0, 0), (1, -1, 2, 1, 0, 0), (1, -1, 2, 1, 1, 0), (1, -1, 2, 2, 1, 0), (1, -1, 2, 1, 0, 1),
        (2, 1, 0, 1, 0, 0), (2, 1, 2, 1, 0, 1), (3, 2, 4, 1, 1, 0),
    ]  # fmt: skip
    labels = dict(zip(names, torch.tensor(rows).T, strict=True))
    data = SpriteTensors(torch.zeros(8, 4, 8, 8, dtype=torch.uint8), labels)
    for given, expected in {
        ("index", "back"): [[1, 2]],
        ("index", "front", "shiny"): [[1, 4], [5, 6]],
        ("evolves_from", "front"): [[0, 5]],
        ("evolves_from", "back"): [[5, 7]],
        ("index", "back", "shiny"): [],
    }.items():
        assert torch.stack(pairs_of(data, *given), dim=1).tolist() == expected


def test_runs_beside_real_sprites(sprites_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model that takes one step."""
    defaults = {"num_inference_steps": 1, "guidance_scale": 1.0}
    model = tiny_pipeline(channels=4, vocabulary={"type": TYPES, "view": VIEWS}, defaults=defaults)
    model.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(creatures, "STAGES", 2)
    monkeypatch.setattr(creature, "ATTEMPTS", dict.fromkeys(creature.ATTEMPTS, 1))

    def run(*flags: str) -> dict:
        where = ["--data_dir", str(sprites_dir), "--model", str(tmp_path / "model"), "--output", str(tmp_path)]
        creatures.main([*where, *flags])
        results = json.loads((tmp_path / "creatures.json").read_text())["results"]
        return {name: result["value"] for name, result in results.items()}

    monkeypatch.setattr(creatures, "generate_stage", lambda *given: ({"1-back": given[3]["1-front"]}, {}))
    backs = run()
    of_back, of_front, real = (value for name, value in backs.items() if name.startswith("silhouette IoU"))
    assert of_front == 1 and abs(of_back - real) < 0.01 and 0.4 < real < 0.9  # these backs are their fronts
    made = run("--creatures", "1")
    assert made["back, generated: distance to the palette before"] == 0
    assert made["back, real: shared drawing of at most 0.4"] > 0.8
    assert made["next stage, real: silhouette IoU of at most 0.62"] > 0.5
    table = shiny_colors(load_tensors(sprites_dir, "validation", 16, config_name="all"))
    assert table.keys() == {*TYPES} and any(table.values())
    assert all(re.fullmatch("([0-9a-f]{6}){1,3}", colors) for row in table.values() for colors in row)
