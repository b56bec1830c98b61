"""`SpriteConditioner`: from words about a sprite to the class embedding of a `UNet2DModel`.

This file imports nothing of the project, since a saved model carries a copy of it.
"""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

NONE = "none"
ANY = "any"


def _table(attribute: str) -> str:
    # A module cannot have a child named "type", which is a method of every module.
    return f"{attribute}_embedding"


def _nearest(word: str, names: Sequence[str]) -> str:
    """Ends the message about an unknown word: the name it is nearest to, if to any, and all names."""
    lowered = [name.lower() for name in names]
    close = difflib.get_close_matches(word, lowered, n=1, cutoff=0.5)
    hint = f"Did you mean {names[lowered.index(close[0])]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names)}."


class SpriteConditioner(ModelMixin, ConfigMixin):
    """Embeds what is said about a sprite, as a text encoder does for a prompt.

    Each attribute has a table of its own, and the embeddings of all attributes are summed. After an attribute's names
    its table has a row for `any` (nothing is said). The types are a set of one or two, kept in two slots which share
    one table, so that their order cannot matter; that table has a further row, before `any`, for `none` (there
    certainly is no second type).

    Args:
        vocabulary: Attribute -> its names; a name's position is its id. Must hold "type".
        embedding_dim: Width D of the embedding, equal to that of the network's time embedding.
        augmentation_dim: How many numbers tell of a training picture's augmentation (Karras et al. 2022, appendix F);
            they are mapped without bias and from weights of zero, so that zeros, as at sampling, change nothing.

    Raises:
        ValueError: If the vocabulary has no types.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, vocabulary: Mapping[str, list[str]], embedding_dim: int, augmentation_dim: int = 0):
        super().__init__()
        if not vocabulary.get("type"):
            raise ValueError(f"The vocabulary must hold 'type' with at least one name, but is {dict(vocabulary)!r}.")
        self.tables = nn.ModuleDict(
            {
                _table(attribute): nn.Embedding(len(names) + (2 if attribute == "type" else 1), embedding_dim)
                for attribute, names in vocabulary.items()
            }
        )
        # Two slots for the types, one for every other attribute: their sum starts with unit variance.
        for table in self.tables.values():
            nn.init.normal_(table.weight, std=(len(self.tables) + 1) ** -0.5)
        self.augmentation_embedding = None
        if augmentation_dim:
            self.augmentation_embedding = nn.Linear(augmentation_dim, embedding_dim, bias=False)
            nn.init.zeros_(self.augmentation_embedding.weight)

    @property
    def vocabulary(self) -> dict[str, list[str]]:
        """Attribute -> the names it takes, in the order of their ids; attributes in the order of the alphabet."""
        # Saving sorts them, and a sum in another order would differ in its last bits.
        return {attribute: list(names) for attribute, names in sorted(self.config.vocabulary.items())}

    @property
    def none_id(self) -> int:
        """Id of `none`, in the table of types."""
        return len(self.config.vocabulary["type"])

    def any_id(self, attribute: str) -> int:
        """Id of `any` in an attribute's table."""
        return self.tables[_table(attribute)].num_embeddings - 1

    @property
    def any_ids(self) -> dict[str, int]:
        """Attribute -> the id of `any`, in the order of `vocabulary`."""
        return {attribute: self.any_id(attribute) for attribute in self.vocabulary}

    def type_ids(self, pokemon_type: str | int | tuple | None) -> tuple[int, int]:
        """Reads one request for a type.

        Args:
            pokemon_type: A name ("fire": one of its types is fire), "fire/flying" or a pair (both), "fire/none"
                (purely fire), an id, or None (any type). Case and surrounding space are ignored.

        Returns:
            The ids of the two slots.

        Raises:
            ValueError: If a name or id is unknown, a type is named twice, or more than two are named.
            TypeError: If it is something else.
        """
        if pokemon_type is None:
            parts: Iterable = ()
        elif isinstance(pokemon_type, str):
            parts = pokemon_type.split("/")
        elif isinstance(pokemon_type, tuple):
            parts = pokemon_type
        else:
            parts = (pokemon_type,)
        ids = [self._type_id(part) for part in parts]
        if len(ids) > 2 or (pokemon_type is not None and not ids):
            raise ValueError(f"pokemon_type takes one type or two, but {pokemon_type!r} names {len(ids)}.")
        first, second = [*ids, *[self.any_id("type")] * (2 - len(ids))]
        if min(first, second) == self.none_id:
            raise ValueError(
                f"pokemon_type {pokemon_type!r} names no type; {NONE!r} only goes with one, as in 'fire/none'."
            )
        if first == second != self.any_id("type"):
            raise ValueError(
                f"pokemon_type {pokemon_type!r} names the same type twice; say {NONE!r} for no second type."
            )
        return first, second

    def _type_id(self, name: str | int) -> int:
        names = [*self.config.vocabulary["type"], NONE, ANY]
        if isinstance(name, str):
            word = name.strip().lower()
            lowered = [known.lower() for known in names]
            if word in lowered:
                return lowered.index(word)
            raise ValueError(f"Unknown type {name!r}. {_nearest(word, names)}")
        scalar = hasattr(name, "item") and getattr(name, "ndim", 1) == 0  # numpy's and torch's numbers
        number = name.item() if scalar else name
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(
                f"pokemon_type takes names, ids, pairs of these, a list of these or None, but got {name!r} "
                f"({type(name).__name__})."
            )
        if not 0 <= number < self.none_id:
            raise ValueError(
                f"Unknown type id {number}: the ids are 0 ({names[0]}) to {self.none_id - 1} ({names[-3]})."
            )
        return number

    def type_blend(self, pokemon_type: str | int | tuple | Mapping | None) -> list[tuple[float, tuple[int, int]]]:
        """Reads one request for a type or for a blend of several.

        Args:
            pokemon_type: As in `type_ids`, or a mapping of such requests to weights: {"fire": 0.7, "water": 0.3}.

        Returns:
            Weights, which sum up to 1, with the ids of the two slots.

        Raises:
            ValueError: As `type_ids`; and if a weight is negative or not finite, or all are 0.
            TypeError: As `type_ids`; and if a weight is no number.
        """
        if not isinstance(pokemon_type, Mapping):
            return [(1.0, self.type_ids(pokemon_type))]
        ids = [self.type_ids(part) for part in pokemon_type]
        weights = list(pokemon_type.values())
        if not all(isinstance(weight, Real) and not isinstance(weight, bool) for weight in weights):
            raise TypeError(f"The weights of a blend are numbers, but pokemon_type is {pokemon_type!r}.")
        total = sum(weights)
        if not (all(weight >= 0 for weight in weights) and 0 < total < math.inf):
            raise ValueError(
                "The weights of a blend must not be negative and sum up to a positive number, but pokemon_type is "
                f"{dict(pokemon_type)!r}."
            )
        return [(float(weight / total), slots) for weight, slots in zip(weights, ids, strict=True)]

    def attribute_id(self, attribute: str, name: str | bool | None) -> int:
        """Id of a name of an attribute other than the type.

        Args:
            attribute: For example "color".
            name: One of its names, case and surrounding space ignored; "any" or None says nothing. A truth value
                where the names are "no" and "yes".

        Raises:
            ValueError: If the attribute or the name is unknown.
        """
        if attribute not in self.config.vocabulary or attribute == "type":
            known = ", ".join(self.vocabulary)
            raise ValueError(f"This model was not trained on {attribute}; it knows {known}.")
        names = [*self.config.vocabulary[attribute], ANY]
        said = {None: ANY, True: "yes", False: "no"}[name] if name is None or isinstance(name, bool) else str(name)
        word = said.strip().lower()
        if word not in names:
            raise ValueError(f"Unknown {attribute} {name!r}. {_nearest(word, names)}")
        return names.index(word)

    def encode(self, types: Sequence, **attributes: Sequence) -> torch.Tensor:
        """Embeds requests in words.

        Args:
            types: One request an image, as `type_blend` takes them. A blend is the weighted mean of its parts'
                embeddings.
            **attributes: Attribute -> one name an image, as `attribute_id` takes them.

        Returns:
            (N, D), on the conditioner's device.

        Raises:
            ValueError, TypeError: As `type_blend` and `attribute_id`.
        """
        blends = [self.type_blend(request) for request in types]
        ids = {name: [self.attribute_id(name, word) for word in words] for name, words in attributes.items()}
        parts = [(image, weight, slots) for image, blend in enumerate(blends) for weight, slots in blend]
        rows = [image for image, _, _ in parts]
        labels = {"type": torch.tensor([slots for _, _, slots in parts], device=self.device)}
        for name, of_images in ids.items():
            labels[name] = torch.tensor([of_images[image] for image in rows], device=self.device)
        embedded = self(labels)
        weights = torch.tensor([weight for _, weight, _ in parts], device=self.device, dtype=embedded.dtype)
        blended = embedded.new_zeros(len(blends), embedded.shape[1])
        return blended.index_add_(0, torch.tensor(rows, device=self.device), embedded * weights[:, None])

    def forward(self, labels: Mapping[str, torch.Tensor], augmentation: torch.Tensor | None = None) -> torch.Tensor:
        """Embeds a batch of labels.

        Args:
            labels: int64; "type" (B, 2), every other attribute (B,). An attribute left out counts as `any`.
            augmentation: What was done to the pictures, (B, augmentation_dim); None for nothing.

        Returns:
            (B, D), the network's `class_labels`.

        Raises:
            ValueError: If an attribute is not one of this conditioner's.
        """
        unknown = set(labels) - set(self.config.vocabulary)
        if unknown:
            raise ValueError(
                f"Not trained on {', '.join(sorted(unknown))}; it knows {', '.join(self.config.vocabulary)}."
            )
        if not labels:
            raise ValueError(f"labels must hold at least one of {', '.join(self.vocabulary)}.")
        batch = next(iter(labels.values()))
        total: torch.Tensor | float = 0.0
        for attribute in self.vocabulary:
            ids = labels.get(attribute)
            if ids is None:
                shape = (len(batch), 2) if attribute == "type" else (len(batch),)
                ids = torch.full(shape, self.any_id(attribute), device=batch.device)
            embedded = self.tables[_table(attribute)](ids)
            total = total + (embedded.sum(dim=1) if attribute == "type" else embedded)
        if self.augmentation_embedding is not None:
            # Also where nothing was done: training in several processes needs every weight to have a gradient.
            told = batch.new_zeros(len(batch), self.config.augmentation_dim, dtype=total.dtype)
            total = total + self.augmentation_embedding(told if augmentation is None else augmentation)
        return total
