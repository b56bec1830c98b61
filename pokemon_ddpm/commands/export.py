"""`pokemon-ddpm export` and `site`: a model for other runtimes, and a page that generates in the browser."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.commands.common import Model, fail, load, make_folder


def export(
    output_dir: Annotated[Path, typer.Option(help="Folder for the ONNX files and config.json.")],
    model: Model = RELEASED_MODEL,
) -> None:
    """Exports a model to ONNX and checks the result.

    The weights are in float16, and the computation is in float32. The command compares the export with the model.
    """
    from pokemon_ddpm.generation import check_onnx
    from pokemon_ddpm.models import model_name

    check_onnx()
    from pokemon_ddpm.publishing.onnx_export import CONDITIONER_FILE, CONFIG_FILE, UNET_FILE, check_export, export_onnx

    pipeline = load(model).to("cpu")
    make_folder("--output-dir", output_dir)
    export_onnx(pipeline, output_dir, model_name(model))
    for name in (UNET_FILE, CONDITIONER_FILE, CONFIG_FILE):
        typer.echo(f"{output_dir / name}: {(output_dir / name).stat().st_size / 1e6:.1f} MB")
    check_export(pipeline, output_dir, typer.echo)


def site(
    output_dir: Annotated[Path, typer.Argument(help="Folder for the page.")],
    model: Annotated[
        str,
        typer.Option(
            help="A distilled model: a folder, or a name on the Hub.", show_default=Path(RELEASED_FAST_MODEL).name
        ),
    ] = RELEASED_FAST_MODEL,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="The dist folder of onnxruntime-web: a URL, or a folder to copy.", show_default="a public CDN"
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Public address of the page, for previews of links to it.", show_default=False),
    ] = None,
) -> None:
    """Writes a page that generates sprites in the visitor's browser.

    Any web server can serve the folder.
    """
    from pokemon_ddpm.generation import check_onnx
    from pokemon_ddpm.models import model_name

    check_onnx()
    if url is not None and not (urlsplit(url).scheme in ("https", "http") and urlsplit(url).hostname):
        fail(f"--url {url} is not a complete address, such as https://user.github.io/pokemon/.")
    from pokemon_ddpm.publishing.onnx_export import check_export
    from pokemon_ddpm.publishing.static_page import RUNTIME, write_page

    pipeline = load(model).to("cpu")
    make_folder("OUTPUT_DIR", output_dir)
    write_page(pipeline, output_dir, model_name(model), runtime or RUNTIME, url)
    check_export(pipeline, output_dir, typer.echo)
    size = sum(path.stat().st_size for path in output_dir.rglob("*") if path.is_file())
    typer.echo(f"The page is in {output_dir}, {size / 1e6:.1f} MB. To see it: python -m http.server -d {output_dir}")
