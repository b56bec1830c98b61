"""Train a class-conditional DDPM on Pokémon sprites, and generate new Pokémon of a chosen type."""

import importlib
from typing import TYPE_CHECKING, Any

from pokemon_ddpm.files import RELEASED, RELEASED_FAST_MODEL, RELEASED_FREE_MODEL, RELEASED_MODEL

if TYPE_CHECKING:
    from pokemon_ddpm.data import SpriteTensors as SpriteTensors
    from pokemon_ddpm.data import sprite_tensors as sprite_tensors
    from pokemon_ddpm.dataset_scripts.pokemon_sprites import PokemonSprites as PokemonSprites
    from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites as load_sprites
    from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline as PokemonDDPMPipeline
    from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner as SpriteConditioner
    from pokemon_ddpm.pipelines.sprite_unet import SpriteUNet2DModel as SpriteUNet2DModel
    from pokemon_ddpm.postprocessing import to_sprite as to_sprite

_HOMES = {
    "PokemonDDPMPipeline": "pokemon_ddpm.models",  # The import sets how it is loaded.
    "PokemonSprites": "pokemon_ddpm.dataset_scripts.pokemon_sprites",
    "SpriteConditioner": "pokemon_ddpm.pipelines.sprite_conditioner",
    "SpriteTensors": "pokemon_ddpm.data",
    "SpriteUNet2DModel": "pokemon_ddpm.pipelines.sprite_unet",
    "load_sprites": "pokemon_ddpm.dataset_scripts.pokemon_sprites",
    "sprite_tensors": "pokemon_ddpm.data",
    "to_sprite": "pokemon_ddpm.postprocessing",
}

__all__ = ["RELEASED", "RELEASED_FAST_MODEL", "RELEASED_FREE_MODEL", "RELEASED_MODEL", *_HOMES]


def __getattr__(name: str) -> Any:
    # Imported on first use: `import pokemon_ddpm.vocabulary` should not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
