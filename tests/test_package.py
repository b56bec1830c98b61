"""The wheel: it installs one package, and everything in it works where there is no clone."""

import functools
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Otherwise the editable installation of the tests would answer for the wheel.
WITHOUT_CLONE = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]; "


@functools.cache
def unpacked_wheel(base: Path) -> Path:
    """The folder of the wheel's files, built once in `tmp_path_factory.getbasetemp()`."""
    folder = base / "wheel"
    clone = folder / "clone"  # a copy, because setuptools leaves a build folder that later builds would include
    clone.mkdir(parents=True)
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


def run_in(site: Path, code: str) -> str:
    """Runs code that imports the package from the wheel."""
    code = f"{WITHOUT_CLONE} sys.path.insert(0, {str(site)!r}); {code}"
    done = subprocess.run([sys.executable, "-B", "-P", "-c", code], cwd=site.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports(tmp_path_factory):
    site = unpacked_wheel(tmp_path_factory.getbasetemp())
    assert [path.name for path in site.iterdir() if not path.name.endswith(".dist-info")] == ["pokemon_ddpm"]
    modules = [
        ".".join(path.relative_to(site).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((site / "pokemon_ddpm").rglob("*.py"))
        if "released" not in path.parts  # what a released model has in place of code
    ]
    assert {"pokemon_ddpm.pipelines.hub_mixin", "pokemon_ddpm.dataset_scripts.pokemon_sprites"} <= {*modules}
    code = f"import importlib; print(*[importlib.import_module(name).__file__ for name in {modules!r}], sep='\\n')"
    assert all(line.startswith(str(site)) for line in run_in(site, code).splitlines())


def test_tables_templates_and_models_are_in_it(tmp_path_factory):
    site = unpacked_wheel(tmp_path_factory.getbasetemp())
    code = (
        "import pokemon_ddpm as p; from pathlib import Path; from pokemon_ddpm import hub, model_card, training;"
        "from pokemon_ddpm.training.config import TrainingConfig;"
        "sprites = p.load_sprites(cache_dir='cache');"
        "pipeline = p.PokemonDDPMPipeline.from_pretrained(p.RELEASED_MODEL);"
        "card = model_card.run_card(pipeline, TrainingConfig(), 'x', 1, {}, {});"
        "pipeline.save_pretrained('saved');"
        "print(len(sprites['train']), pipeline('fire', num_inference_steps=1).images[0].size, len(card.text) > 1000)"
    )
    assert run_in(site, code).split() == ["864", "(64,", "64)", "True"]
    templates = {path.name for path in (ROOT / "pokemon_ddpm" / "templates").iterdir()}
    assert {path.name for path in (site / "pokemon_ddpm" / "templates").iterdir()} == templates
    assert (site / "pokemon_ddpm" / "dataset_scripts" / "sprite_facts.csv").is_file()
