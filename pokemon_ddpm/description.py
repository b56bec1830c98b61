"""What a description such as "a small blue whale" asks for: its conditions, and a sketch from which its sprites begin.

What is rare among training images, such as a mushroom, a network does not make of noise alone. So sprites of an animal
or a thing begin from a sketch of it, with noise (SDEdit, Meng et al. 2022, section 3).
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from pokemon_ddpm.vocabulary import ANY, NONE, USUAL

WORDS_FILE = Path(__file__).parent / "page" / "words.json"  # the page has the same table and rules, description.js
LONGEST = 3  # words of a phrase
PLURALS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"))  # endings, and what they replace
LEFT_OUT = ("game", "sketch")  # not what a sprite looks like
MISTAKES = (5, 8, 10)  # letters of a word that can have one mistake, two, or three
SHORTEST_PART = 3  # letters of a word of a compound
# In 16x16 cells: "." for the background, "#" for the color, "o" for a lighter one, "x" for eyes. The page has the same
# table and rules, sketch.js.
TABLE = json.loads(WORDS_FILE.with_name("sketches.json").read_text(encoding="utf-8"))
SKETCHES: dict[str, Any] = TABLE["sketches"]
EYE = (24, 24, 32)
SKETCH_STRENGTH, DRAWN_STRENGTH = 0.5, 0.75  # as of the pipeline's `image`; of a drawn one only the pose stays


def parse_description(text: str, vocabulary: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], list[str]]:
    """The conditions that a description names, and the words that were not understood.

    A word is a value of the vocabulary or one of the synonyms in `WORDS_FILE`, also in the plural, in six further
    languages, in a compound as "firebird", or with a mistake, see `_corrected`; of several words that name one
    attribute the first counts, and of types the first two. What is denied, see `_denied` and `_denies_one`, is not
    understood, since no condition is the absence of something, and neither is the size or the color of a part, as in
    "big red eyes".

    The vocabulary is that of the model, attribute -> its values. With "sketch" -> names of `SKETCHES` an animal or
    thing is also a sketch, with its color and size where the description has none. Conditions are in the order of the
    vocabulary, a pair of types as "water/dragon", tags as "fox wings".
    """
    table = json.loads(WORDS_FILE.read_text(encoding="utf-8"))
    known = _phrases(vocabulary, _synonyms(table))
    fillers, parts = f"{table['ignored']} {table['negations']} non".split(), {*table["parts"].split()}
    right = {*fillers, *parts, *table["right"].split()}
    conditions: dict[str, str] = {}
    types: list[str] = []
    tags: list[str] = []
    unknown: list[str] = []
    for number, span in enumerate(re.split(_denied(table), _plain(text), flags=re.ASCII)):  # every other one is denied
        words, place = [part for word in _words(span) for part in _parts(word, known, right)], 0
        left = 1 if _denies_one(words, fillers, table) else len(words)  # what is still denied
        sketched = None  # where the last sketch ends
        while place < len(words):
            for length in range(min(LONGEST, len(words) - place), 0, -1):
                phrase = " ".join(words[place : place + length])
                if values := _meaning(phrase, known):
                    break
            if not values and phrase not in right:
                values = _corrected(phrase, known)
            is_denied = number % 2 and place and left > 0  # a value may begin with "no"
            left -= phrase not in fillers
            place += length
            after = words[place : place + 2]  # "with" begins something else
            is_of_part = parts.intersection(after) and after[0] not in fillers and values.keys() <= {"size", "color"}
            if is_denied or is_of_part:
                values = None
            taken = False
            if values and "sketch" in values:
                for name in ("sketch", "shape") if sketched == place - length else ():  # a "robot crab" is a crab
                    conditions.pop(name, None)
                sketched, usual_type = place, values.get("type")
            for name, value in (values or {}).items():
                if name == "tags":
                    taken = True
                    tags += [value] * (value not in tags)
                elif name != "type":
                    taken |= conditions.setdefault(name, value) == value
                elif value in types or len(types) < 2:
                    taken = True
                    types += [value] * (value not in types)
            if not taken and (values or phrase not in fillers):
                unknown.append(phrase)
    if types:
        conditions["type"] = "/".join(types)
    if tags:
        conditions["tags"] = " ".join(tags)
    if "sketch" in conditions:
        others = [name for name in types if name != usual_type]
        conditions = usual_conditions(conditions["sketch"], others) | conditions
    return {name: conditions[name] for name in vocabulary if name in conditions}, unknown


def _synonyms(table: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Phrase -> attribute -> value, of all languages; English goes before the others."""
    groups = [(name, *group) for name, values in table["languages"].items() for group in values.items()]
    synonyms = {word: {name: value} for name, value, words in groups for word in words.split()}
    synonyms |= table["words"]
    for name, sketch in SKETCHES.items():
        usual = synonyms.get(name, {})
        synonyms |= {word: {**usual, **synonyms.get(word, {}), "sketch": name} for word in sketch["words"].split()}
    return synonyms


