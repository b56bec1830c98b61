"""The page that generates in the browser: a folder for any web server."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
import numpy as np
from PIL import Image

from pokemon_ddpm import creature, description, likeness, palettes, sheets, sketch, studio
from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.models import LICENSE_FILE, check_files, locate_model, model_name
from pokemon_ddpm.pipelines import sprite_conditioner
from pokemon_ddpm.pipelines.hub_mixin import CARD_FILE
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sampling import is_distilled, require
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.publishing.cards import license_of
from pokemon_ddpm.publishing.onnx_export import CONDITIONER_FILE, CONFIG_FILE, UNET_FILE, check_export, export_onnx
from pokemon_ddpm.ranking import SpriteRanker, read_ranker
from pokemon_ddpm.studio import CANDIDATES, generate_sprites
from pokemon_ddpm.vocabulary import CONDITIONS, TYPE_COLORS

SOURCE = Path(__file__).parents[1] / "page"
RUNTIME = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
GIF_FILE = "gifenc.esm.js"
GIF_ENCODER = f"https://cdn.jsdelivr.net/npm/gifenc@1.0.3/dist/{GIF_FILE}"
RUNTIME_FILES = {  # and their SHA-256: the page runs no other ones
    "ort.wasm.min.mjs": "sha256-IZ5qH8ipk4Jo0Y78o8kdMQvS9KWbvRN0TfWyt/xs7js=",
    "ort-wasm-simd-threaded.mjs": "sha256-4T9/lPxRtMpysS+use6V9Kzm37yJObxxiqvcCifEKZs=",
    "ort-wasm-simd-threaded.wasm": "sha256-M5jBDQfSKb2Rs2RUjhMODlGo5XBLiMfAg+u+t4hC3uI=",
    "ort.webgpu.min.mjs": "sha256-Pf//cYEbwTo6PZWRxXyl7lc1uPXz6veJUQsCuwQK46A=",
    "ort-wasm-simd-threaded.asyncify.mjs": "sha256-PRyFmVNku2QzAvxv2Hegw7pa5yQBgV4PJIKKU9kZHig=",
    "ort-wasm-simd-threaded.asyncify.wasm": "sha256-OfnwiU1HiABIftn32+kmGEmNsyDPVcjj2Jrf+NzmWNo=",
    GIF_FILE: "sha256-IXdhJEN5JTulgVUQ0wSKT7H0xNvp+1Glz7/ibzTuwJM=",
}
SIDES = (16, 32, 64)  # of sprites; the page shows them in multiples of 64 pixels
PAGE, SERVICE_WORKER, STYLE, MANIFEST = "index.html", "service-worker.js", "style.css", "manifest.json"
PALETTES = "SLACK COST BLACK BLACK_COST DARK DARKEST LEAST LIGHT MAX_CONTRAST SHADING SAME_AREA MIN_AREA"
DESCRIPTION = "LONGEST LONGEST_WORD PLURALS ENDINGS TOKEN UNSPACED MISTAKES SHORTEST_PART"
# The numbers of the rules that stand in Python and in the page, see docs/development.md.
RULES: dict[str, dict[str, Any]] = {
    name: {number.lower(): getattr(module, number) for number in names.split()}
    for name, module, names in (
        ("conditions", sprite_conditioner, "MIN_LINES COLOR_LINES DRAWN_TAGS"),
        ("creature", creature, "ATTEMPTS BACK_STRENGTH NEXT_STRENGTH ENLARGEMENT"),
        ("description", description, DESCRIPTION),
        ("likeness", likeness, "MAX_LIKENESS MIN_GROWTH SAME_COLOR MAX_SHIFT"),
        ("palettes", palettes, f"{PALETTES} SHINY_DRAWS SHINY_CHANGE"),
        ("sheets", sheets, "SQUASH"),
        ("sketch", sketch, "CELLS EYE DRAWN ANGLE SCALE BEND POINTS ROOM SKETCH_STRENGTH POSE_STRENGTH"),
        ("studio", studio, "LIKENESS_WEIGHT SKETCH_WEIGHT DRAWS"),
    )
}
RULES["sketch"]["values"] = {name: CONDITIONS[name] for name in sketch.DRAWN}
RULES["palettes"]["shinies"] = palettes.shiny_table()
# Stronger than creature.VIEW_SCALE, since the page has no ranker that refuses faces.
RULES["creature"]["view_scale"] = 4
SEED = 4  # of the sprites in the files
INTRO_FILE, INTRO_TYPE, INTRO_COLORS = "intro.png", "fire", 32
ICON_FILE, ICON_SIZE = "icon.png", 512
PREVIEW_FILE, PREVIEW_SIZE, PREVIEW_COLUMNS, PREVIEW_COLORS = "preview.png", (1200, 630), 6, 256
PREVIEW_COUNT = 18


def write_pages(
    pipelines: Mapping[str, PokemonDDPMPipeline],
    folder: Path,
    report: Callable[[str], None],
    runtime: str = RUNTIME,
    url: str | None = None,
) -> None:
    """Writes a page for each model, with links to the others, and compares its export with the model.

    Nothing is written if a model cannot be used. Where its classes are no types, its page is not about Pokémon, and
    shows its license.

    Args:
        pipelines: By name or folder, distilled models for RGBA sprites with a side of `SIDES`, in float32, on the CPU.
        folder: It exists. The first page is in it, those of the other models are in folders of their names in it.
        report: As of `check_export`.
        runtime: The dist folder of onnxruntime-web: a URL, or a folder here, with `GIF_FILE` in it, of which the page
            gets its part (41 MB).
        url: The public address of the page, for the previews that other sites show of a link to it.
    """
    copied, rankers = runtime_files(runtime), {}
    for name, pipeline in pipelines.items():
        _check(pipeline, model_name(name))
        check_files(Path(locate_model(name)), LICENSE_FILE)  # the page gets a copy
        rankers[name] = read_ranker(pipeline, locate_model(name))
    places = {Path(name).resolve().name: "" for name in pipelines}  # model -> its folder in the first one's
    places |= {name: f"{name}/" for name in [*places][1:]}
    require(len(places) == len(pipelines), "The page needs models with different names.")
    if copied:
        runtime = "runtime"
        (folder / runtime).mkdir(exist_ok=True)
    for path in copied:
        write_file(folder / runtime / path.name, path.read_bytes())
    for (name, pipeline), place in zip(pipelines.items(), places.values(), strict=True):
        up, address = "../" * bool(place), url and f"{url.rstrip('/')}/{place}"
        links = {other: f"{up}{there}" for other, there in places.items() if there != place}
        (folder / place).mkdir(exist_ok=True)
        own_runtime = runtime if "://" in runtime else f"{up}{runtime}"
        _write_page(pipeline, folder / place, name, rankers[name], links, own_runtime, address)
        check_export(pipeline, folder / place, report)


def runtime_files(runtime: str) -> list[Path]:
    """The files that a page copies from a runtime folder, none from a URL; raises ValueError if it is neither."""
    files = [] if "://" in runtime else [Path(runtime, name) for name in RUNTIME_FILES]
    wanted = f"neither a URL nor the dist folder of onnxruntime-web with {GIF_FILE} of gifenc in it"
    for path in files:
        require(path.is_file(), f"The runtime {runtime} is {wanted}: it has no {path.name}.")
    return files


def _check(pipeline: PokemonDDPMPipeline, name: str) -> None:
    require(
        is_distilled(pipeline.scheduler),
        f"{name} needs many steps with guidance, and browsers are too slow for this. Distill it first: "
        f"pokemon-ddpm train --distill_from {name} --distill_teacher_steps 8, with the flags for its images.",
    )
    channels, height, width = pipeline.sample_shape
    wanted = f"transparent sprites with a side of {' or '.join(map(str, SIDES))} pixels"
    fits, shape = channels == 4 and height == width in SIDES, f"{width}x{height} pixels in {channels} channels"
    require(fits, f"{name} is not a model of {wanted}: its images have {shape}.")


def _write_page(
    pipeline: PokemonDDPMPipeline,
    folder: Path,
    name: str,
    ranker: SpriteRanker | None,
    links: dict[str, str],
    runtime: str,
    url: str | None,
) -> None:
    own, types = not pipeline.conditioner.has_types, pipeline.conditioner.vocabulary["type"]
    for path in SOURCE.iterdir():
        write_file(folder / path.name, path.read_bytes())
    words = words_of(pipeline.conditioner.vocabulary | {"sketch": [*sketch.SKETCHES]})
    write_file(folder / description.WORDS_FILE.name, json.dumps(words, ensure_ascii=False))
    first = SpriteRequest(SEED, types[0] if own else INTRO_TYPE, number=0)
    (sprite,) = generate_sprites(pipeline, [first], CANDIDATES if ranker else 1, ranker, with_steps=True)
    processed = to_sprite(sprite.sample)
    intro = Image.fromarray(np.hstack([*(step.sample for step in sprite.steps[:-1]), processed]))
    icon = processed.resize((ICON_SIZE, ICON_SIZE), Image.Resampling.NEAREST)
    save_image(icon.quantize(INTRO_COLORS), folder / ICON_FILE)
    if url:
        save_image(preview(pipeline, ranker).quantize(PREVIEW_COLORS), folder / PREVIEW_FILE)
    width, height = PREVIEW_SIZE
    host, origin = urlsplit(runtime).hostname, "/".join(runtime.split("/")[:3]) if "://" in runtime else ""
    title = "New sprites of any class" if own else "New Pokémon of any type"
    values = {"own": own, "title": title, "links": links, "host": host, "origin": origin}
    values["url"] = url and f"{url.rstrip('/')}/"
    values["modules"] = sorted(path.name for path in SOURCE.glob("*.js") if not path.stem.endswith("worker"))
    values["preview"] = {"file": PREVIEW_FILE, "width": width, "height": height}
    _render(folder / PAGE, **values, **(_about(name, folder) if own else {}))
    _render(folder / STYLE, frames=intro.width // intro.height)
    _render(folder / MANIFEST, title=title, icon=ICON_SIZE)
    save_image(intro.quantize(INTRO_COLORS), folder / INTRO_FILE)
    # A color for each class, of the lightness of the types' colors.
    colors = {kind: TYPE_COLORS.get(kind, f"oklch(53% 0.12 {360 * i // len(types)})") for i, kind in enumerate(types)}
    runtime = runtime.removesuffix("/") + "/"
    copied = [path for path in (folder / runtime).glob("*") if path.name in RUNTIME_FILES]
    digests = RUNTIME_FILES if runtime == RUNTIME else {path.name: integrity(path.read_bytes()) for path in copied}
    entries = {"type_colors": colors, "rules": RULES, "own_classes": own, "integrity": digests}
    name = Path(name).resolve().name if Path(name).is_dir() else name  # without a path on this machine
    export_onnx(pipeline, folder, name, ranker, **_addresses(runtime), **entries)
    _write_service_worker(folder, runtime)


def words_of(vocabulary: Mapping[str, list[str]]) -> dict[str, Any]:
    """What the page knows of words, for a model with this vocabulary: the phrases of each meaning, and functions."""
    known = description.Known(vocabulary)
    return {"functions": description.WORDS["functions"], "english": known.english, "names": known.names}


def _addresses(runtime: str) -> dict[str, str]:
    return {"runtime": runtime, "gif": GIF_ENCODER if runtime == RUNTIME else runtime + GIF_FILE}


def integrity(content: bytes) -> str:
    """The digest of a file or a script, as pages name it (W3C Subresource Integrity)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}"


