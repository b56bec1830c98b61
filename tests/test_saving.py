"""Saving and loading: the same pictures, self-contained, and no code that runs unasked."""

import copy
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DiffusionPipeline,
)

from pokemon_ddpm import PokemonDDPMPipeline
from tests.conftest import tiny_pipeline
from tests.drawing import (
    SCHEDULERS,
    draw,
    seeded,
    with_scheduler,
)
from tests.loopback_hub import stranger


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved tiny pipeline; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_pipeline().save_pretrained(folder)
    return folder


def copy_of(folder: Path, tmp_path: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file():
            target = tmp_path / "model" / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path / "model"


def load(folder: Path, **arguments) -> PokemonDDPMPipeline:
    pipeline = PokemonDDPMPipeline.from_pretrained(folder, **arguments)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


FILES = [
    "conditioner/config.json",
    "conditioner/diffusion_pytorch_model.safetensors",
    "conditioner/sprite_conditioner.py",
    "model_index.json",
    "pipeline.py",
    "sampling.py",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
]


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_saved_folder_holds_its_code_and_names_it(folder):
    assert set(FILES) <= set(files_of(folder))
    assert not [name for name in files_of(folder) if name.endswith((".bin", ".pt", ".pkl", ".pth"))]
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "PokemonDDPMPipeline"]
    assert index["conditioner"] == ["sprite_conditioner", "SpriteConditioner"]
    root = Path(inspect.getfile(PokemonDDPMPipeline)).parent
    assert (folder / "pipeline.py").read_text() == (root / "pipeline_pokemon_ddpm.py").read_text()
    conditioner = (folder / "conditioner" / "sprite_conditioner.py").read_text()
    assert conditioner == (root / "sprite_conditioner.py").read_text()
    for code in ((folder / "pipeline.py").read_text(), conditioner):
        assert "import pokemon_ddpm" not in code and "from pokemon_ddpm" not in code


@pytest.mark.parametrize("scheduler_class", SCHEDULERS)
def test_saved_and_loaded_it_draws_bit_equal_pictures(pipeline, scheduler_class, tmp_path):
    with_scheduler(pipeline, scheduler_class)
    pipeline.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert type(loaded) is PokemonDDPMPipeline and type(loaded.scheduler) is scheduler_class
    assert not loaded.unet.training and not loaded.conditioner.training
    arguments = {"pokemon_type": ["fire", "water/ice", None], "steps": 5, "output_type": "latent"}
    assert torch.equal(
        draw(loaded, **arguments, generator=seeded(0, 1, 2)), draw(pipeline, **arguments, generator=seeded(0, 1, 2))
    )


