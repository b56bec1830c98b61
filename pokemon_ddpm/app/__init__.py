"""The app: a page on which sprites are drawn."""

from pokemon_ddpm.app.server import launch

__all__ = ["launch"]
