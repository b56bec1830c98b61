"""Drawing many sprites in tests: a tiny pipeline that knows every attribute, and the command."""

import torch
from typer.testing import CliRunner

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.cli import app
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.conftest import tiny_pipeline


def knowing_all(steps: int = 2) -> PokemonDDPMPipeline:
    """`tiny_pipeline` with a conditioner that knows every attribute, and so many steps of its own."""
    pipeline = tiny_pipeline()
    torch.manual_seed(1)
    conditioner = SpriteConditioner({name: list(words) for name, words in CONDITIONS.items()}, embedding_dim=32)
    known = PokemonDDPMPipeline(pipeline.unet, conditioner.eval(), pipeline.scheduler, num_inference_steps=steps)
    known.set_progress_bar_config(disable=True)
    return known


def run(*words: object) -> tuple[int, str]:
    """Exit status and output, in one line; an error that is no message is raised."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())
