"""What a model makes of references: of real fronts, or, with --creatures, of its own; both beside real pairs.

    python benchmarks/references.py --data_dir path/to/pokemon-sprites --output outputs/references
    python benchmarks/references.py --data_dir path/to/pokemon-sprites --output outputs/creatures --creatures 2 \
        --split train

Of real held-out fronts it makes backs, shinies and next stages, recolored as in `pokemon-ddpm creature`, and compares
their colors and features. Creatures are generated as by that command. OUTPUT/references.json has the results, and
OUTPUT/sets.png some of the sprites: fronts, shinies, backs and real backs; or front and back of each stage.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.creature import SHEET_FILE, CreatureSettings, generate_creature
from pokemon_ddpm.data import SpriteTensors, load_tensors
from pokemon_ddpm.evaluation.evaluate import as_json, estimate
from pokemon_ddpm.evaluation.features import SpriteFeatures, extract_features, load_features
from pokemon_ddpm.evaluation.images import default_output, random_rows, row_requests
from pokemon_ddpm.evaluation.metrics import TAIL, Estimate, line_resamples
from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.generation import CHUNK_SIZE, GenerationSettings, generate
from pokemon_ddpm.likeness import MAX_LIKENESS, color_change, lab, opaque, overlaps, palette_distance, shared_drawing
from pokemon_ddpm.palettes import (
    DARK,
    MAIN_AREAS,
    MIN_AREA,
    SHINY_DRAWS,
    SHINY_TABLE,
    shaded_areas,
    share_palette,
    shiny,
)
from pokemon_ddpm.postprocessing import from_oklab, reduce_palette
from pokemon_ddpm.preprocessing import as_arrays, as_tensor, open_image, over_white
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.studio import sample_seed
from pokemon_ddpm.vocabulary import FINISHES, TYPES, VIEWS

FRONT, BACK = (VIEWS.index(name) for name in ("front", "back"))
NORMAL, SHINY = (FINISHES.index(name) for name in ("normal", "shiny"))
MIN_SHINY_CHANGE = 0.06  # of a real shiny whose colors others get
QUESTIONS = {"same": "back", "next": "next stage"}
STAGES = 3  # of a creature


class Pairs(NamedTuple):
    """References and what they should become: rows of a split, int64 (K,) each."""

    references: torch.Tensor
    targets: torch.Tensor


def pairs_of(data: SpriteTensors, relation: str, view: int, finish: int, other_game: bool = False) -> Pairs:
    """Normal fronts, and the image of the same form or of the next stage with a view and a finish.

    One pair for each form that a target has: of the same game and frame if there is one, and of the earliest game.

    Args:
        other_game: Whether a pair must be of two games.
    """
    wanted = data.labels["index" if relation == "same" else "evolves_from"].tolist()
    columns = (data.labels[name].tolist() for name in ("index", "game", "frame", "view", "finish"))
    sprites, first, forms = list(zip(*columns, strict=True)), {}, defaultdict(list)
    for row, (form, *_) in enumerate(sprites):
        forms[form].append(row)
    for target, (form, game, frame, *look) in enumerate(sprites):
        for reference in forms[wanted[target]] if look == [view, finish] else ():
            _, game_before, frame_before, *look_before = sprites[reference]
            pair = (game_before != game, frame_before != frame, game, reference, target)
            if look_before == [FRONT, NORMAL] and (pair[0] or not other_game):
                first[form] = min(pair, first.get(form, pair))
    rows = torch.tensor([first[form][3:] for form in sorted(first)], dtype=torch.int64)
    return Pairs(*rows.view(-1, 2).unbind(dim=1))


def more_foreground(references: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Whether images have more opaque pixels than their references, bool (K,), of RGBA sprites, uint8 (K, 4, S, S)."""
    return opaque(images).sum(dim=(1, 2)) > opaque(references).sum(dim=(1, 2))


def over_lines(
    values: torch.Tensor, lines: torch.Tensor, average: Callable[[np.ndarray], float] = np.mean
) -> Estimate:
    """The average of values (K,), with the percentile interval of `line_resamples` of their lines, int64 (K,).

    NaN, as of an empty sprite, is left out.
    """
    known = ~values.double().isnan()
    values, lines = values[known].double().numpy(), lines[known].numpy()
    resampled = [average(values[rows]) for rows in line_resamples(lines, seed=0)]
    low, high = np.quantile(resampled, [TAIL, 1 - TAIL])
    return Estimate(float(average(values)), float(low), float(high), len(values), len(np.unique(lines)))


