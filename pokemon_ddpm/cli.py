"""The command `pokemon-ddpm`."""

import typer

from pokemon_ddpm.commands.app import start_app
from pokemon_ddpm.commands.bits_per_dim import bits_per_dim
from pokemon_ddpm.commands.describe import describe
from pokemon_ddpm.commands.describe_data import describe_data
from pokemon_ddpm.commands.evaluate import evaluate
from pokemon_ddpm.commands.explain import explain
from pokemon_ddpm.commands.fit_features import fit_features
from pokemon_ddpm.commands.generate import generate
from pokemon_ddpm.commands.push import push
from pokemon_ddpm.commands.push_dataset import push_dataset
from pokemon_ddpm.commands.push_space import push_space

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def about() -> None:
    """New Pokémon of a chosen kind, by a class-conditional DDPM."""


for command in (
    generate, describe, describe_data, explain, evaluate, bits_per_dim, fit_features, push, push_dataset, push_space,
):  # fmt: skip
    app.command()(command)
app.command("app")(start_app)


def main() -> None:
    """Entry point of the installed command."""
    app()


if __name__ == "__main__":  # as `accelerate launch -m pokemon_ddpm.cli` runs it
    main()
