"""Everything that is measured of a set of samples: distances, memorization, condition accuracy, and KID by type."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.comparison import (
    CorruptionPoint,
    Distances,
    MeasuredImages,
    comparisons,
    corruption_curves,
    measure_images,
)
from pokemon_ddpm.evaluation.condition_accuracy import (
    ConditionAccuracy,
    condition_accuracy,
    given_values,
    label_values,
)
from pokemon_ddpm.evaluation.features import AttributeClassifier, FeatureExtractor, extract_features, predict
from pokemon_ddpm.evaluation.memorization import (
    Memorization,
    Nearest,
    memorization,
    nearest_by_features,
    nearest_by_pixels,
)
from pokemon_ddpm.evaluation.metrics import NUM_BOOTSTRAPS, Estimate, kid_by_value
from pokemon_ddpm.evaluation.samples import SampleSet


@dataclass(frozen=True)
class TypeDistance:
    """KID to the training images that have a type.

    Attributes:
        kid: Of the samples conditioned on the type.
        floor: Of the held-out images that have it.
    """

    kid: Estimate
    floor: Estimate


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a set of samples.

    Attributes:
        distances: Between two sets, by their names; see `comparisons`.
        curves: Corruption -> distances of corrupted held-out images to the training images.
        memorization: By "pixels" and by "features".
        nearest: The nearest training image of each sample, by the same.
        held_out_nearest: The nearest training image of each held-out image, by the same.
        condition_accuracy: By attribute; empty without conditions or without a classifier.
        types: By type that samples are conditioned on.
    """

    distances: dict[tuple[str, str], Distances]
    curves: dict[str, list[CorruptionPoint]]
    memorization: dict[str, Memorization]
    nearest: dict[str, Nearest]
    held_out_nearest: dict[str, Nearest]
    condition_accuracy: dict[str, ConditionAccuracy]
    types: dict[str, TypeDistance]

    def numbers(self) -> dict[str, Any]:
        """The numbers as in report.json."""
        found = {
            "distances": [{"name": name, "to": to, **as_json(d)} for (name, to), d in self.distances.items()],
            "corruptions": self.curves,
            "memorization": {by: {**as_json(m), "memorizes": m.memorizes} for by, m in self.memorization.items()},
            "condition_accuracy": self.condition_accuracy,
            "types": self.types,
        }
        return as_json(found)


def as_json(value: Any) -> Any:
    """Dataclasses as dicts, and None for numbers that are not finite."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def evaluate(
    samples: SampleSet,
    train: SpriteTensors,
    held_out: SpriteTensors,
    extractor: FeatureExtractor,
    classifier: AttributeClassifier | None = None,
    seed: int = 0,
    num_bootstraps: int = NUM_BOOTSTRAPS,
    all_train: SpriteTensors | None = None,
) -> Evaluation:
    """Compares samples with training images and held-out images of the same resolution and classes.

    Args:
        samples: Four or more.
        train: The training images.
        held_out: Four or more.
        extractor: For distances.
        classifier: For the condition accuracy, with the classes of the images; None to leave it out.
        seed: Of subsets, projections and bootstraps.
        num_bootstraps: See `basic_bootstrap`.
        all_train: Images among which memorized ones are searched, if the model was trained on more than `train`.

    Raises:
        ValueError: If a sample has an unknown condition.
    """
    vocabulary = {"type": train.type_names, **(classifier.vocabulary if classifier else {})}
    given = given_values(samples.conditions, vocabulary)
    sets = tqdm((samples.images, train.images, held_out.images), "Features")
    of_samples, of_train, of_held_out = (measure_images(extractor, images) for images in sets)
    pairs = comparisons(of_samples, of_train, of_held_out, extractor, seed, num_bootstraps)
    searched = train if all_train is None else all_train
    features = extract_features(extractor, searched.images)
    nearest, held_out_nearest = (
        {
            "pixels": nearest_by_pixels(each.images, searched.images, desc="Nearest training images"),
            "features": nearest_by_features(
                each.features, extract_features(extractor, each.images.flip(-1)), features
            ),
        }
        for each in (of_samples, of_held_out)
    )
    return Evaluation(
        distances=dict(tqdm(pairs, "Distances")),
        curves=corruption_curves(extractor, of_train.features, held_out.images),
        memorization={by: memorization(nearest[by].distance, held_out_nearest[by].distance) for by in nearest},
        nearest=nearest,
        held_out_nearest=held_out_nearest,
        condition_accuracy=_condition_accuracy(samples, given, held_out, classifier) if classifier else {},
        types=_types(of_samples, given["type"], (train, of_train), (held_out, of_held_out), seed),
    )


def _condition_accuracy(
    samples: SampleSet, given: Mapping[str, torch.Tensor], held_out: SpriteTensors, classifier: AttributeClassifier
) -> dict[str, ConditionAccuracy]:
    """Of each attribute that samples are conditioned on."""
    found = {}
    predicted, real = (predict(classifier, data.images) for data in (samples, held_out))
    for name, values in classifier.vocabulary.items():
        if given[name].any():
            ids = held_out.labels.get(name)
            labels = None if ids is None else (real[name], label_values(ids.cpu(), len(values)))
            found[name] = condition_accuracy(values, predicted[name], given[name], labels)
    return found


def _types(
    of_samples: MeasuredImages,
    given: torch.Tensor,
    train: tuple[SpriteTensors, MeasuredImages],
    held_out: tuple[SpriteTensors, MeasuredImages],
    seed: int,
) -> dict[str, TypeDistance]:
    """Of each type that samples are conditioned on; `given` is bool (N, K)."""
    names = train[0].type_names
    labels, real = (label_values(data.labels["type"].cpu(), len(names)) for data, _ in (train, held_out))
    reference = (train[1].features, labels, names, seed)
    kids = kid_by_value(of_samples.features, given, *reference)
    floors = kid_by_value(held_out[1].features, real, *reference)
    return {name: TypeDistance(kids[name], floors[name]) for k, name in enumerate(names) if given[:, k].any()}
