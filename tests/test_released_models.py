"""Models that come with the package are known by their names, whichever machine it is installed on."""

from pathlib import Path

import pytest

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.provenance import read_png
from pokemon_ddpm.released_models import locate, name_of
from tests.generating import run

BY_NAME = {"pokemon-ddpm-32": RELEASED_MODEL, "pokemon-ddpm-32-fast": RELEASED_FAST_MODEL}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_name_finds_its_folder_and_the_folder_its_name(name: str) -> None:
    assert locate(name) == BY_NAME[name] and name_of(BY_NAME[name]) == name


@pytest.mark.parametrize("other", ["someone/pokemon-ddpm-32", "outputs/front-32", "pokemon-ddpm-64", ".."])
def test_other_names_stay(other: str) -> None:
    assert locate(other) == name_of(other) == other


def test_a_folder_of_the_same_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pokemon-ddpm-32").mkdir()
    assert locate("pokemon-ddpm-32") == "pokemon-ddpm-32"


def test_a_file_names_the_model_and_not_a_place_on_this_machine(tmp_path: Path) -> None:
    words = ["generate", "--num-images", 1, "--num-inference-steps", 1, "--output-dir", tmp_path]
    assert run(*words)[0] == 0
    (drawn,) = tmp_path.iterdir()
    assert read_png(drawn).model == "pokemon-ddpm-32"
    assert run("generate", "--like", drawn, "--output", tmp_path / "again.png")[0] == 0
    assert (tmp_path / "again.png").read_bytes() == drawn.read_bytes()
