import json
from pathlib import Path
from unittest import mock

import pytest
import torch

from pokemon_ddpm.evaluation import report
from pokemon_ddpm.evaluation.memorization import Nearest
from pokemon_ddpm.evaluation.report import (
    estimate,
    generation_of,
    percent,
    report_text,
    summary,
)
from pokemon_ddpm.preprocessing import as_tensor
from tests.sprite_sets import provenance

PUBLISHED = Path(__file__).parents[2] / "docs" / "results" / "pokemon-ddpm-64"
CARDS = Path(__file__).parents[2] / "pokemon_ddpm" / "released"
NUMBERS = {"class_word": "type", **json.loads((PUBLISHED / "report.json").read_text(encoding="utf-8"))}


ROWS = """
| all samples | train | 512 | 3,273 | 1.54 (1.09 to 1.98) | 0.79 (0.76 to 0.83) | 0.64 (0.60 to 0.68) |
| default output at 32 of 64 px | 404 | 404 | 96 % (94 to 98) |
| images with detached parts | 24 % (20 to 28) | 0.6 % (0 to 1.4) | 2.2 % (1.0 to 3.7) |
| features | 512 | 404 | 3.1 % (1.9 to 5.0) | 2.5 % to 8.4 % | 2.08 | 0 |
| type | 512 | 21 % (18 to 25) | 13 % (10.0 to 16) | 404 | 5.9 % | 14 % |
| fire | 37 | 237 | 15.8 (-10.3 to 42.0) | 8.00 (-13.4 to 29.4) | 31 | 84 % (69 to 92) | 65 % (47 to 79) |
| num_inference_steps | 16 |
"""


def test_the_report_has_the_numbers():
    text = report_text(NUMBERS, [path.name for path in PUBLISHED.glob("*.png")])
    card = (CARDS / "pokemon-ddpm-64" / "README.md").read_text(encoding="utf-8")
    assert "](closest-names.png)" in text
    assert [sentence for sentence in summary(NUMBERS) if sentence not in text or sentence not in card] == []
    assert [row for row in ROWS.strip().splitlines() if row not in text] == []


def test_other_images_have_classes():
    accuracy = NUMBERS["condition_accuracy"]["type"]
    accuracy = {**accuracy, "by_value": {"dog": accuracy["by_value"]["fire"]}}
    numbers = {**NUMBERS, "class_word": "class", "types": {"dog": NUMBERS["types"]["fire"]}}
    numbers["condition_accuracy"] = {"type": accuracy}
    text = report_text(numbers, []).partition("## Settings")[0]
    assert "## Classes" in text and "| class | n |" in text and "**Condition accuracy.** The given class is" in text
    assert not any(word in text for word in ("sprites", "types ", "a type", "by type", "pixel art", "evolution line"))


@pytest.mark.parametrize(
    ("function", "values", "text"),
    [
        (estimate, (0.0812, -0.034, 12.34), "0.081 (-0.034 to 12.3)"),
        (estimate, (5.256, None, None), "5.26"),
        (estimate, (None, None, None), "-"),
        (percent, (0.0288, 0.0224, 0.101), "2.9 % (2.2 to 10)"),
    ],
)
def test_numbers_as_text(function, values, text):
    assert function(dict(zip(("value", "low", "high"), values, strict=True))) == text


def test_how_samples_were_generated():
    known = [provenance(3), provenance(5, condition={"type": None, "color": "red"})]
    found = generation_of(known)
    assert (found["seeds"], found["conditions"]) == ("3 to 5", "type, color")
    assert (found["num_inference_steps"], found["guidance_scale"]) == (2, 1.0)


@pytest.mark.parametrize("sets", [2, 1])
def test_closest_pairs(monkeypatch: pytest.MonkeyPatch, sets: int):
    shown = mock.Mock()
    monkeypatch.setattr(report, "sprite_sheet", shown)
    images, train = (torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8) for count in (5, 9))
    nearest = Nearest(torch.tensor([3.0, 1.0, 2.0, 5.0, 1.0]), torch.tensor([4, 5, 6, 7, 8]))
    names = [f"name {i}" for i in range(9)]
    report.closest_sheet(images, nearest, train if sets == 2 else None, names)
    order, matches = [1, 4, 2, 0, 3], [5, 8, 6, 4, 7]
    cells, columns, labels, *_ = shown.call_args.args
    assert (columns, labels) == (sets, ["1 name 5", "1 name 8", "2 name 6", "3 name 4", "5 name 7"])
    expected = torch.stack([images[order], train[matches]], dim=1)[:, :sets].flatten(0, 1)
    assert torch.equal(as_tensor(cells), expected)
