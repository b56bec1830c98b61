"""KID and obedience while a run learns, in the run and in another process; what they decide, where they stand."""

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

for module in ("ot", "scipy", "torch_fidelity"):
    pytest.importorskip(module)

from pokemon_ddpm import PokemonDDPMPipeline, load_sprites  # noqa: E402
from pokemon_ddpm.evaluation.features import SpriteClassifier, SpriteFeatureExtractor, load_features  # noqa: E402
from pokemon_ddpm.evaluation.quick import QuickEvaluation  # noqa: E402
from pokemon_ddpm.training import watching  # noqa: E402
from pokemon_ddpm.training.config import TrainingConfig  # noqa: E402
from pokemon_ddpm.training.setup import load_split  # noqa: E402
from pokemon_ddpm.training.watching import watch  # noqa: E402
from tests.labelled_pictures import folder_of_classes, parquet  # noqa: E402
from tests.test_stopping import asked_until, ranks  # noqa: E402
from tests.training_runs import assert_same_checkpoint, logged, manifest, tiny_flags, train  # noqa: E402

SAMPLES = 20
FIGURES = {"kid", "kid_standard_error", "obedience"}
LOSSES = {"validation_loss", "train_split_loss"}
LATEST = "--resume_from_checkpoint=latest"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags of a data set of 72 starter sprites, of which 24 are held out."""
    folder = tmp_path_factory.mktemp("data")
    rows = load_sprites(split="train", cache_dir=folder / "cache").shuffle(seed=0)
    parquet(folder / "few", train=rows.select(range(48)), validation=rows.select(range(48, 72)))
    return [f"--dataset_name={folder / 'few'}", f"--cache_dir={folder / 'cache'}"]


def few(folder: Path, data: list[str]) -> list[str]:
    """Flags of a run of four updates into `folder`/run, saved every second, with few samples and no loss measured."""
    return [
        *tiny_flags(folder, folder / "cache"), *data, "--resolution=32", f"--num_eval_images={SAMPLES}",
        "--ddpm_num_inference_steps=2", "--validation_steps=0", "--checkpointing_steps=2",
        "--checkpoints_total_limit=0", "--learning_rate=0.01",
    ]  # fmt: skip


@pytest.fixture
def flags(tmp_path: Path, data: list[str]) -> list[str]:
    """See `few`; `run` in tmp_path is the output folder."""
    return few(tmp_path, data)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, data: list[str]) -> Path:
    """The folder of a run that measured both kinds of figures, which tests do not change."""
    folder = tmp_path_factory.mktemp("measured")
    train([*few(folder, data), "--eval_steps=2", "--validation_steps=2", "--report_to=tensorboard"])
    return folder / "run"


def metrics(run: Path, step: int) -> dict[str, float]:
    return manifest(run / f"checkpoint-{step}")["state"]["metrics"]


def figures(run: Path, step: int) -> dict[str, float]:
    """What of these is not a loss."""
    return {name: metrics(run, step)[name] for name in metrics(run, step) if name in FIGURES}


def lines_of(run: Path) -> list[dict[str, float]]:
    """What another process has measured."""
    return [json.loads(line) for line in (run / "evaluation.jsonl").read_text().splitlines()]


# In the run


def test_the_averaged_weights_are_measured_on_the_held_out_split(measured: Path) -> None:
    """The pipeline that the run leaves gives the figures of its last update."""
    held_out = load_split(TrainingConfig.load(measured), "validation")
    pipeline = PokemonDDPMPipeline.from_pretrained(measured)
    network = load_features()
    judges = SpriteFeatureExtractor(network), SpriteClassifier(network)
    found = QuickEvaluation(held_out, pipeline.conditioner, SAMPLES, *judges).measure(pipeline)
    assert found == pytest.approx(figures(measured, 4), rel=1e-3)
    assert metrics(measured, 2)["kid"] != metrics(measured, 4)["kid"]


def test_losses_and_figures_stand_in_manifest_and_log(measured: Path) -> None:
    assert metrics(measured, 2).keys() == metrics(measured, 4).keys() == FIGURES | LOSSES
    for name in FIGURES | LOSSES:
        assert logged(measured, name) == pytest.approx([metrics(measured, step)[name] for step in (2, 4)], rel=1e-6)


def test_each_has_its_own_interval_and_the_last_update_has_both(
    flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train([*flags, "--checkpointing_steps=1", "--eval_steps=3", "--validation_steps=2"])
    names = {step: set(metrics(run, step)) for step in (1, 2, 3, 4)}
    assert names == {1: set(), 2: LOSSES, 3: FIGURES, 4: FIGURES | LOSSES}
    line = "step 3  kid {kid:.4f}  kid_standard_error {kid_standard_error:.4f}  obedience {obedience:.4f}"
    said = capsys.readouterr()
    assert line.format(**metrics(run, 3)) in said.out + said.err


def test_the_card_tells_them(measured: Path) -> None:
    text = (measured / "README.md").read_text(encoding="utf-8")
    found = figures(measured, 4)
    assert "| KID | {kid:.4f} ± {kid_standard_error:.4f} |\n| obedience | {obedience:.4f} |".format(**found) in text
    assert "of 20 samples in 2 steps to the held-out pictures" in text and "kid_standard_error" not in text
    assert "eval_steps" not in text and "num_eval_images" not in text
    data = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])
    (result,) = data["model-index"][0]["results"]
    kinds = {each["name"]: each["type"] for each in result["metrics"]}
    assert kinds == {
        "validation loss": "loss", "train split loss": "loss", "KID": "kid", "obedience": "obedience"
    }  # fmt: skip
    assert {each["name"]: each["value"] for each in result["metrics"]}["KID"] == round(found["kid"], 6)


def test_measuring_changes_nothing_of_the_training(measured: Path, flags: list[str], run: Path) -> None:
    train(flags)
    assert metrics(run, 4) == {}
    for file in ("model", "ema", "optimizer"):
        one, other = (load_file(folder / "checkpoint-4" / f"{file}.safetensors") for folder in (measured, run))
        assert [name for name in one if not torch.equal(one[name], other[name])] == []


def stopped_while_it_measures(monkeypatch: pytest.MonkeyPatch, number: int) -> list[bool]:
    """Lets SIGTERM arrive in a measurement, before its third step; returns what it is told after each.

    Args:
        number: Of the measurement, from 0.
    """
    begun, calls = [], []
    measure = QuickEvaluation.measure

    def stopped(evaluation: QuickEvaluation, pipeline: Any, interrupted: Callable[[], bool]) -> dict[str, float]:
        begun.append(pipeline)
        return measure(
            evaluation, pipeline, asked_until(3, interrupted, calls) if len(begun) == number + 1 else interrupted
        )

    monkeypatch.setattr(QuickEvaluation, "measure", stopped)
    return calls


@pytest.mark.parametrize("step", [2, 4])
def test_it_is_given_up_at_once_and_made_up_for(
    measured: Path, flags: list[str], run: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    flags = [*flags, "--eval_steps=2", "--validation_steps=2"]
    with monkeypatch.context() as patched:
        calls = stopped_while_it_measures(patched, step // 2 - 1)
        train(flags)
    assert calls == [False, False, True]
    assert metrics(run, step).keys() == LOSSES and max(run.glob("checkpoint-*")).name == f"checkpoint-{step}"
    train([*flags, LATEST])
    for name in ("checkpoint-2", "checkpoint-4"):
        assert_same_checkpoint(run / name, measured / name)


def test_a_run_may_begin_to_measure_later_and_with_more_samples(flags: list[str], run: Path) -> None:
    train([*flags, "--max_train_steps=2"])
    train([*flags, LATEST, "--max_train_steps=3", "--eval_steps=2"])
    assert metrics(run, 2).keys() == metrics(run, 3).keys() == FIGURES
    train([*flags, LATEST, "--eval_steps=2", "--num_eval_images=24"])
    assert metrics(run, 4).keys() == FIGURES


def test_two_processes_wait_for_the_one_that_measures(flags: list[str], run: Path) -> None:
    flags = [*flags, "--eval_steps=2", "--validation_steps=2", "--train_batch_size=4"]
    with contextlib.ExitStack() as stack:
        processes = ranks(flags, run.parent, stack)
        for process in processes:
            process.join(180)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [(run.parent / rank).read_text().count("  kid ") for rank in ("0", "1")] == [2, 0]
    assert metrics(run, 2).keys() == metrics(run, 4).keys() == FIGURES | LOSSES
    watch(run)
    assert lines_of(run) == [{"step": step, **figures(run, step)} for step in (2, 4)]


class Scripted:
    """An evaluation with the figures that a test wants."""

    def __init__(self, *kids: float):
        self._kids = list(kids)

    def measure(self, *_: object) -> dict[str, float]:
        return {"kid": self._kids.pop(0), "kid_standard_error": 0.1}


def test_the_lowest_kid_is_the_best(flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        *flags, "--eval_steps=1", "--checkpointing_steps=1", "--checkpoints_total_limit=1",
        "--metric_for_best_model=kid", "--load_best_model_at_end",
    ]  # fmt: skip
    train(flags, make_evaluation=lambda *_: Scripted(0.5, -0.1, 0.3, 0.2))
    assert sorted(path.name for path in run.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    assert f"The model is that of {run / 'checkpoint-2'}." in capsys.readouterr().out
    assert "| KID | -0.1000 ± 0.1000 |" in (run / "README.md").read_text(encoding="utf-8")


def test_of_other_classes_there_is_kid_alone(tmp_path: Path, run: Path) -> None:
    for split, count in (("train", 8), ("validation", 20)):
        folder_of_classes(tmp_path / "art" / split, {"cats": count, "dogs": count})
    train([*few(tmp_path, []), f"--train_data_dir={tmp_path / 'art'}", "--eval_steps=4"])
    assert metrics(run, 4).keys() == FIGURES - {"obedience"}
    lines: list[str] = []
    watch(run, say=lines.append)
    assert len(lines) == 2 and not any("obedience" in line for line in lines)


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eval_steps": 2, "num_eval_images": 19}, "--num_eval_images must be 20 or more, but is 19"),
        ({"eval_steps": -1}, "--eval_steps must be 0 or more, but is -1"),
        ({"metric_for_best_model": "kid"}, "--metric_for_best_model kid needs --eval_steps"),
        ({"load_best_model_at_end": True, "validation_steps": 0, "eval_steps": 2}, "kid by --eval_steps"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**settings)


def test_the_best_by_kid_needs_no_validation_loss() -> None:
    config = TrainingConfig(eval_steps=2, metric_for_best_model="kid", load_best_model_at_end=True, validation_steps=0)
    assert (config.metric_for_best_model, config.load_best_model_at_end) == ("kid", True)


def test_pictures_that_are_too_small_are_refused_before_anything_else(flags: list[str], run: Path) -> None:
    with pytest.raises(SystemExit, match="error: KID and obedience need pictures of 32 pixels .* is 24"):
        train([*flags, "--eval_steps=2", "--resolution=24", "--dataset_name=nothing"])
    assert not run.exists()


def test_a_missing_package_is_named_with_the_way_to_get_it(
    flags: list[str], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(SystemExit, match=r"error: .*POT.*pip install 'pokemon-ddpm\[evaluation\]'"):
        train([*flags, "--eval_steps=2"])
    assert not run.exists()
    train([*flags, "--max_train_steps=1"])  # what is not asked for is not missed


def test_too_few_held_out_pictures(tmp_path: Path, small: Path) -> None:
    with pytest.raises(SystemExit, match="error: KID needs 20 held-out pictures, but the data have 2"):
        train([*few(tmp_path, []), f"--train_data_dir={small}", "--eval_steps=2"])


def test_without_held_out_pictures_it_is_said_how_to_train(tmp_path: Path) -> None:
    rows = load_sprites(split="train", cache_dir=tmp_path / "cache").select(range(8))
    parquet(tmp_path / "own", train=rows)
    with pytest.raises(SystemExit, match="error: .*--validation_steps 0 and without --eval_steps"):
        train([*few(tmp_path, []), f"--dataset_name={tmp_path / 'own'}", "--eval_steps=2"])


# From another process


@pytest.fixture
def copied(measured: Path, run: Path) -> Path:
    """The measured run, to be changed."""
    shutil.copytree(measured, run)
    return run


def resting(monkeypatch: pytest.MonkeyPatch, *turns: Callable[[], object]) -> None:
    """Lets these happen while nothing is left to measure, one after the other; then Ctrl-C comes."""
    left = list(turns)

    def sleep(_: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=sleep))


def watched(run: Path, **arguments: object) -> list[str]:
    """What watching says, until it ends by itself or is interrupted."""
    said: list[str] = []
    with contextlib.suppress(KeyboardInterrupt):
        watch(run, say=said.append, **arguments)
    return said


def test_the_figures_are_those_that_the_run_logs(copied: Path) -> None:
    said = watched(copied)
    expected = [{"step": step, **figures(copied, step)} for step in (2, 4)]
    assert lines_of(copied) == expected
    assert said == [
        "step {step}  kid {kid:.4f} ± {kid_standard_error:.4f}  obedience {obedience:.4f}".format(**each)
        for each in expected
    ]


def test_without_an_average_the_plain_weights_are_measured(flags: list[str], run: Path) -> None:
    train([*flags, "--no_use_ema", "--eval_steps=4"])
    watch(run)
    assert lines_of(run)[1] == {"step": 4, **metrics(run, 4)}


def test_it_follows_a_run_that_goes_on(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.move(copied / "checkpoint-4", copied / "later")
    resting(
        monkeypatch,
        lambda: None,
        lambda: shutil.move(copied / "later", copied / "checkpoint-4"),
        lambda: pytest.fail("the run has ended"),
    )
    assert [line[:6] for line in watched(copied)] == ["step 2", "step 4"]


def test_a_run_that_is_made_longer_is_waited_for(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The length is what the folder says, in updates or in passes over the pictures."""
    waits: list[bool] = []
    resting(monkeypatch, lambda: waits.append(True))
    config = TrainingConfig.load(copied, max_train_steps=None, num_epochs=1)
    config.save(copied)  # 48 pictures, 8 an update: 6 updates
    watched(copied)
    assert waits == [True]


