"""What types, colors and sizes creatures have that look like each sketch: the digits in sketches.json.

    python -m benchmarks.sketch_counts

The creatures are the training images of `pokemon-ddpm-64-general`, whose tags say what they look like; forms of one
evolution line count as one creature. A sketch stands for the tags that are among its words, or for those of `TAGS`.
Counts are smoothed by `PRIOR` creatures that are as all are together. The largest digit for an attribute is 9.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from pokemon_ddpm.description import WORDS, WORDS_FILE
from pokemon_ddpm.sketch import DRAWN, TABLE
from pokemon_ddpm.vocabulary import CONDITIONS

CONFIG = Path(__file__).parent / "training" / "pokemon-ddpm-64-general" / "conditioner" / "config.json"
TAGS = {
    "axolotl": "salamander", "cake": "food fairy", "eyeball": "eye one-eye", "human": "humanoid knight wizard fighter",
    "pumpkin": "fruit", "slime": "blob", "snowman": "snow ice", "sprout": "seed leaf", "swamp": "blob sand",
    "robot": "robot machine", "hydra": "many-heads", "scorpion": "crab stinger", "unicorn": "horse unicorn",
}  # fmt: skip
PRIOR = {"type": 0.5, "color": 4.0, "size": 1.0}


def digits(shares: np.ndarray) -> str:
    """Shares as digits in the order of the values."""
    return "".join(str(round(9 * share)) for share in shares / shares.max())


def lines_of(config: dict) -> tuple[np.ndarray, dict[str, np.ndarray], list[set[str]]]:
    """The lines of the training images, the shares of the values that each has (R, values), and their tags."""
    table, vocabulary = config["training_conditions"], config["vocabulary"]
    rows = np.array([[*map(int, row.split())] for row in table["rows"]])
    shares = {name: np.zeros((len(rows), len(CONDITIONS[name]))) for name in DRAWN}
    for place, row in enumerate(rows):
        ids = {"type": row[1:3], **{name: [row[3 + table["attributes"].index(name)]] for name in ("color", "size")}}
        for name, own in ids.items():
            known = [vocabulary[name][number] for number in own if number < len(vocabulary[name])]
            for value in known:
                shares[name][place, CONDITIONS[name].index(value)] = 1 / len(known)
    return rows[:, 0], shares, [{vocabulary["tags"][int(number)] for number in row.split()} for row in table["tags"]]


def mean_of(chosen: np.ndarray, lines: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sum over the chosen lines of the mean of each, (values,)."""
    means = [values[chosen & (lines == line)].mean(axis=0) for line in np.unique(lines[chosen])]
    return np.sum(means, axis=0) if means else np.zeros(values.shape[1])


def main() -> None:
    """Writes the digits."""
    lines, shares, tags = lines_of(json.loads(CONFIG.read_text(encoding="utf-8")))
    every = np.ones(len(lines), dtype=bool)
    usual = {name: (total := mean_of(every, lines, values)) / total.sum() for name, values in shares.items()}
    words = defaultdict(set)
    for group, listed in WORDS["meanings"].items():
        if sketch := re.search(r"sketch (\S+)", group):
            words[sketch[1]] |= {*listed.replace("_", "-").split()}
    for name, sketch in TABLE["sketches"].items():
        of_sketch = {*TAGS[name].split()} if name in TAGS else words[name]
        chosen = np.array([bool(of_sketch & own) for own in tags])
        counts = [mean_of(chosen, lines, shares[each]) + PRIOR[each] * usual[each] for each in DRAWN]
        print(f"{name}: {len(np.unique(lines[chosen]))} lines")
        sketch["drawn"] = " ".join(map(digits, counts))
    lifts = TABLE["lifts"] = {}
    for kind, value in enumerate(CONDITIONS["type"]):
        of_kind = shares["type"][:, kind] > 0
        counts = {name: mean_of(of_kind, lines, shares[name]) + 4 * usual[name] for name in ("color", "size")}
        own = [digits(np.maximum(count / count.sum() / usual[name], 0.1)) for name, count in counts.items()]
        lifts[value] = " ".join(own)
    write(TABLE)


def write(table: dict) -> None:
    """Writes sketches.json, whose rows show the drawings."""
    rows = {name: ",\n".join(f'"{row}"' for row in own["rows"]) for name, own in table["sketches"].items()}
    own = {name: {key: of[key] for key in of if key != "rows"} for name, of in table["sketches"].items()}
    sketches = ",\n".join(f'"{name}": {json.dumps(own[name])[:-1]}, "rows": [\n{rows[name]}]}}' for name in rows)
    others = "".join(f' "{name}": {json.dumps(value)},\n' for name, value in table.items() if name != "sketches")
    text = f'{{\n{others} "sketches": {{\n{sketches}\n}}}}\n'
    WORDS_FILE.with_name("sketches.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
