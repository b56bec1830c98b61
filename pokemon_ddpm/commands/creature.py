"""`pokemon-ddpm creature`: one creature from all sides, in both colors and at each stage of its evolution."""

from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands import common
from pokemon_ddpm.commands.common import MAX_SEED, BestDtype, Guidance, Model, Scheduler, Steps


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
    shared_palette: Annotated[bool, typer.Option(help="Backs and next stages keep the reference's colors.")] = True,
    idle: Annotated[
        bool, typer.Option("--idle", help="Add a second frame of each sprite, and an idle animation as .gif.")
    ] = False,
) -> None:
    """Generates the front and back of a creature, and shiny versions of both, if the model knows them.

    It does this for each stage of its evolution, and writes a sheet for game engines and a card.
    """
    from pokemon_ddpm.creature import CreatureSettings, generate_creature
    from pokemon_ddpm.generation import GenerationSettings, best_dtype
    from pokemon_ddpm.preprocessing import open_image, with_8_bits
    from pokemon_ddpm.trading_card import write_card

    sprite = None
    if front is not None:
        try:
            sprite = with_8_bits(open_image(front))
        except ValueError as error:
            common.fail(f"--front {front} {error}.")
    pokemon_type = None if type is None else common.parse_type(type)
    stage_types = tuple(map(common.parse_type, stage_type or ()))
    if len(stage_types) >= stages:
        given = f"--stage-type is given {len(stage_types)} times"
        common.fail(f"{given}, but --stages {stages} has {stages - 1} next stages.")
    common.make_folder("--output-dir", output_dir)
    if any(output_dir.iterdir()):
        common.fail(f"--output-dir {output_dir} is not empty; choose another folder.")
    settings = GenerationSettings(model, scheduler, num_inference_steps, guidance_scale, dtype=dtype or best_dtype())
    wanted = CreatureSettings(pokemon_type, seed, stages, stage_types, shared_palette)
    pipeline = settings.load()
    names = generate_creature(pipeline, settings, wanted, output_dir, sprite, idle)
    count = len(list(tqdm(names, "Generating", len(wanted.parts(pipeline)))))
    write_card(output_dir)
    typer.echo(f"{count} sprites and a card in {output_dir}")
