"""Drawing into files that say how they were made, and going on where a job stopped."""

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
]
WAY = Drawing("somewhere", "ddpm", 2, 3.0, (0.5, 2.0), 0.5, ("ice", "rock"), "float32", True, 4, 2)


def test_a_file_says_how_it_was_drawn(tmp_path: Path) -> None:
    files = list(draw_files(knowing_all(), WAY, REQUESTS, tmp_path))
    assert [read_drawing(path) for path in files] == [(WAY, request) for request in REQUESTS]


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


@pytest.mark.parametrize("text", ["../../x", "/etc/passwd", "a/../b"])
def test_a_name_stays_in_its_folder(text: str) -> None:
    assert "/" not in file_name(SpriteRequest(0, text, {"color": text}))


def test_a_distilled_model_keeps_its_own_solver(tmp_path: Path) -> None:
    pipeline = knowing_all()
    pipeline.scheduler = make_sampler("dpmsolver++", pipeline.scheduler)
    pipeline.scheduler.register_to_config(solver_order=1)
    pipeline.save_pretrained(tmp_path)
    assert Drawing(str(tmp_path), "dpmsolver++").load("cpu").scheduler.config.solver_order == 1
