"""What others see of a model: cards, pushes to the Hub, Spaces, ONNX files and the page for a web server."""

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_FREE_MODEL

PAGE_MODELS = (RELEASED_FAST_MODEL, RELEASED_FREE_MODEL)
