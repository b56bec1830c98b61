"""The wheel: it has the package with its models, and everything in it works where there is no clone."""

import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
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
    code = f"{WITHOUT_CLONE} sys.path.insert(0, {str(site)!r}); {code}"
    done = subprocess.run([sys.executable, "-B", "-P", "-c", code], cwd=site.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports(tmp_path_factory):
    site = unpacked_wheel(tmp_path_factory.getbasetemp())
    modules = [
        ".".join(path.relative_to(site).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((site / "pokemon_ddpm").rglob("*.py"))
        if "released" not in path.parts  # what a released model has in place of code
    ]
    modules += ["train_conditional"]
    code = f"import importlib; print(*[importlib.import_module(name).__file__ for name in {modules!r}], sep='\\n')"
    files = run_in(site, code).splitlines()
    assert len(files) == len(modules) and all(file.startswith(str(site)) for file in files)


def test_what_is_in_it(tmp_path_factory):
    site = unpacked_wheel(tmp_path_factory.getbasetemp())
    names = {path.name for path in site.iterdir() if path.suffix != ".dist-info"}
    assert names == {"pokemon_ddpm", "train_conditional.py"}
    folders = [ROOT / name for name in ("pokemon_ddpm", "pipelines", "dataset_scripts")]
    for path in (path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts):
        name = path.relative_to(ROOT).as_posix().removeprefix("pokemon_ddpm/")
        assert (site / "pokemon_ddpm" / name).exists(), name
    assert all(file.stat().st_size < 60e6 for pattern in ("*.whl", "*.tar.gz") for file in site.parent.glob(pattern))


def test_what_is_imported_is_declared():
    folders = ("pokemon_ddpm", "pipelines", "dataset_scripts", "benchmarks")
    code = "\n".join(path.read_text("utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py"))
    modules = set(re.findall(r"^ *(?:from|import) (\w+)", code, re.MULTILINE)) & packages_distributions().keys()
    imported = {re.sub("[_.]", "-", packages_distributions()[name][0].lower()) for name in modules} - {"pokemon-ddpm"}
    lists = PROJECT["dependencies"], sum(PROJECT["optional-dependencies"].values(), [])
    needed, optional = ({re.match(r"[\w-]+", line)[0] for line in lines} for lines in lists)
    assert needed <= imported <= needed | optional


def test_one_version():
    version = PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    assert f"\n## [{version}] - {citation['date-released']}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")
