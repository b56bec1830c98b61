"""References: which images are compared, the measures against closed forms, and runs on real sprites."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import references
from benchmarks.references import Pairs, main, mean_color, nearer, over_lines, pairs_of
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.likeness import color_change
from pokemon_ddpm.vocabulary import CONDITIONS, RELATIONS, TYPES
from tests.tiny_models import tiny_pipeline


def split(rows: list[tuple[int, ...]]) -> SpriteTensors:
    """Of rows of form, form before, game, frame, view (1: back) and finish (1: shiny)."""
    names = ("index", "evolves_from", "game", "frame", "view", "finish")
    labels = {name: torch.tensor(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return SpriteTensors(torch.zeros(len(rows), 4, 8, 8, dtype=torch.uint8), labels)


def sets(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.references.tolist(), pairs.targets.tolist(), strict=True))


def test_a_form_counts_once_with_the_same_game_first() -> None:
    data = split(
        [
            (1, -1, 0, 1, 0, 0),
            (1, -1, 2, 1, 0, 0),
            (1, -1, 2, 1, 1, 0),
            (1, -1, 2, 2, 1, 0),
            (1, -1, 2, 1, 0, 1),
            (2, 1, 0, 1, 0, 0),
            (2, 1, 2, 1, 0, 1),
            (3, 2, 4, 1, 1, 0),
        ]
    )
    assert sets(pairs_of(data, "same", view=1, finish=0)) == [(1, 2)]
    assert sets(pairs_of(data, "same", view=0, finish=1)) == [(1, 4), (5, 6)]
    assert sets(pairs_of(data, "next", view=0, finish=0)) == [(0, 5)]
    assert sets(pairs_of(data, "next", view=1, finish=0)) == [(5, 7)]
    assert sets(pairs_of(data, "same", view=0, finish=0, other_game=True)) == [(1, 0)]
    assert sets(pairs_of(data, "same", view=1, finish=1)) == []


def square(left: int, color: tuple[int, int, int]) -> torch.Tensor:
    """A square of four pixels' width in a sprite of eight."""
    image = torch.tensor([255, 255, 255, 0], dtype=torch.uint8).view(4, 1, 1).repeat(1, 8, 8)
    image[:, 2:6, left : left + 4] = torch.tensor([*color, 255], dtype=torch.uint8).view(4, 1, 1)
    return image[None]


def test_colors_of_squares() -> None:
    black, moved = square(0, (0, 0, 0)), square(2, (255, 255, 255))
    assert color_change(black, moved).item() == pytest.approx(1, abs=1e-3)  # their lightness in OKLab is 0 and 1


def test_intervals_are_of_lines() -> None:
    values, lines = torch.tensor([1.0, 0, 0, 0]).repeat(25), torch.arange(4).repeat(25)
    alone = over_lines(values, torch.arange(100))
    together = over_lines(values, lines)
    assert alone.value == together.value == 0.25 and (together.n, together.m) == (100, 4)
    # The standard error of a share of 100 images is 0.043; four lines, of which one has it, say little.
    assert alone.low == pytest.approx(0.25 - 1.96 * 0.043, abs=0.03)
    assert (together.low, together.high) == (0, 0.75)
    empty = torch.cat([values, torch.tensor([torch.nan])])
    assert over_lines(empty, torch.cat([lines, torch.tensor([9])])) == together


def save_tiny_model(folder: Path) -> None:
    """A model with references that takes one step."""
    vocabulary = {name: list(values) for name, values in CONDITIONS.items()}
    pipeline = tiny_pipeline(channels=4, vocabulary={**vocabulary, "relation": list(RELATIONS)})
    pipeline.register_to_config(num_inference_steps=1, guidance_scale=1.0)
    pipeline.save_pretrained(folder)


def test_nearer_counts_the_other_rows_before_the_own_one() -> None:
    gallery = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    queries = torch.tensor([[0.9, 0.0], [1.1, 0.0], [0.1, 0.0], [5.0, 0.0]])
    assert nearer(queries, gallery, torch.tensor([0, 1, 2, 2])).tolist() == [1, 0, 2, 0]


def test_the_mean_color_of_a_white_square() -> None:
    np.testing.assert_allclose(mean_color(square(2, (255, 255, 255)))[0], [1, 0, 0], atol=1e-3)


def test_on_real_sprites(sprites_dir: Path, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model")
    main(["--data_dir", str(sprites_dir), "--model", str(tmp_path / "model"), "--output", str(tmp_path)])
    results = json.loads((tmp_path / "references.json").read_text())["results"]
    rows = results["right back nearest"]
    assert rows["chance"]["value"] == 1 / rows["generated"]["n"]
    found = {name: each["value"] for name, each in results["shiny"].items()}
    assert found["generated: change of color"] > found["real: change of color"] > 0.05
    assert found["generated: change of color of at least 0.05"] == 1
    assert found["generated: dark pixels that stay dark"] > 0.95
    assert (tmp_path / "sets.png").exists()


def test_the_colors_of_shinies_are_those_of_the_table(sprites_dir: Path, tmp_path: Path, monkeypatch) -> None:
    """Of these sprites only; the table of the package is of the whole training split."""
    save_tiny_model(tmp_path / "model")
    monkeypatch.setattr(references, "SHINY_TABLE", tmp_path / "shinies.json")
    main(["--data_dir", str(sprites_dir), "--model", str(tmp_path / "model"), "--shinies", "--output", str(tmp_path)])
    table = json.loads((tmp_path / "shinies.json").read_text())
    assert table.keys() == {*TYPES} and all(
        re.fullmatch("([0-9a-f]{6}){1,3}", each) for row in table.values() for each in row
    )
    assert any(table.values())


def test_creatures_beside_real_pairs(sprites_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "STAGES", 2)
    save_tiny_model(tmp_path / "model")
    options = ["--creatures", "1", "--data_dir", str(sprites_dir), "--model", str(tmp_path / "model")]
    main([*options, "--output", str(tmp_path / "report")])
    results = json.loads((tmp_path / "report" / "references.json").read_text())["results"]
    assert results["back"]["generated: distance to the reference's palette"]["value"] == 0
    assert results["next stage"]["generated: more foreground"]["n"] == 18
    assert results["back"]["real: shared drawing of at most 0.4"]["value"] > 0.8
    assert results["next stage"]["real: silhouette IoU of at most 0.62"]["value"] > 0.5
    assert (tmp_path / "report" / "sets.png").exists()


def test_a_model_without_references_is_refused(tmp_path: Path, capsys) -> None:
    tiny_pipeline(channels=4).save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit, match="2"):
        main(["--data_dir", "nowhere", "--model", str(tmp_path / "model"), "--output", str(tmp_path)])
    assert "was not trained with reference sprites" in capsys.readouterr().err