def _meaning(phrase: str, known: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    """Attribute -> value of a phrase, also in the plural; empty if it is not known."""
    singular = (re.sub(f"{end}$", by, phrase) for end, by in PLURALS)
    return next((known[form] for form in (phrase, *singular) if form in known), {})


def _parts(word: str, known: Mapping[str, Mapping[str, str]], right: set[str]) -> list[str]:
    """The two known words of a compound, or else the word."""
    for place in range(SHORTEST_PART, len(word) - SHORTEST_PART + 1):
        parts = [word[:place], word[place:]]
        if parts[0] in known and _meaning(parts[1], known) and word not in right and not _meaning(word, known):
            return parts
    return [word]


def _denies_one(words: Sequence[str], fillers: Sequence[str], table: Mapping[str, str]) -> bool:
    """Whether "not" denies only the next word: "not very scary ghost" is a ghost, "not a ghost" is none."""
    rest = [word for word in words[1:] if word not in table["degrees"].split()]
    return words[:1] == ["not"] and rest[:1] != [] and rest[0] not in fillers and not {"and", "or", "nor"} & {*rest}


def _corrected(word: str, known: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    """What the known word means that a long word with the same first letter is nearest to, if it is one and near."""
    nearest, least = [], sum(len(word) >= length for length in MISTAKES)
    for other in known if least else ():
        is_alike = other[0] == word[0] and abs(len(other) - len(word)) <= least
        if is_alike and (distance := _distance(word, other)) <= least:
            nearest, least = [*(nearest if distance == least else ()), known[other]], distance
    return nearest[0] if nearest and nearest.count(nearest[0]) == len(nearest) else {}


def _distance(one: str, other: str) -> int:
    """The number of letters left out, added, replaced, or exchanged with the next one (Damerau 1964)."""
    before, last = [], [*range(len(other) + 1)]
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, expected in enumerate(other, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != expected)))
            if i > 1 and j > 1 and (letter, one[i - 2]) == (other[j - 2], expected):
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return last[-1]


def _denied(table: Mapping[str, str]) -> str:
    """A pattern of what a word such as "without" denies: up to the end of its clause, or the one word after "non".

    A comma is no end before a further "or": "without horns, wings or a tail".
    """
    begins, ends = (rf"\b(?:{table[name].replace(' ', '|')})\b" for name in ("negations", "ends"))
    goes_on = rf"(?:(?!{ends}|{begins})[^;:.!?])*?\bn?or\b"
    return rf"(\bnon\b[^a-z0-9]*[a-z0-9]+|{begins}[^;:.!?]*?(?={ends}|[;:.!?]|,(?!{goes_on})|$))"


def _plain(text: str) -> str:
    return re.sub(r"[\u0300-\u036f'’]", "", unicodedata.normalize("NFKD", text.lower().replace("ß", "ss")))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", _plain(text))


