"""What the app computes; nothing here knows of the page.

The app may stand where everybody can reach it. So all that comes from a browser is checked here, whatever the page
lets one choose, and what was wrong is told without repeating it.
"""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from pokemon_ddpm.commands.common import best_device
from pokemon_ddpm.drawing import Drawing
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.vocabulary import ANY, NONE

MAX_IMAGES = 16
MAX_SEED = 2**31 - 1
SHOWN_SIZE = 256
"""About how many pixels wide a sprite is shown."""


class SpriteDrawer:
    """A loaded model, which draws as `pokemon-ddpm generate` does.

    Args:
        model: Folder or Hub name.

    Attributes:
        types: The names of the types that it knows.

    Raises:
        ValueError, OSError: If there is no such model.
    """

    def __init__(self, model: str):
        self._drawing = Drawing(model)
        self._pipeline = self._drawing.load(best_device())
        self.types: list[str] = self._pipeline.conditioner.vocabulary["type"]

    def requests(self, pokemon_type: Any, second_type: Any, num_images: Any, seed: Any) -> list[SpriteRequest]:
        """Reads what is asked for.

        Args:
            pokemon_type: A type or "any".
            second_type: A further type, "none" for purely the first one, or "any".
            num_images: How many sprites, from 1 to `MAX_IMAGES`.
            seed: Of the first sprite; the others have the numbers after it.

        Raises:
            ValueError: If something else is given.
        """
        if pokemon_type not in [ANY, *self.types]:
            raise ValueError(f"The type must be one of: {', '.join([ANY, *self.types])}.")
        if second_type not in [ANY, NONE, *self.types]:
            raise ValueError(f"The second type must be one of: {', '.join([ANY, NONE, *self.types])}.")
        if pokemon_type == ANY and second_type == NONE:
            raise ValueError("Choose a type that is to be the only one, or let the second be any.")
        if pokemon_type == second_type != ANY:
            raise ValueError("Choose two different types; for purely one type, the second is none.")
        count = _whole("The number of sprites", num_images, 1, MAX_IMAGES)
        seed = _whole("The seed", seed, 0, MAX_SEED)
        return [SpriteRequest(seed + i, (pokemon_type, second_type)) for i in range(count)]

    def draw(self, requests: Sequence[SpriteRequest]) -> Iterator[Image.Image]:
        """Draws sprites, every pixel enlarged to a square."""
        factor = max(1, SHOWN_SIZE // self._pipeline.sample_shape[-1])
        for image in generate(self._pipeline, requests, **self._drawing.arguments()):
            yield enlarge(image, factor)


def random_seed() -> int:
    """A seed that nobody chose."""
    return secrets.randbelow(MAX_SEED + 1)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    """A number from a browser, in which 4 and 4.0 are the same, as an int."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value != value or not low <= value <= high or value != int(value):
        raise ValueError(f"{name} must be a whole number from {low} to {high}.")
    return int(value)
