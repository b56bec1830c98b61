"""Backs, shinies and next stages of real fronts: the measures against closed forms, and a run on real sprites."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.references import main, mean_color, nearer
from tests.evaluation.test_creatures import save_tiny_model, square
from tests.tiny_models import tiny_pipeline


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
    assert results["shiny"]["real: change of color"]["value"] > 0.05
    assert (tmp_path / "sets.png").exists()


def test_a_model_without_references_is_refused(tmp_path: Path, capsys) -> None:
    tiny_pipeline(channels=4).save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit, match="2"):
        main(["--data_dir", "nowhere", "--model", str(tmp_path / "model"), "--output", str(tmp_path)])
    assert "was not trained with reference sprites" in capsys.readouterr().err
