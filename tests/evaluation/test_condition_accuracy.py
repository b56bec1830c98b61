from itertools import product

import pytest
import torch

from pokemon_ddpm.evaluation.condition_accuracy import condition_accuracy, given_values, label_values
from pokemon_ddpm.evaluation.metrics import share
from pokemon_ddpm.vocabulary import TYPES

VALUES = ("fire", "water", "grass")


def table(*rows: str, values: tuple[str, ...] = VALUES) -> torch.Tensor:
    return torch.tensor([[value in row.split() for value in values] for row in rows])


def test_all_given_values_must_be_recognized():
    given = table("fire", "fire", "fire water", "fire water", "water", "", "grass")
    predicted = table("fire grass", "water", "fire water", "fire", "water", "fire", "grass")
    found = condition_accuracy(VALUES, predicted, given)
    assert found["accuracy"] == share(4, 6)
    by_value = {value: each["accuracy"] for value, each in found["by_value"].items()}
    assert by_value == {"fire": share(3, 4), "water": share(2, 3), "grass": share(1, 1)}
    assert found["real"] is found["by_value"]["fire"]["real"] is None


def test_chance_and_majority_by_brute_force():
    generator = torch.Generator().manual_seed(0)
    predicted, given = (torch.rand(40, 5, generator=generator) < 0.4 for _ in range(2))
    found = condition_accuracy(TYPES[:5], predicted, given)
    seen, wanted = (
        [set(row.nonzero().flatten().tolist()) for row in each[given.any(dim=1)]] for each in (predicted, given)
    )
    assert found["accuracy"] == share(sum(b <= a for a, b in zip(seen, wanted, strict=True)), len(wanted))
    assert found["chance"] == pytest.approx(sum(b <= a for a, b in product(seen, wanted)) / len(wanted) ** 2)
    frequent = sorted(range(5), key=lambda k: -sum(k in each for each in wanted))[: max(map(len, wanted))]
    assert found["majority"] == pytest.approx(sum(each <= set(frequent) for each in wanted) / len(wanted))


def test_accuracy_in_real_images():
    given = table("fire", "fire", "fire", "water")
    labels = table("fire", "fire", "water grass", "water", "", "grass")
    predicted = table("fire", "water", "water", "water", "fire", "grass")
    found = condition_accuracy(VALUES, given, given, (predicted, labels))
    assert found["real"] == share(3, 5)
    assert [found["by_value"][value]["real"] for value in ("fire", "water")] == [share(1, 2), share(2, 2)]
    missing = condition_accuracy(VALUES, table("grass"), table("grass"), (predicted[:2], labels[:2]))
    assert missing["by_value"]["grass"]["real"].n == 0


def test_given_values():
    values = {"type": VALUES, "legendary": ("no", "yes")}
    conditions = [
        {"type": "fire"},
        {"type": ["water", "grass"], "legendary": "yes"},
        {"type": ("grass", "none"), "legendary": "no"},
        {"type": "any", "view": "front"},
        {"type": None},
    ]
    given = given_values(conditions, values)
    assert torch.equal(given["type"], table("fire", "water grass", "grass", "", ""))
    assert torch.equal(given["legendary"], table("", "yes", "no", "", "", values=values["legendary"]))


def test_label_values():
    types = torch.tensor([[0, 3], [2, 1], [-1, -1], [1, 4]])  # 3 is `none`, 4 is `any`
    assert torch.equal(label_values(types, 3), table("fire", "water grass", "", "water"))
    assert torch.equal(label_values(torch.tensor([2, -1, 3]), 3), table("grass", "", ""))