def nearer(queries: torch.Tensor, gallery: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """How many rows of the gallery, features (M, D), are nearer to a query (K, D) than its own row, int64 (K,)."""
    distances = torch.cdist(queries.double(), gallery.double())
    return (distances < distances.gather(1, places[:, None])).sum(dim=1)


def mean_color(images: torch.Tensor) -> torch.Tensor:
    """Mean OKLab color of the opaque pixels, float64 (K, 3), of RGBA sprites, uint8 (K, 4, S, S)."""
    weights = opaque(images)[..., None].double()
    return (torch.from_numpy(lab(images)) * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))


def measure_fronts(
    pipeline: PokemonDDPMPipeline,
    data: SpriteTensors,
    network: SpriteFeatures,
    seed: int,
    image_guidance_scale: float | None = None,
) -> tuple[dict[str, dict[str, Estimate]], list[torch.Tensor]]:
    """Generates backs, shinies and next stages of the fronts of a split, and compares them with the real ones.

    Args:
        data: In RGBA, with the columns of the sprites.
        network: For features.

    Returns:
        Question -> row -> `Estimate`, in which n is the number of pairs and m that of lines; and the images of the
        sets, uint8 (K, 4, S, S): fronts, shinies, backs and real backs, of the forms that have all of them.

    Raises:
        ValueError: If the split has no such pairs.
    """
    backs, shinies = (pairs_of(data, "same", view, finish) for view, finish in ((BACK, NORMAL), (FRONT, SHINY)))
    stages = pairs_of(data, "next", FRONT, NORMAL)
    both = sorted(set(backs.references.tolist()) & set(shinies.references.tolist()))
    if not (both and len(stages.targets)):
        raise ValueError("The images need backs, shinies and next stages of the same forms.")

    def made(pairs: Pairs, relation: str) -> torch.Tensor:
        """Sprites with the conditions of the targets, uint8 (K, 4, S, S), in the colors of the references."""
        count, references = len(pairs.targets), data.images[pairs.references]
        requests = row_requests(data, pipeline.conditioner, pairs.targets, seed)
        samples = []
        for rows in tqdm(torch.arange(count).split(CHUNK_SIZE), "Generating"):
            given = {"chunk_size": len(rows), "reference_image": references[rows].float() / 127.5 - 1}
            given = {**given, "image_guidance_scale": image_guidance_scale} if relation == "same" else {}
            samples += generate(pipeline, requests[rows[0] : rows[-1] + 1], **given)
        images = default_output(as_tensor(samples))
        sprites, others = (map(Image.fromarray, as_arrays(each)) for each in (images, references))
        return as_tensor(map(share_palette, sprites, map(reduce_palette, others)))

    made_backs, made_shinies = made(backs, "same"), recolored(data, shinies, seed)
    numbers = {
        **_back(data, backs, made_backs, network),
        "shiny": _shiny(data, shinies, made_shinies),
        "next stage": _next(data, stages, made(stages, "next"), network),
    }
    ones, others = ([pairs.references.tolist().index(row) for row in both] for pairs in (backs, shinies))
    sets = [made_shinies[others], made_backs[ones]]
    return numbers, [data.images[both], *sets, data.images[backs.targets[ones]]]


def recolored(data: SpriteTensors, shinies: Pairs, seed: int) -> torch.Tensor:
    """The references in the colors of shinies that are drawn as in `creature`, uint8 (K, 4, S, S)."""
    images = []
    for i, row in enumerate(shinies.references.tolist()):
        sprite = reduce_palette(Image.fromarray(as_arrays(data.images[row : row + 1])[0]))
        types = [TYPES[number] for number in data.labels["type"][row].tolist() if number < len(TYPES)]
        images.append(shiny(sprite, sprite, types, (sample_seed(seed + i, "shiny", k) for k in range(SHINY_DRAWS))))
    return as_tensor(images)


