"""The page that generates in the browser: a folder for any web server."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from pokemon_ddpm.creature import ATTEMPTS
from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.generation import SpriteRequest, generate_with_steps
from pokemon_ddpm.likeness import MAX_IOU, MAX_PALETTE_DISTANCE
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline, is_distilled
from pokemon_ddpm.postprocessing import SHINY_CHROMA, to_sprite
from pokemon_ddpm.publishing.onnx_export import CONFIG_FILE, export_onnx
from pokemon_ddpm.vocabulary import TYPE_COLORS, TYPES

SOURCE = Path(__file__).parents[1] / "site"
RUNTIME = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
RUNTIME_FILES = [
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
]
SERVICE_WORKER, STYLE = "service-worker.js", "style.css"
CREATURE = {
    "overlap": MAX_IOU,
    "attempts": {name: ATTEMPTS[name] for name in MAX_IOU},
    "chroma": SHINY_CHROMA,
    "palette_distance": MAX_PALETTE_DISTANCE,
}
INTRO_FILE, INTRO, INTRO_COLORS = "intro.png", SpriteRequest(4, "fire"), 32


def write_page(pipeline: PokemonDDPMPipeline, folder: Path, name: str, runtime: str = RUNTIME) -> None:
    """Writes the page with an exported model.

    Args:
        pipeline: A distilled model for RGBA sprites with their types, in float32, on the CPU.
        folder: It exists; files of an earlier page are replaced.
        name: Of the model.
        runtime: The dist folder of onnxruntime-web: a URL, or a folder here, of which the page gets what it needs
            (41 MB).

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
            f"{name} takes many steps with guidance, which browsers are too slow for; use a distilled model."
        )
    if pipeline.sample_shape[0] != 4 or pipeline.conditioner.vocabulary["type"] != list(TYPES):
        raise ValueError(f"{name} is no model for sprites with transparency and the {len(TYPES)} types.")
    for path in SOURCE.iterdir():
        write_file(folder / path.name, path.read_bytes())
    intro = denoising(pipeline, INTRO)
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
    own = ["./", CONFIG_FILE, INTRO_FILE, *sorted({path.name for path in SOURCE.iterdir()} - {SERVICE_WORKER})]
    code = (SOURCE / SERVICE_WORKER).read_text(encoding="utf-8")
    write_file(folder / SERVICE_WORKER, code.replace("VERSION", version).replace("FILES", " ".join(own)))


def denoising(pipeline: PokemonDDPMPipeline, request: SpriteRequest) -> Image.Image:
    """The samples after each step and the sprite at last, RGBA, side by side."""
    ((image, steps),) = generate_with_steps(pipeline, [request])
    return Image.fromarray(np.hstack([*(step.sample for step in steps[:-1]), to_sprite(image)]))
