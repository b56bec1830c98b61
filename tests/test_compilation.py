import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm.compilation import Compilation, check_compiler
from tests.generating import knowing_all, run


def test_it_has_paid_off_when_what_it_saved_is_what_it_cost() -> None:
    cost = Compilation(first=25.0, before=0.75, after=0.5)
    turns = cost.turns_to_pay_off
    assert cost.first + (turns - 1) * cost.after == pytest.approx(turns * cost.before)


@pytest.mark.parametrize("after", [0.75, 0.8])
def test_what_saves_nothing_never_pays_off(after: float) -> None:
    assert Compilation(first=25.0, before=0.75, after=after).turns_to_pay_off == math.inf


def test_a_machine_that_cannot_compile_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    knowing_all().save_pretrained(tmp_path / "model")

    def refuse(*_: object) -> None:
        raise RuntimeError("no C++ compiler\nmore")

    monkeypatch.setattr(torch, "compile", lambda function: refuse)
    with pytest.raises(ValueError, match=r"--compile does not work on this machine: no C\+\+ compiler$"):
        check_compiler("cpu")
    status, said = run("generate", "--model", tmp_path / "model", "--compile", "--output", tmp_path / "sheet.png")
    assert status == 2 and "no C++ compiler" in said
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.slow
def test_a_compiled_job_draws_the_same_sprites_and_says_when_it_pays_off(tmp_path: Path) -> None:
    knowing_all().save_pretrained(tmp_path / "model")
    words = ["generate", "--model", tmp_path / "model", "--type", "fire", "--num-images", 2, "--output-dir"]
    run(*words, tmp_path / "plain")
    status, said = run(*words, tmp_path / "compiled", "--compile")
    assert status == 0 and "torch.compile:" in said and "this job has 2." in said
    for file in (tmp_path / "plain").iterdir():
        one, other = (np.asarray(Image.open(each), int) for each in (file, tmp_path / "compiled" / file.name))
        assert abs(one - other).max() <= 1
    again = tmp_path / "again.png"
    assert "torch.compile:" in run("generate", "--like", tmp_path / "compiled" / "fire_0.png", "--output", again)[1]
    assert again.read_bytes() == (tmp_path / "compiled" / "fire_0.png").read_bytes()
