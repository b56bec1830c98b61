"""A whole creature: front and back, in normal and shiny colors, of each stage of its evolution."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pokemon_ddpm import studio
from pokemon_ddpm.diffusion import sampler_name
from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.likeness import MIN_GROWTH, SEVERITY, fault, growth, opaque, overlaps
from pokemon_ddpm.models import model_name, weights_digest
from pokemon_ddpm.palettes import SHINY_DRAWS, close_outline, match_colors, share_palette, shiny
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline, PokemonType
from pokemon_ddpm.pipelines.sprite_preprocessing import fit_square
from pokemon_ddpm.postprocessing import PALETTE_SIZE, reduce_palette, remove_background, to_sprite
from pokemon_ddpm.preprocessing import as_tensor, pixel_digest
from pokemon_ddpm.ranking import VERDICTS, WEIGHTS, SpriteRanker, ranker_for
from pokemon_ddpm.sheets import GAME_COLUMNS, game_sheet, save_animation, sheet_description, squash
from pokemon_ddpm.vocabulary import ANY

# A creature grows from stage to stage, in models that know the size.
STAGE_SIZES = {1: (None,), 2: ("small", "large"), 3: ("tiny", "small", "large")}
# What a first stage loses of its score by its share of the image, and the growth at which a next one loses nothing.
SIZE_WEIGHT, USUAL_GROWTH = 5.0, 1.5
MAX_FACE = 0.5  # the ranker's verdict on a back; on one of 101 held-out real ones, and eight of ten generated fronts
SHEET_FILE, DESCRIPTION_FILE = "creature.png", "creature.json"
# By the relation to the sprite before; a shiny has the drawing of what it recolors, and colors of a real one.
ATTEMPTS = {None: 8, "same": 8, "next": 16}
# Backs begin from their mirrored front, noised to this share of the timesteps (SDEdit, Meng et al. 2022), whose body
# they keep, with the embedding of their view so many times as strong. Next stages begin from the enlarged front of the
# stage before, noised to another share: they are of one family then, and seldom copies.
BACK_STRENGTH, VIEW_SCALE = 0.5, 3.0
NEXT_STRENGTH, ENLARGEMENT = 0.75, 1.25
IDLE_MS, IDLE_SCALE = 400, 4  # of a frame of an animation


@dataclass(frozen=True)
class Part:
    """One sprite of a creature, and the one that it is made from."""

    stage: int  # from 1
    view: str
    finish: str
    made_from: str | None  # a name
    relation: str | None  # to that: "same" creature or its "next" stage

    @property
    def name(self) -> str:
        """Such as "1-front" and "1-front-shiny"."""
        return f"{self.stage}-{self.view}" + "-shiny" * (self.finish == "shiny")


def parts_of_stage(stage: int, pipeline: PokemonDDPMPipeline) -> list[Part]:
    """The sprites of a stage, each after what it is made from: the views that a model knows, normal and shiny."""
    front, back = f"{stage}-front", f"{stage}-back"
    views = ("front", *pipeline.conditioner.vocabulary.get("view", ()))
    before = (f"{stage - 1}-front", "next") if stage > 1 else (None, None)
    parts = [
        Part(stage, "front", "normal", *before),
        Part(stage, "front", "shiny", front, "same"),
        Part(stage, "back", "normal", front, "same"),
        Part(stage, "back", "shiny", back, "same"),
    ]
    return [part for part in parts if part.view in views]


@dataclass(frozen=True)
class CreatureSettings:
    """What decides about a creature, beside the model."""

    pokemon_type: PokemonType  # of the first stage
    seed: int  # of the creature; its parts have their own, see `studio.sample_seed`
    stages: int = 1  # to 3
    stage_types: tuple[PokemonType, ...] = ()  # of the next ones; by default that of the stage before
    shared_palette: bool = True  # whether backs have the colors of their fronts, and next stages those before them
    drawn: Mapping[str, str] = field(default_factory=dict)  # conditions of all parts, for the first front
    anew: tuple[int, ...] = ()  # stages that begin from noise alone, since that before has no room to grow

    def parts(self, pipeline: PokemonDDPMPipeline) -> list[Part]:
        return [part for stage in range(1, self.stages + 1) for part in parts_of_stage(stage, pipeline)]

    def type_of(self, part: Part) -> PokemonType:
        types = [self.pokemon_type, *self.stage_types]
        return types[min(part.stage, len(types)) - 1]

    def conditions(self, part: Part, pipeline: PokemonDDPMPipeline) -> dict[str, str]:
        """The attributes of a sprite, of those that the model knows."""
        size = "large" if part.stage in self.anew else STAGE_SIZES[self.stages][part.stage - 1]
        wanted = {"view": part.view, "finish": part.finish, "size": size}
        known = pipeline.conditioner.vocabulary
        own = {name: value for name, value in wanted.items() if value is not None and name in known}
        drawn = self.drawn or pipeline.conditioner.nothing_drawn  # the conditions of a given front are unknown
        return {name: value for name, value in drawn.items() if (name, part.finish) != ("color", "shiny")} | own


def generate_stage(
    pipeline: PokemonDDPMPipeline,
    creature: CreatureSettings,
    stage: int,
    given: Mapping[str, Image.Image],
    ranker: SpriteRanker | None = None,
    **arguments: Any,
) -> tuple[dict[str, Image.Image], dict[str, dict[str, Any]]]:
    """The sprites of a stage, RGBA with alpha 0 or 255, and what the description says of each; both by name.

    Args:
        given: Name -> sprite in the format of the model: the front of the stage before, and what is not generated.
        ranker: Chooses among the fronts without a fault, see `SEVERITY`; without it the first is taken. Of backs, that
            with the silhouette most like the front's is taken.
        **arguments: Further ones of the pipeline.

    Raises:
        ValueError: If the model does not know a type or a condition.
    """
    sprites, notes, conditioner = dict(given), {}, pipeline.conditioner
    slots = [number for _, ids in conditioner.type_blend(creature.pokemon_type) for number in ids]
    types = [conditioner.vocabulary["type"][number] for number in slots if number < conditioner.none_id]
    for part in parts_of_stage(stage, pipeline):
        name, before = part.name, sprites.get(part.made_from)
        if part.finish == "shiny":
            draws = (studio.sample_seed(creature.seed, "shiny", draw) for draw in range(SHINY_DRAWS))
            sprites[name] = shiny(before, sprites["1-front"], types, draws)
            notes[name] = {"seed": notes[part.made_from]["seed"]}
            continue
        seeds = [studio.sample_seed(creature.seed, name, attempt) for attempt in range(ATTEMPTS[part.relation])]
        notes[name] = {"seed": seeds[0]}
        if name in sprites:
            continue
        samples, scores = _samples(pipeline, creature, part, seeds, before, **arguments), None
        if part.relation == "same" and creature.shared_palette:
            samples = [match_colors(remove_background(sample), before) for sample in samples]
        made = [_processed(sample, creature, before) for sample in samples]
        if part.relation == "same":
            made = [*map(close_outline, made)]
            scores = overlaps(as_tensor([before]), as_tensor(made))[0]  # a back has the body of its front
        pairs = zip(map(remove_background, samples), made, strict=True)
        least = 1 / MIN_GROWTH if stage in creature.anew else MIN_GROWTH
        faults = [fault(*pair, before, part.relation, least) for pair in pairs]
        if ranker:
            verdicts = ranker.verdicts(as_tensor(made))
            if part.relation == "same":
                faces = verdicts[:, VERDICTS.index("face")] > MAX_FACE
                faults = [known or ("face" if face else None) for known, face in zip(faults, faces, strict=True)]
            else:
                scores = verdicts @ torch.tensor(WEIGHTS) + _relative_scores(ranker, made, before, part, creature)
        chosen = studio.best(made, scores, [SEVERITY[name] for name in faults])
        sprites[name] = made[chosen]
        notes[name] = {"seed": seeds[chosen], "attempt": chosen, "faults": faults}
    return {name: sprites[name] for name in notes}, notes


def _samples(
    pipeline: PokemonDDPMPipeline,
    creature: CreatureSettings,
    part: Part,
    seeds: Sequence[int],
    before: Image.Image | None,
    **arguments: Any,
) -> list[Image.Image]:
    """A sample for each seed, of a back from its mirrored front, of a next stage from the enlarged one."""
    types, conditions = [creature.type_of(part)] * len(seeds), creature.conditions(part, pipeline)
    arguments["generator"] = [torch.Generator().manual_seed(seed) for seed in seeds]
    if part.relation == "next" and part.stage not in creature.anew:
        arguments |= {"image": [enlarged(before)] * len(seeds), "strength": NEXT_STRENGTH}
    if part.relation != "same":
        return pipeline(types, **conditions, **arguments).images
    conditions = {**pipeline.config.default_conditions, **conditions}  # `encode` adds none
    values = {name: [value] * len(seeds) for name, value in conditions.items()}
    ends = (pipeline.conditioner.encode(types, **values | view) for view in ({"view": [ANY] * len(seeds)}, {}))
    mirrored = [before.transpose(Image.Transpose.FLIP_LEFT_RIGHT)] * len(seeds)
    embeddings = torch.lerp(*ends, VIEW_SCALE)
    return pipeline(class_embeddings=embeddings, image=mirrored, strength=BACK_STRENGTH, **arguments).images


def enlarged(sprite: Image.Image) -> Image.Image:
    """A sprite, RGBA and in the middle of its square, `ENLARGEMENT` times as large, or as large as fits."""
    pixels, side = np.asarray(sprite), sprite.width
    reach = np.abs(2 * np.argwhere(pixels[..., 3]) + 1 - side).max(initial=1)
    centers = (np.arange(side) + 0.5 - side / 2) / min(ENLARGEMENT, side / reach)
    places = np.floor(centers + side / 2).astype(int)
    return Image.fromarray(pixels[np.ix_(places, places)])


def has_room(sprite: Image.Image) -> bool:
    """Whether a sprite as large as fits has grown enough for a next stage."""
    return bool(growth(as_tensor([sprite]), as_tensor([enlarged(sprite)])) >= MIN_GROWTH)


def _processed(sample: Image.Image, creature: CreatureSettings, before: Image.Image | None) -> Image.Image:
    # In the middle, so that all sprites of a creature are in one place.
    sprite = reduce_palette(Image.fromarray(fit_square(np.asarray(to_sprite(sample, None)), sample.width)))
    return share_palette(sprite, before) if creature.shared_palette and before else sprite


def _relative_scores(
    ranker: SpriteRanker,
    sprites: Sequence[Image.Image],
    before: Image.Image | None,
    part: Part,
    creature: CreatureSettings,
) -> torch.Tensor | float:
    """What fronts gain and lose by their size, and by their likeness with the front of the stage before, (N,)."""
    images = as_tensor(sprites)
    if before:
        others = as_tensor([before])
        scores = ranker.same_shape(others, images) - (growth(others, images) / USUAL_GROWTH).log().abs()
        alike = studio.LIKENESS_WEIGHT * overlaps(others, images)[0]
        return scores - alike * (part.stage in creature.anew)
    return -SIZE_WEIGHT * opaque(images).double().mean(dim=(1, 2)) if creature.stages > 1 else 0.0


def generate_creature(
    pipeline: PokemonDDPMPipeline,
    settings: GenerationSettings,
    creature: CreatureSettings,
    folder: Path,
    front: Image.Image | None = None,
    idle: bool = False,
) -> Iterator[str]:
    """Writes a PNG of each sprite, a sheet of all and its description, and yields the names as they are finished.

    Args:
        settings: Those that the pipeline was loaded with.
        folder: It exists; files in it are replaced.
        front: A sprite of any origin, in RGB or RGBA, to begin with; it is prepared as an image of the training.
        idle: Whether the sheet has the second frame of each sprite's idle animation as well, which becomes a GIF.

    Raises:
        ValueError: Before the first file, if the model does not know a type, or the front shows nothing.
        OSError: If a file cannot be written.
    """
    notes, parts = {}, creature.parts(pipeline)
    if front is None:
        given = {name: value for name, value in creature.conditions(parts[0], pipeline).items() if value != ANY}
        seed = studio.sample_seed(creature.seed, parts[0].name)
        creature = replace(creature, drawn=pipeline.conditioner.draw(creature.pokemon_type, given, seed))
    for part in parts:  # what is unknown is said before the first one is made
        values = {name: [value] for name, value in creature.conditions(part, pipeline).items()}
        pipeline.conditioner.encode([creature.type_of(part)], **values)
    images, digest = {}, None
    if front is not None:
        (front,) = pipeline.postprocess(pipeline.prepare_image("front", front, 1) * pipeline.scaling_factor, "pil")
        digest = pixel_digest(front).hex()
        images["1-front"] = reduce_palette(remove_background(front))
        if not images["1-front"].getchannel("A").getbbox():  # of a model in RGB
            raise ValueError("front shows nothing: the image is empty or white.")
    for stage in range(1, creature.stages + 1):
        if stage > 1 and not has_room(images[f"{stage - 1}-front"]):
            creature = replace(creature, anew=(*creature.anew, stage))
        sprites, made = generate_stage(pipeline, creature, stage, images, ranker_for(pipeline), **settings.arguments())
        notes |= made
        for name, image in sprites.items():
            save_image(image, folder / f"{name}.png")
        images |= sprites
        yield from sprites
    frames = {f"{name}.png": image for name, image in images.items()}
    if idle:
        for name, image in images.items():
            frames[f"{name}-idle.png"] = second = squash(image)
            save_animation([image, second], folder / f"{name}.gif", IDLE_MS, IDLE_MS, IDLE_SCALE)
    metadata = []
    for part in parts:
        condition = {"type": creature.type_of(part), **creature.conditions(part, pipeline)}
        made_from = part.made_from and f"{part.made_from}.png"
        metadata.append({"condition": condition, "made_from": made_from, **notes[part.name]})
    about = {  # all that decides about a creature
        "model": model_name(settings.model),
        "license": pipeline.license,
        "weights": weights_digest(pipeline.unet, pipeline.conditioner),
        "scheduler": sampler_name(pipeline.scheduler),
        **{name: pipeline.config[name] for name in ("num_inference_steps", "guidance_scale")},
        **settings.arguments(),
        "dtype": settings.dtype,
        **asdict(creature),
        **{"palette": PALETTE_SIZE, "back_strength": BACK_STRENGTH, "view_scale": VIEW_SCALE},
        **{"next_strength": NEXT_STRENGTH, "enlargement": ENLARGEMENT},
        "front": digest,  # of a sprite that is given
    }
    size, metadata = pipeline.sample_shape[:0:-1], metadata * (1 + idle)
    description = sheet_description(SHEET_FILE, size, GAME_COLUMNS, [*frames], metadata, creature=about)
    write_file(folder / DESCRIPTION_FILE, json.dumps(description, indent=2) + "\n")
    save_image(game_sheet([*frames.values()], GAME_COLUMNS), folder / SHEET_FILE)
