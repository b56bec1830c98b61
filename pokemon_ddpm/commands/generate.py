"""`pokemon-ddpm generate` and `creature`: sprites on a sheet, as an animation or one file each; a whole creature."""

import functools
import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from huggingface_hub.utils import tqdm
from PIL import Image

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL, commands
from pokemon_ddpm.commands import MAX_SEED, OWN, BestDtype, FastModel, Guidance, Model, Scheduler, Steps
from pokemon_ddpm.description import parse_description, said
from pokemon_ddpm.files import save_image, write_file, write_png
from pokemon_ddpm.postprocessing import MIN_FRAGMENT, PALETTE_SIZE, check_enlargement
from pokemon_ddpm.sheets import check_animation, check_sheet_size, save_animation, sprite_sheet
from pokemon_ddpm.sketch import SKETCHES
from pokemon_ddpm.vocabulary import CONDITIONS

if TYPE_CHECKING:
    from pokemon_ddpm import SpriteConditioner
    from pokemon_ddpm.generation import SpriteRequest
    from pokemon_ddpm.studio import Job, Sprite

MAX_SPRITES = 1_000_000

BEST_OF = {
    "help": "Samples for each sprite; the best one is kept.",
    "show_default": "8 for a distilled model of sprites like the released ones, else 1",
}
SCALES = "1; on white sheets 4"

Values = list[str] | None
Given = Mapping[str, Values]  # attribute -> the values of an option


def _attribute(name: str, meaning: str) -> Any:
    return typer.Option(help=f"{meaning}: {', '.join(CONDITIONS[name])}.", show_default=OWN)


