"""Every name that the page can invent: none is that of a Pokémon, has one in it, or an offensive word."""

import hashlib
import itertools
import json
from pathlib import Path

from pokemon_ddpm.publishing.page import SOURCE
from pokemon_ddpm.vocabulary import TYPES

# The first 40 bits of the SHA-256 of each species and form, in small letters without other signs.
SPECIES = set((Path(__file__).parent / "species_hashes.txt").read_text(encoding="utf-8").split())
OFFENSIVE = "ass cum sex tit fag nig cunt shit fuck dick cock rape nazi slut piss anal puss porn arse wank twat coon"


def is_species(word: str) -> bool:
    return hashlib.sha256(word.encode()).hexdigest()[:10] in SPECIES


def test_no_name_is_that_of_a_pokemon():
    table = json.loads((SOURCE / "names.json").read_text(encoding="utf-8"))
    assert is_species("bulbasaur") and table["begin"].keys() == {*TYPES, "any"}
    parts, avoid = [], table["avoid"].split()
    for begins in table["begin"].values():
        for end in table["end"].values():
            parts += itertools.product(begins.split(), table["middle"].split(), end.split())
    names = {"".join(combination).lower() for combination in parts}
    names = {name for name in names if not any(part in name for part in avoid)}
    assert len(names) > 25_000
    inside = {name[i : i + n] for name in names for n in range(3, 13) for i in range(len(name) - n + 1)}
    assert not {part for part in inside if is_species(part)}
    assert not [name for name in names if any(word in name for word in OFFENSIVE.split())]
