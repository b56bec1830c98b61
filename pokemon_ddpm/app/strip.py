"""The steps in which a sprite came about, as a strip for the page, without any file."""

import base64
import io

from PIL import Image

from pokemon_ddpm.app.orders import Sprite

MOST = 10
WIDTH = 64


def strip(sprite: Sprite | None) -> str:
    """Shows what there was after each step, from noise to the sprite, and below it what was expected.

    Args:
        sprite: None for nothing yet.

    Returns:
        HTML with the pictures in it; of more than `MOST` steps, so many from the first to the last.
    """
    if sprite is None or not sprite.steps:
        return ""
    last = len(sprite.steps) - 1
    count = min(MOST, len(sprite.steps))
    shown = sorted({round(i * last / max(1, count - 1)) for i in range(count)})
    cells = "".join(_cell(step + 1, *sprite.steps[step]) for step in shown)
    return (
        f'<div class="strip" role="group" aria-label="The steps of this sprite" '
        f'style="display:flex;flex-wrap:wrap;gap:.5rem">{cells}</div>'
    )


def _cell(step: int, timestep: int, sample: Image.Image, expected: Image.Image) -> str:
    return (
        '<figure style="margin:0;text-align:center">'
        f"{_picture(sample, f'the sample after step {step}')}{_picture(expected, f'what was expected at step {step}')}"
        f"<figcaption>t = {timestep}</figcaption></figure>"
    )


def _picture(image: Image.Image, said: str) -> str:
    content = io.BytesIO()
    image.save(content, "PNG")
    data = base64.b64encode(content.getvalue()).decode()
    return (
        f'<img class="pixels" src="data:image/png;base64,{data}" alt="{said}" width="{WIDTH}" height="{WIDTH}" '
        'style="display:block">'
    )
