"""What a training run publishes: its model with card and license in the output folder, and that on the Hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pokemon_ddpm.files import write_file
from pokemon_ddpm.models import LICENSE_FILE, locate_model
from pokemon_ddpm.pipelines.file_checks import read_file
from pokemon_ddpm.pipelines.hub_mixin import LICENSE_KEY, license_terms
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.publishing.cards import run_card, write_card
from pokemon_ddpm.publishing.hub import open_repository, upload_model

__all__ = ["open_run_repository", "save_run", "upload_model"]


def open_run_repository(config: Any) -> str | None:
    """The name of the repository that a `TrainingConfig` pushes to, which is created if there is none; None for none.

    Before the training, so that nothing is trained in vain: ValueError if it cannot be written.
    """
    if not config.push_to_hub:
        return None
    return open_repository(config.hub_model_id or Path(config.output_dir).resolve().name, None)[1].id


def save_run(
    pipeline: PokemonDDPMPipeline, config: Any, step: int, counts: Mapping[str, int], metrics: Mapping[str, float]
) -> None:
    """Saves a pipeline with card and license into the output folder; for the arguments see `run_card`."""
    folder, base = Path(config.output_dir), config.initial_weights
    try:
        card = run_card(pipeline, config, folder.resolve().name, step, counts, metrics)
        pipeline.conditioner.register_to_config(**{LICENSE_KEY: license_terms(card.data.to_dict())})
        pipeline.save_pretrained(folder)
        if base and (source := Path(locate_model(base), LICENSE_FILE)).exists():
            write_file(folder / LICENSE_FILE, read_file(source, source.parent))
        write_card(folder, card)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"The model could not be written into {folder} ({error}).") from error
