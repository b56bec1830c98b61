"""`PokemonSprites`, the data set builder, and `load_sprites`, which builds and loads it."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Value

from pokemon_ddpm import preprocessing, vocabulary
from pokemon_ddpm.dataset_scripts.sprite_archive import FAULTY_IMAGES, Problems, SpriteArchive, SpriteDataError
from pokemon_ddpm.dataset_scripts.starter_sprites import starter_sprites
from pokemon_ddpm.vocabulary import ANY, BODIES, COLORS, FINISHES, FORMS, GAMES, NONE, SHAPES, TYPES, VIEWS

SPLITS = ("train", "validation", "test")
MAX_SIDE = 1024

# Column -> its feature, and what it means. `vocabulary.CONDITIONS` has those that a model is conditioned on.
COLUMNS = {
    "image": (datasets.Image(mode="RGB"), "the image, opaque, on white"),
    "type1": (ClassLabel(names=[*TYPES]), "first type"),
    "type2": (ClassLabel(names=[*TYPES, NONE]), f"second type; `{NONE}`: there is no second type"),
    "color": (ClassLabel(names=[*COLORS, ANY]), f"main color; `{ANY}`: unknown, as for shiny, Alola and Galar forms"),
    "shape": (ClassLabel(names=[*SHAPES]), "body shape"),
    "body": (ClassLabel(names=[*BODIES, ANY]), f"body that readers see in most fronts of the form; `{ANY}`: unknown"),
    "tags": (datasets.List(Value("string")), "words for what readers see in the front of the form"),
    "game": (
        ClassLabel(names=[*GAMES, ANY]),
        f"Emerald, FireRed/LeafGreen, Diamond/Pearl, HeartGold/SoulSilver, Black/White, or generation; `{ANY}`: none",
    ),
    "view": (ClassLabel(names=[*VIEWS]), "visible side"),
    "finish": (ClassLabel(names=[*FINISHES]), "normal or shiny colors"),
    "form": (ClassLabel(names=[*FORMS]), "kind of form"),
    "frame": (Value("int32"), "1 or 2: some games have two poses"),
    "legendary": (Value("bool"), "whether it is legendary or mythical"),
    "height": (Value("int32"), "in decimeters"),
    "weight": (Value("int32"), "in hectograms; null if unknown"),
    "name": (Value("string"), "name of the form"),
    "dex_number": (Value("int32"), "number of the species"),
    "index": (Value("int32"), "number of the form"),
    "line": (Value("int32"), "number of the evolution line; families that look alike share one"),
    "evolves_from": (Value("int32"), "number of the form of the stage before; null if there is none"),
    "path": (Value("string"), "file name"),
}
FEATURES = datasets.Features({name: feature for name, (feature, _) in COLUMNS.items()})


@dataclass
class PokemonSpritesConfig(datasets.BuilderConfig):
    version: datasets.Version = datasets.Version("1.0.0")  # datasets ignores the version of the builder
    exclude_faulty: bool = False
    deduplicate: bool = False


class PokemonSprites(datasets.GeneratorBasedBuilder):
    """Type-labelled sprites, see `load_sprites`. The cache key has the content of the data and of this code."""

    BUILDER_CONFIG_CLASS = PokemonSpritesConfig
    BUILDER_CONFIGS = [
        PokemonSpritesConfig(name="front", description="the front view in normal colors"),
        PokemonSpritesConfig(name="all", description="all images: also from the back, also in shiny colors"),
        PokemonSpritesConfig(name="starter", description="small procedural sprites"),
    ]

    def __init__(self, data_dir: str | Path | None = None, config_name: str = "front", **kwargs: Any):
        if (data_dir is None) != (config_name == "starter"):
            problem = "needs the sprite folder or .zip" if data_dir is None else f"takes no data; leave out {data_dir}"
            raise SpriteDataError(f"The configuration {config_name!r} {problem}.")
        self._archive, content = None, _code_digest()
        if data_dir is not None:
            self._archive = SpriteArchive(data_dir)
            content += self._archive.digest()
            kwargs["data_dir"] = str(self._archive.path.resolve())
        key = hashlib.sha256(content.encode()).hexdigest()[:16]
        super().__init__(config_name=config_name, dataset_name="pokemon_sprites", hash=key, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=FEATURES, description=self.config.description)

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        # All images are checked before the first row is written, to report everything that is wrong at once.
        splits = {split: [] for split in SPLITS}
        rows = self._archive_rows(self._archive) if self._archive else starter_sprites()
        for row in rows:
            splits[row.pop("split")].append(row)
        return [datasets.SplitGenerator(split, {"rows": own}) for split, own in splits.items() if own]

    def _generate_examples(self, rows: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(rows)

    def _archive_rows(self, archive: SpriteArchive) -> list[dict[str, Any]]:
        problems, rows, seen = Problems(), [], set()
        for row in datasets.utils.tqdm(archive.records(problems), desc="Checking images"):
            if self.config.name == "front" and (row["view"], row["finish"]) != ("front", "normal"):
                continue
            if self.config.exclude_faulty and FAULTY_IMAGES.fullmatch(row["path"]):
                continue
            with problems.caught(row["path"]):
                content, pixels = _check_image(archive.read(row["path"]))
                if not (self.config.deduplicate and (row["split"], pixels) in seen):
                    seen.add((row["split"], pixels))
                    # datasets would store a path that exists in place of the bytes, and miss it when the data moves.
                    rows.append({"image": {"path": None, "bytes": content}, **row})
        problems.check(archive.path)
        if not rows:
            headline = f"{archive.path}: no images (sprites/FOLDER/VIEW/FINISH/*.png) for {self.config.name!r}."
            raise SpriteDataError(f"{headline} Unpack the whole archive, or give the .zip.")
        return rows


def _check_image(content: bytes) -> tuple[bytes, bytes]:
    """The image in an opaque encoding, which is the given one if possible, and a digest of its pixels."""
    image = preprocessing.open_image(content)
    if max(image.size) > MAX_SIDE:
        raise ValueError(f"{image.width}x{image.height} px is not a sprite (at most {MAX_SIDE} on each side)")
    opaque = preprocessing.on_white(image)
    if opaque is not image or len(content) > 4 * opaque.width * opaque.height + 2**16:  # with more than the image
        buffer = io.BytesIO()
        opaque.save(buffer, "PNG")
        content = buffer.getvalue()
    return content, preprocessing.pixel_digest(opaque)


def _code_digest() -> str:
    """SHA-256, in hexadecimal, of the files that decide the content of a row."""
    here = Path(__file__).parent
    files = [*sorted(path for path in here.iterdir() if path.suffix in (".py", ".csv", ".json"))]
    files += [preprocessing.__file__, vocabulary.__file__]
    return hashlib.sha256(b"\0".join(Path(file).read_bytes() for file in files)).hexdigest()


def load_sprites(
    data_dir: str | Path | None = None,
    config_name: str | None = None,
    *,
    split: str | None = None,
    exclude_faulty: bool = False,
    deduplicate: bool = False,
    cache_dir: str | Path | None = None,
) -> datasets.DatasetDict | datasets.Dataset:
    """Builds the sprites, split by evolution line, or loads them from the cache; SpriteDataError if they are unusable.

    Args:
        data_dir: The Kaggle archive, unpacked or as .zip. None gives the procedural starter set.
        config_name: "front" (not shiny; the default with `data_dir`), "all" or "starter" (the default without).
        split: "train", "validation" or "test", for a `Dataset`; None for all three, in a `DatasetDict`.
        exclude_faulty: Leave out images that do not show what their folder says.
        deduplicate: Leave out images whose pixels equal those of an earlier one of the same split.
    """
    # Only what is set becomes part of the name of the cache folder.
    options = {"exclude_faulty": exclude_faulty, "deduplicate": deduplicate, "cache_dir": cache_dir and str(cache_dir)}
    options = {name: value for name, value in options.items() if value}
    builder = PokemonSprites(data_dir, config_name or ("starter" if data_dir is None else "front"), **options)
    builder.download_and_prepare()
    return builder.as_dataset(split=split)
