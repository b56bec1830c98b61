"""The page "How it works", without a browser: its figures against numpy, its looks, and what connects it."""

import base64
import io
import re
from collections.abc import Sequence

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.app import explanation_figures as figures
from pokemon_ddpm.app import style
from pokemon_ddpm.app.explanation import explanation_tab
from pokemon_ddpm.app.strip import strip_of
from pokemon_ddpm.dataset_scripts.starter_sprites import draw_starter_sprite
from pokemon_ddpm.preprocessing import preprocess
from pokemon_ddpm.vocabulary import TYPES
from tests.test_figures import alpha_bars

PAGES = {"light": "#ffffff", "dark": "#0a0f1e"}


def pictures(html: str) -> list[tuple[str, Image.Image]]:
    """What is said of each picture, and the picture."""
    found = re.findall(r'<img[^>]*src="data:image/png;base64,([^"]*)" alt="([^"]*)"', html)
    return [(said, Image.open(io.BytesIO(base64.b64decode(data)))) for data, said in found]


def steps(count: int) -> list[tuple[int, Image.Image, Image.Image]]:
    return [(999 - i, *(Image.new("RGB", (4, 4), (i, row, 0)) for row in range(2))) for i in range(count)]


class TestForwards:
    @pytest.mark.parametrize(("i", "schedule"), [(0, "linear"), (1, "cosine")])
    def test_a_creature_at_a_timestep_of_both_schedules(self, i: int, schedule: str) -> None:
        clean = preprocess(Image.fromarray(draw_starter_sprite("water", "none", 0, 1)), 32) / 127.5 - 1
        (_, at_0), (said, shown) = (pictures(figures.dissolving("water", t))[i] for t in (0, 250))
        assert said == f"A water sprite at timestep 250 of the {schedule} schedule"
        bar, first = alpha_bars()[schedule][[250, 0]]
        # The noise is the same at both timesteps, and only there where nothing was cut off can it be compared.
        noise = (np.asarray(at_0) / 127.5 - 1 - np.sqrt(first) * clean) / np.sqrt(1 - first)
        inside = (np.asarray(at_0) > 0) & (np.asarray(at_0) < 255)
        expected = (np.clip(np.sqrt(bar) * clean + np.sqrt(1 - bar) * noise, -1, 1) + 1) * 127.5
        rounding = 0.5 * np.sqrt((1 - bar) / (1 - first)) + 0.6
        assert np.abs(np.asarray(shown) - expected)[inside].max() <= rounding

    def test_the_numbers_are_said(self) -> None:
        html = figures.dissolving("fire", 500)
        for bar in alpha_bars().values():
            assert f"ᾱ = {bar[500]:.3g}<br>signal to noise = {bar[500] / (1 - bar[500]):.3g}<" in html

    def test_every_type_has_a_creature_of_its_own(self) -> None:
        assert len({figures.dissolving(name, 0) for name in TYPES}) == len(TYPES)


class TestSchedules:
    def test_the_curves_take_the_colour_of_the_page(self) -> None:
        html = figures.schedules(0)
        drawn = set(re.findall(r"(?:stroke|fill): ([^;\"]+)", html))
        assert drawn == {"none", "currentColor", style.type_color("fire"), style.type_color("water"), "#808080"}
        assert html.count('role="img" aria-label=') == 2 and "<style" not in html and "http://matplotlib" not in html

    def test_nothing_in_the_page_has_the_same_id(self) -> None:
        ids = re.findall(r' id="([^"]*)"', figures.schedules(0))
        assert ids and len(ids) == len(set(ids))

    def test_the_line_stands_at_the_timestep(self) -> None:
        left, _, width, _ = figures.AXES
        for timestep, share in ((0, left), (999, left + width)):
            assert figures.schedules(timestep).count(f'<i style="left: {100 * share:.2f}%') == 2

    def test_the_axes_are_where_the_line_takes_them_to_be(self) -> None:
        (width, height), box = re.search(r'viewBox="0 0 (\S+) (\S+)"', figures.schedules(0)).groups(), figures.AXES
        corner = f"M {box[0] * float(width):g} {(1 - box[1]) * float(height):g}"
        assert corner in figures.schedules(0)


class TestLooks:
    @pytest.mark.parametrize("name", [*TYPES, "any", "cats"])
    def test_a_type_is_legible_on_light_and_dark_and_under_white(self, name: str) -> None:
        color = style.type_color(name)
        assert contrast(color, PAGES["light"]) >= 4.5
        assert contrast(color, PAGES["dark"]) >= 3

    def test_types_can_be_told_apart(self) -> None:
        colors = np.array([[int(style.type_color(name)[i : i + 2], 16) for i in (1, 3, 5)] for name in TYPES])
        distance = np.sqrt(np.square(colors[:, None] - colors[None]).sum(-1)) + 1000 * np.eye(len(TYPES))
        assert distance.min() > 15

    def test_nothing_is_fetched(self) -> None:
        theme = style.theme()
        css = theme._get_theme_css() + style.CSS
        assert not theme._stylesheets and "@import" not in css and not re.search(r"url\((?!['\"]?data:)", css)


def contrast(one: str, other: str) -> float:
    """Of two colours, by WCAG 2."""
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.fixture(scope="module")
def page() -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as page:
        strip = gr.HTML()
        with gr.Tabs():
            explanation_tab(strip)
    return page


class TestTab:
    @pytest.mark.parametrize(("count", "chosen"), [(1, [0]), (10, range(10)), (19, range(0, 19, 2))])
    def test_what_was_drawn(self, count: int, chosen: Sequence[int]) -> None:
        shown = pictures(strip_of(steps(count)))
        assert [said for said, _ in shown[:2]] == [
            "the sample after the step at t = 999",
            "expected at the step at t = 999",
        ]
        assert [image.getpixel((0, 0))[:2] for _, image in shown] == [(i, row) for i in chosen for row in (0, 1)]

    def test_it_arrives_without_the_server(self, page: gr.Blocks) -> None:
        (arriving,) = (fn for fn in page.fns.values() if fn.outputs[0].elem_id == "appearing")
        assert arriving.fn is None and arriving.js and isinstance(arriving.inputs[0], gr.HTML)

    def test_nothing_is_drawn_yet(self, page: gr.Blocks) -> None:
        (shown,) = (block for block in page.blocks.values() if block.elem_id == "appearing")
        assert "not drawn" in shown.value and not pictures(shown.value)

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            (("fires", 5), "The type must be one of: bug"),
            ((["fire"], 5), "The type must be one of: bug"),
            (("fire", 1000), "The timestep must be a whole number from 0 to 999."),
            (("fire", float("nan")), "The timestep must be a whole number from 0 to 999."),
            ((None,), "The timestep must be a whole number from 0 to 999."),
        ],
    )
    def test_what_no_page_sends_is_told(self, page: gr.Blocks, asked: tuple, message: str) -> None:
        (function,) = (fn for fn in page.fns.values() if len(fn.inputs) == len(asked) and fn.fn)
        with pytest.raises(gr.Error) as caught:
            function.fn(*asked)
        assert caught.value.message.startswith(message)
        assert not function.preprocess and not caught.value.print_exception

    def test_nothing_of_it_waits_for_the_model_or_can_be_called(self, page: gr.Blocks) -> None:
        assert page.fns and not any(fn.queue for fn in page.fns.values())
        assert {fn.api_visibility for fn in page.fns.values()} == {"private"}