def generate(
    context: typer.Context,
    description: Annotated[
        str | None, typer.Argument(metavar="[DESCRIPTION]", help='Such as "a small blue dragon"; options override it.')
    ] = None,
    model: FastModel = RELEASED_FAST_MODEL,
    type: Annotated[
        Values,
        typer.Option(
            help='"fire", "fire/flying" (both), "fire/none" (fire only), "fire=0.7,water=0.3" (a blend), "any", or '
            '"all" (a row for each type). Can be given several times; each is a row.'
        ),
    ] = None,
    color: Annotated[Values, _attribute("color", "Main color")] = None,
    shape: Annotated[Values, _attribute("shape", "Body shape")] = None,
    game: Annotated[Values, _attribute("game", "Game whose style to follow")] = None,
    view: Annotated[Values, _attribute("view", "Visible side")] = None,
    finish: Annotated[Values, _attribute("finish", "Normal or shiny colors")] = None,
    size: Annotated[Values, _attribute("size", "Height")] = None,
    form: Annotated[Values, _attribute("form", "Kind of form")] = None,
    legendary: Annotated[Values, _attribute("legendary", "Whether it is legendary or mythical")] = None,
    tag: Annotated[Values, typer.Option(help='What it shows, such as "wings"; of several it shows all.')] = None,
    attribute: Annotated[Values, typer.Option(help="NAME=VALUE of an attribute of your own images.")] = None,
    num_images: Annotated[int, typer.Option(min=1, max=MAX_SPRITES, help="Sprites per row.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Another seed gives other sprites.")] = 0,
    candidates: Annotated[int | None, typer.Option(min=1, max=1000, **BEST_OF)] = None,
    same_seeds: Annotated[bool, typer.Option("--same-seeds", help="Generate each row from the same noise.")] = False,
    num_inference_steps: Steps = None,
    guidance_scale: Guidance = None,
    scheduler: Scheduler = None,
    dtype: BestDtype = None,
    palette: Annotated[int, typer.Option(min=0, max=256, help="Colors of a sprite; 0 keeps all.")] = PALETTE_SIZE,
    min_fragment: Annotated[int, typer.Option(min=0, max=1000, help="Remove parts of fewer pixels.")] = MIN_FRAGMENT,
    scale: Annotated[int | None, typer.Option(min=1, max=256, help="Enlargement.", show_default=SCALES)] = None,
    panels: Annotated[int, typer.Option(min=1, max=100, help="Divide the rows into this many panels.")] = 1,
    output: Annotated[Path, typer.Option(help="A sheet (.png), or the denoising (.gif).")] = Path("sprites.png"),
    game_sheet: Annotated[bool, typer.Option("--game-sheet", help="A sheet for game engines, and its .json.")] = False,
    output_dir: Annotated[Path | None, typer.Option(help="For a PNG of each sprite. A rerun continues.")] = None,
    like: Annotated[Path | None, typer.Option(help="Repeats a PNG of --output-dir or the app.")] = None,
) -> None:
    """Generates sprites on a sheet, animated, or as files.

    --color and the other attributes can be given several times or be "all", as --type. `pokemon-ddpm describe` lists
    the values of a model.
    """
    _check_output(context, output, game_sheet, output_dir, like)
    given = {name: context.params[name] for name in CONDITIONS} | _other_attributes(attribute or ())
    given |= {"tags": [" ".join(tag)]} if tag else {}

    if like is not None:
        _generate_like(like, output)
        return

    from pokemon_ddpm.generation import GenerationSettings, best_dtype  # after the fast checks: torch takes seconds
    from pokemon_ddpm.studio import Job, chunk_size_of, default_candidates

    processing = {"transparent": True, "palette": palette or None, "min_fragment": min_fragment or None}
    processing["scale"] = scale or (1 if output_dir or game_sheet else 4)
    sampler = (scheduler, num_inference_steps, guidance_scale)
    settings = GenerationSettings(model, *sampler, dtype=dtype or best_dtype(), **processing)
    pipeline = settings.load()
    candidates = candidates or default_candidates(pipeline)
    described, without = ({}, ()) if description is None else _described(description, pipeline.conditioner, model)
    (sketch,) = described.pop("sketch", [None])
    given = described | {name: values for name, values in given.items() if values}
    requests, labels = make_requests(given, pipeline.conditioner, num_images, seed, same_seeds, candidates)
    requests = [replace(request, sketch=sketch, without=without) for request in requests]
    settings = replace(settings, chunk_size=chunk_size_of(pipeline, requests, candidates))
    job = Job(pipeline, settings, requests, candidates)
    if output_dir is not None:
        check_enlargement(*pipeline.sample_shape[1:], settings.scale)
        _write_files(job, output_dir)
        return
    columns = num_images if labels else min(num_images, 8)  # a single row is wrapped
    check_sheet_size(len(requests), columns, max(pipeline.sample_shape), settings.scale, panels)
    if game_sheet:
        _write_game_sheet(job, columns, output)
        return
    layout = functools.partial(sprite_sheet, columns=columns, row_labels=labels, scale=settings.scale, panels=panels)
    job = replace(job, settings=replace(settings, scale=1))  # the sheet is enlarged instead
    if output.suffix.lower() == ".png":
        save_image(layout(job.images(_sprites(job))), output)
    else:
        _write_animation(job, layout, output)
    _report(requests, output)


def _check_output(
    context: typer.Context, output: Path, game_sheet: bool, output_dir: Path | None, like: Path | None
) -> None:
    """Refuses what cannot be written, and options that exclude each other."""
    if output_dir is None and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        commands.fail("Several processes cannot write one file; give --output-dir.")
    if like is not None:
        commands.check_beside(context, "like", *(name for name in context.params if name not in ("like", "output")))
        commands.check_file(output, ".png")
    elif output_dir is not None:
        commands.check_beside(context, "output_dir", "output", "panels", "game_sheet")
        commands.make_folder("--output-dir", output_dir)
    elif game_sheet:
        commands.check_beside(context, "game_sheet", "panels")
        commands.check_file(output, ".png")
        commands.check_file(output.with_suffix(".json"))
    else:
        commands.check_file(output, ".png", ".gif")


def _sprites(job: "Job", **options: Any) -> "list[Sprite]":
    return list(tqdm(job.sprites(**options), "Generating", len(job.requests)))