def _back(
    data: SpriteTensors, backs: Pairs, made: torch.Tensor, network: SpriteFeatures
) -> dict[str, dict[str, Estimate]]:
    """How often the real back of the right form is the nearest of all forms, or among the five nearest."""
    lines, forms = (data.labels[name][backs.targets] for name in ("line", "index"))
    gallery, all_forms = _features(network, data.images[backs.targets]), torch.arange(len(forms))
    fronts = pairs_of(data, "same", FRONT, NORMAL, other_game=True).targets
    rows, places = (data.labels["index"][fronts][:, None] == forms).nonzero(as_tuple=True)
    queries = {
        "generated": (made, all_forms),
        "real front of another game": (data.images[fronts[rows]], places),
    }
    found: dict[str, dict[str, Estimate]] = {"right back nearest": {}, "right back among the five nearest": {}}
    for name, (images, places) in queries.items():
        others = nearer(_features(network, images), gallery, places)
        for rows, most in zip(found.values(), (0, 4), strict=True):
            rows[name] = over_lines(others <= most, lines[places])
            rows["chance"] = Estimate((most + 1) / len(forms), np.nan, np.nan, len(forms), len(forms))
    return found


def _shiny(data: SpriteTensors, shinies: Pairs, made: torch.Tensor) -> dict[str, Estimate]:
    references, real = (data.images[rows] for rows in shinies)
    lines, found = data.labels["line"][shinies.targets], {}
    for name, images in {"generated": made, "real": real}.items():
        (before, after), shown = (lab(each)[..., 0] for each in (references, images)), opaque(references).numpy()
        outlines = (before < DARK) & shown
        kept = (outlines & (after < DARK + 0.01)).sum(axis=(1, 2)) / outlines.sum(axis=(1, 2))
        found[f"{name}: change of color"] = over_lines(change := color_change(references, images), lines)
        found[f"{name}: change of color of at least 0.05"] = over_lines(change >= 0.05, lines)
        found[f"{name}: dark pixels that stay dark"] = over_lines(torch.from_numpy(kept), lines)
    return found


def _next(data: SpriteTensors, stages: Pairs, made: torch.Tensor, network: SpriteFeatures) -> dict[str, Estimate]:
    references, real = (data.images[rows] for rows in stages)
    lines, before, found = data.labels["line"][stages.targets], _features(network, references), {}
    for name, images in {"generated": made, "real": real}.items():
        distance = torch.cdist(mean_color(images), mean_color(references))
        color = (distance.diagonal()[:, None] <= distance).double().mean(dim=1)
        rank = nearer(_features(network, images), before, torch.arange(len(real))) / max(1, len(real) - 1)
        for title, values in (
            ("more foreground", more_foreground(references, images)),
            ("color nearer than that of other lines", color),
            ("nearer to its own line than to others", 1 - rank),
        ):
            found[f"{name}: {title}"] = over_lines(values, lines)
    return found


def _features(network: SpriteFeatures, images: torch.Tensor) -> torch.Tensor:
    return extract_features(network, over_white(images))


def shiny_colors(data: SpriteTensors) -> dict[str, list[str]]:
    """Type -> the colors of visible shinies, one of each line, see `palettes.shiny_table`."""
    pairs, found = pairs_of(data, "same", FRONT, SHINY), defaultdict(dict)
    changes = color_change(*(data.images[rows] for rows in pairs))
    for row in pairs.targets[changes >= MIN_SHINY_CHANGE].tolist():
        areas = shaded_areas(reduce_palette(Image.fromarray(as_arrays(data.images[row : row + 1])[0])))
        main = [area.mean for area in areas[:MAIN_AREAS] if area.share >= MIN_AREA]
        for number in data.labels["type"][row].tolist():
            if number < len(TYPES) and main:
                found[TYPES[number]].setdefault(
                    int(data.labels["line"][row]), from_oklab(np.array(main)).tobytes().hex()
                )
    return {name: list(found[name].values()) for name in TYPES}


