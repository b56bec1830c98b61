"""What samples are asked for: what real pictures are, so that a model that has learned them draws them alike."""

from collections.abc import Sequence

import torch

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.vocabulary import NONE


def requests_like(
    data: SpriteTensors,
    conditioner: SpriteConditioner,
    count: int,
    attributes: Sequence[str] | None = None,
    seed: int = 0,
) -> list[SpriteRequest]:
    """Requests whose words are distributed as those of pictures.

    Each picture lends its words to equally many requests, or one more. Types are asked for as the picture has them:
    both, or the only one and none beside it.

    Args:
        data: The pictures, with the types that the model knows.
        conditioner: The model's. Of what it does not know, and where a picture's label is unknown, nothing is said.
        count: Number of requests.
        attributes: What is said of each, of the conditioner's vocabulary; None for everything.
        seed: Of the first request's noise, the others having the numbers after it, and of the pictures' order.

    Raises:
        ValueError: If the model was trained on other classes, or does not know one of the attributes.
    """
    vocabulary = conditioner.vocabulary
    if tuple(vocabulary["type"]) != data.type_names:
        raise ValueError(
            f"The model was trained on {len(vocabulary['type'])} classes ({', '.join(vocabulary['type'][:3])}, ...), "
            f"and these pictures have {len(data.type_names)} ({', '.join(data.type_names[:3])}, ...)."
        )
    unknown = [name for name in attributes or () if name not in vocabulary]
    if unknown:
        raise ValueError(f"This model was not trained on {unknown[0]}; it knows {', '.join(vocabulary)}.")
    asked = list(vocabulary if attributes is None else dict.fromkeys(attributes))
    labels = {name: ids.cpu() for name, ids in data.described(conditioner.any_ids).labels.items()}
    generator = torch.Generator().manual_seed(seed)
    turns = -(-count // len(data))
    rows = torch.cat([torch.randperm(len(data), generator=generator) for _ in range(turns)])[:count].tolist()
    requests = []
    for i, row in enumerate(rows):
        ids = {name: labels[name][row].tolist() for name in asked}
        types = ids.pop("type", None)
        words = {name: vocabulary[name][k] for name, k in ids.items() if k < len(vocabulary[name])}
        requests.append(SpriteRequest(seed + i, types and _types(types, vocabulary["type"]), words))
    return requests


def _types(ids: Sequence[int], names: Sequence[str]) -> tuple[str, ...] | None:
    first, second = ids
    if first > len(names):  # any: its label is unknown
        return None
    return names[first], NONE if second >= len(names) else names[second]