def test_a_second_saving_is_the_same(folder, tmp_path):
    load(folder).save_pretrained(tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(folder)
    for name in files_of(folder):
        if name.endswith((".py", ".safetensors")):
            assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_second_saving_tells_nothing_of_the_folders_of_this_machine(folder, tmp_path):
    load(folder).save_pretrained(tmp_path / "again")
    for name in files_of(tmp_path / "again"):
        assert str(folder).encode() not in (tmp_path / "again" / name).read_bytes(), name


def test_ready_made_components_are_taken(folder, tmp_path):
    copied = copy_of(folder, tmp_path)
    (copied / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    unet = tiny_pipeline().unet
    scheduler = DDIMScheduler.from_config(tiny_pipeline().scheduler.config)
    loaded = load(copied, unet=unet, scheduler=scheduler)
    assert loaded.unet is unet and loaded.scheduler is scheduler


CANARY = "\nimport pathlib\npathlib.Path({!r}).write_text('code ran')\n"


def test_from_pretrained_runs_no_code_of_the_folder(folder, tmp_path):
    copied, canary = copy_of(folder, tmp_path), tmp_path / "canary"
    for path in copied.rglob("*.py"):
        path.write_text(path.read_text() + CANARY.format(str(canary)))
    for name in ("__init__.py", "unet/unet.py", "scheduler/scheduler.py", "conditioner/__init__.py"):
        (copied / name).write_text(CANARY.format(str(canary)))
    load(copied)
    load(copied, trust_remote_code=True)
    assert not canary.exists()
    program = (
        "import sys; from pokemon_ddpm import PokemonDDPMPipeline; "
        "p = PokemonDDPMPipeline.from_pretrained(sys.argv[1]); p('fire', num_inference_steps=1); print('drawn')"
    )
    assert "drawn" in python(program, tmp_path, copied)
    assert not canary.exists()
    # Run, the code would have been noticed:
    exec(compile((copied / "conditioner" / "sprite_conditioner.py").read_text(), "canary", "exec"), {"__name__": "x"})
    assert canary.exists()


def alone(tmp_path: Path) -> dict[str, str]:
    """The environment of a process without the network and without this machine's caches."""
    return {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}


def python(program: str, tmp_path: Path, *arguments: object) -> str:
    """Runs Python lines in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=tmp_path, env=os.environ | alone(tmp_path), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# Draws two sprites with a saved model where pokemon_ddpm cannot be imported, and saves the model again.
WITHOUT_THE_PACKAGE = """
import sys
import torch
from diffusers import DiffusionPipeline
source, images, resaved = sys.argv[1:]
pipeline = DiffusionPipeline.from_pretrained(source, trust_remote_code=True)
pipeline.set_progress_bar_config(disable=True)
generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
drawn = pipeline(["fire", "fire/flying"], num_inference_steps=4, generator=generators, output_type="pt").images
torch.save(drawn, images)
pipeline.save_pretrained(resaved)
again = type(pipeline).from_pretrained(resaved, trust_remote_code=True)
assert again.conditioner.type_ids("fire") == (6, 19)
assert "pokemon_ddpm" not in sys.modules
"""


def test_a_saved_folder_needs_nothing_of_ours(folder, tmp_path):
    expected = draw(load(folder), ["fire", "fire/flying"], 4, generator=seeded(0, 1))
    source = folder
    for name in ("first", "second"):  # the second time from what the first one saved
        images, resaved = tmp_path / f"{name}.pt", tmp_path / f"resaved-{name}"
        (tmp_path / name).mkdir()
        stranger(WITHOUT_THE_PACKAGE, alone(tmp_path / name), tmp_path / name, source, images, resaved)
        torch.testing.assert_close(torch.load(images), expected, rtol=0, atol=1e-4)
        assert files_of(resaved) == files_of(folder)
        for file in files_of(folder):
            if file.endswith((".py", ".safetensors")):
                assert (resaved / file).read_bytes() == (folder / file).read_bytes(), file
        index = json.loads((resaved / "model_index.json").read_text())
        assert index["_class_name"] == ["pipeline", "PokemonDDPMPipeline"]
        assert index["conditioner"] == ["sprite_conditioner", "SpriteConditioner"]
        assert torch.equal(draw(load(resaved), ["fire", "fire/flying"], 4, generator=seeded(0, 1)), expected)
        source = resaved


def test_the_remote_code_is_refused_unasked(folder, tmp_path):
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(copy_of(folder, tmp_path))


@pytest.mark.parametrize("component", ["unet", "conditioner"])
@pytest.mark.parametrize("arguments", [{}, {"use_safetensors": False}, {"use_safetensors": None}], ids=str)
def test_pickled_weights_are_refused(folder, tmp_path, component, arguments):
    copied = copy_of(folder, tmp_path)
    (copied / component / "diffusion_pytorch_model.safetensors").unlink()
    module = getattr(tiny_pipeline(), component)
    torch.save(module.state_dict(), copied / component / "diffusion_pytorch_model.bin")
    with pytest.raises((OSError, TypeError), match="safetensors"):
        load(copied, **arguments)


def test_weights_are_not_saved_as_pickles(pipeline, tmp_path):
    with pytest.raises(ValueError, match="safetensors only"):
        pipeline.save_pretrained(tmp_path / "model", safe_serialization=False)
    assert not (tmp_path / "model").exists()


def test_a_folder_of_another_pipeline_is_refused(tmp_path):
    tiny = tiny_pipeline()
    DDPMPipeline(tiny.unet, tiny.scheduler).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a DDPMPipeline, not a PokemonDDPMPipeline"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["NoSuchScheduler", "UNet2DModel", None])
def test_an_unknown_scheduler_is_refused(folder, tmp_path, name):
    copied = copy_of(folder, tmp_path)
    index = json.loads((copied / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", name]
    (copied / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"scheduler .*{name}.*diffusers does not have"):
        load(copied)


@pytest.mark.parametrize("name", ["no/such/folder", "./no-such-folder", "/no/such/folder"])
def test_a_missing_folder_is_told_without_asking_the_network(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="no model folder"):
        load(name)


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(OSError, match="model_index.json"):
        load(tmp_path)


def test_half_precision_files_load_as_float32(tmp_path):
    half = tiny_pipeline().to(dtype=torch.float16)
    half.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    rounded = tiny_pipeline()
    for name in ("unet", "conditioner"):
        expected = getattr(rounded, name).state_dict()
        for key, tensor in getattr(loaded, name).state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, expected[key].half().float())
    assert draw(loaded, "fire").dtype == torch.float32
    assert load(tmp_path, dtype=torch.bfloat16).unet.dtype == torch.bfloat16


def test_the_older_name_of_dtype_means_the_same_or_is_refused(folder):
    try:
        loaded = load(folder, torch_dtype=torch.float16)
    except TypeError:
        return
    assert loaded.unet.dtype == loaded.conditioner.dtype == torch.float16


def test_a_variant_is_saved_and_found(pipeline, tmp_path):
    copy.deepcopy(pipeline).save_pretrained(tmp_path, variant="fp16")
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in files_of(tmp_path)
    loaded = load(tmp_path, variant="fp16")
    assert torch.equal(draw(loaded, "fire", generator=seeded(0)), draw(pipeline, "fire", generator=seeded(0)))
    with pytest.raises(OSError):
        load(tmp_path)


def test_a_mistyped_path_below_a_folder_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="There is no model folder 'outputs/front-33'"):
        load("outputs/front-33")
