"""The steps in which a sprite came about, as a strip for the page, without any file."""

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

from pokemon_ddpm.app.orders import Sprite
from pokemon_ddpm.figures import evenly

MOST = 10


def strip(sprite: Sprite | None) -> str:
    """Shows the steps of a sprite; see `strip_of`.

    Args:
        sprite: None for nothing yet.
    """
    return "" if sprite is None else strip_of(sprite.steps)


def strip_of(steps: Sequence[tuple[int, Image.Image, Image.Image]]) -> str:
    """Shows what there was after each step, from noise to the sprite, and below it what was expected.

    Args:
        steps: Of each its timestep, the sample after it, and the clean sprite that was expected.

    Returns:
        HTML with the pictures in it, its looks in `style`; nothing for no steps, and of more than `MOST` + 1 steps
        `MOST`, from the first to the last.
    """
    cells = "".join(_cell(*step) for step in evenly(steps, MOST))
    return cells and f'<div class="strip" role="group" aria-label="The steps of this sprite">{cells}</div>'


def picture(image: Image.Image, said: str) -> str:
    """A picture as HTML, whose pixels stay squares.

    Args:
        image: It lies in the HTML itself.
        said: What it shows, for those who do not see it.
    """
    content = io.BytesIO()
    image.save(content, "PNG")
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img class="pixels" src="data:image/png;base64,{data}" alt="{html.escape(said)}">'


def _cell(timestep: int, sample: Image.Image, expected: Image.Image) -> str:
    said = f"the step at t = {timestep}"
    pictures = picture(sample, f"the sample after {said}") + picture(expected, f"expected at {said}")
    return f"<figure>{pictures}<figcaption>t = {timestep}</figcaption></figure>"
