"""The names of animals, things and colors in many languages, and their emoji, for what people type.

    npm pack cldr-annotations-full@48.2.0 && tar xzf cldr-annotations-full-48.2.0.tgz
    python benchmarks/names.py package

They are those of Unicode's CLDR, which says of each emoji its name and keywords in every language. A foreign word is
the name of an English one that the table knows if both stand at the same emoji: F1 of the two sets is `LEAST` or more,
and the foreign word is in the name of one that is called so, or at two of them. Writes the "names" of words.json.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from pokemon_ddpm.description import WORDS_FILE, plain, stem
from pokemon_ddpm.vocabulary import COLORS, CONDITIONS

LANGUAGES, COUNT, LEAST, SURE = "es fr de it pt nl pl ru ja ko zh".split(), 2, 0.4, 0.65
# English words whose emoji show something else, as a parasol on the ground, or that mean several things.
OTHERS = """
adder adorable anchor ape archer avocado axe back bag balloon banana battery bean behind bell berry big blond boa bolt
bomb book boulder bouquet bread brick broccoli bronze bud bulb bunny burger candle car carrot cattle chestnut child
chocolate clock cloud_ coconut coffee comet cookie corn cream cricket cub cucumber cute cyan dancer demon diamond doll
dream earth eggplant emu evil feather fighter fighting firecracker flame fly flying fog food galaxy garlic gear genie
giant gold goo grapes ground gun guy hammer headed helmet hen hero indigo iron jelly jet key king kiwi knife lady lake
lamb lamp lantern leafy lemon lettuce lime little log machine mage magic magician magnet mango marine martial
mechanical melon metal meteor mind moo no normal ogre old olive onion palm pancake peach pear pepper person pie
pineapple pixie pizza plug pot potato prince pudding queen raven ray river robin round sand sandwich sea serpent
shadow shield silver skink smoke snowflake soldier spark sparkling spirit standing statue stone strong stump sushi
swallow swimming tangerine tank teal toadstool tomato torch tortoise trunk ufo undead vegetables violet waffle warrior
watermelon wave wicked winter wood wool young zap
""".split()
# What CLDR lacks.
MORE_NAMES = {
    "cute": "mignon suss niedlich lindo carino fofo schattig slodki милыи かわいい 可愛い 可爱 귀여운",
    "small": "маленькии 小さい ちいさい 小",
    "big": "大きい おおきい",
    "huge": "riesig riesen enorme gigante reusachtig ogromny огромныи 巨大 거대한",
}
FORMS, COLOR_WORDS = ("circle", "square", "heart"), [*COLORS, "orange", "grey"]  # emoji that colors have; the colors
# Emoji of weather, plants, animals.
NATURE = (*map(range, (0x1F300, 0x1F330, 0x1F400, 0x1F980, 0x1FAB0), (0x1F322, 0x1F37F, 0x1F440, 0x1F9AE, 0x1FAC0)),)
MORE = "⚡❄☃⛄⭐☀🔥👻👽👾🤖🎃💀☠🧚🧙🧛🧜🧟🧝👼👹👺💎🪨🧊🥚🧠👁🗡⚔🛡🪽🪶🌑🌙🌟🪐☁⛈🍄🍎🍓🍒🍇"
MORE += "🧁🎂🍰🍬🍩🍪🍦🍞💣🕯🪵🪸🪼🫎🫏"  # as they


def annotations(folder: Path, language: str) -> dict[str, tuple[list[str], list[str]]]:
    """Emoji -> its name, and its keywords, as descriptions are read."""
    path = folder / "annotations" / language / "annotations.json"
    table = json.loads(path.read_text(encoding="utf-8"))["annotations"]["annotations"]
    return {emoji: ([*map(plain, of["tts"])], [*map(plain, of["default"])]) for emoji, of in table.items()}


def places(table: dict[str, tuple[list[str], list[str]]]) -> dict[str, set[str]]:
    """Word -> the emoji that have it."""
    every = defaultdict(set)
    for emoji, (names, keys) in table.items():
        for text in (*names, *keys):
            for word in {text, *(text.split() if text in names else ())}:
                every[word].add(emoji)
    return every


def names_in(folder: Path, language: str, english: dict, words: list[str]) -> dict[str, list[str]]:
    """English word -> the words of a language for it, at most `COUNT`, the best first."""
    table = {emoji: texts for emoji, texts in annotations(folder, language).items() if emoji in english}
    of = places(english)
    own, is_spaced, found = places(table), language not in ("ja", "ko", "zh"), {}
    for word in words:
        exact = {emoji for emoji in of[word] & table.keys() if english[emoji][0][0].removesuffix(" face") == word}
        called = exact or {emoji for emoji in of[word] & table.keys() if word in english[emoji][0][0].split()}
        parts = {part for emoji in called for name in table[emoji][0] for part in name.split()}
        texts = {text for emoji in of[word] & table.keys() for group in table[emoji] for text in group}
        for each in sorted({part for text in texts for part in text.split()}):
            both = len(of[word] & own[each])
            score = 2 * both / (len(of[word]) + len(own[each]))
            is_name = any(table[emoji][0] == [each] for emoji in exact)
            start = each[: max(4, len(each) - 3)]
            is_part = any(part.startswith(start) if is_spaced else each in part for part in parts)
            is_sure = is_part or score > SURE and (both > 1 or not is_spaced and len(each) == 1)
            is_word = len(each) > 2 * is_spaced and each.isalpha() and "の" not in each
            if is_word and (is_name or is_sure and score >= LEAST):
                found[each] = max(found.get(each, (0, "")), (score + is_name, word))
    of_word, sure = defaultdict(list), LEAST if words == COLOR_WORDS else SURE
    for each, (score, word) in sorted(found.items(), key=lambda item: (-item[1][0], item[0])):
        is_same = any(each.startswith(stem(other)) or other in each for other in of_word[word])
        if not of_word[word] or score > sure and not is_same:
            of_word[word].append(each)
    return {word: each[:COUNT] for word, each in of_word.items()}


def meaning_of(emoji: str, english: dict, of: dict, words: dict) -> str | None:
    """The English word for an emoji: its name, the end of it, or the rarest keyword of an animal or a plant."""
    (name, *_), keys = english[emoji]
    first, last = name.removesuffix(" face").split()[0], name.removesuffix(" face").split()[-1]
    is_nature = any(ord(emoji[0]) in some for some in NATURE) or emoji[0] in MORE
    others = (
        [last, *sorted(keys, key=lambda key: (len(of[key]), key))]
        if is_nature
        else [first]
        if last in FORMS and first in COLOR_WORDS
        else []
    )
    known = [word for word in (name.removesuffix(" face"), *others) if word in words]
    return known[0] if known and len(emoji.replace("\ufe0f", "")) == 1 else None


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the unpacked package")
    folder, table = parser.parse_args().folder, json.loads(WORDS_FILE.read_text(encoding="utf-8"))
    listed = [word.replace("_", " ") for group in table["meanings"].values() for word in group.split()]
    values = [value for name in ("type", "color", "size") for value in CONDITIONS[name]]
    words = dict.fromkeys([*values, *listed])
    english, taken = annotations(folder, "en"), {*words, *" ".join(table["functions"].values()).split()}
    forms = {emoji: of for emoji, of in english.items() if of[0][0].split()[-1] in FORMS}
    names: dict[str, list[str]] = {word: [] for word in words}
    for language in LANGUAGES:
        some = [word for word in words if len(word) > 2 and word not in (*OTHERS, *COLOR_WORDS)]
        found = names_in(folder, language, english, some) | names_in(folder, language, forms, COLOR_WORDS)
        for word, of_word in found.items():
            names[word] += [each for each in of_word if each not in taken]
            taken |= {*of_word}
    for word, of_word in MORE_NAMES.items():
        names[word] += of_word.split()
    of = places(english)
    for emoji in english:
        if word := meaning_of(emoji, english, of, words):
            names[word].append(emoji[0])
    table["names"] = {word: " ".join(names[word]) for word in names if names[word]}
    WORDS_FILE.write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
