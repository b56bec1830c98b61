"""The wheel: everything in it can be imported and works where there is no clone."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.training_runs import ROOT

# The editable installation of the tests would answer for the wheel.
WITHOUT_CLONE = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]; "


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files, unpacked as an installation would."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "clone"  # a copy, since setuptools leaves a build folder that later builds would pick up
    clone.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    for name in ("pokemon_ddpm", "pipelines", "dataset_scripts"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(clone)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(site: Path, code: str) -> str:
    code = f"{WITHOUT_CLONE} sys.path.insert(0, {str(site)!r}); {code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=site.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_installs_one_package(site: Path) -> None:
    assert [path.name for path in site.iterdir() if not path.name.endswith(".dist-info")] == ["pokemon_ddpm"]


def test_every_module_imports(site: Path) -> None:
    modules = [
        ".".join(path.relative_to(site).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((site / "pokemon_ddpm").rglob("*.py"))
    ]
    assert {"pokemon_ddpm.pipelines.pipeline_pokemon_ddpm", "pokemon_ddpm.dataset_scripts.pokemon_sprites"} <= {
        *modules
    }
    code = f"import importlib; print(*[importlib.import_module(name).__file__ for name in {modules!r}], sep='\\n')"
    assert all(line.startswith(str(site)) for line in run(site, code).splitlines())


def test_it_carries_its_tables_and_its_model(site: Path) -> None:
    code = (
        "import pokemon_ddpm as p; sprites = p.load_sprites(cache_dir='cache');"
        "pipeline = p.PokemonDDPMPipeline.from_pretrained(p.RELEASED_MODEL);"
        "print(len(sprites['train']), pipeline('fire', num_inference_steps=1).images[0].size)"
    )
    assert run(site, code).split() == ["864", "(32,", "32)"]
    assert (site / "pokemon_ddpm" / "dataset_scripts" / "sprite_facts.csv").is_file()
