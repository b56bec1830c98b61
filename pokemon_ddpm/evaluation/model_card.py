"""What an evaluation puts into a model's card: a section to read, and metrics that the Hub understands."""

import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import ModelCardData

from pokemon_ddpm.evaluation.report_text import Numbers, in_short, row
from pokemon_ddpm.pipelines.cards import CARD_FILE, END, read_card

HEADING = "## Evaluation"
_SECTION = re.compile(rf"^{HEADING}\n.*?(?=^## |^{re.escape(END)}|\Z)", re.DOTALL | re.MULTILINE)


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
    file = folder / CARD_FILE
    if file.exists():
        card = with_metrics(read_card(file.read_text(encoding="utf-8")), numbers, data, split)
        file.write_text(card.content, encoding="utf-8")


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
        HEADING,
        "",
        f"{about['samples']:,} samples beside {data}, the {split} split held out, by {about['features']} and "
        "`pokemon-ddpm evaluate`:",
        "",
        *(f"- {sentence}" for sentence in in_short(numbers)),
        "",
        "",
    ]
    return "\n".join(lines)


def _results(numbers: Numbers, data: str, split: str) -> Iterator[EvalResult]:
    def result(kind: str, name: str, value: float | None) -> Iterator[EvalResult]:
        if value is not None:
            yield EvalResult(
                task_type="unconditional-image-generation",
                dataset_type="pictures",
                dataset_name=data,
                dataset_split=split,
                metric_type=kind,
                metric_name=name,
                metric_value=round(value, 6),
            )

    for to in ("train", "held-out"):
        found = row(numbers, "all samples", to)
        for key in ("kid", "fid", "precision", "recall"):
            yield from result(key, f"{key.upper() if len(key) == 3 else key} to {to} pictures", found[key]["value"])
    for name, found in numbers["novelty"].items():
        yield from result("novelty", f"samples nearer than 5 % of held-out, {name}", found["nearer"]["value"])
    for name, found in numbers["obedience"].items():
        yield from result("obedience", f"obedience, {name}", found["obeyed"]["value"])
    for name in ("train", "held-out") if numbers["likelihood"] else ():
        yield from result("bits_per_dim", f"bits per dimension, {name}", numbers["likelihood"][name]["mean"])
