"""`pokemon-ddpm export`: a model for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import Model, fail, load, make_folder


def export(
    output_dir: Annotated[Path, typer.Option(help="Folder for the ONNX files and config.json.")],
    model: Model = RELEASED_MODEL,
    format: Annotated[str, typer.Option(help="onnx.")] = "onnx",
) -> None:
    """Exports a model, with float16 weights and computation in float32, and compares the result with it."""
    if format != "onnx":
        fail(f"--format {format}: there is only onnx.")
    try:
        from pokemon_ddpm.onnx_export import CONDITIONER_FILE, CONFIG_FILE, UNET_FILE, check_export, export_onnx
    except ModuleNotFoundError as error:
        fail(f"The export needs {error.name}. In the folder of the clone: pip install -e '.[onnx]'")
    from pokemon_ddpm.models import model_name

    pipeline = load(model).to("cpu")
    make_folder("--output-dir", output_dir)
    export_onnx(pipeline, output_dir, model_name(model))
    for name in (UNET_FILE, CONDITIONER_FILE, CONFIG_FILE):
        typer.echo(f"{output_dir / name}: {(output_dir / name).stat().st_size / 1e6:.1f} MB")
    check_export(pipeline, output_dir, typer.echo)