def _write_service_worker(folder: Path, runtime: str) -> None:
    """With another version, of all that it keeps, the browser drops what it kept of the page before."""
    sources = sorted({path.name for path in SOURCE.iterdir()} - {SERVICE_WORKER})
    page, version = [CONFIG_FILE, ICON_FILE, INTRO_FILE, *sources], hashlib.sha256()
    copied = sorted(path for path in (folder / runtime).glob("*") if path.name in RUNTIME_FILES)
    for path in (*(folder / name for name in (*page, UNET_FILE, CONDITIONER_FILE)), *copied):
        version.update(path.read_bytes())
    kept = {"version": version.hexdigest()[:16], "files": ["./", *page], **_addresses(runtime)}
    _render(folder / SERVICE_WORKER, page=kept)


def _render(path: Path, **values: Any) -> None:
    """Writes a file of the page, whose source is a template; its HTML has values escaped, its JavaScript as JSON."""
    options = {"keep_trailing_newline": True, "lstrip_blocks": True, "trim_blocks": True}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, **options)
    environment.filters["integrity"] = lambda text: integrity(text.encode())
    source = (SOURCE / path.name).read_text(encoding="utf-8")
    write_file(path, environment.from_string(source).render(values))


def _about(name: str, folder: Path) -> dict[str, Any]:
    """The license of a model of own classes, and its card and license as links to copies in the page."""
    terms, documents = license_of(name), {}
    for word, file in {"card": CARD_FILE, "license": LICENSE_FILE}.items():
        if (source := Path(locate_model(name), file)).is_file():
            write_file(folder / f"model-{word}.txt", source.read_bytes())
            documents[word] = f"model-{word}.txt"
    if not documents and "/" in name and not Path(name).exists():
        documents = {"card": f"https://huggingface.co/{name}"}
    return {"license": terms.get("license_name") or terms.get("license"), "documents": documents}


def preview(pipeline: PokemonDDPMPipeline, ranker: SpriteRanker | None = None) -> Image.Image:
    """`PREVIEW_COUNT` sprites of the classes in turn on white, RGB of `PREVIEW_SIZE`; with a ranker the best."""
    types, candidates = pipeline.conditioner.vocabulary["type"], CANDIDATES if ranker else 1
    requests = [SpriteRequest(SEED, types[i % len(types)], number=i) for i in range(PREVIEW_COUNT)]
    image, (width, height) = Image.new("RGB", PREVIEW_SIZE, "white"), PREVIEW_SIZE
    sprites = [to_sprite(sprite.sample) for sprite in generate_sprites(pipeline, requests, candidates, ranker)]
    sheet = sheets.sprite_sheet(sprites, PREVIEW_COLUMNS, scale=192 // sprites[0].width)
    image.paste(sheet, ((width - sheet.width) // 2, (height - sheet.height) // 2))
    return image
