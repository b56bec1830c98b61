"""Starts the app, as a Hugging Face Space does."""

from pokemon_ddpm.app import launch

if __name__ == "__main__":
    launch()
