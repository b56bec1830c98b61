"""What Python and the page must do alike: both are tested against golden.json, which has the cases of each rule.

A case is what is given, and what Python makes of it. To change a rule or to add a case, write what is given with null
behind it, and let Python write the rest:

    python -m tests.test_golden
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm import SpriteConditioner
from pokemon_ddpm.creature import enlarged, has_room
from pokemon_ddpm.description import parse_description
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.likeness import overlaps, shared_drawing
from pokemon_ddpm.palettes import SHINY_DRAWS, close_outline, match_colors, share_palette, shiny
from pokemon_ddpm.pipelines.sprite_preprocessing import fit_square
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.sheets import squash
from pokemon_ddpm.sketch import SKETCHES, drawn_like, drawn_sketch, sketch_image
from pokemon_ddpm.studio import candidates_of, sample_seed
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.test_tags import tagged_conditioner
from tests.tiny_models import drawing_pipeline

FILE = Path(__file__).with_name("golden.json")
TAGS = "big-ears bird-of-prey dragon flames-on-body fox horns leaves-on-body owl robot wings".split()
VOCABULARIES = {
    "usual": CONDITIONS | {"sketch": [*SKETCHES]},
    "usual and tags": CONDITIONS | {"tags": TAGS},
}
PIPELINE = drawing_pipeline()
Pairs = Sequence[Sequence[str]]  # attributes with values that are denied


def _conditioner(table: str) -> SpriteConditioner:
    """One of those whose tables draw conditions."""
    if table == "tags":
        return tagged_conditioner()
    config = PIPELINE.conditioner.config
    rows = [*config.training_conditions["rows"], "12 6 7 2 3", "12 6 18 10 3", "14 7 18 1 2"]
    return SpriteConditioner(**config | {"training_conditions": {**config.training_conditions, "rows": rows}})


CONDITIONERS = {name: _conditioner(name) for name in ("types", "tags")} | {"candidates": PIPELINE.conditioner}


def sprite(seed: int, side: int = 16) -> np.ndarray:
    """A random sprite of at most 16 colors, uint8 (S, S, 4): some are dark, off the middle, small, or of one color."""
    random = torch.rand(64 + 2 * side**2, generator=torch.Generator().manual_seed(seed)).double().numpy()
    shares, places, shown = np.split(random[48:], [16, 16 + side**2])
    palette = (256 * random[:48]).astype(np.uint8).reshape(16, 3) // (5 if seed % 5 == 0 else 1)
    indices = np.searchsorted(np.cumsum(shares**3) / np.sum(shares**3), places).clip(max=15)
    colors, alpha = palette[indices if seed % 11 else 0 * indices], 255 * (shown < 0.7)
    pixels = np.column_stack([colors, alpha]).astype(np.uint8).reshape(side, side, 4)
    pixels[:, : seed % 3, 3] = 0
    if seed % 4 == 1:
        pixels[:, 10:, 3] = pixels[:5, :, 3] = 0
    pixels[pixels[..., 3] == 0] = 255, 255, 255, 0
    return pixels


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sprites; in every third the second is the first one, mirrored and moved."""
    one = sprite(seed)
    return one, np.roll(one[:, ::-1], (2, 1), (0, 1)) if seed % 3 == 2 else sprite(1000 + seed)


def sample(seed: int) -> np.ndarray:
    """A noisy image with holes, uint8 (64, 64, 4)."""
    random = torch.rand(2, 64, 64, 4, generator=torch.Generator().manual_seed(seed)).double().numpy()
    pixels = sprite(seed).repeat(4, axis=0).repeat(4, axis=1) + 80 * (random[0] - 0.5)
    pixels = np.where(random[1, ..., 3:] < 0.6, pixels, [255, 255, 255, 0]).clip(0, 255).astype(np.uint8)
    pixels[..., 3] = 255 * (pixels[..., 3] > 127)
    pixels[pixels[..., 3] == 0] = 255, 255, 255, 0
    return pixels


def digest(pixels: Any) -> str:
    return hashlib.sha256(np.uint8(pixels).tobytes()).hexdigest()[:12]


def _drawn(table: str, conditions: Mapping[str, str], seed: int) -> dict[str, str]:
    given = {name: value for name, value in conditions.items() if name != "type"}
    drawn = CONDITIONERS[table].draw(conditions.get("type"), given, seed)
    return {name: value for name, value in drawn.items() if value != "any"}


def _candidates(
    conditions: Mapping[str, str], seed: int, number: int, count: int, without: Pairs = ()
) -> list[list[Any]]:
    given = {name: value for name, value in conditions.items() if name != "type"}
    request = SpriteRequest(seed, conditions.get("type"), given, number, given.pop("sketch", None))
    request = replace(request, without=(*map(tuple, without),))
    drawn = []
    for candidate in candidates_of(PIPELINE, request, count):
        own = {"type": candidate.pokemon_type, **candidate.attributes}
        own["sketch" if request.sketch else "pose"] = candidate.sketch
        drawn.append([candidate.seed, {name: value for name, value in own.items() if value not in (None, "any")}])
    return drawn


def _colors(seed: int, types: list[str]) -> list[str]:
    one, other = map(Image.fromarray, pair(seed))
    seeds = [sample_seed(seed, "shiny", draw) for draw in range(SHINY_DRAWS)]
    made = share_palette(one, other), shiny(one, one, types, seeds), shiny(other, one, types, seeds)
    return [*map(digest, made), digest(close_outline(one)), digest(match_colors(one, other))]


def _likeness(seed: int) -> list[float]:
    one, other = (as_tensor([Image.fromarray(fit_square(sprite, 16))]) for sprite in pair(seed))
    return [round(float(figure), 6) for figure in (shared_drawing(one, other), overlaps(one, other))]


def _larger(seed: int) -> list[Any]:
    middle = Image.fromarray(fit_square(sprite(seed), 16))
    return [digest(enlarged(middle)), has_room(middle)]


RULES: dict[str, Callable[..., Any]] = {
    "seeds": sample_seed,
    "conditions": _drawn,
    "candidates": _candidates,
    "poses": lambda types, shape, seed, without=(): drawn_sketch(types, shape, seed, map(tuple, without)),
    "alike": drawn_like,
    "descriptions": lambda text, vocabulary: [*parse_description(text, VOCABULARIES[vocabulary])],
    "sketches": lambda *given: digest(sketch_image(*given)),
    "sprites": lambda seed: digest(to_sprite(Image.fromarray(sample(seed)))),
    "colors": _colors,
    "likeness": _likeness,
    "larger": _larger,
    "idle": lambda seed: digest(squash(Image.fromarray(sprite(seed, 64)))),
}
CASES: dict[str, list[list[Any]]] = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("rule", RULES)
def test_python_makes_what_the_page_makes(rule: str) -> None:
    assert [[*given, RULES[rule](*given)] for *given, _ in CASES[rule]] == CASES[rule]


if __name__ == "__main__":
    lines = []
    for rule, cases in CASES.items():
        made = (json.dumps([*given, RULES[rule](*given)], ensure_ascii=False) for *given, _ in cases)
        lines.append(f' "{rule}": [\n  ' + ",\n  ".join(made) + "\n ]")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
