"""Accuracy of recognized values: in samples, which were conditioned on them, and in real images, which have them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pokemon_ddpm.evaluation.metrics import Share, share


def given_values(
    conditions: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, Sequence[str]]
) -> dict[str, torch.Tensor]:
    """The values that N samples were conditioned on, of the K values of each attribute in the vocabulary.

    Args:
        conditions: Of each sample, attribute -> a value, or a pair of types.

    Returns:
        Attribute -> bool (N, K). `none` and `any` count as no value.
    """
    given = {}
    for attribute, known in vocabulary.items():
        table = given[attribute] = torch.zeros(len(conditions), len(known), dtype=torch.bool)
        for row, condition in enumerate(conditions):
            value = condition.get(attribute)
            for name in value if isinstance(value, (list, tuple)) else [value]:
                if name in known:
                    table[row, known.index(name)] = True
    return given


def label_values(ids: torch.Tensor, count: int) -> torch.Tensor:
    """Bool (N, `count`) from the ids of values, int64 (N,) or for types (N, 2); other ids count as no value."""
    ids = ids.view(len(ids), -1)
    known = torch.where((ids >= 0) & (ids < count), ids, count)
    return torch.zeros(len(ids), count + 1, dtype=torch.bool).scatter_(1, known, True)[:, :count]


def condition_accuracy(
    values: Sequence[str],
    predicted: torch.Tensor,
    given: torch.Tensor,
    real: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> dict[str, Any]:
    """Condition accuracy of one attribute with K values: shares in which all given values are recognized.

    Args:
        predicted: Bool (N, K), see `predict`.
        given: Bool (N, K), see `given_values`. Samples without a value are left out; at least one sample has one.
        real: What is predicted of real images and what they have, both bool (M, K), see `label_values`.

    Returns:
        "accuracy": `Share` of the samples.
        "real": `Share` of the real images that have a label; None without real images.
        "chance": Of all pairs of a sample and the condition of any sample. A model that ignores conditions reaches it.
        "majority": Of the samples, if only the values given most often were recognized in all of them; as many values
            as the longest condition has.
        "by_value": For each given value, the shares in which it is recognized: "accuracy" of the samples conditioned
            on it, "real" of the real images that have it.
    """
    conditioned = given.any(dim=1)
    predicted, given = predicted[conditioned], given[conditioned]
    counts = given.sum(dim=0)
    by_value = {
        value: {
            "accuracy": _share(predicted[given[:, k], k]),
            "real": real and _share(real[0][real[1][:, k], k]),
        }
        for k, value in enumerate(values)
        if counts[k]
    }
    most_given = torch.zeros(len(values), dtype=torch.bool)
    most_given[counts.sort(descending=True, stable=True).indices[: given.sum(dim=1).max()]] = True
    different, occurrences = given.unique(dim=0, return_counts=True)
    missing = different.double() @ (~predicted).double().T  # values of a condition that are not predicted
    return {
        "accuracy": _share((predicted | ~given).all(dim=1)),
        "real": real and _share((real[0] | ~real[1]).all(dim=1)[real[1].any(dim=1)]),
        "chance": float((occurrences * (missing == 0).sum(dim=1)).sum()) / len(given) ** 2,
        "majority": _share((most_given | ~given).all(dim=1)).value,
        "by_value": by_value,
    }


def _share(hits: torch.Tensor) -> Share:
    return share(int(hits.sum()), len(hits))
