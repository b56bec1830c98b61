raise ImportError("No code is here. Load it with pokemon_ddpm.PokemonDDPMPipeline, or see: pokemon-ddpm push --help.")
