"""`PokemonSprites`, the data set builder, and `load_sprites`, the one function by which everybody gets the sprites."""

import functools
import hashlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from PIL import Image

from pokemon_ddpm import vocabulary
from pokemon_ddpm.dataset_scripts.sprite_archive import SpriteArchive, SpriteDataError, open_archive
from pokemon_ddpm.dataset_scripts.sprite_records import Problems, SpriteRecord, check_picture, parse_records
from pokemon_ddpm.dataset_scripts.starter_sprites import starter_sprites
from pokemon_ddpm.vocabulary import ANY, COLORS, FINISHES, FORMS, GAMES, NONE, SHAPES, TYPES, VIEWS

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")

# Column -> what it holds, and what that means. What can be asked for stands in `pokemon_ddpm.vocabulary.CONDITIONS`.
COLUMNS = {
    "image": (datasets.Image(mode="RGB"), "the picture, opaque, on white"),
    "type1": (datasets.ClassLabel(names=list(TYPES)), "first type"),
    "type2": (datasets.ClassLabel(names=[*TYPES, NONE]), f"second type; `{NONE}`: it certainly has none"),
    "color": (
        datasets.ClassLabel(names=[*COLORS, ANY]),
        "main colour; `any` where none is known: a shiny and an Alola or Galar form do not have their species'",
    ),
    "shape": (datasets.ClassLabel(names=list(SHAPES)), "build"),
    "game": (
        datasets.ClassLabel(names=[*GAMES, ANY]),
        "the game that it is from (Emerald, FireRed/LeafGreen, Diamond/Pearl, HeartGold/SoulSilver, Black/White) "
        "or the generation that it was drawn for (`mini`: a giant form, smaller); `any`: none",
    ),
    "view": (datasets.ClassLabel(names=list(VIEWS)), "side that is seen"),
    "finish": (datasets.ClassLabel(names=list(FINISHES)), "usual or shiny colours"),
    "form": (datasets.ClassLabel(names=list(FORMS)), "kind of form"),
    "frame": (datasets.Value("int32"), "1 or 2: some games draw two poses"),
    "legendary": (datasets.Value("bool"), "whether it is legendary or mythical"),
    "height": (datasets.Value("int32"), "in decimetres"),
    "weight": (datasets.Value("int32"), "in hectograms; null where unknown"),
    "name": (datasets.Value("string"), "name of the form"),
    "dex_number": (datasets.Value("int32"), "number of the species"),
    "index": (datasets.Value("int32"), "number of the form"),
    "line": (datasets.Value("int32"), "number of the evolution line; families that look alike share one"),
    "path": (datasets.Value("string"), "file name"),
}
FEATURES = datasets.Features({name: feature for name, (feature, _) in COLUMNS.items()})


@dataclass
class PokemonSpritesConfig(datasets.BuilderConfig):
    """What to build.

    Attributes:
        exclude_faulty: Leave out the pictures that show something other than their folder says.
        deduplicate: Leave out pictures whose pixels equal those of an earlier one of the same split.
        skip_bad_images: Go on without unusable files and folders instead of refusing them.
    """

    exclude_faulty: bool = False
    deduplicate: bool = False
    skip_bad_images: bool = False


def _config(name: str, description: str) -> PokemonSpritesConfig:
    # A named configuration without a version of its own would be version 0.0.0 whatever the builder says.
    return PokemonSpritesConfig(name=name, version=datasets.Version("1.0.0"), description=description)


