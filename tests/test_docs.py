"""The README and docs/: their commands and Python lines run, links lead somewhere, quotes and figures are right.

Commands run in their order, made short by `SHORT`; `NOT_RUN` says why a line is not run. A line in neither fails.
The flags of those that are not run are parsed.
"""

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import diffusers
import pytest
import typer
from typer.testing import CliRunner

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.cli import app
from pokemon_ddpm.evaluation import images, metrics, two_sample
from pokemon_ddpm.training.config import parse_config
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.test_package import ROOT
from tests.tiny_models import RELATIONS, tiny_pipeline
from tests.training.runs import train

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CARDS = sorted((ROOT / "pokemon_ddpm" / "released").glob("*/README.md"))
TEXT = {page: page.read_text(encoding="utf-8") for page in [*PAGES, *CARDS]}
FENCED = re.compile(r"```(\w*)\n(.*?)```", flags=re.DOTALL)
BLOCKS = [block for page in PAGES for block in FENCED.findall(TEXT[page])]
COMMANDS = list(
    dict.fromkeys(line for language, block in BLOCKS if language == "bash" for line in block.strip().splitlines())
)
DATA = "path/to/pokemon-sprites"
TRAIN = "accelerate launch train_conditional.py"
TRAIN_IN_TWO = "torchrun --nproc_per_node 2 train_conditional.py"
TWO_UPDATES = (
    "--max_train_steps 2 --train_batch_size 2 --validation_steps 0 --load_best_model_at_end false --num_cpu_threads 1"
)
SHORT_RUN = f"{TWO_UPDATES} --ddpm_num_inference_steps 1"
# Beginning of a line -> what makes it short.
SHORT = {
    "pokemon-ddpm site": "",
    "pokemon-ddpm generate --like": "",
    "pokemon-ddpm generate --model pokemon-ddpm-64 ": "--num-inference-steps 1 --num-images 2",
    "pokemon-ddpm generate --model outputs": "--num-inference-steps 1 --num-images 2",
    "pokemon-ddpm generate --model wesnoth": "--num-images 1",
    "pokemon-ddpm generate --type all": "--num-images 1 --candidates 1",
    "pokemon-ddpm generate --type water --num-images 4 --seed 7": "--num-images 1",  # --like repeats it
    "pokemon-ddpm generate": "--num-images 2 --candidates 1",  # by the model of four steps
    "pokemon-ddpm creature": "--num-inference-steps 1",
    "pokemon-ddpm evaluate": "--num-samples 50 --num-inference-steps 1",
    f"{TRAIN_IN_TWO} benchmarks/recipes/packed-64-student.yaml": TWO_UPDATES,  # its number of steps is fixed
    TRAIN: SHORT_RUN,
}
NOT_RUN = {
    "make test": "this is it",
    "make lint": ".ci/run runs it",
    "pip install": "make does it",
    "kaggle datasets": "it needs an account",
    "python -m http.server": "it runs until it is stopped; tests/publishing/test_page.py serves the page",
    "pokemon-ddpm site outputs/page": "the same into another folder is run",
    "pokemon-ddpm evaluate --data-dir path/to/pokemon-sprites --num-samples 512": "made short, it is that of 2048",
    "pokemon-ddpm evaluate --model pokemon-ddpm-64-fast": "the same with the default model is run",
    "python benchmarks/compare_models.py": "the test of the tables runs it",
    "pokemon-ddpm app": "it runs until it is stopped; tests/app starts it",
    "pokemon-ddpm push": "it needs the Hub; tests/commands/test_publish.py runs it against one of its own",
    f"pokemon-ddpm fit-features --data-dir {DATA}": "it takes minutes; tests/evaluation fit a tiny network",
    "bash benchmarks/train_on_gpu.sh": "it takes minutes; tests/benchmarks runs it with a tiny network",
    "python benchmarks/count_sprites.py": "tests/benchmarks runs it on a small archive",
    "accelerate launch examples/train_class_conditional.py": "tests/test_train_class_conditional.py runs it",
    "python benchmarks/diffusion_figures.py": "tests/benchmarks runs it on a tiny model",
    "python benchmarks/references.py": "it needs whole evolution lines; tests/benchmarks runs it on the archive",
    "python benchmarks/train_ranker.py": "it would write into the package; tests/benchmarks runs it on a tiny model",
    "python benchmarks/rank_samples.py": "it takes minutes; tests/benchmarks runs it on a tiny model",
    "python benchmarks/latency.py": "it takes minutes; tests/benchmarks runs it on a tiny model",
    f"{TRAIN} benchmarks/recipes/diffusers-64.yaml": "its network is large",
    f"{TRAIN} --train_data_dir {DATA} --max_train_steps 6750": "the same without this flag is run",
    f"{TRAIN} --dataset_name": "it needs the Hub; tests/test_data.py reads data sets of its own",
    "apt-get download": "it downloads 128 MB",
    "dpkg-deb -x": "it needs the file",
    "python benchmarks/wesnoth_units.py": "tests/benchmarks has some images",
    f"{TRAIN_IN_TWO} benchmarks/recipes/wesnoth-64": "and these need all of them",
    f"{TRAIN} --train_data_dir path/to/my-art": "it needs images; tests/test_data.py has some",
    "pokemon-ddpm generate --model outputs/my-art-64": "it needs a model of these; tests/commands runs the flags",
    "accelerate launch --multi_gpu": "it needs GPUs; two processes on a CPU are tested",
}


