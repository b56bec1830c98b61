"""Whether a model with references shows the same creature: from the back, in shiny colors, at its next stage.

References are real normal fronts of held-out lines. Real images of the same creatures say what can be reached.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from pokemon_ddpm.color import oklab
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.features import SpriteFeatures, extract_features
from pokemon_ddpm.evaluation.images import as_arrays, default_output
from pokemon_ddpm.evaluation.metrics import TAIL, Estimate
from pokemon_ddpm.evaluation.pixel_statistics import pixel_statistics
from pokemon_ddpm.evaluation.samples import row_requests
from pokemon_ddpm.generation import CHUNK_SIZE, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.preprocessing import over_white
from pokemon_ddpm.vocabulary import FINISHES, VIEWS

NUM_BOOTSTRAPS = 1000
FRONT, BACK = (VIEWS.index(name) for name in ("front", "back"))
NORMAL, SHINY = (FINISHES.index(name) for name in ("normal", "shiny"))


@dataclass(frozen=True)
class Pairs:
    """References and what they should become: rows of a split, int64 (K,) each."""

    references: torch.Tensor
    targets: torch.Tensor

    @classmethod
    def of(cls, data: SpriteTensors, relation: str, view: int, finish: int, other_game: bool = False) -> "Pairs":
        """Normal fronts, and the image of the same form or of the next stage with a view and a finish.

        One pair for each form that a target has: of the same game and frame if there is one, and of the earliest game.

        Args:
            other_game: Whether a pair must be of two games.
        """
        labels = {name: ids.tolist() for name, ids in data.labels.items() if ids.ndim == 1}
        rows: dict[tuple[int, int, int], list[int]] = {}
        for row, key in enumerate(zip(labels["index"], labels["view"], labels["finish"], strict=True)):
            rows.setdefault(key, []).append(row)
        before = dict(zip(labels["index"], labels["evolves_from"], strict=True))

        def distance(pair: tuple[int, int]) -> tuple:
            differs = [labels[name][pair[0]] != labels[name][pair[1]] for name in ("game", "frame")]
            return (*differs, labels["game"][pair[1]], pair)

        found = []
        for form, earlier in sorted(before.items()):
            source = form if relation == "same" else earlier
            pairs = product(rows.get((source, FRONT, NORMAL), []), rows.get((form, view, finish), []))
            pairs = [pair for pair in pairs if pair[0] != pair[1]]
            if other_game:
                pairs = [(one, two) for one, two in pairs if labels["game"][one] != labels["game"][two]]
            if pairs:
                found.append(min(pairs, key=distance))
        return cls(*torch.tensor(found, dtype=torch.int64).view(-1, 2).unbind(dim=1))

    def __len__(self) -> int:
        return len(self.targets)


def generate_targets(
    pipeline: PokemonDDPMPipeline,
    data: SpriteTensors,
    pairs: Pairs,
    relation: str | None,
    seed: int,
    **arguments: Any,
) -> torch.Tensor:
    """Sprites with the conditions of the targets and seeds from `seed`, uint8 (K, 4, S, S); see `default_output`.

    Args:
        relation: To the references; None to generate without them.
    """
    requests = row_requests(data, pipeline.conditioner, pairs.targets, range(seed, seed + len(pairs)))
    images: list[np.ndarray] = []
    for start in tqdm(range(0, len(pairs), CHUNK_SIZE), "Generating"):
        if relation is not None:
            rows = pairs.references[start : start + CHUNK_SIZE].tolist()
            rows += rows[-1:] * (CHUNK_SIZE - len(rows))  # as `generate` fills up a chunk
            arguments |= {"reference_image": data.images[rows].float() / 127.5 - 1, "relation": relation}
        images += map(np.asarray, generate(pipeline, requests[start : start + CHUNK_SIZE], **arguments))
    return default_output(torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()))


def nearer(queries: torch.Tensor, gallery: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """How many rows of the gallery, features (M, D), are nearer to a query (K, D) than its own row, int64 (K,)."""
    distances = torch.cdist(queries.double(), gallery.double())
    return (distances < distances.gather(1, places[:, None])).sum(dim=1)


def silhouette_iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Intersection over union of the opaque pixels, float64 (K,), of two sets of RGBA sprites, uint8 (K, 4, S, S)."""
    first, second = (each[:, 3].flatten(1) > 127 for each in (one, other))
    return (first & second).sum(dim=1).double() / (first | second).sum(dim=1)


