raise ImportError(
    "This folder is a part of the pokemon-ddpm package and has no code of its own. Load it with "
    "pokemon_ddpm.PokemonDDPMPipeline.from_pretrained, or publish it with its code: pokemon-ddpm push."
)
