"""`pokemon-ddpm describe`, `describe-data` and `explain`."""

import functools
from pathlib import Path

import pytest
from PIL import Image

import pokemon_ddpm
from pokemon_ddpm import load_sprites, plots
from pokemon_ddpm.schedulers import make_sampler
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.commands import run
from tests.tiny_models import tiny_pipeline


@pytest.fixture
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pokemon_ddpm, "load_sprites", functools.partial(load_sprites, cache_dir=cache))


def test_a_model_is_described(tmp_path: Path) -> None:
    pipeline = tiny_pipeline(vocabulary={name: list(CONDITIONS[name]) for name in ("type", "color")})
    pipeline.register_to_config(num_inference_steps=7, guidance_scale=2.5)
    pipeline.scheduler = make_sampler("dpmsolver++", pipeline.scheduler)
    pipeline.save_pretrained(tmp_path)
    weights = sum(weight.numel() for part in (pipeline.unet, pipeline.conditioner) for weight in part.parameters())
    assert run("describe", tmp_path) == (
        0,
        f"{tmp_path} 16x16 pixels, {weights / 1e6:.1f} million parameters by default 7 inference steps of dpmsolver++ "
        "with a guidance scale of 2.5; trained with 1,000 timesteps of squaredcos_cap_v2 and v_prediction "
        f"color: {', '.join(CONDITIONS['color'])} type: {', '.join(CONDITIONS['type'])}",
    )
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    code, output = run("describe", tmp_path)
    assert code == 2 and output.startswith(f"error: {tmp_path} ")


def test_the_page_of_a_data_set(own_cache, small: Path, tmp_path: Path) -> None:
    code, output = run("describe-data", small, "--output-dir", tmp_path / "out")
    assert code == 0 and output.endswith(f": {tmp_path / 'out' / 'README.md'}"), output
    page = (tmp_path / "out" / "README.md").read_text()
    assert "# small\n" in page and "| `front` (default) |" in page and "| `all` |" in page


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/nowhere"], "/nowhere does not exist."),
        (["{small}/sprites"], "holds no pokedex.csv."),
        (["{small}", "--config-name", "back"], "--config-name back: With the archive there are front and all."),
        (["--config-name", "all"], "--config-name all: Without it there is the starter set."),
        (["--output-dir", "{small}/pokedex.csv"], "pokedex.csv cannot be made: File exists."),
    ],
)
def test_mistakes_of_describe_data(
    own_cache, small: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(small.parent)
    code, output = run("describe-data", *(argument.format(small=small) for argument in arguments))
    assert code == 2 and output.startswith("error: ") and expected in output
    assert not list(small.parent.rglob("README.md"))


def test_the_two_processes_are_explained(own_cache, tmp_path: Path, monkeypatch) -> None:
    images = []
    draw = plots.forward_process_figure
    monkeypatch.setattr(plots, "forward_process_figure", lambda *given: images.append(given[0]) or draw(*given))
    tiny_pipeline(size=32).save_pretrained(tmp_path / "model")
    arguments = ["explain", "--model", tmp_path / "model", "--output-dir", tmp_path]
    code, output = run(*arguments, "--type", "fire=1,ice=1")
    forward, reverse = tmp_path / "forward_process.png", tmp_path / "reverse_process.png"
    assert (code, output) == (0, f"{forward} and {reverse}")
    assert images[0].shape == (32, 32, 3)
    assert Image.open(forward).size == (1080, 600) and Image.open(reverse).size == (1080, 320)
    assert "error: Unknown type 'fyre'. Did you mean 'fire'?" in run(*arguments, "--type", "fyre")[1]
