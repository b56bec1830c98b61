"""Counts the sprites by type, game, view, finish, color and shape: the figure and the table of docs/data.md.

python benchmarks/count_sprites.py --data_dir path/to/pokemon-sprites --output docs/data.png
"""

import argparse
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pokemon_ddpm import load_sprites
from pokemon_ddpm.publishing.cards import count_values
from pokemon_ddpm.vocabulary import NONE

GAMES = {
    "gen3_e": "Emerald",
    "gen3_fl": "FireRed, LeafGreen",
    "gen4_dp": "Diamond, Pearl",
    "gen4_hs": "HeartGold, SoulSilver",
    "gen5": "Black, White",
    "gen6": "generation 6",
    "gen7": "generation 7",
    "gen8": "generation 8",
    "gen8-mini": "generation 8, small",
}
# Readable on white and on black: the background is transparent.
GRAY, FIRST, SECOND = "#808890", "#3d8bd4", "#e0913a"


def bars(axes: Axes, title: str, first: Mapping[str, int], second: Mapping[str, int] | None = None) -> None:
    """A bar with its count for each value, from top to bottom; `second` continues the bars."""
    names, starts = [*first], [0] * len(first)
    for counts, color in ((first, FIRST), (second or {}, SECOND)):
        lengths = [counts.get(name, 0) for name in names]
        axes.barh(names, lengths, 0.75, starts, color=color)
        starts = [start + length for start, length in zip(starts, lengths, strict=True)]
    for row, name in enumerate(names):
        text = f"{first[name]:,}" + (f" + {second.get(name, 0):,}" if second is not None else "")
        axes.text(starts[row] + 0.015 * max(starts), row, text, va="center", color=GRAY, fontsize=8)
    axes.set_title(title, loc="left", color=GRAY, fontsize=10, fontweight="bold")
    axes.set(xlim=(0, 1.18 * max(starts)), xticks=[], ylim=(len(names) - 0.4, -0.6))
    axes.tick_params(colors=GRAY, length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--output", default="docs/data.png")
    args = parser.parse_args()
    front, every = (load_sprites(args.data_dir, name) for name in ("front", "all"))
    columns = ("type1", "type2", "game", "color", "shape")
    first, second, games, colors, shapes = (count_values(front, column) for column in columns)
    second.pop(NONE, None)
    either = {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}
    views, finishes = (count_values(every, column) for column in ("view", "finish"))
    games = {title: games.get(name, 0) for name, title in GAMES.items()}

    figure = Figure(figsize=(10, 6.6), layout="constrained")
    left, middle, right = (figure.add_gridspec(1, 3, width_ratios=(1.35, 1, 1))[column] for column in range(3))
    bars(figure.add_subplot(left), f"{sum(first.values()):,} fronts by type: first + second", first, second)
    upper, lower = middle.subgridspec(2, 1, height_ratios=(len(games), 5))
    bars(figure.add_subplot(upper), "by game", games)
    bars(figure.add_subplot(lower), f"all {sum(views.values()):,} images", {**views, **finishes})
    upper, lower = right.subgridspec(2, 1, height_ratios=(len(colors), len(shapes)))
    bars(figure.add_subplot(upper), "by color", colors)
    bars(figure.add_subplot(lower), "by shape", shapes)
    figure.savefig(args.output, dpi=100, transparent=True)

    print("| | values | most images | fewest |\n|---|---:|---|---|")
    rows = {"first type": first, "second type": second, "either type": either, "game": games, "color": colors}
    for name, counts in {**rows, "shape": shapes, "view": views, "finish": finishes}.items():
        most, fewest = (choose(counts, key=counts.get) for choose in (max, min))
        print(f"| {name} | {len(counts)} | {most} {counts[most]:,} | {fewest} {counts[fewest]:,} |")


if __name__ == "__main__":
    main()
