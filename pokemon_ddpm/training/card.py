"""The model card of a training run: what it was trained on, how, how well, and whose the pictures are."""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from pokemon_ddpm.pipelines.cards import CARD_FILE, make_card, pipeline_sections, read_card
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.pushing import newest_sheet
from pokemon_ddpm.pipelines.storage import pull
from pokemon_ddpm.released_models import locate
from pokemon_ddpm.training.config import TrainingConfig, as_text

# Of the configuration, what says nothing of the model: places on somebody's machine, and what only this start needed.
LEFT_OUT = {
    "cache_dir", "checkpointing_steps", "checkpoints_total_limit", "compile", "dataset_config_name", "dataset_name",
    "eval_steps", "hub_model_id", "hub_private_repo", "hub_strategy", "hub_token", "logging_steps",
    "max_train_seconds", "num_cpu_threads", "num_eval_images", "output_dir", "overwrite_output_dir", "push_to_hub",
    "report_to", "resume_from_checkpoint", "save_images_steps", "train_data_dir", "validation_steps",
}  # fmt: skip
ALWAYS = {"resolution", "prediction_type", "ddpm_beta_schedule", "train_batch_size", "learning_rate", "seed"}

SPRITES_LICENCE = {"license": "other", "license_name": "research-and-education-only"}
SPRITES = """## Licence and credits

**Research and education only.** The weights were trained on pictures that are not the trainer's: sprites of Nintendo's
and Game Freak's games, and very probably fan art of Smogon's sprite projects, which asks for credit and non-profit
use, collected by Yehong Jiang on Kaggle under a CC0 tag that is the uploader's claim. Heights and evolution lines are
from PokéAPI (© Paul Hallett and PokéAPI contributors, BSD 3-clause). Pokémon and Pokémon character names are
trademarks of Nintendo; this model is not affiliated with them."""
STARTER = """## Licence and credits

The weights were trained on small procedural creatures that come with the project, and are under its Apache 2.0
licence."""
OTHERS = """## Licence

The weights were trained on pictures of the one who trained them, who says here what may be done with them."""
HUBS = """## Licence

The weights were trained on pictures of {name}; what its licence says of them holds for the weights, too."""
CONTINUED = """## Licence and credits

The weights began as those of {name}, whose licence and credits hold for them, too."""
LIMITS = """## Limits

It knows nothing but pictures like those it was trained on. Whether a sprite is new or close to a training picture is
not told by looking at it; small data sets are learned by heart in time."""


def run_card(
    pipeline: PokemonDDPMPipeline,
    config: TrainingConfig,
    name: str,
    step: int,
    counts: Mapping[str, int],
    metrics: Mapping[str, float],
) -> ModelCard:
    """The card of the model that a run has made.

    Args:
        pipeline: The model.
        config: The run's.
        name: Of the model, or of its repository.
        step: Updates made.
        counts: Pictures by split.
        metrics: By name: the losses "validation_loss" and "train_split_loss", and what `--eval_steps` measures; may
            be empty.
    """
    licence, credits = licence_of(config)
    metadata: dict[str, Any] = dict(licence)
    if config.dataset_name and not _is_here(config.dataset_name):
        metadata["datasets"] = [config.dataset_name]
    base = _base(config)
    if base and "/" in _short(base):
        metadata["base_model"] = base
    if metrics:
        metadata |= {"model_name": name.split("/")[-1], "eval_results": _results(config, metrics)}
    about, *rest = pipeline_sections(pipeline)
    return make_card(
        name,
        [about, *(f"![Sprites of each type]({sheet})" for sheet in newest_sheet(Path(config.output_dir))), *rest]
        + [_training(config, step, counts), *_measured(config, metrics), LIMITS, credits],
        metadata,
    )


def data_name(config: TrainingConfig) -> str:
    """What the pictures are, without telling where they lie."""
    if config.dataset_name:
        return _short(config.dataset_name)
    if config.dataset_config_name == "starter":
        return "the starter sprites of the project"
    if config.dataset_config_name:
        return f"the Pokémon sprites ({config.dataset_config_name})"
    return Path(config.train_data_dir).resolve().name


