"""The two figures for learners: against the forward process computed by numpy, and by the command."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import pokemon_ddpm
from pokemon_ddpm import figures, load_sprites
from pokemon_ddpm.figures import appearing, dissolving, plot_alpha_bar
from pokemon_ddpm.generation import SpriteRequest, watch
from pokemon_ddpm.preprocessing import preprocess
from tests.generating import knowing_all, run

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
COLUMNS, SEED, T = 5, 3, 1000


def alpha_bars() -> dict[str, np.ndarray]:
    """By the formulas of Ho et al. 2020, section 4, and of Nichol & Dhariwal 2021, equation 17."""
    f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
    betas = {"linear": np.linspace(1e-4, 0.02, T), "cosine": np.minimum(1 - f[1:] / f[:-1], 0.999)}
    return {name: np.cumprod(1 - each) for name, each in betas.items()}


@pytest.fixture(scope="module")
def dissolved() -> Figure:
    return dissolving(PICTURE, COLUMNS, SEED)


def shown(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """Title and pixels of the pictures in a figure, row by row."""
    return [(axes.get_title(), np.asarray(axes.images[0].get_array())) for axes in figure.axes if axes.images]


def curves(figure: Figure, which: int = 0) -> Axes:
    return [axes for axes in figure.axes if not axes.images][which]


@pytest.mark.parametrize(("row", "schedule"), [(0, "linear"), (1, "cosine")])
def test_the_pictures_are_those_of_the_forward_process(dissolved: Figure, row: int, schedule: str) -> None:
    pictures = shown(dissolved)[row * COLUMNS : (row + 1) * COLUMNS]
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(SEED))[0].permute(1, 2, 0).numpy()
    for (title, pixels), t in zip(pictures, (0, 250, 500, 749, 999), strict=True):
        bar = alpha_bars()[schedule][t]
        noisy = np.sqrt(bar) * (PICTURE / 127.5 - 1) + np.sqrt(1 - bar) * noise
        expected = (np.clip(noisy, -1, 1) + 1) * 127.5
        assert title == f"t = {t}"
        assert np.abs(pixels - expected).max() <= 0.51


@pytest.mark.parametrize(("i", "schedule"), [(0, "linear"), (1, "cosine")])
def test_the_curves_are_the_signal_to_noise_ratios(dissolved: Figure, i: int, schedule: str) -> None:
    line, bar = curves(dissolved).lines[i], alpha_bars()[schedule]
    assert line.get_label().startswith(schedule)
    np.testing.assert_array_equal(line.get_xdata(), np.arange(T))
    np.testing.assert_allclose(line.get_ydata(), np.maximum(bar / (1 - bar), 1e-8), rtol=1e-3)


@pytest.mark.parametrize(("i", "schedule"), [(0, "linear"), (1, "cosine")])
def test_bits_are_the_mutual_information_of_a_gaussian_with_its_noisy_self(
    dissolved: Figure, i: int, schedule: str
) -> None:
    line, bar = curves(dissolved, 1).lines[i], alpha_bars()[schedule]
    assert line.get_label().startswith(schedule)
    # Two jointly Gaussian numbers with correlation rho share -1/2 log2(1 - rho^2); x_0 and x_t correlate by
    # sqrt(alpha_bar) if x_0 has unit variance.
    np.testing.assert_allclose(line.get_ydata(), -np.log2(1 - bar) / 2, rtol=1e-3, atol=1e-6)


def test_the_share_of_the_signal_is_alpha_bar() -> None:
    axes = Figure().add_subplot()
    plot_alpha_bar(axes)
    for line, (schedule, bar) in zip(axes.lines, alpha_bars().items(), strict=True):
        assert line.get_label().startswith(schedule)
        np.testing.assert_allclose(line.get_ydata(), bar, rtol=1e-3, atol=1e-8)


def test_where_signal_and_noise_are_equal_is_marked(dissolved: Figure) -> None:
    axes = curves(dissolved)
    assert axes.get_yscale() == "log"
    assert list(axes.lines[2].get_ydata()) == [1, 1]


def test_another_seed_is_other_noise(dissolved: Figure) -> None:
    other = shown(dissolving(PICTURE, COLUMNS, SEED + 1))
    assert not np.array_equal(other[-1][1], shown(dissolved)[-1][1])


def test_a_schedule_of_other_length(dissolved: Figure) -> None:
    pictures = shown(dissolving(PICTURE, 2, SEED, num_train_timesteps=100))
    assert [title for title, _ in pictures] == ["t = 0", "t = 99"] * 2


def test_what_appears_is_shown_above_what_is_expected() -> None:
    pictures = [Image.new("RGB", (4, 4), (shade,) * 3) for shade in range(6)]
    found = shown(appearing(pictures[:3], pictures[3:], [900, 500, 100]))
    assert [title for title, _ in found] == ["t = 900", "t = 500", "t = 100", "", "", ""]
    assert [pixels.flat[0] for _, pixels in found] == [0, 1, 2, 3, 4, 5]


# The command


@pytest.fixture
def explain(tmp_path: Path, sprites_cache: Path, monkeypatch: pytest.MonkeyPatch):
    """The command on a tiny model and the starter sprites, into the folder `figures`."""
    knowing_all(steps=20).save_pretrained(tmp_path / "model")
    monkeypatch.setattr(pokemon_ddpm, "load_sprites", functools.partial(load_sprites, cache_dir=sprites_cache))
    return functools.partial(run, "explain", "--model", tmp_path / "model", "--output-dir", tmp_path / "figures")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple]:
    """What the figures are made of, by name."""
    given = {}

    def keep(name: str, make, *arguments: object) -> Figure:
        given[name] = arguments
        return make(*arguments)

    for make in (dissolving, appearing):
        monkeypatch.setattr(figures, make.__name__, functools.partial(keep, make.__name__, make))
    return given


def test_two_figures_are_drawn(explain, tmp_path: Path) -> None:
    code, said = explain()
    assert code == 0 and said.endswith(
        f"{tmp_path / 'figures/dissolving.png'} and {tmp_path / 'figures/appearing.png'}"
    )
    for name in ("dissolving", "appearing"):
        pixels = np.asarray(Image.open(tmp_path / "figures" / f"{name}.png"))
        assert pixels.shape[1] > 500 and len(np.unique(pixels)) > 100
    assert len(list((tmp_path / "figures").iterdir())) == 2


@pytest.mark.parametrize("row", [0, 5])
def test_the_sprite_of_a_name_dissolves(explain, made, sprites_cache: Path, row: int) -> None:
    sprites = load_sprites(split="train", cache_dir=sprites_cache)
    name = sprites[row]["name"]
    row = sprites["name"][:].index(name)  # of several pictures the first
    code, said = explain(*(["--name", name] if row else []), "--seed", 4)
    assert code == 0, said
    picture, columns, seed = made["dissolving"]
    np.testing.assert_array_equal(picture, preprocess(sprites[row]["image"], 16))
    assert (columns, seed) == (9, 4)


@pytest.mark.parametrize(("words", "asked"), [([], "fire"), (["--type", "water=1,ice=1"], {"water": 1, "ice": 1})])
def test_what_was_asked_for_appears(explain, made, words: list, asked: object) -> None:
    assert explain("--seed", 4, *words)[0] == 0
    noisy, expected, timesteps = made["appearing"]
    steps = watch(knowing_all(steps=20), SpriteRequest(4, asked))
    chosen = [0, 2, 5, 7, 10, 12, 14, 17, 19]
    assert list(timesteps) == [steps[i][0] for i in chosen]
    assert [image.tobytes() for image in noisy] == [steps[i][1].tobytes() for i in chosen]
    assert [image.tobytes() for image in expected] == [steps[i][2].tobytes() for i in chosen]


@pytest.mark.parametrize("steps", [1, 4, 9, 10])
def test_a_model_of_few_steps_shows_them_all(explain, made, tmp_path: Path, steps: int) -> None:
    knowing_all(steps).save_pretrained(tmp_path / "model")
    assert explain()[0] == 0
    timesteps = made["appearing"][2]
    assert len(timesteps) == len(set(timesteps)) == min(steps, 9)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--name", "nobody"], "--name nobody: there is no such sprite in the training split."),
        (["--type", "fyre"], "Unknown type 'fyre'. Did you mean 'fire'?"),
        (["--type", "fire=x"], "A blend is written like"),
        (["--model", "/nowhere"], "There is no model folder '/nowhere'"),
        (["--data-dir", "/nowhere"], "/nowhere does not exist"),
        (["--config-name", "back"], "Unknown data set configuration 'back'"),
        (["--seed", -1], "seed"),
        (["--output-dir", "/dev/null/figures"], "--output-dir /dev/null/figures cannot be made: Not a directory."),
    ],
)
def test_a_mistake_is_told_in_a_sentence(explain, tmp_path: Path, words: list, expected: str) -> None:
    code, said = explain(*words)
    assert code == 2 and expected in said and "Traceback" not in said
    assert not list(tmp_path.glob("figures/*"))
