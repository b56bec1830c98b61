"""Whether samples show what they were asked for, as a classifier sees them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pokemon_ddpm.evaluation.intervals import Share, share
from pokemon_ddpm.vocabulary import ANY, NONE, nearest


@dataclass(frozen=True)
class WordObedience:
    """How a word, such as a type, is obeyed.

    Attributes:
        obeyed: Of the samples asked for it, the share in which it is seen.
        real: Of the real pictures that have it, the share in which it is seen: what is within reach. None where no
            real pictures were given.
        chance: The share of all samples asked for anything in which it is seen: what a model shows that does not
            listen.
    """

    obeyed: Share
    real: Share | None
    chance: float


@dataclass(frozen=True)
class Obedience:
    """How an attribute is obeyed.

    Attributes:
        obeyed: Of the samples asked for words of it, the share in which all of these are seen.
        real: The same of real pictures, asked for all words that they have, two types mostly; None without.
        within_reach: What real pictures reach at the words that the samples were asked for, in their numbers; NaN
            without real pictures, or if one of the words has none. It compares with samples asked for one word each.
        chance: The share obeyed if every sample is judged by what another, any of them or itself, was asked for: what
            a model reaches that does not listen. A classifier that sees every word in all is found out by it.
        majority: The share obeyed if the same words were seen in all: those asked for most, as many of them as the
            longest request has.
        by_word: The words that some sample was asked for.
    """

    obeyed: Share
    real: Share | None
    within_reach: float
    chance: float
    majority: float
    by_word: dict[str, WordObedience]


def obedience(
    words: Sequence[str],
    predicted: torch.Tensor,
    asked: torch.Tensor,
    real_predicted: torch.Tensor | None = None,
    real_labels: torch.Tensor | None = None,
) -> Obedience:
    """Measures how one attribute is obeyed.

    Args:
        words: The K words of the attribute.
        predicted: Bool (N, K), what is seen in the samples; see `pokemon_ddpm.evaluation.protocols.predict`.
        asked: Bool (N, K), what they were asked for; see `asked_words`. Samples asked for nothing do not count.
        real_predicted: Bool (M, K), what is seen in real held-out pictures.
        real_labels: Bool (M, K), what they have; see `label_words`. Pictures without a label do not count.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check(words, predicted, asked)
    listening = asked.any(dim=1)
    predicted, asked = predicted[listening], asked[listening]
    counts = asked.sum(dim=0)
    real, by_real_word = None, {}
    if real_predicted is not None and real_labels is not None:
        _check(words, real_predicted, real_labels)
        labelled = real_labels.any(dim=1)
        real = _share((real_predicted | ~real_labels).all(dim=1)[labelled])
        by_real_word = {word: _share(real_predicted[real_labels[:, k], k]) for k, word in enumerate(words)}
    by_word = {
        word: WordObedience(_share(predicted[asked[:, k], k]), by_real_word.get(word), _mean(predicted[:, k]))
        for k, word in enumerate(words)
        if counts[k]
    }
    longest = int(asked.sum(dim=1).max()) if len(asked) else 0
    commonest = torch.zeros(len(words), dtype=torch.bool)
    commonest[counts.sort(descending=True, stable=True).indices[:longest]] = True
    reached = [(each.obeyed.n, each.real.value) for each in by_word.values() if each.real is not None]
    return Obedience(
        obeyed=_share((predicted | ~asked).all(dim=1)),
        real=real,
        within_reach=sum(n * value for n, value in reached) / sum(n for n, _ in reached) if reached else math.nan,
        chance=_chance(predicted, asked),
        majority=_mean((commonest | ~asked).all(dim=1)),
        by_word=by_word,
    )


def asked_words(
    conditions: Sequence[Mapping[str, Any] | None], words: Mapping[str, Sequence[str]]
) -> dict[str, torch.Tensor]:
    """What samples were asked for.

    Args:
        conditions: Of each sample, attribute -> what was asked, as `pokemon_ddpm.provenance` keeps it: a word, its
            number, a truth value for `legendary`, of types also "fire/flying" or a pair. None for nothing.
        words: Attribute -> its words.

    Returns:
        Attribute -> bool (N, K). `none` ("fire/none") and `any` ask for no word, and neither does a blend of types,
        which has no right answer.

    Raises:
        ValueError: If a word is unknown.
    """
    asked = {
        attribute: torch.zeros(len(conditions), len(names), dtype=torch.bool) for attribute, names in words.items()
    }
    for row, condition in enumerate(conditions):
        for attribute, value in (condition or {}).items():
            if attribute in words:
                for k in _places(attribute, value, words[attribute]):
                    asked[attribute][row, k] = True
    return asked


def label_words(ids: torch.Tensor, count: int) -> torch.Tensor:
    """Bool (N, K) of the ids of words, int64 (N,) or, of types, (N, 2); what is no word (-1, `none`, `any`) is none.

    Args:
        ids: As in `SpriteTensors.labels`.
        count: K.
    """
    ids = ids.view(len(ids), -1)
    known = torch.where((ids >= 0) & (ids < count), ids, count)
    return torch.zeros(len(ids), count + 1, dtype=torch.bool).scatter_(1, known, True)[:, :count]


def _places(attribute: str, value: Any, names: Sequence[str]) -> list[int]:
    if value is None or isinstance(value, Mapping):
        return []
    if isinstance(value, bool):
        value = "yes" if value else "no"
    parts = value if isinstance(value, list | tuple) else value.split("/") if isinstance(value, str) else [value]
    lowered, places = [name.lower() for name in names], []
    for part in parts:
        word = str(part).strip().lower()
        if isinstance(part, int) and 0 <= part < len(names):
            places.append(part)
        elif word in lowered:
            places.append(lowered.index(word))
        elif word not in (NONE, ANY):
            raise ValueError(
                f"A sample was asked for the {attribute} {part!r}, which is unknown. {nearest(word, names)}"
            )
    return places


def _chance(predicted: torch.Tensor, asked: torch.Tensor) -> float:
    """The share of all pairs of a request and a picture in which the picture obeys; see `Obedience`."""
    if not len(asked):
        return math.nan
    requests, counts = asked.unique(dim=0, return_counts=True)
    unseen = requests.double() @ (~predicted).double().T  # how many words of a request are not seen in a picture
    return float((counts * (unseen == 0).sum(dim=1)).sum()) / len(asked) ** 2


def _share(hits: torch.Tensor) -> Share:
    return share(int(hits.sum()), len(hits))


def _mean(hits: torch.Tensor) -> float:
    return float(hits.double().mean())


def _check(words: Sequence[str], predicted: torch.Tensor, asked: torch.Tensor) -> None:
    shape = (len(asked), len(words))
    for name, table in (("seen", predicted), ("asked for", asked)):
        if table.dtype != torch.bool or table.shape != shape:
            raise ValueError(f"What is {name} must be bool {shape}, but is {table.dtype} {tuple(table.shape)}.")
