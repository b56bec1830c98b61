"""What the figures and sentences of the report have in common: names, and colours that mean something."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from pokemon_ddpm.dataset_scripts.starter_art import LOOKS
from pokemon_ddpm.plotting import THOUSANDS
from pokemon_ddpm.vocabulary import ANY, COLORS, GAMES

Numbers = Mapping[str, Any]  # what `report.json` holds

GAME_NAMES = dict(
    zip(
        (*GAMES, ANY),
        ("Emerald", "FireRed/LeafGreen", "Diamond/Pearl", "HeartGold/SoulSilver", "Black/White",
         "Generation 6", "Generation 7", "Generation 8", "Giant forms, small", "Of no game"),
        strict=True,
    )
)  # fmt: skip
TYPE_COLORS = {name: tuple(value / 255 for value in look.body) for name, look in LOOKS.items()}
COLOR_COLORS = dict(
    zip(
        (*COLORS, ANY),
        ("#303030", "#3D7DCA", "#8C5A2B", "#9A9A9A", "#4CA64C", "#F49AC1", "#8E5BB5", "#D93A32", "#FFFFFF", "#F2CE2E",
         "#EEEEEE"),
        strict=True,
    )
)  # fmt: skip


def label_pictures(axes: Axes) -> None:
    """The vertical axis of a histogram of pictures."""
    axes.set_ylabel("pictures", fontsize=10)
    axes.yaxis.set_major_formatter(StrMethodFormatter(THOUSANDS))
