"""What stands on a creature's card, from its seed, and its name: the rules of the page, trading.js and names.js."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from pokemon_ddpm.creature import DESCRIPTION_FILE
from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.preprocessing import open_image
from pokemon_ddpm.studio import sample_seed
from pokemon_ddpm.vocabulary import ANY, NONE, TYPE_COLORS

WIDTH, HEIGHT, LEFT, RIGHT = 1200, 1720, 72, 1128
TEXT, MUTED, GROUND = "#1c1b29", "#55536b", "#eeedf5"
FOIL = ["#ff9db5", "#ffe08a", "#a8f0b8", "#8fd8ff", "#d5b3ff"]
CARDS_FILE, NAMES_FILE = (Path(__file__).parent / "page" / name for name in ("cards.json", "names.json"))


def trading_card(
    seed: int | str, types: Sequence[str], size: str | None = None, legendary: bool = False
) -> dict[str, Any]:
    """The card of a creature, as JSON has it: name, number, HP, types, moves, weakness, rare or not, and a text.

    Args:
        seed: Of the creature.
        types: One or two; of others than Pokémon types the card has moves and a text for any.
    """
    rules = json.loads(CARDS_FILE.read_text(encoding="utf-8"))

    def number(part: str, count: int) -> int:
        return sample_seed(seed, f"card-{part}") % count

    def pick(part: str, values: Sequence[str]) -> str:
        return values[number(part, len(values))]

    def of(table: str, name: str) -> Sequence[str]:
        return rules[table].get(name, rules[table][ANY])

    known = [each for each in types if each != NONE]
    first, second = known[0], known[-1]
    hp = rules["hp"]
    least, step, steps = (rules["damage"][name] for name in ("least", "step", "steps"))
    move = pick("move", of("moves", first))
    other = pick("other-move", [each for each in of("moves", second) if each != move])
    bonus = hp["size"].get(size, hp["size"]["medium"]) + hp["legendary"] * legendary
    return {
        "name": creature_name(first, seed),
        "number": 1 + number("number", rules["numbers"]),
        "hp": hp["least"] + hp["step"] * number("hp", hp["steps"]) + bonus,
        "types": known,
        "moves": [
            {"name": move, "type": first, "damage": least + step * number("damage", steps)},
            {"name": other, "type": second, "damage": least + step * (steps + number("other-damage", steps))},
        ],
        "weakness": rules["weakness"].get(first),
        "rare": legendary or number("rare", rules["rare"]) == 0,
        "text": f"{pick('opening', rules['openings'])}, it {pick('habit', of('habits', first))}; "
        f"{pick('quirk', rules['quirks'])}.",
    }


def creature_name(pokemon_type: str, seed: int | str, stage: int = 1) -> str:
    """The invented name of a stage, from 1, of the creature of a seed; its stages begin alike."""
    table: Mapping[str, Any] = json.loads(NAMES_FILE.read_text(encoding="utf-8"))
    begin, attempt = table["begin"].get(pokemon_type, table["begin"][ANY]), 0
    while True:
        number, attempt = sample_seed(seed, "name", attempt), attempt + 1
        root = ""
        for syllables in (begin.split(), table["middle"].split()):
            root, number = root + syllables[number % len(syllables)], number // len(syllables)
        names = []
        for ends in (table["end"][each].split() for each in "123"):
            names.append(root + ends[number % len(ends)])
            number //= len(ends)
        if not any(part in name.lower() for name in names for part in table["avoid"].split()):
            return names[min(stage, 3) - 1]


def draw_card(card: Mapping[str, Any], sprites: Mapping[str, Image.Image], notes: Sequence[str] = ()) -> Image.Image:
    """The card as an image, RGB of 1200x1720 pixels, laid out as in page/card.js.

    Args:
        card: As of `trading_card`.
        sprites: RGBA, by name: "front", and if there are "shiny", "back", and the stages by their names.
        notes: Lines of text at its end.
    """
    stages = {name: sprite for name, sprite in sprites.items() if name not in ("front", "shiny", "back")}
    small = {name: sprites[name] for name in ("shiny", "back") if name in sprites}
    colors = [TYPE_COLORS.get(name, MUTED) for name in card["types"]]
    image = _gradient(WIDTH, HEIGHT, FOIL * 3 if card["rare"] else colors)
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((28, 28, WIDTH - 28, HEIGHT - 28), 40, "white")

    def write(text: str, x: int, y: int, size: int, color: str = TEXT, anchor: str = "ls") -> None:
        pen.text((x, y), text, color, ImageFont.load_default(size), anchor)

    def place(sprite: Image.Image, box: tuple[int, int, int, int], label: str = "") -> None:
        x, y, width, height = box
        pen.rounded_rectangle((x, y, x + width, y + height), 28, GROUND)
        scale = max(1, min(width, height - 44 * bool(label)) // sprite.width)
        large = sprite.resize([scale * side for side in sprite.size], Image.Resampling.NEAREST)
        corner = (x + (width - large.width) // 2, y + (height - 44 * bool(label) - large.height) // 2)
        image.paste(large, corner, large)
        write(label, x + 20, y + height - 16, 32, MUTED)

    write(f"HP {card['hp']}", RIGHT, 140, 60, colors[0], "rs")
    write(card["name"], LEFT, 144, 84)
    x = LEFT
    badges = [each for each in zip(card["types"], colors, strict=True) if each[0] != ANY]
    for name, color in badges:
        width = int(pen.textlength(name, ImageFont.load_default(40))) + 56
        pen.rounded_rectangle((x, 174, x + width, 238), 32, color)
        write(name, x + 28, 220, 40, "white")
        x += width + 16
    write(f"No. {card['number']:03}{', rare' * card['rare']}", RIGHT, 220, 40, MUTED, "rs")
    large = 624 if stages else 948
    place(sprites["front"], (LEFT, 260, 680 if small else RIGHT - LEFT, large))
    for i, (name, sprite) in enumerate(small.items()):
        place(sprite, (LEFT + 704, 260 + 320 * i, 352, 304 if len(small) > 1 else large), name)
    for i, (name, sprite) in enumerate(stages.items()):
        place(sprite, (LEFT + 540 * i, 904, 516, 304), name)
    for i, move in enumerate(card["moves"]):
        y = 1282 + 88 * i
        pen.rounded_rectangle((LEFT, y - 58, RIGHT, y + 22), 24, GROUND)
        pen.ellipse((LEFT + 20, y - 42, LEFT + 68, y + 6), TYPE_COLORS.get(move["type"], MUTED))
        write(move["name"], LEFT + 92, y - 4, 44)
        write(move["type"] if move["type"] != ANY else "", RIGHT - 140, y - 4, 34, MUTED, "rs")
        write(str(move["damage"]), RIGHT - 28, y, 50, anchor="rs")
    if card["weakness"]:
        write(f"Weak against {card['weakness']}", LEFT, 1434, 38, MUTED)
    font, lines = ImageFont.load_default(38), [""]
    for word in card["text"].split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if pen.textlength(longer, font) <= RIGHT - LEFT else [lines[-1], word]
    for i, line in enumerate(lines[:3]):
        write(line, LEFT, 1490 + 50 * i, 38)
    for i, note in enumerate(notes):
        write(note, LEFT, 1634 + 34 * i, 26, MUTED)
    return image


def _gradient(width: int, height: int, colors: Sequence[str]) -> Image.Image:
    """Colors in turn from the upper left to the lower right."""
    small = Image.fromarray(np.uint8([[ImageColor.getrgb(color) for color in colors]]))
    line = np.asarray(small.resize((width + height, 1), Image.Resampling.BILINEAR))[0]
    return Image.fromarray(line[np.arange(height)[:, None] + np.arange(width)])


def write_card(folder: Path) -> None:
    """Writes `card.json` and `card.png` of the creature that `generate_creature` has written into a folder."""
    frames = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))["frames"]
    front, names = frames[0], [Path(frame["filename"]).stem for frame in frames]
    condition, seed = front["condition"], front["seed"]
    types = condition["type"] or ANY
    types = types.split("/") if isinstance(types, str) else [*types][:2]
    card = trading_card(seed, types, condition.get("size"), condition.get("legendary") == "yes")
    stages = {f"{stage}-front": creature_name(types[0], seed, stage) for stage in (2, 3)}
    labels = {"1-front": "front", "1-front-shiny": "shiny", "1-back": "back", **stages}
    sprites = {labels[name]: open_image(folder / f"{name}.png").convert("RGBA") for name in labels if name in names}
    notes = ["Generated by a small diffusion model; of no game.", f"Seed {seed}."]
    write_file(folder / "card.json", json.dumps(card, indent=2) + "\n")
    save_image(draw_card(card, sprites, notes), folder / "card.png")
