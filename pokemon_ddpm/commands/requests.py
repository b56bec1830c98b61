"""From the words of a command line to what is to be drawn, row by row."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pokemon_ddpm.generation import SpriteRequest

ALL = "all"


@dataclass(frozen=True)
class Row:
    """What the sprites of one row have in common.

    Attributes:
        label: The words that tell it from other rows.
        pokemon_type: As the pipeline takes it.
        words: Its other attributes.
    """

    label: str
    pokemon_type: Any
    words: dict[str, str]


def parse_type(text: str) -> str | dict[str, float]:
    """Reads a type, or a blend like "fire=0.7,water=0.3".

    Raises:
        ValueError: If a weight is no number.
    """
    if "=" not in text:
        return text
    blend = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            blend[name.strip()] = float(weight)
        except ValueError:
            raise ValueError(f"A blend is written like fire=0.7,water=0.3, but this is {text!r}.") from None
    return blend


def rows_of(asked: Mapping[str, Sequence[str] | None], vocabulary: Mapping[str, Sequence[str]]) -> list[Row]:
    """One row for each combination of what was given several times.

    Args:
        asked: Attribute -> what was given for it; "all" stands for every word that the model knows.
        vocabulary: The model's.

    Raises:
        ValueError: If "all" is asked of an attribute that the model was not trained on.
    """
    axes = {}
    for attribute, texts in asked.items():
        words = []
        for text in texts or ():
            if text.strip().lower() != ALL:
                words.append(text)
            elif attribute in vocabulary:
                words += vocabulary[attribute]
            else:
                raise ValueError(f"This model was not trained on {attribute}; it knows {', '.join(vocabulary)}.")
        if words:
            axes[attribute] = words
    rows = []
    for combination in itertools.product(*axes.values()):
        words = dict(zip(axes, combination, strict=True))
        label = " ".join(word for attribute, word in words.items() if len(axes[attribute]) > 1)
        pokemon_type = words.pop("type", None)
        rows.append(Row(label, pokemon_type and parse_type(pokemon_type), words))
    return rows


def numbered(rows: Sequence[Row], each: int, seed: int, same_seeds: bool) -> list["SpriteRequest"]:
    """The sprites of all rows.

    Args:
        rows: What to draw.
        each: Sprites a row.
        seed: Of the first.
        same_seeds: Whether every row begins with it; else the seeds go on.
    """
    from pokemon_ddpm.generation import SpriteRequest

    starts = [seed if same_seeds else seed + i * each for i in range(len(rows))]
    return [
        SpriteRequest(start + i, row.pokemon_type, row.words)
        for row, start in zip(rows, starts, strict=True)
        for i in range(each)
    ]
