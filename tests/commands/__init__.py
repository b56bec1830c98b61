from typer.testing import CliRunner

from pokemon_ddpm.cli import app


def run(*arguments: object) -> tuple[int, str]:
    """Exit status and the output or the error message, in one line; an exception without message is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join((result.stderr if result.exit_code else result.stdout).split())