def matching(line: str, table: dict[str, str]) -> str | None:
    return next((value for beginning, value in table.items() if line.startswith(beginning)), None)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the clone, where the commands leave their output for later ones."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "docs").mkdir()
    (folder / "docs" / "results").symlink_to(ROOT / "docs" / "results")
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    return folder


@pytest.fixture(scope="module")
def some_sprites(sprites_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The archive with every twentieth species."""
    folder = tmp_path_factory.mktemp("sprites")
    (folder / "sprites").mkdir()
    head, *rows = (sprites_dir / "pokedex.csv").read_text(encoding="utf-8").splitlines()
    kept = {row.split(",")[0].zfill(4): row for row in rows[::20]}
    (folder / "pokedex.csv").write_text("\n".join([head, *kept.values()]), encoding="utf-8")
    for species in (sprites_dir / "sprites").iterdir():
        if species.name[:4] in kept:
            shutil.copytree(species, folder / "sprites" / species.name)
    return str(folder)


@pytest.mark.parametrize("line", [line for line in COMMANDS if matching(line, NOT_RUN) is None])
def test_command(line: str, clone: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(clone)
    added = matching(line, SHORT)
    assert added is not None, f"{line!r} is in neither table"
    if re.search("(?<!--output.dir )outputs/", line):
        request.getfixturevalue("sprites_dir")  # a command above makes it of the sprites
    if DATA in line:
        line = line.replace(DATA, request.getfixturevalue("some_sprites"))
    arguments = shlex.split(f"{line} {added}")
    if "train_conditional.py" in arguments:  # in this process
        arguments = arguments[arguments.index("train_conditional.py") + 1 :]
        train(arguments if "--resume" in line else [*arguments, "--overwrite_output_dir"])
    else:
        monkeypatch.setattr(two_sample, "STEPS", 1)
        monkeypatch.setattr(metrics, "NUM_BOOTSTRAPS", 10)
        monkeypatch.setattr(images, "to_sprite", lambda image: image.convert("RGBA"))
        result = CliRunner().invoke(app, arguments[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output


def test_flags_of_other_commands(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone)
    commands = typer.main.get_command(app).commands
    for program, *arguments in (shlex.split(line) for line in COMMANDS if matching(line, NOT_RUN) is not None):
        if "train_conditional.py" in arguments:
            parse_config(arguments[arguments.index("train_conditional.py") + 1 :])
        elif program == "pokemon-ddpm":
            name, *flags = arguments
            assert commands[name].make_context(name, flags).params  # an unknown flag is an exception


def test_python_lines(clone: Path, some_sprites: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an untrained network of a few steps in place of the released ones."""
    vocabulary = {**{name: list(values) for name, values in CONDITIONS.items()}, "relation": list(RELATIONS)}
    pipeline = tiny_pipeline(size=64, vocabulary=vocabulary, channels=4)
    pipeline.register_to_config(num_inference_steps=4)
    monkeypatch.setattr(PokemonDDPMPipeline, "from_pretrained", lambda model: Path(model).is_dir() and pipeline)
    monkeypatch.chdir(clone)
    elsewhere = ("user/", "gradio_client")  # other tests run these
    lines = [block for kind, block in BLOCKS if kind == "python" and not any(word in block for word in elsewhere)]
    exec("\n".join(lines).replace(DATA, some_sprites), {})
    assert (clone / "fire.png").is_file()


def test_tables_have_no_unused_rows() -> None:
    assert [row for row in (*SHORT, *NOT_RUN) if not any(line.startswith(row) for line in COMMANDS)] == []


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


def test_tables_of_models_are_those_of_their_reports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(ROOT)
    tables = []
    for part in TEXT[ROOT / "docs" / "results.md"].split("\npython ")[1:]:
        command, _, following = part.partition("\n")
        if not command.startswith("benchmarks/compare_models.py"):
            continue
        shown = re.search(r"(?:^\|.*\n)+", following, flags=re.MULTILINE)[0]
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        runpy.run_path(sys.argv[0], run_name="__main__")
        published, shown = (by_title(each.splitlines()) for each in (capsys.readouterr().out, shown))
        assert {title: cells for title, cells in shown.items() if cells != published[title]} == {}
        tables.append(shown)
    [table] = tables
    accuracy, _ = table["two-sample test, at 32 px"]["64 px"].split(" (")
    assert f"from real ones in {accuracy} of cases" in " ".join(TEXT[ROOT / "README.md"].split())
