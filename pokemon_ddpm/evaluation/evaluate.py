"""Everything that is measured of a set of samples: by features, by a two-sample test, and by statistics of pixels."""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation import metrics
from pokemon_ddpm.evaluation.features import SpriteFeatures, extract_features, predict
from pokemon_ddpm.evaluation.images import GeneratedSets, SampleSet, as_rgba, default_output, random_rows, reduced
from pokemon_ddpm.evaluation.memorization import Nearest, memorization, nearest_by_features, nearest_by_pixels
from pokemon_ddpm.evaluation.metrics import Estimate, averages, given_values, kid, label_values, wasserstein
from pokemon_ddpm.evaluation.two_sample import lines_of, two_sample_test
from pokemon_ddpm.evaluation.variety import BodyProbe, effective_number, variety
from pokemon_ddpm.preprocessing import over_white

COMPARED_SIDE = 32  # to which larger images are reduced too, so that models of different resolutions compare


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a set of samples.

    Attributes:
        numbers: As in report.json:
            "distances": See `comparisons`; empty without a network, as what follows but for the names of types.
            "memorization": "pixels" and, with a network, "features" -> see `memorization`.
            "condition_accuracy": Attribute -> see `condition_accuracy`; empty without conditions.
            "types": Type that samples are conditioned on -> KID to the training images that have it: "kid" of these
                samples and "floor" of the held-out images that have it.
        nearest: The training images that are nearest to the samples by pixels.
    """

    numbers: dict[str, Any]
    nearest: Nearest


def as_json(value: Any) -> Any:
    """Dataclasses as dicts, and None for numbers that are not finite."""
    return json.loads(json.dumps(value, default=dataclasses.asdict), parse_constant=lambda _: None)


def evaluate(
    samples: SampleSet,
    train: SpriteTensors,
    held_out: SpriteTensors,
    all_train: SpriteTensors,
    network: SpriteFeatures | None,
    seed: int = 0,
) -> Evaluation:
    """Compares samples with training and held-out images of the same resolution and classes, at least four of each.

    All images are RGB on white.

    Args:
        all_train: Images among which memorized ones are searched: `train`, or more if the model was trained on more.
        network: For distances and the condition accuracy, with the classes of the images; None to leave these out.
        seed: Of subsets.
    """
    nearest = [nearest_by_pixels(each.images, all_train.images) for each in (samples, held_out)]
    found_memorization = {"pixels": memorization(*(each.distance for each in nearest))}
    distances, accuracies, types = [], {}, dict.fromkeys(train.type_names, {})
    if network is not None:
        types, given = {}, given_values(samples.conditions, network.vocabulary)
        sets = tqdm((samples, train, held_out, all_train), "Features")
        of_samples, of_train, of_held_out, searched = (extract_features(network, each.images) for each in sets)
        found_memorization["features"] = memorization(
            *(
                nearest_by_features(features, extract_features(network, each.images.flip(-1)), searched).distance
                for each, features in ((samples, of_samples), (held_out, of_held_out))
            )
        )
        real_types = [label_values(data.labels["type"], len(train.type_names)) for data in (held_out, train)]
        for k, name in enumerate(train.type_names):
            sets = zip((of_samples, of_held_out, of_train), (given["type"], *real_types), strict=True)
            ours, floor, real = (features[has[:, k]] for features, has in sets)
            if len(ours):
                types[name] = {"kid": _if_enough(kid, ours, real, seed), "floor": _if_enough(kid, floor, real, seed)}
        distances = comparisons(of_samples, of_train, of_held_out, seed)
        accuracies = _condition_accuracies(samples, given, held_out, network)
    numbers = {"distances": distances, "memorization": found_memorization}
    numbers |= {"condition_accuracy": accuracies, "types": types}
    return Evaluation(as_json(numbers), nearest[0])


def comparisons(samples: torch.Tensor, train: torch.Tensor, held_out: torch.Tensor, seed: int) -> list[dict[str, Any]]:
    """Metrics of features of samples beside training and held-out images, and of these beside each other.

    All but KID depend on the number of images, so the last three rows use equally many: as many as there are samples
    or held-out images, whichever are fewer. The sets are features, float32 (N, D), of at least four images.

    Returns:
        "name" and "to" ("train" or "held-out") of both sets, and an `Estimate` by the name of each metric.
    """
    count = min(len(samples), len(held_out))
    few_samples, few_train, few_held_out = (
        each[random_rows(len(each), min(count, len(each)), seed).sort().values] for each in (samples, train, held_out)
    )
    pairs = [
        ("all samples", samples, "train", train),
        ("all samples", samples, "held-out", held_out),
        ("held-out", few_held_out, "train", train),
        ("samples", few_samples, "held-out", held_out),
        ("train", few_train, "held-out", held_out),
    ]
    found = []
    for name, one, to, other in pairs:
        precision, recall = metrics.precision_recall(one, other, seed)
        others = {each.__name__: each(one, other, seed) for each in (kid, metrics.frechet, wasserstein)}
        found.append({"name": name, "to": to, **others, "precision": precision, "recall": recall})
    return found


def _condition_accuracies(
    samples: SampleSet, given: dict[str, torch.Tensor], held_out: SpriteTensors, network: SpriteFeatures
) -> dict[str, dict[str, Any]]:
    """Of each attribute that samples are conditioned on."""
    found = {}
    predicted, real = (predict(network, data.images) for data in (samples, held_out))
    for name, values in network.vocabulary.items():
        if given[name].any():
            ids = held_out.labels.get(name)
            of_real = None if ids is None else (real[name], label_values(ids, len(values)))
            found[name] = metrics.condition_accuracy(values, predicted[name], given[name], of_real)
    return found


def _if_enough(metric: Callable[..., Estimate], samples: torch.Tensor, reference: torch.Tensor, seed: int) -> Estimate:
    """A metric; NaN of fewer than two rows."""
    n, m = len(samples), len(reference)
    return metric(samples, reference, seed) if min(n, m) > 1 else Estimate(math.nan, math.nan, math.nan, n, m)


def evaluate_variety(
    sets: GeneratedSets, train: SpriteTensors, network: SpriteFeatures | None, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Variety within a type of samples beside as many training images, all as `default_output`.

    Args:
        sets: The samples, as generated.
        train: The training images, as the model was trained on.
        network: For "rke"; None to leave it out.
        seed: Of the choice of training images and of bootstraps.

    Returns:
        Name of the images -> "near", "overlap", "color" and "rke": means over types, see `variety` and `averages`;
        and "n", the number of images.
    """
    has, names = label_values(train.labels["type"], len(train.type_names)), train.type_names
    alone, given = (given_values(each.conditions, {"type": names})["type"] for each in (sets.alone, sets.samples))
    order = random_rows(len(train), len(train), seed)
    chosen = [order[has[order, k]][: alone[:, k].sum()] for k in range(len(names))]
    real = torch.arange(len(names)).repeat_interleave(torch.tensor([*map(len, chosen)]))
    rows = sets.rows.unique()  # more samples than training images repeat conditions
    compared = {
        "by type alone": (sets.alone.images, alone),
        "real": (train.images[torch.cat(chosen)], torch.nn.functional.one_hot(real, len(names)).bool()),
        "by conditions of training images": (sets.samples.images, given),
        "these images": (train.images[rows], has[rows]),
    }
    found = {}
    for name, (images, has) in compared.items():
        images = default_output(images)
        features = None if network is None else extract_features(network, over_white(images))
        types = [own for own in has.T if own.sum() > 1]
        of_types = [variety(images[own], None if features is None else features[own]) for own in types]
        figures = {key: np.array([each[key] for each in of_types]) for key in ("near", "overlap", "color", "rke")}
        found[name] = {**averages(figures, seed), "n": len(images)}
    return as_json(found)


