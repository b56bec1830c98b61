"""Writes the image of the page's gallery, gallery.webp, of the links in gallery.json, as the page makes them.

    python -m benchmarks.gallery

A link is what the page copies, from its "?" on. Everybody may propose one with a pull request that adds it to the
list, or replaces one, and runs this. It needs npm, Chromium, and the extras onnx and dev.
"""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from huggingface_hub.utils import tqdm
from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.page import make_page, serving
from pokemon_ddpm.publishing.hub import ISOLATED
from pokemon_ddpm.publishing.page import SOURCE
from pokemon_ddpm.sheets import game_sheet

COLUMNS = 10  # as in gallery.js
MAKE = """async (query) => {
    const modules = ["recipe", "making", "state"].map((name) => import(`./${name}.js`));
    const [{ isOfModel, recipeOf }, { sampleRecipe }, { page }] = await Promise.all(modules);
    const parameters = new URLSearchParams(query), { config } = page;
    const recipe = isOfModel(parameters, config.weights) && recipeOf(parameters, config);
    return recipe && [...(await sampleRecipe({ recipe, frames: [] }))];
}"""


def main() -> None:
    """Raises ValueError for a link that the page of the released model does not know."""
    links, sprites = json.loads((SOURCE / "gallery.json").read_text(encoding="utf-8")), []
    with (
        tempfile.TemporaryDirectory() as name,
        serving(Path(name), ISOLATED) as url,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=shutil.which("chromium")) as browser,
    ):
        make_page(Path(name))
        page = browser.new_page()
        page.goto(url)
        page.locator("#generate:enabled").wait_for(timeout=600_000)
        for link in tqdm(links):
            pixels = page.evaluate(MAKE, link)
            if not pixels:
                raise ValueError(f"No sprite of the released model: {link}")
            sprites.append(Image.fromarray(np.array(pixels, np.uint8).reshape(64, 64, 4)))
    game_sheet(sprites, COLUMNS).save(SOURCE / "gallery.webp", lossless=True)


if __name__ == "__main__":
    main()
