"""What a description such as "a small blue whale" asks for: its conditions, and a sketch, see sketch.py."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pokemon_ddpm.vocabulary import ANY, NONE, USUAL

WORDS_FILE = Path(__file__).parent / "page" / "words.json"  # the page has the same table and rules, description.js
WORDS: dict[str, Any] = json.loads(WORDS_FILE.read_text(encoding="utf-8"))
LONGEST = 3  # words of a phrase
PLURALS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"))  # endings, and what they replace
# Of words of other languages, longer ones first.
ENDINGS = tuple(
    "ами ого ему ыми ями ach ami ego emu iej ych ими ая ое ые ыи ую ои ии яя ее ом ем ов ам ах es er en em as os "
    "ej ie ow ym a e i n o s u y а е и о у ы ю я ь 色 색".split()
)
LONGEST_WORD = 12  # of letters without spaces
PUNCTUATION = [*",;:.!?"]
FUNCTIONS, NEGATIONS, NEGATIONS_AFTER, PARTS = (  # words that mean something beside others
    [*dict.fromkeys(" ".join(WORDS["functions"][name] for name in names.split()).split())]
    for names in ("ignored negations before", "negations", "before", "parts")
)
LEFT_OUT = ("game", "sketch")  # not what a sprite looks like
MISTAKES = (4, 8, 10)  # letters of a word that can have one mistake, two, or three
SHORTEST_PART = 3  # letters of a word of a compound, and of one without its ending
UNSPACED = "\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af"  # letters of scripts with words that no space ends
TOKEN = f"w/o|[a-z0-9\u0400-\u04ff]+|[{UNSPACED}]+|[,;:.!?]|[\u2190-\u2bff\U0001f000-\U0001faff]"
KANA = {kana: kana - 0x60 for kana in range(0x30A1, 0x30F7)} | {0x3001: ",", 0x3002: "."}


class Description(NamedTuple):
    """What `parse_description` understands of a text."""

    conditions: dict[str, str]  # in the order of the vocabulary
    without: dict[str, dict[str, str]]  # denied phrase -> what it means, empty if it means no condition
    read: dict[str, str]  # word with a slip -> the known one it is read as
    unknown: list[str]  # what is not understood


class Phrase(NamedTuple):
    """A phrase of a text, with what it means: None for one that is not known."""

    text: str
    values: Mapping[str, str] | None
    is_denied: bool


def parse_description(text: str, vocabulary: Mapping[str, Sequence[str]]) -> Description:
    """What a text asks for, of a model with this vocabulary, attribute -> its values.

    A word is a value of the vocabulary or one that `WORDS_FILE` knows, in many languages, an emoji, a compound as
    "firebird", or one with a slip; of several that name one attribute the first counts, and of types the first two.
    What is denied, as by "without", is not drawn. Neither understood is the size or the color of a part, as in "big
    red eyes".

    With "sketch" -> names of `sketch.SKETCHES` in the vocabulary an animal or thing is a sketch. A pair of types is
    "water/dragon", tags are "fox wings".
    """
    known = Known(vocabulary)
    phrases, read = _phrases_of(_tokens(text, known), known)
    conditions: dict[str, str] = {}
    types: list[str] = []
    tags: list[str] = []
    without, unknown = {}, []
    last: Mapping[str, str] = {}
    for i, (phrase, values, is_denied) in enumerate(phrases):
        after = [each.text for each in phrases[i + 1 : i + 3]]  # "with" begins something else
        is_of_part = {*PARTS} & {*after} and after[0] not in FUNCTIONS
        if is_denied:
            without |= {phrase: dict(values or {})} if phrase not in FUNCTIONS else {}
            continue
        if values and is_of_part and values.keys() <= {"size", "color"}:
            values = None
        taken = False
        if values and "sketch" in values and "sketch" in last:  # a "robot crab" is a crab
            conditions.pop("sketch", None)
        last = values or {}
        for name, value in last.items():
            if name == "tags":
                taken = True
                tags += [value] * (value not in tags)
            elif name != "type":
                taken |= conditions.setdefault(name, value) == value
            elif value in types or len(types) < 2:
                taken = True
                types += [value] * (value not in types)
        if not taken and (values or phrase not in FUNCTIONS):
            unknown.append(phrase)
    if types:
        conditions["type"] = "/".join(types)
    if tags:
        conditions["tags"] = " ".join(tags)
    ordered = {name: conditions[name] for name in vocabulary if name in conditions}
    return Description(ordered, without, read, unknown)


def said(without: Mapping[str, Mapping[str, str]]) -> dict[str, bool]:
    """Denied phrases as they are called, a part "without", all else "no", -> whether they are kept.

    Values are not drawn, but a body can have a part that is no value of it, or that no condition names.
    """
    has_part = {phrase: phrase in PARTS or values.get("shape") in PARTS for phrase, values in without.items()}
    return {
        f"{'without' if has_part[name] else 'no'} {name}": bool(without[name]) and not has_part[name]
        for name in without
    }


class Known:
    """The phrases that mean something, attribute -> value, of all languages; English goes before the others.

    `english` and `names` have each meaning with its phrases; the page gets them as they are.
    """

    def __init__(self, vocabulary: Mapping[str, Sequence[str]]):
        self.phrases, self.stems = _english(vocabulary), {}
        names: dict[str, dict[str, str]] = {}
        for word, of_word in WORDS["names"].items():
            if values := self.meaning(word):
                names |= {name: values for name in of_word.split() if name not in self.phrases}
        self.english, self.names = _grouped(self.phrases), _grouped(names)
        self.phrases = {phrase: values for values, group in (*self.english, *self.names) for phrase in group}
        # A short word of Latin letters has an ending only where it is a color or a size: "many" is no man.
        for values, group in reversed(self.names):
            is_quality = {"color", "size"} & values.keys()
            long = (name for name in group if len(stem(name)) > 3 or not name.isascii() or is_quality)
            self.stems |= {stem(name): name for name in long}
        self.stems |= {name: name for _, group in self.names for name in group}
        self.right = {*FUNCTIONS, *PARTS, *WORDS["functions"]["right"].split()}
        self.every = self.phrases.keys() | self.stems.keys() | self.right

    def meaning(self, phrase: str) -> dict[str, str]:
        """What a phrase means, also with another ending; empty if it is not known."""
        singular = (re.sub(f"{end}$", by, phrase) for end, by in PLURALS)
        forms = (phrase, *singular, self.stems.get(stem(phrase), ""))
        return next((self.phrases[form] for form in forms if form in self.phrases), {})

    def parts(self, word: str) -> list[str]:
        """The two known words of a compound, or else the word."""
        is_known = word in self.right or self.meaning(word)
        for place in () if is_known else range(SHORTEST_PART, len(word) - SHORTEST_PART + 1):
            if word[:place] in self.phrases and self.meaning(word[place:]):
                return [word[:place], word[place:]]
        return [word]

    def words(self, run: str) -> list[str]:
        """The words of letters without spaces: the longest known one at each place, and what is between them."""
        words, place, begin = [], 0, 0
        while place < len(run):
            ends = range(min(len(run), place + LONGEST_WORD), place, -1)
            end = next((end for end in ends if run[place:end] in self.every), place)
            if end > place:
                words += [run[begin:place]] * (begin < place) + [run[place:end]]
                begin = end
            place = max(end, place + 1)
        return words + [run[begin:]] * (begin < len(run))

    def nearest(self, word: str) -> str | None:
        """The known word that a word with slips is nearest to, the first of several; None if none is near."""
        nearest, least = None, 1 + sum(len(word) >= length for length in MISTAKES)
        english, single = {phrase for _, group in self.english for phrase in group}, re.sub(r"(.)\1", r"\1", word)
        for other in self.phrases if least > 1 else ():
            begins = other[0] == word[0] or other[:2] == word[1::-1]
            # Of four letters one that is wrong or too much can make another word of any.
            is_sure = (
                len(word) > MISTAKES[0] or len(other) > len(word) or other == single or sorted(other) == sorted(word)
            )
            is_sure |= len(other) == len(word) and other in english
            is_near = begins and is_sure and abs(len(other) - len(word)) < least
            if is_near and (distance := _distance(word, other)) < least:
                nearest, least = other, distance
        return nearest


def _phrases_of(tokens: Sequence[str], known: Known) -> tuple[list[Phrase], dict[str, str]]:
    """The phrases of a text, and its words with slips -> the known ones."""
    phrases: list[Phrase] = []
    read, place, denied, left = {}, 0, 0, 0  # `left` of the phrases until the place `denied` are denied
    while place < len(tokens):
        for length in range(min(LONGEST, len(tokens) - place), 0, -1):
            phrase = " ".join(tokens[place : place + length])
            if values := known.meaning(phrase):
                break
        if not values and phrase in NEGATIONS:
            denied, left = _denied(tokens, place)
        elif not values and phrase in NEGATIONS_AFTER:
            named = (i for i in reversed(range(len(phrases))) if phrases[i].text not in FUNCTIONS)
            for i in (*named,)[:1]:
                phrases[i] = phrases[i]._replace(is_denied=True)
        elif not values and phrase not in known.right and (other := known.nearest(phrase)):
            read[phrase], phrase, values = other, other, known.phrases[other]
        if phrase not in PUNCTUATION:
            phrases.append(Phrase(phrase, values, place < denied and left > 0))
            left -= phrase not in FUNCTIONS
        place += length
    return phrases, read


def _denied(tokens: Sequence[str], place: int) -> tuple[int, int]:
    """Where what the negation at a place denies ends, and of how many phrases that is.

    It is the rest of its clause; a comma is no end before a further "or": "without horns, wings or a tail". But "not"
    can deny only the next phrase: "not very scary ghost" is a ghost, "not a ghost" is none.
    """
    ends = {*WORDS["functions"]["ends"].split(), *NEGATIONS, *";:.!?"}
    stops = [i for i in range(place + 1, len(tokens)) if tokens[i] in ends] + [len(tokens)]
    commas = (
        i for i in range(place + 1, stops[0]) if tokens[i] == "," and not {"or", "nor"} & {*tokens[i : stops[0]]}
    )
    end = min([stops[0], *commas])
    rest = [token for token in tokens[place + 1 : end] if token not in WORDS["functions"]["degrees"].split()]
    is_one = tokens[place] in WORDS["functions"]["single"].split() and not {"and", "or", "nor"} & {*rest}
    return end, 1 if is_one and rest and rest[0] not in FUNCTIONS else len(tokens)


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


def plain(text: str) -> str:
    """A text in small letters without accents; sounds of Japanese in one of its two alphabets."""
    text = unicodedata.normalize("NFKD", text.lower().replace("ß", "ss").replace("ł", "l"))
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f'’]", "", text)).translate(KANA)


def stem(word: str) -> str:
    """A word without its ending."""
    least = 1 if re.match(f"[{UNSPACED}]", word) else SHORTEST_PART
    return next((word[: -len(end)] for end in ENDINGS if word.endswith(end) and len(word) - len(end) >= least), word)


def _tokens(text: str, known: Known) -> list[str]:
    """Words, punctuation and emoji."""
    tokens = (
        (token, known.words if re.match(f"[{UNSPACED}]", token) else known.parts)
        for token in re.findall(TOKEN, plain(text))
    )
    return [word for token, divided in tokens for word in divided(token)]


def _english(vocabulary: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Phrase -> attribute -> value: words of the table whose values the model knows, then the values themselves."""
    phrases: dict[str, dict[str, str]] = {}
    for group, words in WORDS["meanings"].items():
        values = dict(pair.split(" ", 1) for pair in group.split(", "))
        if values := {name: value for name, value in values.items() if value in vocabulary.get(name, ())}:
            phrases |= {word.replace("_", " "): values for word in words.split()}
    for name, values in reversed([*vocabulary.items()]):
        for value in values if name != "tags" else ():
            if name not in LEFT_OUT and value not in (ANY, NONE, "no", "yes", "base", USUAL.get(name)):
                phrase = _phrase(value)
                phrases[phrase] = {name: value, **{k: v for k, v in phrases.get(phrase, {}).items() if k == "sketch"}}
                # Own classes are often plurals. Of other attributes a "head" is not the shape "heads".
                for end, by in PLURALS if name == "type" else ():
                    phrases.setdefault(re.sub(f"{end}$", by, phrase), {name: value})
    for tag in vocabulary.get("tags", ()):  # beside what else the word means
        phrase = _phrase(tag)
        for form in (phrase, phrase.removesuffix(" on body")):
            singular = (re.sub(f"{end}$", by, form) for end, by in (("", ""), *PLURALS))
            phrases[form] = {**next((phrases[each] for each in singular if each in phrases), {}), "tags": tag}
        for end, by in PLURALS:
            phrases.setdefault(re.sub(f"{end}$", by, phrase), {"tags": tag})
    phrases.pop("", None)  # of values without letters
    return phrases


def _grouped(phrases: Mapping[str, dict[str, str]]) -> list[tuple[dict[str, str], list[str]]]:
    """Each meaning with its phrases."""
    groups: dict[str, tuple[dict[str, str], list[str]]] = {}
    for phrase, values in phrases.items():
        groups.setdefault(json.dumps(values), (values, []))[1].append(phrase)
    return [*groups.values()]


def _phrase(value: str) -> str:
    """A name as it stands in a text."""
    return " ".join(token for token in re.findall(TOKEN, plain(value)) if token not in PUNCTUATION)
