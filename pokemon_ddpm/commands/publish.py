"""`pokemon-ddpm export`, `page` and those that begin with `push`: models and pages in a folder or on the Hub."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands import Model, check_packages, fail, make_folder

ONNX = ("onnx", "onnxruntime", "onnxscript")


def export(
    output_dir: Annotated[Path, typer.Option(help="Folder for the ONNX files and config.json.")],
    model: Model = RELEASED_MODEL,
) -> None:
    """Exports a model to ONNX and checks the result.

    The weights are in float16, and the computation is in float32. The command compares the export with the model.
    """
    check_packages(*ONNX)

    from pokemon_ddpm.generation import GenerationSettings
    from pokemon_ddpm.models import model_name
    from pokemon_ddpm.publishing.onnx_export import CONDITIONER_FILE, CONFIG_FILE, UNET_FILE, check_export, export_onnx

    pipeline = GenerationSettings(model).load("cpu")
    make_folder("--output-dir", output_dir)
    export_onnx(pipeline, output_dir, model_name(model))
    for name in (UNET_FILE, CONDITIONER_FILE, CONFIG_FILE):
        typer.echo(f"{output_dir / name}: {(output_dir / name).stat().st_size / 1e6:.1f} MB")
    check_export(pipeline, output_dir, typer.echo)


def page(
    output_dir: Annotated[Path, typer.Argument(help="Folder for the page.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A distilled model: a folder, or a name on the Hub. Repeat the option for several pages.",
            show_default="the released distilled models",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="dist folder of onnxruntime-web with gifenc.esm.js: a URL, or a folder to copy.",
            show_default="a public CDN",
        ),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Public address of the page, for previews of links to it.")] = None,
) -> None:
    """Writes a page that generates sprites in the visitor's browser.

    Any web server can serve the folder.
    """
    check_packages(*ONNX)
    if url is not None and not (urlsplit(url).scheme in ("https", "http") and urlsplit(url).hostname):
        fail(f"--url {url} is not a complete address, such as https://user.github.io/pokemon/.")

    from pokemon_ddpm.generation import GenerationSettings
    from pokemon_ddpm.publishing.page import RUNTIME, runtime_files, write_pages
    from pokemon_ddpm.ranking import RANKING_MODELS

    runtime_files(runtime or RUNTIME)  # raises before a model is loaded or a folder is made
    pipelines = {name: GenerationSettings(name).load("cpu") for name in model or RANKING_MODELS}
    make_folder("OUTPUT_DIR", output_dir)
    write_pages(pipelines, output_dir, typer.echo, runtime or RUNTIME, url)
    size = sum(path.stat().st_size for path in output_dir.rglob("*") if path.is_file())
    typer.echo(f"The page is in {output_dir}, {size / 1e6:.1f} MB. To see it: python -m http.server -d {output_dir}")


def push(
    model: Annotated[str, typer.Argument(help="Folder of a trained model, or the name of a released one.")],
    repository: Annotated[str, typer.Argument(help="user/name on the Hub; created if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="Create a new repository as private.")] = False,
) -> None:
    """Pushes a model to the Hub.

    It pushes the pipeline, its code, its card, LICENSE and the newest sample sheet, but no other files of a run.
    """
    from pokemon_ddpm.models import locate_model
    from pokemon_ddpm.publishing import hub

    folder = Path(locate_model(model))
    if not folder.is_dir():
        fail(f"There is no folder {model}.")
    url = hub.upload_model(folder, repository, private or None)
    typer.echo(f"{model} is pushed: {url}")


def push_space(
    repository: Annotated[str, typer.Argument(help="user/name of the Space; created if it does not exist.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of a model on the Hub that the Space loads; with --page it must be a distilled model.",
            show_default="copies of the released models",
        ),
    ] = None,
    page: Annotated[bool, typer.Option("--page", help="Push the page that generates in the browser.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Create a new Space as private.")] = False,
) -> None:
    """Pushes the app, or the page, to the Hub as a Space."""
    check_packages(*ONNX if page else ["gradio"])

    from pokemon_ddpm.publishing import hub

    url = hub.upload_space(repository, model, page, private or None)
    typer.echo(f"The {'page' if page else 'app'} is pushed to the Space {repository}: {url}")


def push_dataset(
    repository: Annotated[str, typer.Argument(help="user/name of the data set; created if it does not exist.")],
    data_dir: Annotated[
        str | None, typer.Option(help="Sprite archive: a folder or .zip.", show_default="the starter set")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make the data set visible to everybody.")] = False,
) -> None:
    """Pushes the sprites to the Hub, for load_dataset.

    It pushes Parquet files with a card. The repository is private unless --public is given, since the
    images of the archive belong to others. Without --data-dir it pushes the starter set, which may be public.
    """
    from pokemon_ddpm.dataset_scripts.sprite_archive import SpriteArchive
    from pokemon_ddpm.publishing import hub

    if data_dir and not SpriteArchive(data_dir).images:
        fail(f"{data_dir} contains no images (sprites/FOLDER/VIEW/FINISH/*.png).")
    before, url = hub.upload_dataset(repository, data_dir, public)
    kind = "private" if before.private else "public"
    typer.echo(f"The sprites are pushed to the {kind} data set {before.id}: {url}")
