"""The conditions in a description such as "a small blue dragon with wings"."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from pokemon_ddpm.vocabulary import ANY, NONE, USUAL

WORDS_FILE = Path(__file__).parent / "site" / "words.json"  # the page has the same table and rules, description.js
LONGEST = 3  # words of a phrase
PLURALS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"))  # endings, and what they replace
LEFT_OUT = ("relation", "game")  # not what a sprite looks like


def parse_description(text: str, vocabulary: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], list[str]]:
    """The conditions that a description names, and the words that were not understood.

    A word is a value of the vocabulary or one of the synonyms in `WORDS_FILE`, also in the plural; of several words
    that name one attribute the first counts, and of types the first two. What is denied, see `_denied`, is not
    understood, since no condition is the absence of something, and neither is the size of a part, as in "big ears".

    Args:
        vocabulary: Of the model: attribute -> its values.

    Returns:
        Attribute -> value in the order of the vocabulary, a pair of types as "water/dragon"; and these words.
    """
    table = json.loads(WORDS_FILE.read_text(encoding="utf-8"))
    known = _phrases(vocabulary, table["words"])
    fillers, parts = f"{table['ignored']} {table['negations']} non".split(), {*table["parts"].split()}
    found: dict[str, str] = {}
    types: list[str] = []
    unknown: list[str] = []
    for number, span in enumerate(re.split(_denied(table), _plain(text), flags=re.ASCII)):  # every other one is denied
        words, place = _words(span), 0
        while place < len(words):
            for length in range(min(LONGEST, len(words) - place), 0, -1):
                phrase = " ".join(words[place : place + length])
                singular = (re.sub(f"{end}$", by, phrase) for end, by in PLURALS)
                if values := next((known[each] for each in (phrase, *singular) if each in known), {}):
                    break
            is_denied = number % 2 and place  # a value may begin with "no"
            place += length
            if is_denied or ("size" in values and parts & {*words[place : place + 2]}):
                values = None
            taken = False
            for name, value in (values or {}).items():
                if name != "type":
                    taken |= found.setdefault(name, value) == value
                elif value in types or len(types) < 2:
                    taken = True
                    types += [value] * (value not in types)
            if not taken and (values or phrase not in fillers):
                unknown.append(phrase)
    if types:
        found["type"] = "/".join(types)
    return {name: found[name] for name in vocabulary if name in found}, unknown


def _denied(table: Mapping[str, str]) -> str:
    """A pattern of what a word such as "without" denies: up to the end of its clause, or the one word after "non".

    A comma is no end before a further "or": "without horns, wings or a tail".
    """
    begins, ends = (rf"\b(?:{table[name].replace(' ', '|')})\b" for name in ("negations", "ends"))
    goes_on = rf"(?:(?!{ends}|{begins})[^;:.!?])*?\bn?or\b"
    return rf"(\bnon\b[^a-z0-9]*[a-z0-9]+|{begins}[^;:.!?]*?(?={ends}|[;:.!?]|,(?!{goes_on})|$))"


def _plain(text: str) -> str:
    return re.sub(r"[\u0300-\u036f'’]", "", unicodedata.normalize("NFKD", text.lower()))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", _plain(text))


def _phrases(
    vocabulary: Mapping[str, Sequence[str]], words: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Phrase -> attribute -> value: the synonyms whose values the model knows, then the values themselves."""
    phrases = {}
    for phrase, values in words.items():
        if values := {name: value for name, value in values.items() if value in vocabulary.get(name, ())}:
            phrases[phrase] = values
    for name, values in reversed([*vocabulary.items()]):
        for value in values:
            if name not in LEFT_OUT and value not in (ANY, NONE, "no", "yes", "base", USUAL.get(name)):
                phrase = " ".join(_words(value))
                phrases[phrase] = {name: value}
                # Own classes are often plurals. Of other attributes a "head" is not the shape "heads".
                for end, by in PLURALS if name == "type" else ():
                    phrases.setdefault(re.sub(f"{end}$", by, phrase), {name: value})
    return phrases