class PokemonSprites(datasets.GeneratorBasedBuilder):
    """Type-labelled sprites, split by evolution line.

    Configurations: `front` (front view, not shiny: 4,086 pictures of the Kaggle archive), `all` (all 10,177 of it)
    and `starter` (1,080 procedural creatures; needs no data). The cache is keyed by the content of the data and of
    this code, so an edited file is never served stale.

    Args:
        data_dir: The archive's folder or .zip; None for `starter`.
        config_name: Name of a configuration.
        **kwargs: `cache_dir`, and any field of `PokemonSpritesConfig`.

    Raises:
        SpriteDataError: If the archive cannot be opened; `download_and_prepare` raises it for what is in the archive.
    """

    BUILDER_CONFIG_CLASS = PokemonSpritesConfig
    BUILDER_CONFIGS = [
        _config("front", "Front view, not shiny."),
        _config("all", "Every view and finish."),
        _config("starter", "Small procedural creatures, free of any licence question."),
    ]
    DEFAULT_CONFIG_NAME = "front"

    def __init__(self, data_dir: str | Path | None = None, config_name: str = "front", **kwargs: Any):
        known = [config.name for config in self.BUILDER_CONFIGS]
        if config_name not in known:
            raise SpriteDataError(f"Unknown data set configuration {config_name!r}. Known: {', '.join(known)}.")
        self._archive: SpriteArchive | None = None
        content = "starter"
        if config_name == "starter" and data_dir is not None:
            raise SpriteDataError(f"The configuration 'starter' draws its own sprites; leave out {data_dir}.")
        if config_name != "starter":
            if data_dir is None:
                raise SpriteDataError(f"The configuration {config_name!r} needs the sprite folder or .zip.")
            self._archive = open_archive(data_dir)
            content = self._archive.digest()
            kwargs["data_dir"] = str(self._archive.path.resolve())
        key = hashlib.sha256((content + _code_digest()).encode()).hexdigest()[:16]
        super().__init__(config_name=config_name, dataset_name="pokemon_sprites", hash=key, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=FEATURES, description=self.config.description)

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        # All pictures are examined before the first row is written: what is wrong is said at once and in full.
        examples = _starter_examples() if self._archive is None else self._archive_examples(self._archive)
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"examples": examples[split]})
            for split in SPLITS
            if examples[split]
        ]

    def _generate_examples(self, examples: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(examples)

    def _archive_examples(self, archive: SpriteArchive) -> dict[str, list[dict[str, Any]]]:
        if not archive.pictures:
            raise SpriteDataError(
                f"{archive.path} holds no pictures (sprites/FOLDER/VIEW/FINISH/*.png). "
                "Unpack the whole archive, or give the .zip."
            )
        problems = Problems()
        records = [record for record in parse_records(archive, problems) if self._is_selected(record)]
        examples: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        seen: set[tuple[str, str]] = set()
        for record in datasets.utils.tqdm(records, desc="Checking pictures"):
            try:
                content, pixels = check_picture(archive.read(record.path))
            except SpriteDataError as error:
                problems.add(record.path, str(error))
                continue
            if not (self.config.deduplicate and (record.split, pixels) in seen):
                seen.add((record.split, pixels))
                # A path that exists would be stored in place of the bytes, and break when the data moves.
                examples[record.split].append({"image": {"path": None, "bytes": content}, **record.labels})
        self._settle(archive, problems, found_any=any(examples.values()))
        return examples

    def _is_selected(self, record: SpriteRecord) -> bool:
        if self.config.exclude_faulty and record.faulty:
            return False
        return self.config.name == "all" or (record.labels["view"], record.labels["finish"]) == ("front", "normal")

    def _settle(self, archive: SpriteArchive, problems: Problems, found_any: bool) -> None:
        if problems.found and not self.config.skip_bad_images:
            raise SpriteDataError(
                problems.report(
                    f"{archive.path}: {len(problems.found)} unusable. Repair or remove them, download the archive "
                    "again, or pass skip_bad_images=True (--skip_bad_images) to go on without:"
                )
            )
        if not found_any:
            raise SpriteDataError(
                problems.report(f"{archive.path}: no usable picture is left for {self.config.name!r}.")
            )
        if problems.found:
            # The description is kept with the cache, so the count is said at every load.
            self.info.description = problems.report(f"{len(problems.found)} unusable files or folders were skipped:")


def _starter_examples() -> dict[str, list[dict[str, Any]]]:
    examples: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for labels, pixels in starter_sprites():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        labels = {**labels, "path": f"{labels['name']}.png"}
        examples[labels.pop("split")].append({"image": {"path": None, "bytes": buffer.getvalue()}, **labels})
    return examples


@functools.cache
def _code_digest() -> str:
    """SHA-256 over the files that decide what a row holds."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here / "sprite_facts.csv", Path(vocabulary.__file__)]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def load_sprites(
    data_dir: str | Path | None = None,
    config_name: str | None = None,
    *,
    split: str | None = None,
    exclude_faulty: bool = False,
    deduplicate: bool = False,
    skip_bad_images: bool = False,
    cache_dir: str | Path | None = None,
) -> datasets.DatasetDict | datasets.Dataset:
    """Loads the sprites, building them the first time and from the cache after that.

    Args:
        data_dir: The Kaggle archive, unpacked or as .zip. None gives the procedural starter set.
        config_name: "front" (the default with `data_dir`), "all" or "starter" (the default without).
        split: "train", "validation" or "test"; None gives all three.
        exclude_faulty: Leave out the pictures that show something other than their folder says (8 Zygarde parts and
            the 2 holes of Diglett, of 10,177).
        deduplicate: Leave out pictures whose pixels equal those of an earlier one of the same split.
        skip_bad_images: Go on without unusable files and folders, and log how many, instead of refusing them.
        cache_dir: Where the data set is cached; by default datasets' own cache.

    Returns:
        A `DatasetDict` of the three splits, or one split's `Dataset`, with the features `FEATURES`.

    Raises:
        SpriteDataError: If the data cannot be used; the message counts the files at fault and names the first 20.
    """
    if split is not None and split not in SPLITS:
        raise SpriteDataError(f"Unknown split {split!r}. Known: {', '.join(SPLITS)}.")
    flags = {"exclude_faulty": exclude_faulty, "deduplicate": deduplicate, "skip_bad_images": skip_bad_images}
    builder = PokemonSprites(
        data_dir=data_dir,
        config_name=config_name or ("starter" if data_dir is None else "front"),
        cache_dir=None if cache_dir is None else str(cache_dir),
        # Only what is asked for becomes part of the cache folder's name.
        **{name: value for name, value in flags.items() if value},
    )
    builder.download_and_prepare()
    if skip_bad_images and builder.info.description != builder.config.description:
        logger.warning(builder.info.description)
    if split is not None and split not in builder.info.splits:
        raise SpriteDataError(f"{data_dir}: none of its sprites belongs to the split {split!r}.")
    return builder.as_dataset(split=split)