def make_requests(
    given: Given, conditioner: "SpriteConditioner", num_images: int, seed: int, same_seeds: bool, candidates: int
) -> "tuple[list[SpriteRequest], list[str]]":
    """The requests of all rows, which are the combinations of the given values, and the labels of several rows.

    "all" stands for every value of the model. The numbers continue from row to row, or start again with `same_seeds`.
    """
    from pokemon_ddpm.generation import SpriteRequest

    axes = {name: _known_values(name, values, conditioner) for name, values in given.items() if values}
    count = num_images * math.prod(map(len, axes.values()))
    if count * candidates > MAX_SPRITES:
        of_each = f" with {candidates:,} candidates each" * (candidates > 1)
        raise ValueError(f"{count:,} sprites{of_each} are too many; at most {MAX_SPRITES:,} are possible.")
    requests, labels = [], []
    for combination in itertools.product(*axes.values()):
        attributes = dict(zip(axes, combination, strict=True))
        labels.append(" ".join(value for name, value in attributes.items() if len(axes[name]) > 1))
        pokemon_type = commands.parse_type(attributes.pop("type")) if "type" in attributes else None
        start = 0 if same_seeds else len(requests)
        requests += [SpriteRequest(seed, pokemon_type, attributes, start + i) for i in range(num_images)]
    return requests, labels if len(labels) > 1 else []


def _described(
    description: str, conditioner: "SpriteConditioner", model: str
) -> tuple[dict[str, list[str]], tuple[tuple[str, str], ...]]:
    """The conditions and the sketch of a description, and what is denied; says which, and what is not understood."""
    vocabulary = conditioner.vocabulary | ({"sketch": [*SKETCHES]} if conditioner.has_types else {})
    conditions, without, read, unknown = parse_description(description, vocabulary)
    denied = said(without)
    if not conditions and not any(without.values()):
        raise ValueError(f"{description!r} contains no condition of the model; see `pokemon-ddpm describe {model}`.")
    groups = {
        "Read": [f"{word} as {known}" for word, known in read.items()],
        "Understood": [*(f"{name} {value}" for name, value in conditions.items()), *denied],
        "Not promised": [name for name, is_kept in denied.items() if not is_kept],
        "Not understood": unknown,
    }
    typer.echo(" ".join(f"{name}: {', '.join(words)}." for name, words in groups.items() if words))
    pairs = dict.fromkeys(pair for values in without.values() for pair in values.items())
    return {name: [value] for name, value in conditions.items()}, (*pairs,)


def _other_attributes(pairs: Sequence[str]) -> dict[str, list[str]]:
    """Name -> its values, from NAME=VALUE."""
    given: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (name and equals and value) or name in (*CONDITIONS, "tags"):
            commands.fail(f"--attribute takes NAME=VALUE with a name that has no flag of its own, not {pair!r}.")
        given.setdefault(name, []).append(value)
    return given


def _known_values(attribute: str, values: list[str], conditioner: "SpriteConditioner") -> list[str]:
    every = conditioner.vocabulary.get(attribute)
    rows = [every if every and value.strip().lower() == "all" else [value] for value in values]
    known = list(dict.fromkeys(itertools.chain(*rows)))  # With `same_seeds` one given twice would be the same sprites.
    for value in known:
        if attribute == "type":
            conditioner.type_blend(commands.parse_type(value))
        elif attribute in conditioner.sets:
            conditioner.tag_ids(value)
        else:
            conditioner.attribute_id(attribute, value)
    return known


def _generate_like(like: Path, output: Path) -> None:
    from pokemon_ddpm.generation import read_settings
    from pokemon_ddpm.studio import Job

    settings, request = read_settings(like)
    pipeline = settings.load()
    if request.attributes.keys() - pipeline.conditioner.vocabulary.keys():  # it could name arguments of the pipeline
        commands.fail(f"{like} was made by another version of this project, or with another model.")
    # What is not recorded was not drawn.
    request = replace(request, attributes={**pipeline.conditioner.nothing_drawn, **request.attributes})
    # This refuses what is no condition, before a sketch is colored by it.
    conditions = {name: [value] for name, value in request.attributes.items()}
    pipeline.conditioner.encode([request.pokemon_type], **conditions)
    job = Job(pipeline, settings, [request])
    (image,) = job.images(_sprites(job))
    write_png(image, output, settings.provenance(pipeline, request))
    _report([request], output)


def _write_files(job: "Job", output_dir: Path) -> None:
    """A file of each sprite; of several processes each generates its share, whole rows if it chooses in them."""
    from pokemon_ddpm.generation import processes
    from pokemon_ddpm.studio import generate_files, rows_of

    state = processes()
    rows = rows_of(job.requests) if job.candidates > 1 else [[request] for request in job.requests]
    requests = [*itertools.chain(*rows[state.process_index :: state.num_processes])]
    paths = generate_files(replace(job, requests=requests), output_dir)
    list(tqdm(paths, "Generating", len(requests), disable=not state.is_main_process))
    _report(requests, output_dir)