def count_bodies(sets: GeneratedSets, held_out: SpriteTensors, probe: BodyProbe, seed: int = 0) -> dict[str, Any]:
    """Kinds of body of equally many samples and held-out images, all as `default_output`.

    Training images would be seen more surely, since the probe learned from them.

    Returns:
        Name of the images -> "shares", body -> share; "effective", see `effective_number`; and "n".
    """
    compared = {
        "by type alone": sets.alone.images,
        "by conditions of training images": sets.samples.images,
        "held-out": held_out.images,
    }
    n, found = min(map(len, compared.values())), {}
    for name, images in compared.items():
        shares = probe.shares(default_output(images[random_rows(len(images), n, seed)]))
        effective = float(effective_number(np.array([*shares.values()])))
        found[name] = {"shares": shares, "effective": effective, "n": n}
    return found


def evaluate_pixels(
    samples: torch.Tensor,
    others: torch.Tensor,
    train: SpriteTensors,
    held_out: SpriteTensors,
    rows: torch.Tensor,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Compares raw samples and the default output, see `default_output`, with real images prepared alike.

    Args:
        samples: uint8 (N, C, S, S), with the conditions of training images; the classifier is trained on them.
        others: Other samples, uint8 (M, C, S, S), with the conditions of held-out images.
        rows: int64 (M,), the held-out images whose conditions they have.
        seed: Of subsets, of the two-sample classifier and of bootstraps.
        device: To train the two-sample classifier on.

    Returns:
        As in report.json: "two_sample", name of the images -> "accuracy", see `two_sample_test`; and
        "pixel_statistics", name of the images -> see `averages`; and "colors", name of the images -> `wasserstein`
        distance of `pixel_colors` to those of held-out images.
    """
    few = random_rows(len(train), min(len(train), len(samples)), seed)
    sets = [train.images[few], samples, held_out.images, others]
    output = [default_output(images) for images in sets]
    compared = {"raw": sets, "default output": output}
    if (side := samples.shape[-1]) > COMPARED_SIDE:
        few_pixels = [reduced(images, COMPARED_SIDE) for images in output]
        compared[f"default output at {COMPARED_SIDE} of {side} px"] = few_pixels
    statistics = {"raw samples": as_rgba(samples), "default output": output[1], "held-out": as_rgba(held_out.images)}
    pixels = {name: averages(metrics.pixel_statistics(each), seed) for name, each in statistics.items()}
    lines = lines_of(held_out)
    lines = torch.cat([lines, lines[rows]])
    accuracies = {name: two_sample_test(*each, lines, seed, device) for name, each in compared.items()}
    few_colors, sample_colors, real_colors = (metrics.pixel_colors(images, seed) for images in output[:3])
    distances = {"samples": sample_colors, "train": few_colors}
    distances = {name: _if_enough(wasserstein, each, real_colors, seed) for name, each in distances.items()}
    two_sample = {name: {"accuracy": each} for name, each in accuracies.items()}
    return as_json({"two_sample": two_sample, "pixel_statistics": pixels, "colors": distances})