def color_change(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean distance in OKLab where both are opaque, float64 (K,), of two sets of RGBA sprites, uint8 (K, 4, S, S)."""
    both = torch.from_numpy((as_arrays(one)[..., 3] > 127) & (as_arrays(other)[..., 3] > 127)).double()
    colors = (oklab(as_arrays(each)[..., :3]) for each in (one, other))
    distance = torch.from_numpy(np.linalg.norm(np.subtract(*colors), axis=3))
    return (distance * both).sum(dim=(1, 2)) / both.sum(dim=(1, 2))


def mean_color(images: torch.Tensor) -> torch.Tensor:
    """Mean OKLab color of the opaque pixels, float64 (K, 3), of RGBA sprites, uint8 (K, 4, S, S)."""
    opaque = torch.from_numpy(as_arrays(images)[..., 3:] > 127).double()
    return (torch.from_numpy(oklab(as_arrays(images)[..., :3])) * opaque).sum(dim=(1, 2)) / opaque.sum(dim=(1, 2))


def over_lines(
    values: torch.Tensor, lines: torch.Tensor, average: Callable[[np.ndarray], float] = np.mean, seed: int = 0
) -> Estimate:
    """The average of values (K,), with the percentile interval of a bootstrap over evolution lines, int64 (K,).

    NaN, as of an empty sprite, is left out.
    """
    known = ~values.double().isnan()
    values, lines = values[known].double().numpy(), lines[known].numpy()
    groups = [values[lines == line] for line in np.unique(lines)]
    generator = np.random.default_rng(seed)
    resampled = [
        average(np.concatenate([groups[i] for i in generator.integers(len(groups), size=len(groups))]))
        for _ in range(NUM_BOOTSTRAPS)
    ]
    low, high = np.quantile(resampled, [TAIL, 1 - TAIL])
    return Estimate(float(average(values)), float(low), float(high), len(values), len(groups))


def evaluate_references(
    pipeline: PokemonDDPMPipeline, data: SpriteTensors, network: SpriteFeatures, seed: int, **arguments: Any
) -> tuple[dict[str, dict[str, Estimate]], dict[str, torch.Tensor]]:
    """Generates backs, shinies and next stages of the fronts of a split, and compares them with the real ones.

    Args:
        data: In RGBA, with the columns of the sprites.
        network: For features, and the types that are recognized.
        **arguments: Of the pipeline.

    Returns:
        Question -> row -> `Estimate`, in which n is the number of pairs and m that of lines; and the images of the
        sets, uint8 (K, 4, S, S): "front", "back", "shiny", "real back", of the forms that have all of them.

    Raises:
        ValueError: If the split has no such pairs.
    """
    backs, shinies = (Pairs.of(data, "same", view, finish) for view, finish in ((BACK, NORMAL), (FRONT, SHINY)))
    stages = Pairs.of(data, "next", FRONT, NORMAL)
    both = set(backs.references.tolist()) & set(shinies.references.tolist())
    if not (both and len(stages)):
        raise ValueError("Backs, shinies and next stages of the same forms are needed, which these images lack.")
    made = {
        name: generate_targets(pipeline, data, pairs, relation, seed, **arguments)
        for name, pairs, relation in (
            ("back", backs, "same"), ("without", backs, None), ("shiny", shinies, "same"), ("next", stages, "next"),
        )
    }  # fmt: skip
    numbers = _back(data, backs, made, network)
    numbers["shiny"] = _shiny(data, shinies, made["shiny"])
    numbers["next stage"] = _next(data, stages, made["next"], network)
    ones, others = (
        torch.tensor([pairs.references.tolist().index(row) for row in sorted(both)]) for pairs in (backs, shinies)
    )
    sets = {"front": data.images[backs.references[ones]], "back": made["back"][ones], "shiny": made["shiny"][others]}
    return numbers, {**sets, "real back": data.images[backs.targets[ones]]}


def _back(
    data: SpriteTensors, backs: Pairs, made: Mapping[str, torch.Tensor], network: SpriteFeatures
) -> dict[str, dict[str, Estimate]]:
    """How often the real back of the right form is the nearest of all forms, or among the five nearest."""
    real, lines = data.images[backs.targets], data.labels["line"][backs.targets]
    gallery, forms = _features(network, real), data.labels["index"][backs.targets]
    queries = {
        "generated": (made["back"], torch.arange(len(backs))),
        "generated without a reference": (made["without"], torch.arange(len(backs))),
        "the reference": (data.images[backs.references], torch.arange(len(backs))),
    }
    for name, pairs, change in (
        ("real shiny back, in gray", Pairs.of(data, "same", BACK, SHINY), _gray),
        ("real front of another game", Pairs.of(data, "same", FRONT, NORMAL, other_game=True), lambda images: images),
    ):
        place = {int(form): k for k, form in enumerate(forms)}
        known = [row for row in pairs.targets.tolist() if int(data.labels["index"][row]) in place]
        queries[name] = (
            change(data.images[known]),
            torch.tensor([place[int(data.labels["index"][row])] for row in known], dtype=torch.int64),
        )
    found: dict[str, dict[str, Estimate]] = {"nearest": {}, "among the five nearest": {}}
    for name, (images, places) in queries.items():
        others = nearer(_features(network, images), gallery, places)
        for question, most in (("nearest", 0), ("among the five nearest", 4)):
            found[question][name] = over_lines(others <= most, lines[places])
            found[question]["chance"] = Estimate((most + 1) / len(backs), np.nan, np.nan, len(backs), len(backs))
    return {f"right back {question}": rows for question, rows in found.items()}


def _shiny(data: SpriteTensors, shinies: Pairs, made: torch.Tensor) -> dict[str, Estimate]:
    references, real = (data.images[rows] for rows in (shinies.references, shinies.targets))
    lines, found = data.labels["line"][shinies.targets], {}
    for name, images in (("generated", made), ("real", real)):
        found[f"{name}: silhouette IoU, median"] = over_lines(silhouette_iou(references, images), lines, np.median)
        found[f"{name}: change of color"] = over_lines(color_change(references, images), lines)
        found[f"{name}: dark outline"] = over_lines(torch.from_numpy(pixel_statistics(images)["dark_outline"]), lines)
    return found


def _next(data: SpriteTensors, stages: Pairs, made: torch.Tensor, network: SpriteFeatures) -> dict[str, Estimate]:
    references, real = (data.images[rows] for rows in (stages.references, stages.targets))
    lines, before = data.labels["line"][stages.targets], _features(network, references)
    types, found = data.labels["type"][stages.references], {}
    area = (references[:, 3] > 127).sum(dim=(1, 2))
    for name, images in (("generated", made), ("real", real)):
        grown = (images[:, 3] > 127).sum(dim=(1, 2)) > area
        distance = torch.cdist(mean_color(images), mean_color(references))
        color = (distance.diagonal()[:, None] <= distance).double().mean(dim=1)
        recognized = network.logits(over_white(images))["type"].argmax(dim=1)
        rank = nearer(_features(network, images), before, torch.arange(len(stages))) / max(1, len(stages) - 1)
        found[f"{name}: more foreground"] = over_lines(grown, lines)
        found[f"{name}: color nearer than that of other lines"] = over_lines(color, lines)
        found[f"{name}: likeliest type is one of the reference's"] = over_lines(
            (recognized[:, None] == types).any(dim=1), lines
        )
        found[f"{name}: nearer to its own line than to others"] = over_lines(1 - rank, lines)
    return found


def _features(network: SpriteFeatures, images: torch.Tensor) -> torch.Tensor:
    return extract_features(network, over_white(images))


def _gray(images: torch.Tensor) -> torch.Tensor:
    """RGBA in shades of gray."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601
    gray = (images[:, :3] * weights).sum(dim=1, keepdim=True).round().to(torch.uint8)
    return torch.cat([gray.expand(-1, 3, -1, -1), images[:, 3:]], dim=1)
