"""The app: a web page that generates sprites."""

from pokemon_ddpm.app.server import launch

__all__ = ["launch"]