def _phrases(vocabulary: Mapping[str, Sequence[str]], words: Mapping[str, Mapping[str, str]]) -> dict[str, dict]:
    """Phrase -> attribute -> value: the synonyms whose values the model knows, then the values themselves."""
    phrases = {}
    for phrase, values in words.items():
        if values := {name: value for name, value in values.items() if value in vocabulary.get(name, ())}:
            phrases[phrase] = values
    for name, values in reversed([*vocabulary.items()]):
        for value in values if name != "tags" else ():
            if name not in LEFT_OUT and value not in (ANY, NONE, "no", "yes", "base", USUAL.get(name)):
                phrase = " ".join(_words(value))
                phrases[phrase] = {name: value, **{k: v for k, v in phrases.get(phrase, {}).items() if k == "sketch"}}
                # Own classes are often plurals. Of other attributes a "head" is not the shape "heads".
                for end, by in PLURALS if name == "type" else ():
                    phrases.setdefault(re.sub(f"{end}$", by, phrase), {name: value})
    for tag in vocabulary.get("tags", ()):  # beside what else the word means
        phrase = " ".join(_words(tag))
        for form in (phrase, phrase.removesuffix(" on body")):
            phrases[form] = {**_meaning(form, phrases), "tags": tag}
        for end, by in PLURALS:
            phrases.setdefault(re.sub(f"{end}$", by, phrase), {"tags": tag})
    phrases.pop("", None)  # of values without Latin letters
    return phrases


def drawn_sketch(types: Iterable[str], shape: str | None, seed: int) -> str | None:
    """A sketch for one of these types, or any, or one of a given shape, by chance: a network likes one pose best."""
    chosen = {*types}
    names = [name for name, sketch in SKETCHES.items() if not chosen or chosen & {*sketch["types"].split()}]
    if shape not in (None, ANY):
        of_shape = [name for name, sketch in SKETCHES.items() if sketch["shape"] == shape]
        names = [name for name in of_shape if name in names] or of_shape
    return names[seed // 5**3 % len(names)] if names else None


def usual_conditions(name: str, types: Iterable[str] = ()) -> dict[str, str]:
    """The color and the size of a sketch where others are not asked for; a cat of ice is blue."""
    colors = [TABLE["types"][name] for name in types if name in TABLE["types"]]
    return {"color": (*colors, SKETCHES[name]["color"])[0], "size": TABLE["size"]}


def sketch_image(name: str, conditions: Mapping[str, Any], side: int, seed: int) -> Image.Image:
    """A sketch for the pipeline's `image`: RGBA, transparent around it, with `side` pixels a side.

    Of the conditions color and size count, see `usual_conditions`. Another seed, from 0, gives it up to 20 % less
    width and height, and leans it.
    """
    usual = usual_conditions(name)
    color = ImageColor.getrgb(TABLE["colors"].get(conditions.get("color"), TABLE["colors"][usual["color"]]))
    length = side * TABLE["sizes"].get(conditions.get("size"), TABLE["sizes"][usual["size"]])
    width, height, lean = (seed // 5**place % 5 for place in range(3))
    cells = np.array([[*row] for row in SKETCHES[name]["rows"]])
    y, x = np.indices((side, side)) + 0.5 - side / 2
    row = np.floor((y / (length * (16 + height) / 20) + 0.5) * len(cells)).astype(int)
    column = np.floor(((x - y * (lean - 2) / 10) / (length * (16 + width) / 20) + 0.5) * len(cells)).astype(int)
    inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < len(cells))
    letters = np.where(inside, cells[row * inside, column * inside], ".")
    lighter = [value + (255 - value) * 13 // 20 for value in color]
    pixels = np.full((side, side, 4), (255, 255, 255, 0), dtype=np.uint8)
    for letter, rgb in {"#": color, "o": lighter, "x": EYE}.items():
        pixels[letters == letter] = [*rgb, 255]
    return Image.fromarray(pixels)
