"""The attributes of a sprite and their values.

The position of a value in its tuple is its integer id everywhere: in the data set's `ClassLabel` features, in the
label tensors and in the conditioner's embedding tables. Two more ids follow: `none` (types only: there is no second
type) and `any` (the value is not given).
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence

Vocabulary = Mapping[str, Sequence[str]]  # attribute -> its values

TYPES = (
    "bug", "dark", "dragon", "electric", "fairy", "fighting", "fire", "flying", "ghost",
    "grass", "ground", "ice", "normal", "poison", "psychic", "rock", "steel", "water",
)  # fmt: skip
# Colors of the types on pages, of one lightness (OKLCH): dark enough for white text, light enough for a dark page.
TYPE_COLORS = dict(zip(TYPES, (
    "#607615 #74645b #5c53da #8f6b06 #bf427c #ba3535 #c54a05 #4e75af #705aa8 "
    "#298033 #8f602e #0c7d87 #75716a #973cb1 #d5225b #796f45 #5a6f7e #106dce"
).split(), strict=True))  # fmt: skip
COLORS = ("black", "blue", "brown", "gray", "green", "pink", "purple", "red", "white", "yellow")
SHAPES = tuple(
    "armor arms ball blob bug-wings fish heads humanoid legs quadruped squiggle tentacles upright wings".split()
)
# Emerald, FireRed/LeafGreen, Diamond/Pearl, HeartGold/SoulSilver, Black/White, then sprites made for later games.
GAMES = ("gen3_e", "gen3_fl", "gen4_dp", "gen4_hs", "gen5", "gen6", "gen7", "gen8", "gen8-mini")
VIEWS = ("front", "back")
FINISHES = ("normal", "shiny")
FORMS = ("base", "mega", "gmax", "alola", "galar")
# What readers see in the fronts.
BODIES = tuple("biped blob fish head insect multiple object plant quadruped serpent winged".split())
SIZES = ("tiny", "small", "medium", "large", "huge")
# Heights in decimeters at which the next size begins, in even steps of the logarithm.
SIZE_LIMITS = (4, 8, 16, 32)
LEGENDARY = ("no", "yes")

# Tags, the words for what an image shows, come from the data. A back does not show those of faces; those of the build
# are in groups, of which every sprite has one tag each.
MOODS = "cute fierce calm sad funny"
FACE_TAGS = frozenset(f"{MOODS} fangs tusks beak big-mouth whiskers beard one-eye many-eyes mask".split())
BUILDS = "round bulky slender flat two-legs four-legs many-legs no-legs baby adult giant flying swimming standing"
BUILD_TAGS = frozenset(f"{MOODS} {BUILDS}".split())

# What a sprite is without another condition, of models that have these attributes.
USUAL = {"view": "front", "finish": "normal"}

NONE = "none"
ANY = "any"

# Everything that a model can be conditioned on. An image's value is in the data set's column of this name, except for
# the types (two columns) and the size (from the height). Images with classes of their own have these instead of types.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "type": TYPES, "color": COLORS, "shape": SHAPES, "game": GAMES, "view": VIEWS, "finish": FINISHES, "size": SIZES,
    "form": FORMS, "legendary": LEGENDARY,
}  # fmt: skip
ATTRIBUTES = tuple(name for name in CONDITIONS if name != "type")


def shown_name(attribute: str, class_names: Iterable[str]) -> str:
    """The name of an attribute in texts: "class" for the "type" of images whose classes lack some of the types."""
    return "class" if attribute == "type" and not set(TYPES) <= set(class_names) else attribute


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of an error message about an unknown name: the nearest known name, if one is near, and all names."""
    wanted = name.strip().lower()
    begun = [value for value in known if wanted and value.lower().startswith(wanted)]
    close = begun or difflib.get_close_matches(wanted, known, n=1)
    return (f"Did you mean {close[0]!r}? " if close else "") + f"Known: {', '.join(known)}."
