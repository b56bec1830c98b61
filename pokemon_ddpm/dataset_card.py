"""The card of the sprites as a data set on the Hub; its figures are counted in what is pushed."""

import io
from collections import Counter
from collections.abc import Callable, Mapping

import datasets
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData, ModelCard, ModelCardData
from PIL import Image

from pokemon_ddpm.dataset_scripts.pokemon_sprites import COLUMNS, FEATURES
from pokemon_ddpm.dataset_scripts.sprite_records import is_faulty
from pokemon_ddpm.pipelines.cards import BEGIN, END, merged

STARTER = "starter"
CONFIGS = {
    "front": "front view, in the usual colours",
    "all": "all of them: also from the back, also in shiny colours",
    STARTER: "small procedural creatures",
}
FACTS_LICENSE = "LICENSE-PokeAPI.txt"
METADATA = {
    "pretty_name": "Pokémon sprites",
    "license": "other",
    "license_name": "research-and-education-only",
    "tags": ["sprites", "pixel-art", "pokemon"],
}
STARTER_METADATA = {
    "pretty_name": "Starter creatures",
    "license": "apache-2.0",
    "tags": ["sprites", "pixel-art", "procedural"],
}
INTRODUCTION = """**Research and education only: the pictures belong to others, see [Licence](#licence).** Whoever
publishes this is not affiliated with Nintendo, Game Freak or The Pokémon Company."""
LICENCE = f"""## Where it comes from

- **Pictures and types**: Yehong Jiang's
  [Pokémon sprite images](https://www.kaggle.com/datasets/yehongjiang/pokemon-sprites-images) on Kaggle. The pictures
  up to Black and White (`gen3` to `gen5`) are Nintendo's and Game Freak's. Those in the style of later games (`gen6`
  to `gen8`) very probably come from Smogon's sprite projects, which ask for credit and non-profit use.
- **`height`, `weight` and `line`**: [PokéAPI](https://github.com/PokeAPI/pokeapi), © Paul Hallett and PokéAPI
  contributors, under the BSD text in [{FACTS_LICENSE}]({FACTS_LICENSE}).
- **Splits, corrections and the form as Parquet**: `pokemon-ddpm`. The folders of Necrozma (Dawn Wings, Dusk Mane) and
  of Mimikyu are exchanged in the original; here they have the labels of what they show.

## Licence

**Research and education only.** On Kaggle the pictures stand under a CC0 tag. That tag is the uploader's claim, and
cannot free what belongs to others. Treat the data as research material with credit to those above, not as free of
rights. Pokémon and Pokémon character names are trademarks of Nintendo."""
STARTER_LICENCE = """## Where it comes from

`pokemon-ddpm` draws these creatures by a program, from nothing but the types and the numbers of line and stage. No
picture, name or figure of anybody else's is in them; they are there for trying out a training.

## Licence

[Apache License 2.0](https://www.apache.org/licenses/LICENSE-2.0), as the program."""


def dataset_card(
    name: str, sprites: Mapping[str, datasets.DatasetDict], download_sizes: Mapping[str, int]
) -> ModelCard:
    """The card of what is pushed.

    Args:
        name: "user/name".
        sprites: Configuration -> its splits; the first one is the default.
        download_sizes: Configuration -> bytes of its files.
    """
    starter = STARTER in sprites
    data = DatasetCardData(
        **(STARTER_METADATA if starter else METADATA),
        task_categories=["unconditional-image-generation", "image-classification"],
        size_categories=[_size_category(max(map(_rows, sprites.values())))],
    )
    _infos(sprites, download_sizes).to_dataset_card_data(data)
    _data_files(sprites).to_dataset_card_data(data)
    sections = [
        f"# {name.split('/')[-1]}",
        *([] if starter else [INTRODUCTION]),
        _summary(sprites),
        _use(name, list(sprites)),
        _counts(sprites),
        _fields(),
        _remarks(sprites),
        STARTER_LICENCE if starter else LICENCE,
    ]
    text = "\n\n".join([BEGIN, *sections, END])
    # In the order that a merged card has: what has not changed shall not look changed.
    return ModelCard(f"---\n{ModelCardData(**data.to_dict()).to_yaml()}\n---\n\n{text}\n")


