"""The README and docs/: commands and Python lines run, links lead somewhere, quotes and figures are right.

The commands of `RUN` run in their order. Other tests run what the others do: their flags are parsed, and the scripts
that they name exist.
"""

import re
import runpy
import shlex
import sys
from pathlib import Path

import diffusers
import pytest
import typer
from typer.testing import CliRunner

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.cli import app
from pokemon_ddpm.training.config import parse_config
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.test_package import ROOT
from tests.tiny_models import tiny_pipeline
from tests.training.runs import train

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CARDS = sorted((ROOT / "pokemon_ddpm" / "released").glob("*/README.md"))
TEXT = {page: page.read_text(encoding="utf-8") for page in [*PAGES, *CARDS]}
FENCED = re.compile(r"```(\w*)\n(.*?)```", flags=re.DOTALL)
BLOCKS = [block for page in PAGES for block in FENCED.findall(TEXT[page])]
COMMANDS = [*dict.fromkeys(line for language, block in BLOCKS if language == "bash" for line in block.splitlines())]
DATA = "path/to/pokemon-sprites"
TRAIN = "accelerate launch train_conditional.py"
SHORT_RUN = " --max_train_steps 2 --train_batch_size 2 --validation_steps 0"
SHORT_RUN += " --num_cpu_threads 1 --ddpm_num_inference_steps 1"
# Line -> what makes it short.
RUN = {
    "pokemon-ddpm generate --type fire --num-images 8 --output fire-sheet.png": " --num-images 2 --candidates 1",
    'pokemon-ddpm generate "a small blue dragon with wings"': " --num-images 1 --candidates 1",
    f"{TRAIN} --train_data_dir {DATA}": SHORT_RUN,
    "pokemon-ddpm generate --model outputs/front-64 --type water": " --num-inference-steps 1 --num-images 2",
    f"{TRAIN} outputs/front-64/training_config.json --output_dir outputs/again --seed 1": SHORT_RUN,
    f"{TRAIN} --train_data_dir {DATA} --resume_from_checkpoint latest": SHORT_RUN,
}


@pytest.mark.parametrize("line", [line for line in COMMANDS if line in RUN])
def test_command(line: str, small: Path, tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.getbasetemp() / "docs"  # where the commands leave their output for later ones
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    _, *arguments = shlex.split((line + RUN[line]).replace(DATA, str(small)))
    if "train_conditional.py" in arguments:  # in this process
        train(arguments[arguments.index("train_conditional.py") + 1 :])
    else:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output


def test_flags_and_scripts_of_other_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    commands = typer.main.get_command(app).commands
    assert RUN.keys() <= {*COMMANDS}
    for program, *arguments in (shlex.split(line) for line in COMMANDS if line not in RUN):
        if "train_conditional.py" in arguments:
            parse_config(arguments[arguments.index("train_conditional.py") + 1 :])
        elif program == "pokemon-ddpm":
            name, *flags = arguments
            assert commands[name].make_context(name, flags).params  # an unknown flag is an exception
        assert all(Path(argument).is_file() for argument in arguments if argument.endswith((".py", ".sh", ".yaml")))


def test_python_lines(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an untrained network of a few steps in place of the released ones."""
    pipeline = tiny_pipeline(size=64, vocabulary=CONDITIONS, channels=4, defaults={"num_inference_steps": 4})
    monkeypatch.setattr(PokemonDDPMPipeline, "from_pretrained", lambda model: Path(model).is_dir() and pipeline)
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    elsewhere = ("user/", "gradio_client")  # other tests run these
    lines = [block for kind, block in BLOCKS if kind == "python" and not any(word in block for word in elsewhere)]
    exec("\n".join(lines).replace(DATA, str(small)), {})
    assert (tmp_path / "fire.png").is_file()


def anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, without punctuation, spaces as hyphens."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXT, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", FENCED.sub("", TEXT[page])):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} does not exist"
        assert not anchor or anchor in anchors(target), f"{path} has no heading #{anchor}"


def test_quoted_lines_are_in_the_code() -> None:
    page = ROOT / "docs" / "how-it-works.md"
    quotes = re.findall(r"\| `([^`|]+)` \| \[[^]]+\]\(([^)]+\.py)\) \|", TEXT[page])
    assert len(quotes) > 12
    for code, path in quotes:
        *_, of_diffusers = path.partition("/src/diffusers/")
        file = Path(diffusers.__file__).parent / of_diffusers if of_diffusers else page.parent / path
        assert code in file.read_text(encoding="utf-8"), f"{path} has no {code}"


def by_title(table: list[str]) -> dict[str, dict[str, str]]:
    """Title of each row of a table in Markdown -> title of each column -> cell."""
    header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table)
    return {title: dict(zip(header[1:], cells, strict=True)) for title, *cells in rows}


def test_tables_of_models_are_those_of_their_reports(monkeypatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    tables = []
    for part in TEXT[ROOT / "docs" / "results.md"].split("\npython ")[1:]:
        command, _, following = part.partition("\n")
        if not command.startswith("benchmarks/compare_models.py"):
            continue
        shown = re.search(r"(?:^\|.*\n)+", following, flags=re.MULTILINE)[0]
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        runpy.run_path(sys.argv[0], run_name="__main__")
        published, shown = (by_title(text.splitlines()) for text in (capsys.readouterr().out, shown))
        assert {title: cells for title, cells in shown.items() if cells != published[title]} == {}
        tables.append(shown)
    [table] = tables
    accuracy, _ = table["two-sample test, at 32 px"]["64 px"].split(" (")
    assert f"from real ones in {accuracy} of cases" in " ".join(TEXT[ROOT / "README.md"].split())
