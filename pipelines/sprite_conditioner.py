"""`SpriteConditioner`: from words about a sprite to the class embedding of a `UNet2DModel`.

This file imports nothing of the project, since a saved model carries a copy of it.
"""

import difflib
from collections.abc import Iterable, Mapping

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

NONE = "none"
ANY = "any"


def _table(attribute: str) -> str:
    # A module cannot have a child named "type", which is a method of every module.
    return f"{attribute}_embedding"


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
            close = difflib.get_close_matches(word, lowered, n=1, cutoff=0.5)
            hint = f"Did you mean {names[lowered.index(close[0])]!r}? " if close else ""
            raise ValueError(f"Unknown type {name!r}. {hint}Known: {', '.join(names)}.")
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

    def attribute_id(self, attribute: str, name: str | None) -> int:
        """Id of a name of an attribute other than the type; "any" and None say nothing.

        Raises:
            ValueError: If the attribute or the name is unknown.
        """
        if attribute not in self.config.vocabulary:
            raise ValueError(f"This model was not trained on {attribute}; it knows {', '.join(self.vocabulary)}.")
        names = [*self.config.vocabulary[attribute], ANY]
        word = ANY if name is None else str(name).strip().lower()
        if word not in names:
            raise ValueError(f"Unknown {attribute} {name!r}. Known: {', '.join(names)}.")
        return names.index(word)

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
