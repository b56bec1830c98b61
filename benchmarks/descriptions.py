"""A sheet of the sprites of phrases, for readers and for the docs, and how many show what was meant.

    python benchmarks/descriptions.py --output outputs/phrases.png
    python benchmarks/descriptions.py --phrases 1-8 --output docs/descriptions.png

Two sets of forty phrases are in verdicts/phrases.json, each by somebody who had seen neither code nor tables, with the
verdicts of two blind readers. They saw the sheet of a set, and what was meant by the second, and were asked: would
somebody who typed it say "yes, that is roughly what I meant" (animal or thing, color and type that the phrase names)?
"""

import argparse
import json
import textwrap
import unicodedata
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pokemon_ddpm import RELEASED_FAST_MODEL
from pokemon_ddpm.commands import parse_type
from pokemon_ddpm.description import SKETCHES, parse_description
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.studio import CANDIDATES, generate_sprites

PHRASES = json.loads((Path(__file__).parent / "verdicts" / "phrases.json").read_text(encoding="utf-8"))
OF_SET, SCALE, TEXT = 40, 2, 34


def main() -> None:
    """Reads the flags, generates the sprites and writes the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phrases", default=f"1-{len(PHRASES)}", help="first and last number")
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    first, last = map(int, arguments.phrases.split("-"))
    chosen, pipeline = PHRASES[first - 1 : last], GenerationSettings(RELEASED_FAST_MODEL).load()
    shown = [sum(counts) for counts in zip(*(phrase["shown"] for phrase in chosen), strict=True)]
    print(f"Of {len(chosen)} phrases two readers called {' and '.join(map(str, shown))} shown.")
    columns, font = arguments.columns, ImageFont.load_default(size=12)
    width, height = 64 * SCALE + 8, 64 * SCALE + TEXT
    sheet = Image.new("RGB", (columns * width, -(-len(chosen) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, phrase in enumerate(chosen):
        conditions, *_ = parse_description(phrase["phrase"], pipeline.conditioner.vocabulary | {"sketch": [*SKETCHES]})
        kind, sketch = conditions.pop("type", None), conditions.pop("sketch", None)
        number = (first - 1 + i) % OF_SET
        request = SpriteRequest(arguments.seed, kind and parse_type(kind), conditions, number, sketch)
        (sprite,) = generate_sprites(pipeline, [request], arguments.candidates)
        image = to_sprite(sprite.sample).resize((64 * SCALE, 64 * SCALE), Image.Resampling.NEAREST)
        x, y = i % columns * width, i // columns * height
        # The font has nothing else.
        text = unicodedata.normalize("NFKD", phrase["phrase"]).encode("ascii", "ignore").decode()
        draw.multiline_text((x + 4, y + 2), "\n".join(textwrap.wrap(text, 21)[:2]), "black", font)
        sheet.paste(image, (x + 4, y + TEXT), image)
    sheet.save(arguments.output)


if __name__ == "__main__":
    main()
