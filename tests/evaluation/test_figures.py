import numpy as np
import pytest
import torch

from pokemon_ddpm.evaluation.figures import closest_pairs_figure, types_figure
from pokemon_ddpm.evaluation.memorization import Nearest


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high, "n": 20}


def test_types_without_a_value_are_left_out():
    types = {
        "bug": {"kid": estimate(0.5, 0.1, 0.9), "floor": estimate(None)},
        "dark": {"kid": estimate(0.0), "floor": estimate(2.0)},
    }
    by_value = {name: {"accuracy": estimate(1.0, 0.8, 1.0), "real": None} for name in types}
    kids, accuracies = types_figure({"types": types, "condition_accuracy": {"type": {"by_value": by_value}}}).axes
    assert [line.get_xdata()[~np.isnan(line.get_xdata())].tolist() for line in kids.lines] == [[0.5, 0.0], [2.0]]
    assert [label.get_text() for label in kids.get_yticklabels()] == ["bug (20)", "dark (20)"]
    ours, real = (line.get_xdata() for line in accuracies.lines)
    assert ours.tolist() == [1.0, 1.0] and np.isnan(real).all()


@pytest.mark.parametrize("sets", [2, 1])
def test_closest_pairs(sets: int):
    images, train = (torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8) for count in (5, 9))
    nearest = Nearest(torch.tensor([3.0, 1.0, 2.0, 5.0, 1.0]), torch.tensor([4, 5, 6, 7, 8]))
    names = [f"name {i}" for i in range(9)]
    axes = closest_pairs_figure(images, nearest, train if sets == 2 else None, names).axes
    order, matches = [1, 4, 2, 0, 3], [5, 8, 6, 4, 7]
    assert [each.get_title() for each in axes[::sets]] == ["1", "1", "2", "3", "5"]
    assert [each.get_xlabel() for each in axes[sets - 1 :: sets]] == [names[i] for i in matches]
    expected = torch.stack([images[order], train[matches]], dim=1)[:, :sets].flatten(0, 1)
    shown = [torch.from_numpy(each.images[0].get_array().data) for each in axes]
    assert torch.equal(torch.stack(shown).permute(0, 3, 1, 2), expected)
