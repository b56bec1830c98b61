"""What an evaluation puts into a model's card: a section to read, and metrics that the Hub understands."""

import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import ModelCardData

from pokemon_ddpm.evaluation.report_text import Numbers, in_short, row
from pokemon_ddpm.pipelines.cards import CARD_FILE, END, read_card

HEADING = "## Evaluation"
BEGIN_FIGURES = "<!-- pokemon-ddpm: these figures are written anew by every evaluation -->"
END_FIGURES = "<!-- pokemon-ddpm: end of the figures -->"
_SECTION = re.compile(f"{re.escape(BEGIN_FIGURES)}.*?{re.escape(END_FIGURES)}\n*", re.DOTALL)


def write_metrics(folder: Path, numbers: Numbers, data: str, split: str) -> None:
    """Puts the figures into the card that lies in a model's folder, in the place of earlier ones.

    Args:
        folder: The model's; without a card nothing is done.
        numbers: What `report.json` holds.
        data: What the pictures are called.
        split: Which of them were held out: "validation" or "test".

    Raises:
        ValueError: If the card's metadata are not YAML.
        OSError: If it cannot be written.
    """
    card = card_of(folder)
    if card is not None:
        (folder / CARD_FILE).write_text(with_metrics(card, numbers, data, split).content, encoding="utf-8")


def card_of(folder: Path) -> ModelCard | None:
    """The card that lies in a model's folder, if there is one.

    Raises:
        ValueError: If it is no text, or its metadata are not YAML.
        OSError: If it cannot be read.
    """
    file = folder / CARD_FILE
    if not file.exists():
        return None
    try:
        return read_card(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8: repair it, or take it away.") from error
    except ValueError as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}") from error


def with_metrics(card: ModelCard, numbers: Numbers, data: str, split: str) -> ModelCard:
    """The card with the figures; see `write_metrics`."""
    new = list(_results(numbers, data, split))
    # The place of a figure is its name: whoever evaluates again means to replace it.
    kept = [each for each in card.data.eval_results or [] if each.metric_name not in {one.metric_name for one in new}]
    name = getattr(card.data, "model_name", None) or numbers["name"].split("/")[-1]
    known = {key: value for key, value in card.data.to_dict().items() if key != "model-index"}
    metadata = ModelCardData(**known, model_name=name, eval_results=[*kept, *new])
    section = _section(numbers, data, split)
    text, count = _SECTION.subn(lambda _: section, card.text)
    if not count:
        before, end, after = text.partition(END)
        text = f"{before.rstrip()}\n\n{section}{end}{after}"
    return ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{text.strip()}\n")


def _section(numbers: Numbers, data: str, split: str) -> str:
    about = numbers["about"]
    lines = [
        BEGIN_FIGURES,
        "",
        HEADING,
        "",
        f"{about['samples']:,} samples beside {data}, the {split} split held out, by {about['features']} and "
        "`pokemon-ddpm evaluate`:",
        "",
        *(f"- {sentence}" for sentence in in_short(numbers)),
        "",
        END_FIGURES,
        "",
        "",
    ]
    return "\n".join(lines)


def _results(numbers: Numbers, data: str, split: str) -> Iterator[EvalResult]:
    about = numbers["about"]
    measured = {"samples": about["samples"], "features": about["features"], "held_out": about["held out"]}

    def result(kind: str, name: str, value: float | None, of: str = split) -> Iterator[EvalResult]:
        if value is not None:
            yield EvalResult(
                task_type="unconditional-image-generation",
                dataset_type="pictures",
                dataset_name=data,
                dataset_split=of,
                metric_type=kind,
                metric_name=name,
                metric_value=round(value, 6),
                metric_args=measured,  # without the network nobody can tell what a KID means
            )

    splits = {"train": "train", "held-out": split}
    for to, of in splits.items():
        found = row(numbers, "all samples", to)
        for key in ("kid", "fid", "precision", "recall"):
            name = f"{key.upper() if len(key) == 3 else key} to {to} pictures"
            yield from result(key, name, found[key]["value"], of)
    for name, found in numbers["novelty"].items():
        yield from result("novelty", f"samples nearer than 5 % of held-out, {name}", found["nearer"]["value"])
    for name, found in numbers["obedience"].items():
        yield from result("obedience", f"obedience, {name}", found["obeyed"]["value"])
    for name, of in splits.items() if numbers["likelihood"] else ():
        yield from result("bits_per_dim", f"bits per dimension, {name}", numbers["likelihood"][name]["mean"], of)
