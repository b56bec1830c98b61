"""What the network for sprites is worth: what it recognises in held-out pictures, and what its distances notice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.corruptions import CORRUPTIONS
from pokemon_ddpm.evaluation.distances import fid, kid
from pokemon_ddpm.evaluation.obedience import label_words
from pokemon_ddpm.evaluation.protocols import AttributeClassifier, FeatureExtractor, extract_features, predict
from pokemon_ddpm.plotting import BLUE, GRID, VERMILION, plain
from pokemon_ddpm.vocabulary import FINISHES, VIEWS

STRENGTHS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
IN_FRONT = ("type, likeliest", "types, micro F1", "types, macro F1", "color", "shape")  # told of `fronts`, too
TITLES = {
    "blur": "blur",
    "posterise": "few levels",
    "shuffle_patches": "patches shuffled",
    "add_noise": "noise",
    "swap_palette": "palette swapped",
}


@dataclass(frozen=True)
class Accuracy:
    """How often something is recognised.

    Attributes:
        value: The figure, in [0, 1].
        chance: The same figure, on average, if the same answers are given to the pictures in another order.
        majority: The same figure if the training split's commonest word is answered to all pictures.
        n: Pictures that have a label.
    """

    value: float
    chance: float
    majority: float
    n: int


@dataclass(frozen=True)
class Point:
    """Distances at one strength of a corruption.

    Attributes:
        strength: In [0, 1].
        kid: KID from the corrupted held-out pictures to the training pictures.
        kid_low: Lower end of its 95 % interval.
        kid_high: Upper end.
        fid: The Fréchet distance of the same features.
    """

    strength: float
    kid: float
    kid_low: float
    kid_high: float
    fid: float


def accuracies(
    classifier: AttributeClassifier, train_labels: Mapping[str, torch.Tensor], data: SpriteTensors
) -> dict[str, Accuracy]:
    """What is recognised in held-out pictures.

    Args:
        classifier: The network.
        train_labels: Of the training split, for the commonest words.
        data: The held-out pictures.

    Returns:
        "type, likeliest": how often the likeliest type is one of the picture's. "types, micro F1" and "types, macro
        F1" of the sets that `predict` finds, the latter over the types that occur. And for every other attribute, by
        name, how often its word is right. Attributes that no picture has a label of are left out.
    """
    found, answers = {}, predict(classifier, data.images)
    logits = torch.cat([classifier(part)["type"].cpu() for part in data.images.split(64)])
    for name, words in classifier.words.items():
        count = len(words)
        if name not in data.labels:
            continue
        truth = label_words(data.labels[name].cpu(), count)
        known = truth.any(dim=1)
        truth, answer = truth[known], answers[name][known]
        if not len(truth):
            continue
        commonest = int(label_words(train_labels[name].cpu(), count).sum(dim=0).argmax())
        majority = torch.nn.functional.one_hot(torch.full((len(truth),), commonest), count).bool()
        if name != "type":
            found[name] = _hits(answer, truth, majority)
            continue
        likeliest = torch.nn.functional.one_hot(logits[known].argmax(dim=1), count).bool()
        found["type, likeliest"] = _hits(likeliest, truth, majority)
        found["types, micro F1"] = _f1(answer, truth, majority, macro=False)
        found["types, macro F1"] = _f1(answer, truth, majority, macro=True)
    return found


def fronts(data: SpriteTensors) -> SpriteTensors:
    """The pictures in front view that are not shiny."""
    rows = (data.labels["view"] == VIEWS.index("front")) & (data.labels["finish"] == FINISHES.index("normal"))
    return data.rows(rows)


def corruption_curves(
    extractor: FeatureExtractor,
    train: torch.Tensor,
    held_out: torch.Tensor,
    strengths: tuple[float, ...] | None = None,
) -> dict[str, list[Point]]:
    """Distances of training pictures to held-out ones that are made worse and worse.

    Args:
        extractor: The network.
        train: uint8 (N, 3, S, S).
        held_out: uint8 (M, 3, S, S), of other evolution lines.
        strengths: Rising from 0; `STRENGTHS` if not given.

    Returns:
        Corruption -> its points, in the order of the strengths.
    """
    reference = extract_features(extractor, train)
    curves: dict[str, list[Point]] = {name: [] for name in CORRUPTIONS}
    for name, corrupt in CORRUPTIONS.items():
        for strength in STRENGTHS if strengths is None else strengths:
            features = extract_features(extractor, corrupt(held_out, strength, 0))
            near, frechet = kid(features, reference), fid(features, reference, num_bootstraps=0)
            curves[name].append(Point(strength, near.value, near.low, near.high, frechet.value))
    return curves


def rises(points: list[Point], figure: str = "kid") -> bool:
    """Whether a distance grows with every step of the strength; `figure` is "kid" or "fid"."""
    values = [getattr(point, figure) for point in points]
    return all(one < other for one, other in zip(values, values[1:], strict=False))


def curves_figure(curves: Mapping[str, list[Point]]) -> Figure:
    """KID, with its interval, and FID against strength: a panel for each corruption."""
    figure = Figure(figsize=(2.5 * len(curves), 5.2), layout="constrained")
    panels = figure.subplots(2, len(curves), sharex=True, sharey="row", squeeze=False)
    for column, (name, points) in enumerate(curves.items()):
        strengths = [point.strength for point in points]
        upper, lower = (plain(axes) for axes in panels[:, column])
        upper.fill_between(
            strengths, [point.kid_low for point in points], [point.kid_high for point in points], color=BLUE, alpha=0.2
        )
        upper.plot(strengths, [point.kid for point in points], "o-", color=BLUE, markersize=4)
        lower.plot(strengths, [point.fid for point in points], "s-", color=VERMILION, markersize=4)
        upper.set_title(TITLES.get(name, name), fontsize=11)
        lower.set_xlabel("strength", fontsize=10)
        # Damage that can hardly be seen and damage that leaves nothing are a thousandfold apart.
        upper.set_yscale("symlog", linthresh=0.1)
        lower.set_yscale("log")
        for axes in (upper, lower):
            axes.grid(axis="y", color=GRID)
    panels[0, 0].set_ylabel("KID to training pictures", fontsize=10)
    panels[1, 0].set_ylabel("Fréchet distance", fontsize=10)
    return figure


def _hits(answer: torch.Tensor, truth: torch.Tensor, majority: torch.Tensor) -> Accuracy:
    """Of answers of one word each; all bool (N, K)."""
    chance = float((answer.double().mean(dim=0) * truth.double().mean(dim=0)).sum())
    return Accuracy(_share(answer & truth), chance, _share(majority & truth), len(truth))


def _share(right: torch.Tensor) -> float:
    return float(right.any(dim=1).double().mean())


def _f1(answer: torch.Tensor, truth: torch.Tensor, majority: torch.Tensor, macro: bool) -> Accuracy:
    given, real = answer.double().sum(dim=0), truth.double().sum(dim=0)
    values = [
        _f1_of(both, of_answer.double().sum(dim=0), real, macro)
        for both, of_answer in (
            ((answer & truth).double().sum(dim=0), answer),
            (given * real / len(truth), answer),  # how many agree, on average over the orders
            ((majority & truth).double().sum(dim=0), majority),
        )
    ]
    return Accuracy(*values, len(truth))


def _f1_of(both: torch.Tensor, given: torch.Tensor, real: torch.Tensor, macro: bool) -> float:
    """2 both / (given + real), of all words together or as a mean over the words that occur; all (K,)."""
    if not macro:
        return float(2 * both.sum() / (given.sum() + real.sum()))
    occurs = real > 0
    return float((2 * both / (given + real))[occurs].mean()) if occurs.any() else math.nan