def _write_game_sheet(job: "Job", columns: int, output: Path) -> None:
    """The sprites without a gap, and beside them a description for game engines."""
    from pokemon_ddpm.studio import game_files

    sprites, file = _sprites(job), output.with_suffix(".json")
    sheet, description = game_files(job, sprites, columns, output.name)
    save_image(sheet, output)
    write_file(file, description)
    _report(sprites, output, file)


def _write_animation(job: "Job", layout: Callable[[Sequence[Image.Image]], Image.Image], output: Path) -> None:
    """The predicted clean sprites after each step, laid out as on a sheet."""
    pipeline, settings = job.pipeline, job.settings
    empty = layout([Image.new("RGB", pipeline.sample_shape[1:])] * len(job.requests))
    check_animation(*empty.size, settings.num_inference_steps or pipeline.config.num_inference_steps)
    sprites = _sprites(job, with_steps=True)
    frames = [[settings.postprocess(step.pred_original_sample) for step in sprite.steps] for sprite in sprites]
    longest = max(map(len, frames))  # one that begins from a sketch has fewer steps
    frames = [shown[:1] * (longest - len(shown)) + shown for shown in frames]
    save_animation([*map(layout, zip(*frames, strict=True)), layout(job.images(sprites))], output)


def _report(requests: Sequence[object], *paths: Path) -> None:
    count = len(requests)
    typer.echo(f"{count} sprite{'s' * (count != 1)} in {' and '.join(map(str, paths))}")


def creature(
    output_dir: Annotated[Path, typer.Option(help="New folder for the sprites.")],
    model: Model = RELEASED_MODEL,
    front: Annotated[Path | None, typer.Option(help="A sprite to start from, on white or transparent.")] = None,
    type: Annotated[str | None, typer.Option(help='"fire", "fire/flying" or "fire=0.7,water=0.3".')] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Another seed gives another creature.")] = 0,
    stages: Annotated[int, typer.Option(min=1, max=3, help="Number of evolution stages.")] = 1,
    stage_type: Annotated[
        list[str] | None,
        typer.Option(help="Type of the next stage; repeatable.", show_default="that of the stage before"),
    ] = None,
    num_inference_steps: Steps = None,
    guidance_scale: Guidance = None,
    scheduler: Scheduler = None,
    dtype: BestDtype = None,
    shared_palette: Annotated[bool, typer.Option(help="Backs and next stages keep the first front's colors.")] = True,
    idle: Annotated[bool, typer.Option("--idle", help="Also idle animations: a second frame, and a .gif.")] = False,
) -> None:
    """Generates the front and back of a creature, and shiny versions of both, if the model knows them.

    It does this for each stage of its evolution, and writes a sheet for game engines and what describes it.
    """
    from pokemon_ddpm.creature import CreatureSettings, generate_creature
    from pokemon_ddpm.generation import GenerationSettings, best_dtype
    from pokemon_ddpm.preprocessing import open_image, with_8_bits

    sprite = None
    if front is not None:
        try:
            sprite = with_8_bits(open_image(front))
        except ValueError as error:
            commands.fail(f"--front {front} {error}.")
    pokemon_type = None if type is None else commands.parse_type(type)
    stage_types = tuple(map(commands.parse_type, stage_type or ()))
    if len(stage_types) >= stages:
        given = f"--stage-type is given {len(stage_types)} times"
        commands.fail(f"{given}, but --stages {stages} has {stages - 1} next stages.")
    commands.make_folder("--output-dir", output_dir)
    if any(output_dir.iterdir()):
        commands.fail(f"--output-dir {output_dir} is not empty; choose another folder.")
    settings = GenerationSettings(model, scheduler, num_inference_steps, guidance_scale, dtype=dtype or best_dtype())
    wanted = CreatureSettings(pokemon_type, seed, stages, stage_types, shared_palette)
    pipeline = settings.load()
    names = generate_creature(pipeline, settings, wanted, output_dir, sprite, idle)
    count = len(list(tqdm(names, "Generating", len(wanted.parts(pipeline)))))
    typer.echo(f"{count} sprites in {output_dir}")
