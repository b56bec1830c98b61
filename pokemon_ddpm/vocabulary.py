"""The words a sprite is described with, and how a user's spelling finds them.

The position of a name in its tuple is its integer id everywhere: in the data set's `ClassLabel` features, in the
label tensors and in the conditioner's embedding tables. Two further words come after the names: `none` (types only:
there certainly is no second type) and `any` (nothing is said about this attribute).
"""

import difflib
from collections.abc import Sequence

TYPES = (
    "bug",
    "dark",
    "dragon",
    "electric",
    "fairy",
    "fighting",
    "fire",
    "flying",
    "ghost",
    "grass",
    "ground",
    "ice",
    "normal",
    "poison",
    "psychic",
    "rock",
    "steel",
    "water",
)
COLORS = ("black", "blue", "brown", "gray", "green", "pink", "purple", "red", "white", "yellow")
SHAPES = (
    "armor",
    "arms",
    "ball",
    "blob",
    "bug-wings",
    "fish",
    "heads",
    "humanoid",
    "legs",
    "quadruped",
    "squiggle",
    "tentacles",
    "upright",
    "wings",
)
# Emerald, FireRed/LeafGreen, Diamond/Pearl, HeartGold/SoulSilver, Black/White, then sprites drawn for later games.
GAMES = ("gen3_e", "gen3_fl", "gen4_dp", "gen4_hs", "gen5", "gen6", "gen7", "gen8", "gen8-mini")
VIEWS = ("front", "back")
FINISHES = ("normal", "shiny")
FORMS = ("base", "mega", "gmax", "alola", "galar")
SIZES = ("tiny", "small", "medium", "large", "huge")
# Heights, in decimetres, where the next class begins: even steps of the logarithm.
SIZE_LIMITS = (4, 8, 16, 32)
LEGENDARY = ("no", "yes")

NONE = "none"
ANY = "any"

# All that can be told of a picture. The conditioner, the pipeline, the commands and the app know what stands here. A
# picture's value is that of the data set's column of this name, a position in these words. (Of types there are two
# columns; the size is that of a height.) Where pictures have classes of their own, these take the place of the types.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "type": TYPES,
    "color": COLORS,
    "shape": SHAPES,
    "game": GAMES,
    "view": VIEWS,
    "finish": FINISHES,
    "size": SIZES,
    "form": FORMS,
    "legendary": LEGENDARY,
}
ATTRIBUTES = tuple(name for name in CONDITIONS if name != "type")


def nearest(name: str, known: Sequence[str]) -> str:
    """Ends an error message about an unknown name: the nearest known name, if any is near, and the full list."""
    close = difflib.get_close_matches(name.strip().lower(), known, n=1, cutoff=0.5)
    return (f"Did you mean {close[0]!r}? " if close else "") + f"Known: {', '.join(known)}."
