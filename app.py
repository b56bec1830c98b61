"""Starts the app, as a Hugging Face Space does."""

from pokemon_ddpm.app import launch

MODELS = ["pokemon-ddpm-64", "pokemon-ddpm-64-fast"]

if __name__ == "__main__":
    launch(MODELS)
