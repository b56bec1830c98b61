"""The wheel: it has the package with its models, and everything in it works where there is no clone."""

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import get_overloads, get_type_hints

import yaml
from datasets import Dataset, DatasetDict
from filelock import FileLock

from pokemon_ddpm import PokemonDDPMPipeline, load_sprites
from tests.small_archives import write_small_archive

ROOT = Path(__file__).parents[1]
# Otherwise the editable installation of the tests would answer for the wheel.
WITHOUT_CLONE = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]; "


@functools.cache
def unpacked_wheel(base: Path) -> Path:
    """The folder of the wheel's files, beside the wheel and the sdist that it is built from.

    It is built once, in `tmp_path_factory.getbasetemp()` or, for all processes of xdist, beside it.
    """
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheel"
    with FileLock(f"{folder}.lock"):
        if not (folder / "site").exists():
            _build(folder)
    return folder / "site"


def _build(folder: Path) -> None:
    clone = folder / "clone"  # a copy, because setuptools leaves a build folder that later builds would include
    clone.mkdir(parents=True)
    files = "pyproject.toml MANIFEST.in README.md CHANGELOG.md CITATION.cff LICENSE train_conditional.py"
    for name in files.split():
        shutil.copy(ROOT / name, clone)
    for name in ("pokemon_ddpm", "pipelines", "dataset_scripts"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(clone)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")


def run_in(site: Path, code: str) -> str:
    """Runs code that imports the package from the wheel."""
    code = f"{WITHOUT_CLONE} sys.path.insert(0, {str(site)!r}); {code}"
    done = subprocess.run([sys.executable, "-B", "-P", "-c", code], cwd=site.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports_and_finds_its_data(tmp_path_factory):
    site = unpacked_wheel(tmp_path_factory.getbasetemp())
    modules = [
        ".".join(path.relative_to(site).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((site / "pokemon_ddpm").rglob("*.py"))
        if "released" not in path.parts  # what a released model has in place of code
    ]
    assert {"pokemon_ddpm.pipelines.hub_mixin", "pokemon_ddpm.dataset_scripts.pokemon_sprites"} <= {*modules}
    modules += ["train_conditional"]
    code = f"import importlib; print(*[importlib.import_module(name).__file__ for name in {modules!r}], sep='\\n');"
    code += (
        "import pokemon_ddpm as p; from pokemon_ddpm.publishing import cards;"
        "from pokemon_ddpm.training.config import TrainingConfig;"
        "sprites = p.load_sprites(cache_dir='cache');"
        "pipeline = p.PokemonDDPMPipeline.from_pretrained(p.RELEASED_MODEL);"
        "card = cards.run_card(pipeline, TrainingConfig(), 'x', 1, {}, {});"
        "pipeline.save_pretrained('saved');"
        "print(len(sprites['train']), pipeline('fire', num_inference_steps=1).images[0].size, len(card.text) > 1000)"
    )
    *files, numbers = run_in(site, code).splitlines()
    assert len(files) == len(modules) and all(file.startswith(str(site)) for file in files)
    assert numbers == "864 (64, 64) True"


def test_what_is_in_it(tmp_path_factory):
    site = unpacked_wheel(tmp_path_factory.getbasetemp())
    names = {path.name for path in site.iterdir() if path.suffix != ".dist-info"}
    assert names == {"pokemon_ddpm", "train_conditional.py"}
    for folder, pattern in (("templates", "*"), ("dataset_scripts", "*.csv")):
        found = {path.name for path in (site / "pokemon_ddpm" / folder).glob(pattern)}
        of_clone = ROOT / "pokemon_ddpm" / folder if folder == "templates" else ROOT / folder
        assert found == {path.name for path in of_clone.glob(pattern)} != set()
    assert (site / "pokemon_ddpm" / "py.typed").is_file()
    models = site / "pokemon_ddpm" / "released"
    released = {f"{name}-ddpm-64{end}" for name in ("pokemon", "wesnoth") for end in ("", "-fast")}
    assert {path.name for path in models.iterdir()} == {"sprite-features"} | released
    for model in models.iterdir():
        files = [path.relative_to(model) for path in model.rglob("*")]
        in_the_clone = ROOT / "pokemon_ddpm" / "released" / model.name
        assert {*files} == {path.relative_to(in_the_clone) for path in in_the_clone.rglob("*")}
    assert all(file.stat().st_size < 60e6 for pattern in ("*.whl", "*.tar.gz") for file in site.parent.glob(pattern))


def test_what_type_checkers_see():
    assert [get_type_hints(each)["return"] for each in get_overloads(load_sprites)] == [DatasetDict, Dataset]
    assert PokemonDDPMPipeline.from_pretrained.__annotations__["return"] == "Self"


def test_one_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    assert f"\n## [{version}] - {citation['date-released']}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_it_generates_and_trains_where_it_is_installed(tmp_path, tmp_path_factory):
    (wheel,) = unpacked_wheel(tmp_path_factory.getbasetemp()).parent.glob("*.whl")
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=os.name == "posix")
    paths = sysconfig.get_paths("venv", vars={"base": str(environment), "platbase": str(environment)})
    pip = [sys.executable, "-m", "pip", "--python", str(environment)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # The dependencies are those of the tests; editable installations are not found through a .pth file.
    (Path(paths["purelib"]) / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")

    def run(arguments: str) -> tuple[int, str]:
        command = [str(Path(paths["scripts"], "pokemon-ddpm")), *arguments.split()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
        return done.returncode, done.stdout + done.stderr

    status, output = run("generate --model pokemon-ddpm-32 --output sprite.png")
    assert status == 2 and "The package does not contain pokemon-ddpm-32. Use" in output
    status, output = run("generate --model pokemon-ddpm-64-fast --type fire --num-images 1 --output sprite.png")
    assert status == 0 and (tmp_path / "sprite.png").is_file(), output
    write_small_archive(tmp_path / "small")
    short = "--resolution 16 --max_train_steps 3 --train_batch_size 2 --validation_steps 0 --save_images_steps 0"
    status, output = run(f"train --train_data_dir small --output_dir trained --num_cpu_threads 1 {short}")
    assert status == 0 and (tmp_path / "trained" / "model_index.json").is_file(), output