def test_what_is_measured_is_not_measured_again(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = copied / "evaluation.jsonl"
    file.write_text('{"step": 2, "kid": 1.0, "kid_standard_error": 0.5}\n{"step": 4, "ki')  # its writer was killed
    assert [line[:6] for line in watched(copied)] == ["step 4"]
    first, torn, last = file.read_text().splitlines()
    assert json.loads(first)["kid"] == 1.0 and torn == '{"step": 4, "ki' and json.loads(last)["step"] == 4
    monkeypatch.setattr(QuickEvaluation, "measure", lambda *_: pytest.fail("measured again"))
    assert watched(copied) == []


def test_an_interrupted_measurement_leaves_nothing(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, begun = QuickEvaluation.measure, []

    def once(*arguments: object) -> dict[str, float]:
        begun.append(True)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return measure(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(QuickEvaluation, "measure", once)
        with pytest.raises(KeyboardInterrupt):
            watch(copied, say=lambda _: None)
    assert [line["step"] for line in lines_of(copied)] == [2]
    assert [line[:6] for line in watched(copied)] == ["step 4"]


def damage(checkpoint: Path) -> None:
    file = checkpoint / "ema.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def lose(checkpoint: Path) -> None:
    (checkpoint / "ema.safetensors").unlink()


def empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


@pytest.mark.parametrize("spoil", [damage, lose, empty])
def test_a_broken_checkpoint_is_passed_over_with_a_word(copied: Path, spoil: Callable[[Path], None]) -> None:
    spoil(copied / "checkpoint-2")
    first, second = watched(copied)
    assert re.fullmatch(r".*checkpoint-2 is not a whole checkpoint \(.*\)\. It is passed over\.", first)
    assert second.startswith("step 4")


def test_a_checkpoint_that_is_deleted_meanwhile(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = watching.load_weights

    def too_late(folder: Path, model: torch.nn.Module) -> None:
        if folder.name == "checkpoint-2":
            shutil.rmtree(folder)
        load(folder, model)

    monkeypatch.setattr(watching, "load_weights", too_late)
    first, second = watched(copied)
    assert "checkpoint-2 is not a whole checkpoint" in first and second.startswith("step 4")


def test_a_copy_that_becomes_whole_is_measured(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("manifest.json", "ema.safetensors"):
        shutil.move(copied / "checkpoint-4" / name, copied / name)
    resting(
        monkeypatch,
        lambda: shutil.move(copied / "manifest.json", copied / "checkpoint-4"),
        lambda: shutil.move(copied / "ema.safetensors", copied / "checkpoint-4"),
    )
    said = watched(copied)
    assert [line[:6] for line in said if line.startswith("step")] == ["step 2", "step 4"]
    assert len(said) == 3


def test_other_pictures_are_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainingConfig.load(copied, preprocessing="thesis")
    config.save(copied)
    with pytest.raises(ValueError, match="pictures or their labels are not those that .*checkpoint-2 was trained on"):
        watch(copied)
    assert not (copied / "evaluation.jsonl").exists()


def test_pictures_that_lie_elsewhere_now(tmp_path: Path, run: Path, copied: Path) -> None:
    with pytest.raises(ValueError, match="was not trained on a folder of pictures"):
        watch(copied, str(tmp_path))
    shutil.rmtree(copied)
    for split in ("train", "validation"):
        folder_of_classes(tmp_path / "art" / split, {"cats": 12, "dogs": 12})
    train([*few(tmp_path, []), f"--train_data_dir={tmp_path / 'art'}", "--checkpointing_steps=4"])
    shutil.move(tmp_path / "art", tmp_path / "gallery")
    assert [line[:6] for line in watched(run, data_dir=str(tmp_path / "gallery"))] == ["step 4"]


def test_a_folder_that_is_no_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the folder of a training run that can be read"):
        watch(tmp_path)
    TrainingConfig(resolution=16).save(tmp_path)
    with pytest.raises(ValueError, match="need pictures of 32 pixels"):
        watch(tmp_path)


def test_an_overwritten_run_takes_its_figures_along(copied: Path, flags: list[str]) -> None:
    (copied / "evaluation.jsonl").write_text('{"step": 2}\n')
    train([*flags, "--overwrite_output_dir", "--max_train_steps=1"])
    assert not (copied / "evaluation.jsonl").exists()
