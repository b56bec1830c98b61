"""The page that generates in the browser: a folder for any web server."""

import hashlib
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from pokemon_ddpm.creature import ATTEMPTS
from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.generation import SpriteRequest, generate, generate_with_steps
from pokemon_ddpm.likeness import MAX_IOU
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline, is_distilled
from pokemon_ddpm.postprocessing import SHINY_CHROMA, to_sprite
from pokemon_ddpm.publishing.onnx_export import CONFIG_FILE, export_onnx
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.vocabulary import TYPE_COLORS, TYPES

SOURCE = Path(__file__).parents[1] / "site"
RUNTIME = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
RUNTIME_FILES = [
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
]
PAGE, SERVICE_WORKER, STYLE = "index.html", "service-worker.js", "style.css"
CREATURE = {
    "overlap": MAX_IOU,
    "attempts": {name: ATTEMPTS[name] for name in MAX_IOU},
    "chroma": SHINY_CHROMA,
}
INTRO_FILE, INTRO, INTRO_COLORS = "intro.png", SpriteRequest(4, "fire"), 32
ICON_FILE, ICON_SIZE = "icon.png", 64
PREVIEW_FILE, PREVIEW_SIZE, PREVIEW_COLUMNS, PREVIEW_COLORS = "preview.png", (1200, 630), 6, 256
PREVIEW = [SpriteRequest(4, name) for name in TYPES]
PREVIEW_TAGS = """
    <meta property="og:type" content="website" />
    <meta property="og:title" content="New Pokémon of any type" />
    <meta property="og:description" content="A small diffusion model generates them in your browser." />
    <meta property="og:url" content="{url}" />
    <meta property="og:image" content="{url}{image}" />
    <meta property="og:image:width" content="{width}" />
    <meta property="og:image:height" content="{height}" />
    <meta property="og:image:alt" content="A sprite of each type, which the model generated" />
    <meta name="twitter:card" content="summary_large_image" />
    <meta name="twitter:image" content="{url}{image}" />"""


def write_page(
    pipeline: PokemonDDPMPipeline, folder: Path, name: str, runtime: str = RUNTIME, url: str | None = None
) -> None:
    """Writes the page with an exported model.

    Args:
        pipeline: A distilled model for RGBA sprites with their types, in float32, on the CPU.
        folder: It exists; files of an earlier page are replaced.
        name: Of the model.
        runtime: The dist folder of onnxruntime-web: a URL, or a folder here, of which the page gets what it needs
            (41 MB).
        url: The public address of the page, for the previews that other sites show of a link to it.

    Raises:
        ValueError: If the model is another one, or the runtime is neither; nothing is written then.
        OSError: If a file cannot be written.
    """
    copied = [] if "://" in runtime else [Path(runtime, file) for file in RUNTIME_FILES]
    if missing := [path.name for path in copied if not path.is_file()]:
        raise ValueError(
            f"The runtime {runtime} is neither a URL nor the dist folder of onnxruntime-web, which has {missing[0]}."
        )
    if not is_distilled(pipeline.scheduler):
        raise ValueError(
            f"{name} needs many steps with guidance, and browsers are too slow for this; use a distilled model."
        )
    if pipeline.sample_shape[0] != 4 or pipeline.conditioner.vocabulary["type"] != list(TYPES):
        raise ValueError(f"{name} is not a model of transparent sprites with the {len(TYPES)} types.")
    for path in SOURCE.iterdir():
        write_file(folder / path.name, path.read_bytes())
    intro = denoising(pipeline, INTRO)
    sprite = intro.crop((intro.width - intro.height, 0, intro.width, intro.height))
    icon = sprite.resize((ICON_SIZE, ICON_SIZE), Image.Resampling.NEAREST)
    save_image(icon.quantize(INTRO_COLORS), folder / ICON_FILE)
    tags = ""
    if url:
        save_image(preview(pipeline).quantize(PREVIEW_COLORS), folder / PREVIEW_FILE)
        tags = preview_tags(url)
    html = (SOURCE / PAGE).read_text(encoding="utf-8")
    write_file(folder / PAGE, html.replace("\n    <!-- PREVIEW -->", tags))
    style = (SOURCE / STYLE).read_text(encoding="utf-8").replace("FRAMES", str(intro.width // intro.height))
    write_file(folder / STYLE, style)
    save_image(intro.quantize(INTRO_COLORS), folder / INTRO_FILE)
    if copied:
        runtime = "runtime"
        (folder / runtime).mkdir(exist_ok=True)
        for path in copied:
            write_file(folder / runtime / path.name, path.read_bytes())
    export_onnx(
        pipeline, folder, name, runtime=runtime.removesuffix("/") + "/", type_colors=TYPE_COLORS, creature=CREATURE
    )
    # With another version the browser drops what it kept of the page before.
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SERVICE_WORKER)
    version = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    sources = sorted({path.name for path in SOURCE.iterdir()} - {SERVICE_WORKER})
    own = ["./", CONFIG_FILE, ICON_FILE, INTRO_FILE, *sources]
    code = (SOURCE / SERVICE_WORKER).read_text(encoding="utf-8")
    write_file(folder / SERVICE_WORKER, code.replace("VERSION", version).replace("FILES", " ".join(own)))


def denoising(pipeline: PokemonDDPMPipeline, request: SpriteRequest) -> Image.Image:
    """The samples after each step and the sprite at last, RGBA, side by side."""
    ((image, steps),) = generate_with_steps(pipeline, [request])
    return Image.fromarray(np.hstack([*(step.sample for step in steps[:-1]), to_sprite(image)]))


def preview_tags(url: str) -> str:
    """The tags of Open Graph and of Twitter's cards of the page at this address, with `PREVIEW_FILE`."""
    width, height = PREVIEW_SIZE
    return PREVIEW_TAGS.format(url=escape(f"{url.rstrip('/')}/"), image=PREVIEW_FILE, width=width, height=height)


def preview(pipeline: PokemonDDPMPipeline) -> Image.Image:
    """The sprites of `PREVIEW` on white, RGB of `PREVIEW_SIZE`."""
    image, (width, height) = Image.new("RGB", PREVIEW_SIZE, "white"), PREVIEW_SIZE
    sprites = [to_sprite(each) for each in generate(pipeline, PREVIEW)]
    sheet = sprite_sheet(sprites, PREVIEW_COLUMNS, scale=192 // sprites[0].width)
    image.paste(sheet, ((width - sheet.width) // 2, (height - sheet.height) // 2))
    return image