def measure_creatures(
    creatures: Sequence[Mapping[str, Image.Image]], data: SpriteTensors
) -> dict[str, dict[str, Estimate]]:
    """Question -> row -> `Estimate`, in which n is the number of pairs and m that of creatures, or of real lines.

    Args:
        creatures: Name of a part -> sprite, of creatures with as many stages.
        data: Real sprites to compare with, in RGBA, with the columns of the sprites.
    """
    fronts = sorted(name for name in creatures[0] if name.endswith("-front"))
    pairs = {"same": [(each, each.replace("front", "back")) for each in fronts], "next": list(pairwise(fronts))}
    numbers: dict[str, dict[str, Estimate]] = {}
    for relation, names in pairs.items():
        ones, others = (as_tensor(each[pair[i]] for each in creatures for pair in names) for i in (0, 1))
        found = _compare("generated", relation, ones, others, torch.arange(len(ones)) // len(names))
        real = pairs_of(data, relation, BACK if relation == "same" else FRONT, NORMAL)
        lines = data.labels["line"][real.targets]
        found |= _compare("real", relation, data.images[real.references], data.images[real.targets], lines)
        numbers[QUESTIONS[relation]] = found
    return numbers


def _compare(
    name: str, relation: str, references: torch.Tensor, images: torch.Tensor, lines: torch.Tensor
) -> dict[str, Estimate]:
    most, title = MAX_LIKENESS[relation], "shared drawing" if relation == "same" else "silhouette IoU"
    alike = shared_drawing(references, images) if relation == "same" else overlaps(references, images).diagonal()
    rows = {
        f"{title} of at most {most}": over_lines((alike <= most).double(), lines),
        f"{title}, median": over_lines(alike, lines, np.median),
        "more foreground": over_lines(more_foreground(references, images), lines),
        "distance to the reference's palette": over_lines(palette_distance(references, images), lines),
    }
    return {f"{name}: {title}": value for title, value in rows.items()}


def write_results(
    folder: Path, numbers: Mapping[str, Any], sets: Sequence[torch.Tensor], about: Mapping[str, Any], seed: int
) -> None:
    """Writes and prints the results; the sheet has random sets of images, one column each."""
    report = as_json({"about": about, "results": numbers})
    write_file(folder / "references.json", json.dumps(report, indent=2) + "\n")
    chosen = random_rows(len(sets[0]), min(24, len(sets[0])), seed)
    rows = zip(*(as_arrays(each[chosen]) for each in sets), strict=True)
    images = [Image.fromarray(each) for row in rows for each in row]
    save_image(sprite_sheet(images, len(sets), panels=4), folder / "sets.png")
    for question, found in report["results"].items():
        for name, each in found.items():
            print(f"{question}, {name}: {estimate(each)} ({each['n']} pairs)")


def make_creatures(
    pipeline: PokemonDDPMPipeline, settings: GenerationSettings, per_type: int, seed: int, folder: Path
) -> list[dict[str, Image.Image]]:
    """Creatures of all types, as `pokemon-ddpm creature` makes them; those that are in the folder are only read."""
    creatures = []
    for i, name in enumerate(tqdm(pipeline.conditioner.vocabulary["type"] * per_type, "Generating")):
        place = folder / f"{seed + i}"
        place.mkdir(exist_ok=True)
        if not (place / SHEET_FILE).exists():
            list(generate_creature(pipeline, settings, CreatureSettings(name, seed + i, STAGES), place))
        creatures.append({file.stem: open_image(file) for file in sorted(place.glob("?-*.png"))})
    return creatures


def main(arguments: list[str] | None = None) -> None:
    """Reads the flags, generates and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="the sprite archive")
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name of a model with references")
    parser.add_argument("--split", default="validation", choices=("train", "validation", "test"))
    parser.add_argument("--image_guidance_scale", type=float, help="of real fronts; by default the model's own")
    parser.add_argument("--creatures", type=int, metavar="N", help="N creatures of each type instead of real fronts")
    parser.add_argument("--shinies", action="store_true", help=f"only write {SHINY_TABLE.name}, of the split")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=0, help="of the first sprite")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    settings = GenerationSettings(options.model, dtype=options.dtype)
    pipeline, about = settings.load(), {name: str(value) for name, value in vars(options).items()}
    if "relation" not in pipeline.conditioner.vocabulary:
        parser.error(f"{options.model} was not trained with reference sprites.")
    data = load_tensors(options.data_dir, options.split, pipeline.sample_shape[1], config_name="all")
    if options.shinies:
        rows = (f"{json.dumps(name)}: {json.dumps(colors)}" for name, colors in shiny_colors(data).items())
        write_file(SHINY_TABLE, "{" + ",\n ".join(rows) + "}\n")
        return
    options.output.mkdir(parents=True, exist_ok=True)
    if options.creatures:
        creatures = make_creatures(pipeline, settings, options.creatures, options.seed, options.output)
        numbers = measure_creatures(creatures, data)
        shown = [name for name in creatures[0] if not name.endswith("shiny")]
        sets = [as_tensor(each[name] for each in creatures) for name in shown]
    else:
        network = load_features()
        about["features"] = network.name
        numbers, sets = measure_fronts(pipeline, data, network, options.seed, options.image_guidance_scale)
    write_results(options.output, numbers, sets, about, options.seed)


if __name__ == "__main__":
    main()
