"""The images that are compared: real ones, samples with conditions like theirs, and what is made of both."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub.utils import tqdm
from PIL import Image
from torch.nn import functional

from pokemon_ddpm.class_folder import is_class_folder
from pokemon_ddpm.data import SpriteTensors, load_tensors, sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.evaluation.metrics import NEIGHBORHOOD
from pokemon_ddpm.files import Provenance, read_png
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.pipelines.sprite_preprocessing import transparent
from pokemon_ddpm.postprocessing import WHITE_TOLERANCE, to_sprite
from pokemon_ddpm.preprocessing import as_arrays, as_tensor, open_image, over_white, preprocess
from pokemon_ddpm.studio import Job, generate_files
from pokemon_ddpm.vocabulary import ANY, NONE

PER_TYPE = 8
MIN_SAMPLES = 50  # with the conditions of held-out images


class RealImages(NamedTuple):
    """The images that samples are compared with."""

    train: SpriteTensors
    held_out: SpriteTensors
    all_train: SpriteTensors  # all views and finishes, which a model of the front sprites may also know
    names: list[str] | None = None  # of `all_train`
    title: str = ""

    def on_white(self) -> "RealImages":
        """In RGB, see `SpriteTensors.on_white`."""
        return RealImages(*(split.on_white() for split in self[:3]), *self[3:])


def load_images(data_dir: str | None, split: str, resolution: int, mode: str) -> RealImages:
    """Loads the training split and a held-out one; raises ValueError if they are too few to compare."""
    train, held_out = (load_tensors(data_dir, part, resolution, mode=mode) for part in ("train", split))
    if min(len(train), len(held_out)) <= NEIGHBORHOOD:
        needed = f"More than {NEIGHBORHOOD} training and held-out images are needed"
        raise ValueError(f"{needed}, but there are {len(train)} and {len(held_out)}.")
    if data_dir is not None and is_class_folder(data_dir):
        return RealImages(train, held_out, train, None, Path(data_dir).resolve().name)
    title = "the Pokémon sprites (front)" if data_dir else "the starter sprites of the project"
    rows = load_sprites(data_dir, "all" if data_dir else None, split="train")
    columns = [map(rows.features[name].int2str, rows[name][:]) for name in ("game", "view")]
    names = [f"{name}, {game}, {view}" for name, game, view in zip(rows["name"][:], *columns, strict=True)]
    return RealImages(train, held_out, sprite_tensors(rows, resolution, mode), names, title)


@dataclass(frozen=True)
class SampleSet:
    """Samples, sorted by file name."""

    images: torch.Tensor  # uint8 (N, C, S, S), RGB on white or RGBA
    provenances: tuple[Provenance, ...]  # how each was generated

    def on_white(self) -> "SampleSet":
        """In RGB: RGB as it is, of RGBA the `default_output`."""
        rgba = self.images.shape[1] == 4
        return replace(self, images=over_white(default_output(self.images))) if rgba else self

    @property
    def conditions(self) -> list[dict[str, Any]]:
        """Attribute -> value, of each sample."""
        return [provenance.condition for provenance in self.provenances]


class GeneratedSets(NamedTuple):
    """What `generate_sets` generates."""

    samples: SampleSet  # with the conditions of training images
    others: SampleSet  # with the conditions of held-out images
    alone: SampleSet  # `PER_TYPE` of each type, which is their only condition
    other_rows: torch.Tensor  # int64 (M,), the held-out images whose conditions the others have


def row_requests(
    data: SpriteTensors, conditioner: SpriteConditioner, rows: torch.Tensor, first_seed: int = 0
) -> list[SpriteRequest]:
    """A request with the conditions of each of some images, int64 (N,); the seeds follow the first one.

    Types are given completely ("fire/none" for one), unknown labels and tags are "any", and attributes that the model
    does not know are not given. Raises ValueError if it was trained on other classes.
    """
    vocabulary = conditioner.vocabulary
    check_classes("The model", vocabulary["type"], data.type_names)
    requests = []
    for seed, row in enumerate(rows.tolist(), first_seed):
        values = {name: [ANY] for name in vocabulary}  # in full, since a model may have default conditions
        for name in vocabulary.keys() & data.labels.keys() - conditioner.sets:
            known = dict(enumerate(data.vocabulary[name]))
            names = [known.get(k) for k in data.labels[name][row].view(-1).tolist()]
            values[name] = [value for value in names if value in vocabulary[name]] or [ANY]
        types = values.pop("type")
        pokemon_type = None if types == [ANY] else (*types, NONE)[:2]
        requests.append(SpriteRequest(seed, pokemon_type, {name: value for name, (value,) in values.items()}))
    return requests


def check_classes(name: str, known: Sequence[str], type_names: Sequence[str]) -> None:
    """Raises ValueError if a network, which is called `name`, was trained on other classes than the data have."""
    if tuple(known) != tuple(type_names):
        these, those = (f"{len(names)} classes such as {', '.join(names[:3])}" for names in (known, type_names))
        raise ValueError(f"{name} was trained on {these}, but the data have {those}.")


def generate_sets(
    pipeline: PokemonDDPMPipeline, settings: GenerationSettings, data: RealImages, count: int, seed: int, folder: Path
) -> GeneratedSets:
    """Generates samples with conditions of training images, of all held-out images, and by the type alone.

    Args:
        settings: Those that the pipeline was loaded with.
        count: Number of the first ones, and the largest of the last ones.
        seed: Of the random choice, and of the first sample; the seeds of the others follow.
        folder: For their files; those that are there are not generated again.

    Raises:
        ValueError: If the model was trained on other classes than those of the data.
    """
    conditioner, names = pipeline.conditioner, data.train.type_names
    other_count, next_seed = max(len(data.held_out), MIN_SAMPLES), seed + count
    rows = random_rows(len(data.train), count, seed)
    other_rows = random_rows(len(data.held_out), other_count, next_seed)
    alone = [names[k // PER_TYPE] for k in range(min(count, PER_TYPE * len(names)))]
    requests = {
        "samples": row_requests(data.train, conditioner, rows, seed),
        "held-out/samples": row_requests(data.held_out, conditioner, other_rows, next_seed),
        "types/samples": [*map(SpriteRequest, itertools.count(next_seed + other_count), alone)],
    }
    sets = [generate_samples(pipeline, settings, wanted, folder / name) for name, wanted in requests.items()]
    other_seeds = torch.tensor([made.seed for made in sets[1].provenances])  # samples are sorted by their file names
    return GeneratedSets(*sets, other_rows[other_seeds - next_seed])


def generate_samples(
    pipeline: PokemonDDPMPipeline, settings: GenerationSettings, requests: Sequence[SpriteRequest], folder: Path
) -> SampleSet:
    """Raw samples, with alpha as predicted; those that are not in the folder yet are generated into it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = generate_files(Job(pipeline, settings, requests), folder, raw=True)
    files = sorted(tqdm(paths, "Generating", len(requests)))
    return SampleSet(as_tensor(map(open_image, files)), tuple(map(read_png, files)))


