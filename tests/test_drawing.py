"""Drawing into files that say how they were made, and going on where a job stopped."""

from dataclasses import replace
from pathlib import Path

import pytest

from pokemon_ddpm.drawing import Drawing, draw_files, file_name, read_drawing
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.schedulers import make_sampler
from tests.drawing import record_calls
from tests.generating import knowing_all

REQUESTS = [
    SpriteRequest(0, {"fire": 0.7, "water": 0.3}, {"color": "red"}),
    SpriteRequest(1, ("fire", "flying")),
    SpriteRequest(2, "fire/none"),
    SpriteRequest(2**64 - 1),
]
WAY = Drawing(
    "somewhere", "ddpm", 2, 3.0, (0.5, 2.0), 0.5, ("ice", "rock"), transparent=True, palette=4, scale=2
)  # fmt: skip

BLEND = replace(WAY, guidance_interval=None, negative_pokemon_type={"ice": 1.0, "rock": 2.5}, palette=None)


@pytest.mark.parametrize("way", [WAY, BLEND, replace(WAY, negative_pokemon_type="ice/none", transparent=False)])
def test_a_file_says_how_it_was_drawn(tmp_path: Path, way: Drawing) -> None:
    files = list(draw_files(knowing_all(), way, REQUESTS, tmp_path))
    assert [read_drawing(path) for path in files] == [(way, request) for request in REQUESTS]


def test_what_is_the_models_own_is_written_out(tmp_path: Path) -> None:
    pipeline = knowing_all(steps=3)
    (path,) = draw_files(pipeline, Drawing("somewhere"), REQUESTS[:1], tmp_path)
    own = Drawing("somewhere", scheduler="ddpm", num_inference_steps=3, guidance_scale=2.0)
    assert read_drawing(path) == (own, REQUESTS[0])


@pytest.mark.parametrize("harm", ["cut", "emptied", "other"])
def test_only_what_is_not_there_as_asked_is_drawn(tmp_path: Path, harm: str) -> None:
    pipeline = knowing_all()
    first, *rest = draw_files(pipeline, WAY, REQUESTS, tmp_path)
    content = first.read_bytes()
    calls = record_calls(pipeline)
    list(draw_files(pipeline, WAY, REQUESTS, tmp_path))
    assert calls == []
    first.write_bytes({"cut": content[:-40], "emptied": b"", "other": rest[0].read_bytes()}[harm])
    before = [path.stat().st_mtime_ns for path in rest]
    list(draw_files(pipeline, WAY, REQUESTS, tmp_path))
    assert first.read_bytes() == content and calls
    assert [path.stat().st_mtime_ns for path in rest] == before


@pytest.mark.parametrize(
    "change",
    [
        {"model": "elsewhere"}, {"num_inference_steps": 3}, {"dtype": "bfloat16"}, {"compiled": True}, {"scale": 1},
        {"palette": 5},
    ],
)  # fmt: skip
def test_another_way_draws_again(tmp_path: Path, change: dict) -> None:
    pipeline, way = knowing_all(), replace(WAY, **change)
    list(draw_files(pipeline, WAY, REQUESTS, tmp_path))
    calls = record_calls(pipeline)
    files = list(draw_files(pipeline, way, REQUESTS, tmp_path))
    assert calls and [read_drawing(path)[0] for path in files] == [way] * len(REQUESTS)


def test_files_are_there_as_soon_as_they_are_drawn(tmp_path: Path) -> None:
    drawn = draw_files(knowing_all(), WAY, REQUESTS, tmp_path)
    assert next(drawn).is_file()
    assert len(list(tmp_path.iterdir())) == 1


def test_names_tell_requests_apart() -> None:
    close = [SpriteRequest(0, {"fire": weight, "water": 0.5}) for weight in (0.5, 0.50000001, 5e-9)]
    others = [SpriteRequest(0, "fire"), SpriteRequest(1, "fire"), SpriteRequest(0, "fire/water"), SpriteRequest(0)]
    words = [SpriteRequest(0, "fire", {"color": color}) for color in ("red", "blue")]
    assert len({file_name(request) for request in [*REQUESTS, *close, *others, *words]}) == 13


@pytest.mark.parametrize("text", ["../../x", "/etc/passwd", "a/../b", "..", "fire\0", "x" * 5000])
@pytest.mark.parametrize("where", ["type", "color"])
def test_a_hostile_word_is_refused_and_touches_nothing(tmp_path: Path, text: str, where: str) -> None:
    request = SpriteRequest(0, text) if where == "type" else SpriteRequest(0, "fire", {"color": text})
    assert (tmp_path / file_name(request)).parent == tmp_path
    with pytest.raises(ValueError, match="Unknown|names|takes one type or two"):
        list(draw_files(knowing_all(), WAY, [request], tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_distilled_model_keeps_its_own_solver(tmp_path: Path) -> None:
    pipeline = knowing_all()
    pipeline.scheduler = make_sampler("dpmsolver++", pipeline.scheduler)
    pipeline.scheduler.register_to_config(solver_order=1)
    pipeline.save_pretrained(tmp_path)
    assert Drawing(str(tmp_path), "dpmsolver++").load("cpu").scheduler.config.solver_order == 1


@pytest.mark.parametrize("change", [{"scheduler": "euler"}, {"scheduler": "DDPM"}, {"dtype": "int8"}, {"dtype": "nn"}])
def test_an_unknown_way_is_refused(tmp_path: Path, change: dict) -> None:
    knowing_all().save_pretrained(tmp_path)
    (name,) = change
    with pytest.raises(ValueError, match=f"There is no {name} '{change[name]}'. Known: "):
        Drawing(str(tmp_path), **change).load("cpu")