def licence_of(config: TrainingConfig) -> tuple[dict[str, str], str]:
    """The Hub's metadata of the licence, and what the card says of it."""
    licence, credits = _licence_of_data(config)
    base = _base(config)
    if base is None:
        return licence, credits
    continued = CONTINUED.format(name=_short(base))
    if licence == SPRITES_LICENCE:
        return licence, f"{credits} {continued.splitlines()[-1]}"
    return _licence_in(base), continued


def _licence_of_data(config: TrainingConfig) -> tuple[dict[str, str], str]:
    if config.label_column or not (config.dataset_name or config.dataset_config_name):
        theirs = config.dataset_name and not _is_here(config.dataset_name)
        return {}, HUBS.format(name=config.dataset_name) if theirs else OTHERS
    if not config.dataset_name and config.dataset_config_name == "starter":
        return {"license": "apache-2.0"}, STARTER
    return SPRITES_LICENCE, SPRITES


def _base(config: TrainingConfig) -> str | None:
    """The model whose weights the run began with."""
    return config.distill_from or config.pretrained_model_name_or_path


def _licence_in(model: str) -> dict[str, str]:
    """The licence that a model's card names; empty where there is none."""
    try:
        folder = Path(locate(model))
        folder = folder if folder.is_dir() else pull(model, [CARD_FILE], local_files_only=True)
        data = read_card((folder / CARD_FILE).read_text("utf-8")).data.to_dict()
    except (OSError, ValueError):
        return {}
    return {name: data[name] for name in ("license", "license_name", "license_link") if name in data}


def _training(config: TrainingConfig, step: int, counts: Mapping[str, int]) -> str:
    split = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    how = f"On {data_name(config)}: {split} pictures. {step:,} updates."
    if config.distill_from:
        how += (
            f" A student of {_short(config.distill_from)}: two of its {config.distill_teacher_steps} steps in one, "
            f"its guidance of {config.distill_guidance_scale:g} folded in (Salimans & Ho 2022; Meng et al. 2023)."
        )
    default = {field.name: field.default for field in fields(config)}
    said = {name: value for name, value in config.public().items() if name not in LEFT_OUT and value is not None}
    rows = [
        f"| `{name}` | {_short(as_text(value))} |"
        for name, value in said.items()
        if name in ALWAYS or value != default[name]
    ]
    return "\n".join(
        ["## Training", "", how, "", "| setting | |", "|---|---|", *rows, "", "Everything else is as by default."]
    )


def _is_here(name: str) -> bool:
    """Whether a path is meant, and no name on the Hub."""
    return name.startswith((".", "~", os.sep)) or Path(name).exists()


def _short(value: Any) -> Any:
    """A path's last part: the rest is a matter of somebody's machine."""
    return Path(value).resolve().name if isinstance(value, str) and _is_here(value) else value


def _measured(config: TrainingConfig, metrics: Mapping[str, float]) -> list[str]:
    if not metrics:
        return []
    figures = {name: f"{value:.4f}" for name, value in metrics.items()}
    about = []
    if "validation_loss" in metrics:
        about.append("The denoising loss of held-out and of as many training pictures.")
    if "kid" in metrics:
        figures["kid"] += f" ± {figures.pop('kid_standard_error')}"
        about.append(
            f"KID (Bińkowski et al. 2018), with its standard error, of {config.num_eval_images} samples in "
            f"{config.ddpm_num_inference_steps} steps to the held-out pictures, as the project's network for sprites "
            "sees them; it compares with figures of that network alone."
        )
    if "obedience" in metrics:
        about.append("Obedience is the share of these samples in which it sees all types that were asked for.")
    rows = [f"| {_title(name)} | {figure} |" for name, figure in figures.items()]
    return ["\n".join(["## Results", "", " ".join(about), "", "| | |", "|---|---:|", *rows])]


def _results(config: TrainingConfig, metrics: Mapping[str, float]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="unconditional-image-generation",
            dataset_type=_short(config.dataset_name) or "pictures",
            dataset_name=data_name(config),
            metric_type="loss" if name.endswith("_loss") else name,
            metric_name=_title(name),
            metric_value=round(value, 6),
        )
        for name, value in metrics.items()
        if name != "kid_standard_error"
    ]


def _title(metric: str) -> str:
    return "KID" if metric == "kid" else metric.replace("_", " ")
