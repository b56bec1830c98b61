"""The app: a page on which sprites are drawn."""

from pokemon_ddpm.app.interface import build, launch

__all__ = ["build", "launch"]
