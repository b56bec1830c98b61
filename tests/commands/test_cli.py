"""The command as a whole: its parts, and errors as one line."""

import errno
import importlib.metadata
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pokemon_ddpm.commands import report_errors
from tests.commands import run
from tests.training import runs


def test_every_command_has_help() -> None:
    for command in "generate creature describe evaluate push push-dataset push-space app".split():
        assert f" {command} " in run("--help")[1]
        status, output = run(command, "--help")
        assert status == 0 and f" {command} [OPTIONS]" in output


@pytest.mark.parametrize(("error", "status", "output"), [
    (ValueError("seed is wrong."), 2, "error: seed is wrong.\n"),
    (ValueError("\x1b[31m\na" + 9999 * "b"), 2, f"error: \\x1b[31m\na{2999 * 'b'}\n"),
    (PermissionError(13, "Permission denied", "a.png"), 2, "error: a.png: Permission denied.\n"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    (KeyboardInterrupt(), 130, "Interrupted.\n"),
])  # fmt: skip
def test_an_error_is_one_line(error: BaseException, status: int, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def command() -> None:
        raise error

    app = typer.Typer()
    app.command()(report_errors(command))
    result = CliRunner().invoke(app)
    assert (result.exit_code, result.stderr) == (status, output)
    monkeypatch.setenv("POKEMON_DDPM_TRACEBACK", "1")
    result = CliRunner().invoke(app)
    assert result.exit_code == status and result.stderr.endswith(output)
    assert result.stderr.startswith("Traceback (most recent call last)") == (status == 2)


def test_the_version_and_options_that_are_empty() -> None:
    assert run("--version") == (0, f"pokemon-ddpm {importlib.metadata.version('pokemon-ddpm')}")
    assert run("generate", "--output-dir=") == (2, "error: --output-dir is empty; leave it out.")
    assert run("generate", "--output-dir", "") == (2, "error: --output-dir is empty; leave it out.")
    assert run("describe", "") == (2, "error: An argument is empty; leave it out.")


def test_the_default_model_is_no_folder_of_its_name_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pokemon-ddpm-64").mkdir()
    status, output = run("describe")
    assert status == 0 and "pokemon-ddpm-64" in output


def start(*arguments: str, path: Path) -> subprocess.CompletedProcess:
    """Runs the command in a process that finds modules in a folder first."""
    options = {"env": {**os.environ, "PYTHONPATH": str(path)}, "capture_output": True, "text": True, "timeout": 300}
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # not ignored, as in the background
    return subprocess.run([sys.executable, "-m", "pokemon_ddpm.cli", *arguments], **options)


def test_ctrl_c_before_a_command_begins_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = start("describe", path=tmp_path)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_training_is_the_script(tmp_path: Path) -> None:
    done = start("train", "--train_data_dir", "x", "--help", path=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: pokemon-ddpm train [configuration.yaml|.json]")
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = start("train", path=tmp_path)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize("program", [["-m", "pokemon_ddpm.cli", "describe"], [str(runs.SCRIPT)]])
def test_threads_wait_passively_unless_something_else_is_set(program, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "torch.py").write_text("import os\nraise SystemExit(os.environ['OMP_WAIT_POLICY'])\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for given, policy in ((None, "passive"), ("active", "active")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if given:
            monkeypatch.setenv("OMP_WAIT_POLICY", given)
        done = subprocess.run([sys.executable, *program], capture_output=True, text=True, timeout=300)
        assert done.stderr == f"{policy}\n"


def test_a_simple_mistake_does_not_wait_for_torch(tmp_path: Path) -> None:
    for module in ("torch", "diffusers", "datasets"):
        (tmp_path / f"{module}.py").write_text("raise AssertionError('imported')")
    done = start("generate", "--output", "/nowhere/sheet.png", path=tmp_path)
    message = "error: --output /nowhere/sheet.png cannot be written: No such file or directory.\n"
    assert (done.returncode, done.stderr) == (2, message)