def merged_card(new: ModelCard, old_text: str | None) -> str:
    """A new card's text, with what people wrote into the old one; further configurations of theirs stay known.

    Raises:
        ValueError: If the old card's metadata are not YAML.
    """
    card = merged(new, old_text)
    if new.data.get("license") != "other":
        card.data.license_name = card.data.license_link = None  # of the licence that it had before
    if old_text:
        old, taken = ModelCard(old_text, ignore_metadata_errors=True).data, {*CONFIGS, "default"}
        for key in ("configs", "dataset_info"):
            theirs = [each for each in _listed(old.get(key)) if each.get("config_name", "default") not in taken]
            if theirs:
                # There can be only one default.
                theirs = [{name: value for name, value in each.items() if name != "default"} for each in theirs]
                card.data[key] = _listed(new.data.get(key)) + theirs
    return card.content


def is_ours(text: str) -> bool:
    """Whether a card says that the sprites are in its repository, written by this program or by datasets' push."""
    if BEGIN in text:
        return True
    try:
        infos = DatasetInfosDict.from_dataset_card_data(ModelCard(text, ignore_metadata_errors=True).data)
        return any(info.features == FEATURES for info in infos.values())
    except Exception:  # whatever somebody else's metadata are, they are not these
        return False


def _listed(value: object) -> list[dict]:
    """What stands under a key that holds one mapping, or several."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, dict)]


def _rows(splits: datasets.DatasetDict) -> int:
    return sum(len(part) for part in splits.values())


def _size_category(rows: int) -> str:
    bounds = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}
    return next((name for bound, name in bounds.items() if rows < bound), "100K<n<1M")


def _infos(sprites: Mapping[str, datasets.DatasetDict], download_sizes: Mapping[str, int]) -> DatasetInfosDict:
    """Features and splits in the words of datasets, by which `load_dataset` gives the same ones."""
    infos = DatasetInfosDict()
    for name, splits in sprites.items():
        sizes = {split: part.info.splits[split].num_bytes for split, part in splits.items()}
        known = datasets.SplitDict()
        for split, part in splits.items():
            known.add(datasets.SplitInfo(split, num_bytes=sizes[split], num_examples=len(part)))
        infos[name] = datasets.DatasetInfo(
            config_name=name,
            features=FEATURES,
            splits=known,
            download_size=download_sizes[name],
            dataset_size=sum(sizes.values()),
        )
    return infos


def _data_files(sprites: Mapping[str, datasets.DatasetDict]) -> MetadataConfigs:
    configs = MetadataConfigs()
    for name, splits in sprites.items():
        files = [{"split": split, "path": f"{name}/{split}-*"} for split in splits]
        configs[name] = {"data_files": files, **({} if configs else {"default": True})}
    return configs


def _summary(sprites: Mapping[str, datasets.DatasetDict]) -> str:
    largest = max(sprites.values(), key=_rows)
    pictures = [each["bytes"] for part in largest.values() for each in _encoded(part)]
    sizes = {Image.open(io.BytesIO(each)).size for each in pictures}
    size = ", {}x{} pixels".format(*sizes.pop()) if len(sizes) == 1 else ""
    kind = "procedural creatures" if STARTER in sprites else "sprites of Pokémon"
    species, forms = (
        len({number for part in largest.values() for number in part[column][:]}) for column in ("dex_number", "index")
    )
    of_forms = "" if forms == len(pictures) else f" of {species:,} species in {forms:,} forms"
    return (
        f"{len(pictures):,} pixel-art {kind}{of_forms}{size}, labelled with types, colour, shape and more. They are "
        "split by evolution line: no relative of a training picture is held out."
    )


def _use(name: str, configs: list[str]) -> str:
    further = [f"`load_dataset({name!r}, {config!r})`".replace("'", '"') for config in configs[1:]]
    without = f"\nThat is `{configs[0]}`; {further[0]} gives {CONFIGS[configs[1]]}.\n" if further else ""
    return f"""## Use