def as_rgba(images: torch.Tensor) -> torch.Tensor:
    """Images, uint8 (N, C, S, S), with alpha: RGB by `transparent`, with the tolerance of `to_sprite`.

    Real images on exact white need no tolerance, but without it only they would have a pale rim.
    """
    if images.shape[1] == 4:
        return images
    return as_tensor(transparent(image, WHITE_TOLERANCE) for image in as_arrays(images))


def default_output(images: torch.Tensor) -> torch.Tensor:
    """What `generate` makes of samples, uint8 (N, C, S, S), with its defaults: RGBA, see `to_sprite`."""
    return as_tensor(to_sprite(Image.fromarray(image)) for image in tqdm(as_arrays(images), "Processing"))


def reduced(images: torch.Tensor, side: int) -> torch.Tensor:
    """Sprites, uint8 (N, 4, S, S) with an alpha of 0 or 255, preprocessed again to a smaller side, by a vote."""
    return as_tensor(preprocess(Image.fromarray(image), side, "pixel") for image in as_arrays(over_white(images)))


def flip_and_shift(images: torch.Tensor, generator: torch.Generator, max_shift: int) -> torch.Tensor:
    """Mirrors images, uint8 (N, C, S, S), with probability 1/2 and shifts them by up to `max_shift` pixels.

    What enters is background: white, with an alpha of 0 in RGBA. Colors stay.
    """
    count, channels, side, device = *images.shape[:3], images.device
    mirrored = torch.rand(count, generator=generator).to(device) < 0.5
    shift = torch.randint(2 * max_shift + 1, (2, count, 1), generator=generator).to(device)
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    background = torch.tensor([255, 255, 255, 0][:channels], dtype=images.dtype, device=device).view(-1, 1, 1)
    padded = functional.pad(images - background, (max_shift,) * 4) + background  # modulo 256
    rows, columns = torch.arange(side, device=device) + shift
    index = torch.arange(count, device=device).view(-1, 1, 1)
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_rows(total: int, count: int, seed: int) -> torch.Tensor:
    """Positions, int64 (`count`,), of `total` images in random order, each as often as others or once more."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(total, generator=generator) for _ in range(-(-count // total))]
    return torch.cat(orders)[:count]
