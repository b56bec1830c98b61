"""Model cards: a part that the program writes anew each time, and around it whatever people write."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import ModelCardData

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

CARD_FILE = "README.md"
BEGIN = (
    "<!-- pokemon-ddpm: this part is written anew by every save and push; your own text stays above or below it -->"
)
END = "<!-- pokemon-ddpm: end -->"
METADATA = {
    "library_name": "diffusers",
    "pipeline_tag": "unconditional-image-generation",
    "tags": ["ddpm", "class-conditional", "pixel-art", "sprites"],
}
USE = """## Use

With diffusers and PyTorch alone; the pipeline's code lies beside the weights, and `trust_remote_code` lets it run:

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("NAME", trust_remote_code=True)
image = pipeline(pokemon_type="TYPE").images[0]
```

With the `pokemon-ddpm` package, which runs none of the code beside the weights:

```python
from pokemon_ddpm import PokemonDDPMPipeline

pipeline = PokemonDDPMPipeline.from_pretrained("NAME")
image = pipeline(pokemon_type="TYPE").images[0]
```

`pokemon_type` takes a type, a pair of them, a blend, or `None` for anything; the pipeline's docstring tells all that
can be steered."""
BAR = "\\|"  # one that ends no cell
_SHEET_LINE = re.compile(r"^!\[[^\]\n]*\]\((samples/step-\d+\.png)\)\n+", re.MULTILINE)
_GENERATED = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


def make_card(name: str, sections: list[str], metadata: dict[str, Any]) -> ModelCard:
    """A card that is written by the program alone.

    Args:
        name: Of the model, or of its repository.
        sections: Markdown.
        metadata: Of the Hub, in addition to `METADATA`.
    """
    data = ModelCardData(**{**METADATA, **metadata})
    text = "\n\n".join([BEGIN, f"# {name.split('/')[-1]}", *sections, END])
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n", ignore_metadata_errors=False)
    return named(card, name)


def pipeline_sections(pipeline: "DiffusionPipeline") -> list[str]:
    """What can be said of a pipeline without knowing how it came about."""
    _, height, width = pipeline.sample_shape
    parameters = sum(p.numel() for part in (pipeline.unet, pipeline.conditioner) for p in part.parameters())
    vocabulary, config = pipeline.conditioner.vocabulary, pipeline.config
    known = {"pokemon_type": vocabulary["type"], **{name: vocabulary[name] for name in vocabulary if name != "type"}}
    words = [f"| `{name}` | {', '.join(each).replace('|', BAR)} |" for name, each in known.items()]
    return [
        f"A class-conditional DDPM that draws sprites of {width}x{height} pixels: a `UNet2DModel` and a "
        f"`SpriteConditioner` of {parameters / 1e6:.1f} million parameters together. By default it draws in "
        f"{config.num_inference_steps} steps with a guidance of {config.guidance_scale:g}.",
        USE.replace('"TYPE"', json.dumps(vocabulary["type"][0], ensure_ascii=False)),
        "\n".join(["## What it knows", "", "| argument | words |", "|---|---|", *words]),
    ]


def pipeline_card(pipeline: "DiffusionPipeline", name: str) -> ModelCard:
    """The card of a pipeline of which nothing else is known."""
    return make_card(name, pipeline_sections(pipeline), {})


def named(card: ModelCard, repository: str) -> ModelCard:
    """The card with a repository's name in the part that the program wrote: its title, and what to load."""

    def rename(found: re.Match[str]) -> str:
        text = re.sub(r"^# .*$", lambda _: f"# {repository.split('/')[-1]}", found[0], count=1, flags=re.MULTILINE)
        return re.sub(r'from_pretrained\("[^"]*"', lambda _: f'from_pretrained("{repository}"', text)

    return ModelCard(_GENERATED.sub(rename, card.content))


def as_part(card: ModelCard) -> ModelCard:
    """A card that somebody wrote in the place of the program's part, so that what is written around it stays, too."""
    if _GENERATED.search(card.content):
        return card
    text = f"{BEGIN}\n\n{card.text.strip()}\n\n{END}"
    return ModelCard(f"---\n{card.data.to_yaml()}\n---\n\n{text}\n", ignore_metadata_errors=True)


def with_sheets(card: ModelCard, files: Collection[str]) -> ModelCard:
    """The card without the sheets that are not among the files beside it."""
    return ModelCard(_SHEET_LINE.sub(lambda line: line[0] if line[1] in files else "", card.content))


def read_card(text: str) -> ModelCard:
    """A card from its text.

    Raises:
        ValueError: If the metadata at its top are not YAML.
    """
    try:
        return ModelCard(text, ignore_metadata_errors=True)
    except Exception as error:  # yaml's own kinds
        raise ValueError(f"The metadata at the top of {CARD_FILE} are not YAML; repair them: {error}") from error


def merged(new: ModelCard, old_text: str | None) -> ModelCard:
    """A new card with what people wrote into the old one.

    Args:
        new: With a part that the program wrote; or one that is all by hand, which replaces the old one's text.
        old_text: The README.md so far, or None. What stands outside of the program's part stays; of a card without
            such a part, everything does. Metadata that the new card does not know stays, too, as do further tags.

    Raises:
        ValueError: If the old card's metadata are not YAML.
    """
    if not old_text:
        return new
    old = read_card(old_text)
    before, now = old.data.to_dict(), new.data.to_dict()
    metadata = {**before, **now, "tags": list(dict.fromkeys([*now.get("tags", []), *before.get("tags", [])]))}
    part, body = _GENERATED.search(new.content), new.text.strip()
    by_hand = _GENERATED.sub("", old.text).strip()
    if part and by_hand:
        # The part goes where it was; on a card that had none, below.
        place = old.text.strip() if _GENERATED.search(old.text) else f"{by_hand}\n\n{BEGIN}{END}"
        body = _GENERATED.sub(lambda _: part[0], place, count=1)
    return ModelCard(f"---\n{ModelCardData(**metadata).to_yaml()}\n---\n\n{body}\n")


def write_card(folder: Path, card: ModelCard) -> None:
    """Writes a card into a folder; what people wrote into the one that is there stays.

    Raises:
        ValueError: If the metadata of the one there are not YAML.
        OSError: If it cannot be written.
    """
    file = folder / CARD_FILE
    old = file.read_text(encoding="utf-8") if file.exists() else None
    file.write_text(merged(card, old).content, encoding="utf-8")