```python
from datasets import load_dataset

sprites = load_dataset("{name}")
```
{without}
Labels are numbers, and `sprites["train"].features["type1"].names` says what they stand for. To train a
class-conditional diffusion model on them, with the `pokemon-ddpm` project:

```bash
accelerate launch train_conditional.py --dataset_name {name}
```"""


def _counts(sprites: Mapping[str, datasets.DatasetDict]) -> str:
    columns = list(dict.fromkeys(split for splits in sprites.values() for split in splits))
    lines = ["## Configurations and splits", ""]
    lines.append(f"| configuration | pictures | {' | '.join(columns)} | |")
    lines.append("|---|---:|" + "---:|" * len(columns) + "---|")
    for name, splits in sprites.items():
        sizes = [f"{len(splits[split]):,}" if split in splits else "0" for split in columns]
        default = " (default)" if name == next(iter(sprites)) else ""
        lines.append(f"| `{name}`{default} | {_rows(splits):,} | {' | '.join(sizes)} | {CONFIGS[name]} |")
    largest = max(sprites.values(), key=_rows)
    of_lines = [f"{len(set(part['line'][:])):,} in {split}" for split, part in largest.items()]
    lines += ["", f"Evolution lines: {', '.join(of_lines)}; none is in two of them."]
    return "\n\n".join(["\n".join(lines), *(_types(name, splits) for name, splits in sprites.items())])


def _types(name: str, splits: datasets.DatasetDict) -> str:
    """The pictures of a configuration by type and split."""
    words = FEATURES["type1"].names
    first = {split: Counter(part["type1"][:]) for split, part in splits.items()}
    second = Counter(each for part in splits.values() for each in part["type2"][:])
    lines = [f"Pictures in `{name}` by their first type, and those that have the type as first or second:", ""]
    lines += [f"| type | {' | '.join(first)} | first | either |", "|---|" + "---:|" * (len(first) + 2)]
    for number, word in enumerate(words):
        counts = [split[number] for split in first.values()]
        row = [*counts, sum(counts), sum(counts) + second[number]]
        lines.append(f"| {word} | {' | '.join(f'{count:,}' for count in row)} |")
    return "\n".join(lines)


def _fields() -> str:
    lines = ["## Fields", "", "| field | kind | meaning | words, from 0 |", "|---|---|---|---|"]
    for name, (feature, meaning) in COLUMNS.items():
        words = ", ".join(feature.names) if isinstance(feature, datasets.ClassLabel) else ""
        kind = feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__
        lines.append(f"| `{name}` | {kind} | {meaning} | {words} |")
    return "\n".join(lines)


def _remarks(sprites: Mapping[str, datasets.DatasetDict]) -> str:
    """What somebody should know before using the pictures, as far as it is true of these."""
    repeated = f"- Pictures that equal an earlier one of their split to the byte: {_of_each(sprites, _repeated)}."
    lines = ["## Good to know", "", repeated]
    if STARTER in sprites:
        return "\n".join(lines)
    lines.append("- `color` and `shape` are labels of the species, not read off the picture.")
    lines.append("- Types are those of today: some Pokémon had others in the game that the picture is from.")
    if any(_faulty(part) for splits in sprites.values() for part in splits.values()):
        lines.append(
            f"- Pictures that show something else than their labels say: {_of_each(sprites, _faulty)}. `path` tells "
            "them: `718_4` and `718_5`, a Core and a Cell in the place of Zygarde, and `50-gen3_e-frame2`, a hole "
            "without its Diglett."
        )
    return "\n".join(lines)


def _of_each(sprites: Mapping[str, datasets.DatasetDict], count: Callable[[datasets.Dataset], int]) -> str:
    return " and ".join(f"{sum(map(count, splits.values())):,} in `{name}`" for name, splits in sprites.items())


def _repeated(part: datasets.Dataset) -> int:
    return len(part) - len({each["bytes"] for each in _encoded(part)})


def _faulty(part: datasets.Dataset) -> int:
    return sum(map(is_faulty, part["index"], part["path"]))


def _encoded(part: datasets.Dataset) -> datasets.arrow_dataset.Column:
    return part.cast_column("image", datasets.Image(decode=False))["image"]
