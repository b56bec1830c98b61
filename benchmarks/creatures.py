"""How good creatures are: backs of real fronts beside the true ones, or whole creatures beside real pairs.

    python -m benchmarks.creatures --data_dir path/to/pokemon-sprites --output outputs/backs
    python -m benchmarks.creatures --data_dir path/to/pokemon-sprites --output outputs/creatures --creatures 2 \
        --split train

All are made as by `pokemon-ddpm creature`. OUTPUT/creatures.json has the results.
"""

import argparse
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.utils import tqdm
from PIL import Image

from benchmarks.shiny_table import pairs_of
from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.creature import SHEET_FILE, CreatureSettings, generate_creature, generate_stage
from pokemon_ddpm.data import SpriteTensors, load_tensors
from pokemon_ddpm.evaluation.evaluate import as_json, estimate
from pokemon_ddpm.evaluation.features import extract_features, load_features
from pokemon_ddpm.evaluation.images import row_requests
from pokemon_ddpm.evaluation.metrics import TAIL, Estimate, line_resamples
from pokemon_ddpm.files import write_file
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.likeness import MAX_LIKENESS, growth, overlaps, palette_distance, shared_drawing
from pokemon_ddpm.postprocessing import reduce_palette
from pokemon_ddpm.preprocessing import as_arrays, as_tensor, open_image, over_white
from pokemon_ddpm.ranking import ranker_for

STAGES = 3  # of a creature


def over_lines(
    values: torch.Tensor, lines: torch.Tensor, average: Callable[[np.ndarray], float] = np.mean
) -> Estimate:
    """The average of values (K,), with the percentile interval of `line_resamples` of their lines, int64 (K,)."""
    values, lines = values.double().numpy(), lines.numpy()
    low, high = np.quantile([average(values[rows]) for rows in line_resamples(lines, seed=0)], [TAIL, 1 - TAIL])
    return Estimate(float(average(values)), float(low), float(high), len(values), len(np.unique(lines)))


def measure_backs(pipeline: PokemonDDPMPipeline, data: SpriteTensors, seed: int) -> dict[str, Estimate]:
    """Backs that are made of the fronts of a split, beside the true ones."""
    rows, targets = pairs_of(data, "index", "back")
    front, real = (data.images[indices] for indices in (rows, targets))
    made, ranker = [], ranker_for(pipeline)
    for number, request in enumerate(tqdm(row_requests(data, pipeline.conditioner, rows), "Generating")):
        sprite = reduce_palette(Image.fromarray(as_arrays(front[number : number + 1])[0]))
        creature = CreatureSettings(request.pokemon_type, seed + number)
        made.append(generate_stage(pipeline, creature, 1, {"1-front": sprite}, ranker)[0]["1-back"])
    made, lines, network = as_tensor(made), data.labels["line"][targets], load_features()
    one, all_backs = (extract_features(network, over_white(images)).double() for images in (made, real))
    nearest = torch.cdist(one, all_backs).argmin(dim=1) == torch.arange(len(one))
    return {
        "silhouette IoU with the true back": over_lines(overlaps(made, real).diagonal(), lines),
        "silhouette IoU with the mirrored front": over_lines(overlaps(made, front).diagonal(), lines),
        "silhouette IoU of the true back with it": over_lines(overlaps(real, front).diagonal(), lines),
        f"the right back is the nearest of {len(real)}": over_lines(nearest, lines),
    }


def measure_creatures(creatures: list[dict[str, Image.Image]], data: SpriteTensors) -> dict[str, Estimate]:
    """Backs and next stages of creatures, which have their parts by name, beside real ones."""
    fronts = sorted(name for name in creatures[0] if name.endswith("-front"))
    pairs = {"same": [(front, front.replace("front", "back")) for front in fronts], "next": list(pairwise(fronts))}
    numbers = {}
    for relation, names in pairs.items():
        rows = pairs_of(data, *(("index", "back") if relation == "same" else ("evolves_from", "front")))
        sets = [as_tensor(sprites[pair[i]] for sprites in creatures for pair in names) for i in (0, 1)]
        kinds = {"generated": (sets, torch.arange(len(sets[0])) // len(names))}
        kinds["real"] = ([data.images[indices] for indices in rows], data.labels["line"][rows[1]])
        for kind, ((before, images), lines) in kinds.items():
            is_back, title = relation == "same", f"{'back' if relation == 'same' else 'next stage'}, {kind}"
            alike = shared_drawing(before, images) if is_back else overlaps(before, images).diagonal()
            likeness, most = "shared drawing" if is_back else "silhouette IoU", MAX_LIKENESS[relation]
            numbers[f"{title}: {likeness} of at most {most}"] = over_lines(alike <= most, lines)
            numbers[f"{title}: {likeness}, median"] = over_lines(alike, lines, np.median)
            numbers[f"{title}: more foreground"] = over_lines(growth(before, images) > 1, lines)
            numbers[f"{title}: distance to the palette before"] = over_lines(palette_distance(before, images), lines)
    return numbers


def main(arguments: list[str] | None = None) -> None:
    """Reads the flags, generates and measures; creatures that are in the folder are only read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="the sprite archive")
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name of a model of sprites")
    parser.add_argument("--split", default="validation", choices=("train", "validation", "test"))
    parser.add_argument("--creatures", type=int, metavar="N", help="N creatures of each type instead of real fronts")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=0, help="of the first creature")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    settings = GenerationSettings(options.model, dtype=options.dtype)
    pipeline = settings.load()
    pipeline.set_progress_bar_config(disable=True)
    data = load_tensors(options.data_dir, options.split, pipeline.sample_shape[1], config_name="all")
    if not options.creatures:
        numbers = measure_backs(pipeline, data, options.seed)
    else:
        creatures = []
        for i, name in enumerate(tqdm(pipeline.conditioner.vocabulary["type"] * options.creatures, "Generating")):
            (place := options.output / f"{options.seed + i}").mkdir(parents=True, exist_ok=True)
            if not (place / SHEET_FILE).exists():
                list(generate_creature(pipeline, settings, CreatureSettings(name, options.seed + i, STAGES), place))
            creatures.append({file.stem: open_image(file) for file in sorted(place.glob("?-*.png"))})
        numbers = measure_creatures(creatures, data)
    options.output.mkdir(parents=True, exist_ok=True)
    report = {"about": {name: str(value) for name, value in vars(options).items()}, "results": as_json(numbers)}
    write_file(options.output / "creatures.json", json.dumps(report, indent=2) + "\n")
    for name, result in report["results"].items():
        print(f"{name}: {estimate(result)} ({result['n']} pairs)")


if __name__ == "__main__":
    main()
