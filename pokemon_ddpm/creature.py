"""A whole creature: front and back, in normal and shiny colors, of each stage of its evolution."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.models import model_name, weights_digest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline, PokemonType
from pokemon_ddpm.pipelines.sprite_preprocessing import fit_square
from pokemon_ddpm.postprocessing import PALETTE_SIZE, reduce_palette, to_sprite
from pokemon_ddpm.preprocessing import open_image, pixel_digest
from pokemon_ddpm.schedulers import sampler_name
from pokemon_ddpm.sheets import game_sheet, sheet_description

# A creature grows from stage to stage, in models that know the size.
STAGE_SIZES = {1: (None,), 2: ("small", "large"), 3: ("small", "medium", "large")}
SHEET_FILE, DESCRIPTION_FILE = "creature.png", "creature.json"


@dataclass(frozen=True)
class Part:
    """One sprite of a creature, and the one that it is generated from (see `RELATIONS`)."""

    stage: int  # from 1
    view: str
    finish: str
    reference: str | None  # a name
    relation: str | None

    @property
    def name(self) -> str:
        """Such as "1-front" and "1-front-shiny"."""
        return f"{self.stage}-{self.view}" + "-shiny" * (self.finish == "shiny")


def parts_of_stage(stage: int) -> list[Part]:
    """The four sprites of a stage, each after its reference."""
    front, back = f"{stage}-front", f"{stage}-back"
    return [
        Part(stage, "front", "normal", *((f"{stage - 1}-front", "next") if stage > 1 else (None, None))),
        Part(stage, "front", "shiny", front, "same"),
        Part(stage, "back", "normal", front, "same"),
        Part(stage, "back", "shiny", back, "same"),
    ]


@dataclass(frozen=True)
class CreatureSettings:
    """What decides about a creature, beside the model.

    Attributes:
        pokemon_type: Of all stages.
        seed: The noise of every sprite; differences come from the conditions alone.
        stages: From 1 to 3.
        palette: Number of colors of the front and the back together, and of the shiny ones; None for all.
        image_guidance_scale: See `PokemonDDPMPipeline.__call__`; None for the model's own.
    """

    pokemon_type: PokemonType
    seed: int
    stages: int = 1
    palette: int | None = PALETTE_SIZE
    image_guidance_scale: float | None = None

    def conditions(self, part: Part, pipeline: PokemonDDPMPipeline) -> dict[str, str]:
        """The attributes of a sprite, of those that the model knows."""
        size = STAGE_SIZES[self.stages][part.stage - 1]
        wanted = {"view": part.view, "finish": part.finish, "size": size, "relation": part.relation}
        known = pipeline.conditioner.vocabulary
        return {name: value for name, value in wanted.items() if value is not None and name in known}


def generate_stage(
    pipeline: PokemonDDPMPipeline,
    creature: CreatureSettings,
    stage: int,
    given: Mapping[str, Image.Image],
    **arguments: Any,
) -> dict[str, Image.Image]:
    """Name -> sprite, RGBA with alpha 0 or 255, of the four of a stage.

    Args:
        given: Name -> sprite, in the format of the model: the front of the stage before, and any that are not
            generated.
        **arguments: Further ones of the pipeline.

    Raises:
        ValueError: If the model was not trained with references, or does not know the type.
    """
    sprites, parts = dict(given), parts_of_stage(stage)
    for part in parts:
        if part.name in sprites:
            continue
        (sample,) = pipeline(
            [creature.pokemon_type],
            generator=[torch.Generator().manual_seed(creature.seed)],
            reference_image=None if part.reference is None else [sprites[part.reference]],
            reference_view=part.view if part.finish == "shiny" else None,  # its reference has the same
            image_guidance_scale=None if part.reference is None else creature.image_guidance_scale,
            **creature.conditions(part, pipeline),
            **arguments,
        ).images
        # In the middle, where a reference is put, so that all sprites of a creature are in one place.
        sprites[part.name] = Image.fromarray(fit_square(np.asarray(to_sprite(sample, None)), sample.width))
    if creature.palette is not None:
        for finish in ("normal", "shiny"):  # front and back together
            names = [part.name for part in parts if part.finish == finish]
            both = Image.fromarray(np.concatenate([np.asarray(sprites[name]) for name in names]))
            halves = np.split(np.asarray(reduce_palette(both, creature.palette)), 2)
            sprites |= zip(names, map(Image.fromarray, halves), strict=True)
    return {part.name: sprites[part.name] for part in parts}


def generate_creature(
    pipeline: PokemonDDPMPipeline,
    settings: GenerationSettings,
    creature: CreatureSettings,
    folder: Path,
    front: Image.Image | None = None,
) -> Iterator[str]:
    """Writes a PNG of each sprite, a sheet of all and its description, and yields the names as they are finished.

    Stages whose files exist are kept, so that an interrupted set goes on where it stopped.

    Args:
        settings: Those that `pipeline` was loaded with.
        folder: Exists; it is empty or has this creature.
        front: A sprite of any origin, in RGB or RGBA, to begin with; prepared as a reference.

    Raises:
        ValueError: If the folder has another creature, or the model cannot make one.
        OSError: If a file cannot be written.
    """
    if "relation" not in pipeline.conditioner.vocabulary:
        raise ValueError(f"{settings.model} was not trained with reference sprites, which show one creature again.")
    pipeline.conditioner.type_blend(creature.pokemon_type)
    parts = [part for stage in range(1, creature.stages + 1) for part in parts_of_stage(stage)]
    for name, value in [each for part in parts for each in creature.conditions(part, pipeline).items()]:
        pipeline.conditioner.attribute_id(name, value)
    images: dict[str, Image.Image] = {}
    if front is not None:
        (front,) = pipeline.postprocess(pipeline.prepare_reference(front, 1) * pipeline.scaling_factor, "pil")
        images["1-front"] = front
    description = describe(pipeline, settings, creature, None if front is None else pixel_digest(front).hex())
    text, file = json.dumps(description, indent=2) + "\n", folder / DESCRIPTION_FILE
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise ValueError(f"{folder} has another creature; choose another folder, or delete this one.")
    for stage in range(1, creature.stages + 1):
        sprites = _read_stage(folder, stage)
        made = generate_stage(pipeline, creature, stage, images, **settings.arguments()) if sprites is None else {}
        write_file(file, text)  # only now: what the pipeline refuses leaves nothing
        for name, image in made.items():
            save_image(image, folder / f"{name}.png")
        images |= sprites or made
        yield from sprites or made
    save_image(game_sheet(list(images.values()), columns=4), folder / SHEET_FILE)


def describe(
    pipeline: PokemonDDPMPipeline, settings: GenerationSettings, creature: CreatureSettings, front: str | None
) -> dict[str, Any]:
    """The content of `DESCRIPTION_FILE`, see `sheet_description`; `front` is the digest of a sprite that is given."""
    parts = [part for stage in range(1, creature.stages + 1) for part in parts_of_stage(stage)]
    metadata = [
        {
            "condition": {"type": creature.pokemon_type, **creature.conditions(part, pipeline)},
            "seed": creature.seed,
            "reference": part.reference and f"{part.reference}.png",
        }
        for part in parts
    ]
    given = {**settings.arguments(), **asdict(creature), "front": front}
    if creature.image_guidance_scale is None:
        given["image_guidance_scale"] = pipeline.config.image_guidance_scale
    made = {
        "model": model_name(settings.model),
        "weights": weights_digest(pipeline.unet, pipeline.conditioner),
        "scheduler": sampler_name(pipeline.scheduler),
        "num_inference_steps": pipeline.config.num_inference_steps,
        "guidance_scale": pipeline.config.guidance_scale,
        "reference_guidance_scale": pipeline.config.reference_guidance_scale,
        **given,
    }
    _, height, width = pipeline.sample_shape
    names = [f"{part.name}.png" for part in parts]
    return sheet_description(SHEET_FILE, (width, height), 4, names, metadata, {"creature": made})


def _read_stage(folder: Path, stage: int) -> dict[str, Image.Image] | None:
    """Name -> sprite of a finished stage."""
    try:
        return {part.name: open_image(folder / f"{part.name}.png") for part in parts_of_stage(stage)}
    except ValueError:  # missing or damaged
        return None
