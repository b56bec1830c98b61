"""References: which images are compared, and runs on real sprites."""

import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks import references
from benchmarks.references import main, pairs_of
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.vocabulary import CONDITIONS, RELATIONS, TYPES
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
        ("same", 1, 0): [[1, 2]],
        ("same", 0, 1): [[1, 4], [5, 6]],
        ("next", 0, 0): [[0, 5]],
        ("next", 1, 0): [[5, 7]],
        ("same", 0, 0, True): [[1, 0]],  # of another game
        ("same", 1, 1): [],
    }.items():
        assert torch.stack([*pairs_of(data, *given)], dim=1).tolist() == expected


@pytest.fixture
def run(sprites_dir: Path, tmp_path: Path):
    """Runs the script with a model that takes one step; returns the results."""
    values, defaults = CONDITIONS | {"relation": RELATIONS}, {"num_inference_steps": 1, "guidance_scale": 1.0}
    tiny_pipeline(channels=4, vocabulary=values, defaults=defaults).save_pretrained(tmp_path / "model")

    def run(*flags: str) -> dict:
        main(["--data_dir", str(sprites_dir), "--model", str(tmp_path / "model"), "--output", str(tmp_path), *flags])
        return json.loads((tmp_path / "references.json").read_text())["results"]

    return run


def test_on_real_sprites(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of shinies is of these sprites only; that of the package is of the whole training split."""
    results = run()
    rows = results["right back nearest"]
    assert rows["chance"]["value"] == 1 / rows["generated"]["n"] and (tmp_path / "sets.png").exists()
    found = {name: each["value"] for name, each in results["shiny"].items()}
    assert found["generated: change of color"] > found["real: change of color"] > 0.05
    assert found["generated: dark pixels that stay dark"] > 0.95
    monkeypatch.setattr(references, "SHINY_TABLE", tmp_path / "shinies.json")
    run("--shinies")
    table = json.loads((tmp_path / "shinies.json").read_text())
    assert table.keys() == {*TYPES} and any(table.values())
    assert all(re.fullmatch("([0-9a-f]{6}){1,3}", each) for row in table.values() for each in row)


def test_creatures_beside_real_pairs(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "STAGES", 2)
    results = run("--creatures", "1")
    assert results["back"]["generated: distance to the reference's palette"]["value"] == 0
    assert results["next stage"]["generated: more foreground"]["n"] == 18
    assert results["back"]["real: shared drawing of at most 0.4"]["value"] > 0.8
    assert results["next stage"]["real: silhouette IoU of at most 0.62"]["value"] > 0.5


def test_a_model_without_references_is_refused(tmp_path: Path, capsys) -> None:
    tiny_pipeline(channels=4).save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit, match="2"):
        main(["--data_dir", "nowhere", "--model", str(tmp_path / "model"), "--output", str(tmp_path)])
    assert "was not trained with reference sprites" in capsys.readouterr().err
