"""Checkpoints: everything comes back, a broken one is named and changes nothing, nothing is pickled."""

import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import nn

from pokemon_ddpm.timesteps import LossSecondMoment
from pokemon_ddpm.training.checkpoint import (
    CheckpointError,
    TrainingState,
    TrainingTensors,
    best_checkpoint,
    checkpoints,
    load_state,
    load_tensors,
    load_weights,
    save_checkpoint,
)
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.continuation import OtherRunError, check_unchanged, find_checkpoints
from tests.training_runs import full_disk

TENSOR_FILES = [f"{name}.safetensors" for name in ("ema", "model", "optimizer", "timesteps")]
FILES = sorted([*TENSOR_FILES, "manifest.json"])


NETWORK = {"layers_per_block": 1, "dropout": 0.1}


def state_at(step: int, config: TrainingConfig | None = None, **metrics: float) -> TrainingState:
    return TrainingState(step, 8, (config or TrainingConfig()).public(), NETWORK, "digest", metrics, 2, {})


class Run:
    """A tiny network with its optimizer, its average and its history of losses."""

    def __init__(self, seed: int, width: int = 5):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.ema = EMAModel(self.model.parameters(), decay=0.9)
        self.history = LossSecondMoment(4)
        self.step = 0

    @property
    def all(self) -> TrainingTensors:
        return TrainingTensors(self.model, self.optimizer, self.ema, self.history)

    def train(self, steps: int) -> "Run":
        for _ in range(steps):
            inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(self.step))
            self.optimizer.zero_grad()
            losses = self.model(inputs).square().mean(dim=1)
            losses.mean().backward()
            self.history.record(torch.arange(8) % 4, losses.detach())
            self.optimizer.step()
            self.ema.step(self.model.parameters())
            self.step += 1
        return self

    def save(self, folder: Path, limit: int = 0, config: TrainingConfig | None = None, **metrics: float) -> Path:
        return save_checkpoint(folder, state_at(self.step, config, **metrics), self.all, limit, "validation_loss")

    def load(self, folder: Path) -> TrainingState:
        state = load_state(folder)
        load_tensors(folder, state, self.all)
        self.step = state.step
        return state

    def tensors(self) -> dict[str, torch.Tensor]:
        """Copies of all it consists of."""
        found = {f"model.{name}": tensor.clone() for name, tensor in self.model.state_dict().items()}
        found |= {f"ema.{i}": tensor.clone() for i, tensor in enumerate(self.ema.shadow_params)}
        found |= {f"history.{name}": tensor for name, tensor in self.history.state_dict().items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{name}": value.clone() for name, value in values.items()}
        return found


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert torch.equal(one[name], other[name]), name


@pytest.fixture
def saved(tmp_path) -> Path:
    return Run(0).train(3).save(tmp_path)


def test_everything_comes_back(tmp_path):
    run = Run(0).train(3)
    folder = run.save(tmp_path)
    assert folder == tmp_path / "checkpoint-3"
    other = Run(1)
    state = other.load(folder)
    assert state == TrainingState(3, 8, TrainingConfig().public(), NETWORK, "digest", {}, 2, {})
    assert_equal(other.tensors(), run.tensors())
    assert "model.1.running_mean" in run.tensors() and "optimizer.0.exp_avg_sq" in run.tensors()
    assert other.ema.optimization_step == run.ema.optimization_step == 3


def test_a_run_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path):
    unbroken = Run(0).train(6)
    folder = Run(0).train(3).save(tmp_path)
    resumed = Run(1)
    resumed.load(folder)
    assert_equal(resumed.train(3).tensors(), unbroken.tensors())


def test_a_run_that_has_already_moved_on_is_set_back(tmp_path):
    run = Run(0).train(2)
    before = run.tensors()
    folder = run.save(tmp_path)
    run.train(4)
    run.load(folder)
    assert_equal(run.tensors(), before)


def test_before_the_first_step(tmp_path):
    run = Run(0)
    folder = run.save(tmp_path)
    other = Run(1)
    assert other.load(folder).step == 0
    assert_equal(other.tensors(), run.tensors())


def test_without_an_average_and_a_history(tmp_path):
    run, other = Run(0).train(2), Run(1)
    folder = save_checkpoint(tmp_path, state_at(2), TrainingTensors(run.model, run.optimizer), 0, "none")
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", *TENSOR_FILES[1:3]]
    load_tensors(folder, state_at(2), TrainingTensors(other.model, other.optimizer))
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], tensor)


def test_nothing_is_pickled_and_the_manifest_says_what_it_is(saved):
    assert sorted(path.name for path in saved.iterdir()) == FILES
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["state"]["step"] == 3 and manifest["state"]["config"]["learning_rate"] == 6e-4
    assert {"python", "pokemon-ddpm", "torch", "diffusers"} <= manifest["versions"].keys()
    for name in TENSOR_FILES:
        assert load_file(saved / name)
        assert manifest["files"][name] == hashlib.sha256((saved / name).read_bytes()).hexdigest()


def test_the_limit_keeps_the_newest(tmp_path):
    run = Run(0)
    for _ in range(12):
        run.train(1).save(tmp_path, limit=3)
    # by number and not by name: 9 < 10
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-11", "checkpoint-12"]
    run.train(1).save(tmp_path, limit=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-13"]
    run.train(1).save(tmp_path, limit=0)
    assert len(checkpoints(tmp_path)) == 2


def test_the_limit_never_takes_the_checkpoint_just_written(tmp_path):
    """A run that goes on from an older checkpoint writes lower numbers than those that lie there already."""
    run = Run(0)
    for _ in range(3):
        run.train(2).save(tmp_path)
    run.load(tmp_path / "checkpoint-2")
    written = run.train(1).save(tmp_path, limit=2)
    assert written.name == "checkpoint-3"
    assert written.is_dir()
    assert [path.name for path in checkpoints(tmp_path)][-2:] == ["checkpoint-4", "checkpoint-6"]  # nor later ones


def test_the_best_is_kept_beside_the_newest_however_old_it_is(tmp_path):
    run = Run(0)
    for loss in (0.5, 0.3, 0.4, 0.6, 0.3, math.nan):
        run.train(1).save(tmp_path, limit=2, validation_loss=loss)
    assert best_checkpoint(tmp_path, "validation_loss") == tmp_path / "checkpoint-2"
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-5", "checkpoint-6"]


def test_a_better_one_takes_its_place(tmp_path):
    run = Run(0)
    for loss in (0.3, 0.4, 0.2, 0.6):
        run.train(1).save(tmp_path, limit=1, validation_loss=loss)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-4"]


def test_what_is_not_a_number_is_never_the_best(tmp_path):
    run = Run(0)
    for loss in (math.nan, 0.5, math.nan):
        run.train(1).save(tmp_path, validation_loss=loss)
    assert best_checkpoint(tmp_path, "validation_loss") == tmp_path / "checkpoint-2"


def test_where_nothing_was_measured_there_is_no_best(tmp_path):
    run = Run(0)
    run.train(1).save(tmp_path)
    run.train(1).save(tmp_path, validation_loss=math.inf)
    assert best_checkpoint(tmp_path, "validation_loss") is None
    run.train(1).save(tmp_path, validation_loss=0.5)
    assert best_checkpoint(tmp_path, "none") is None


def test_the_averaged_weights_of_a_checkpoint_go_into_a_model(saved):
    run, model = Run(1), Run(2).model
    run.load(saved)
    load_weights(saved, model)
    for parameter, average in zip(model.parameters(), run.ema.shadow_params, strict=True):
        assert torch.equal(parameter, average)
    with pytest.raises(CheckpointError, match="another network"):
        load_weights(saved, Run(2, width=6).model)


@pytest.mark.parametrize("room", [0, 2000], ids=["for nothing", "for all but the manifest"])
def test_a_full_disk_fails_the_save_and_leaves_what_was_there(tmp_path, room):
    run = Run(0).train(1)
    first = run.save(tmp_path, limit=1)
    run.train(1)
    with full_disk(room), pytest.raises(CheckpointError, match=r"checkpoint-2 could not be written \(.*too large"):
        run.save(tmp_path, limit=1)
    assert list(tmp_path.iterdir()) == [first]
    Run(1).load(first)
    assert run.save(tmp_path, limit=1).name == "checkpoint-2"


def test_a_full_disk_does_not_cost_the_checkpoint_of_the_same_step(tmp_path):
    run = Run(0).train(1)
    first = run.save(tmp_path)
    before = run.tensors()
    with full_disk(), pytest.raises(CheckpointError, match="could not be written"):
        Run(5).train(1).save(tmp_path)
    run.load(first)
    assert_equal(run.tensors(), before)


def test_everything_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    rename = Path.rename
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(Path, "rename", lambda one, other: done.append("rename") or rename(one, other))
    folder = Run(0).train(1).save(tmp_path)
    assert sorted(done[:-2]) == sorted(path.stat().st_ino for path in [*folder.iterdir(), folder])
    assert done[-2:] == ["rename", tmp_path.stat().st_ino]


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    Run(0).train(3).save(tmp_path)
    run = Run(1).train(3)
    folder = run.save(tmp_path)
    other = Run(2)
    other.load(folder)
    assert_equal(other.tensors(), run.tensors())
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


def test_a_partial_folder_is_no_checkpoint_and_is_in_nobodys_way(tmp_path):
    run = Run(0).train(3)
    partial = tmp_path / ".checkpoint-3.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-7.old").mkdir()
    assert checkpoints(tmp_path) == []
    assert find_checkpoints(tmp_path, "latest") == []
    folder = run.save(tmp_path)
    assert checkpoints(tmp_path) == [folder]
    assert not partial.exists()
    Run(1).load(folder)


def test_a_run_that_dies_while_writing_leaves_the_older_checkpoint_only(tmp_path, monkeypatch):
    run = Run(0).train(1)
    first = run.save(tmp_path, limit=1)
    with monkeypatch.context() as patched:
        patched.setattr("pokemon_ddpm.training.checkpoint.json.dumps", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.train(1).save(tmp_path, limit=1)
    assert checkpoints(tmp_path) == [first]
    Run(1).load(first)


def assert_refused(folder: Path, run: Run, message: str) -> None:
    before = run.tensors()
    step = run.ema.optimization_step
    with pytest.raises(CheckpointError, match=message) as error:
        run.load(folder)
    assert str(folder) in str(error.value)
    assert_equal(run.tensors(), before)
    assert run.ema.optimization_step == step


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
def test_a_broken_file_is_refused_and_nothing_is_changed(saved, name, damage):
    content = (saved / name).read_bytes()
    if damage == "missing":
        (saved / name).unlink()
    else:
        (saved / name).write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    assert_refused(saved, Run(1).train(1), "not a whole checkpoint")


@pytest.mark.parametrize("content", ["[]", "{}", '{"state": {"step": 3}}', '"step"', "null", '{"sha256": null}'])
def test_a_manifest_of_another_form_is_refused(saved, content):
    (saved / "manifest.json").write_text(content)
    assert_refused(saved, Run(1).train(1), "not a whole checkpoint")


def test_a_missing_folder_is_refused(tmp_path):
    assert_refused(tmp_path / "checkpoint-1", Run(1).train(1), "not a whole checkpoint")


def test_the_checkpoint_of_another_network_is_refused(tmp_path):
    folder = Run(0, width=6).train(1).save(tmp_path)
    assert_refused(folder, Run(1).train(1), "another network")


@pytest.mark.parametrize("name", TENSOR_FILES)
def test_a_file_of_another_checkpoint_is_refused(saved, tmp_path, name):
    other = Run(1).train(3).save(tmp_path / "other")
    shutil.copyfile(other / name, saved / name)
    assert_refused(saved, Run(1).train(1), f"{name} is not as it was written")


@pytest.mark.parametrize("name", TENSOR_FILES)
def test_a_flipped_bit_is_noticed(saved, name):
    content = bytearray((saved / name).read_bytes())
    content[-1] ^= 1
    (saved / name).write_bytes(content)
    assert_refused(saved, Run(1).train(1), f"{name} is not as it was written")


@pytest.mark.parametrize(("written", "edited"), [('"step": 3', '"step": 4'), ('"seed": 0', '"seed": 1')])
def test_an_edited_manifest_is_noticed(saved, written, edited):
    text = (saved / "manifest.json").read_text()
    assert text.count(written) == 1
    (saved / "manifest.json").write_text(text.replace(written, edited))
    assert_refused(saved, Run(1).train(1), "manifest.json is not as it was written")


def test_a_checkpoint_of_a_deeper_network_is_refused(saved, tmp_path):
    deeper = Run(0)
    deeper.model.append(nn.Linear(2, 2))
    deeper.optimizer.add_param_group({"params": list(deeper.model[3].parameters())})
    deeper.ema = EMAModel(deeper.model.parameters(), decay=0.9)
    assert_refused(deeper.train(1).save(tmp_path / "deeper"), Run(1).train(1), "another network")


def test_a_fused_optimizer_goes_on_exactly_with_channels_last_weights(tmp_path):
    """Its kernel walks weights and moments in memory order, and the file knows nothing of memory layouts."""

    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model(torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = make()
    train(model, optimizer)
    folder = save_checkpoint(tmp_path, state_at(1), TrainingTensors(model, optimizer), 0, "none")
    train(model, optimizer)
    resumed, its_optimizer = make()
    load_tensors(folder, state_at(1), TrainingTensors(resumed, its_optimizer))
    train(resumed, its_optimizer)
    assert torch.equal(resumed.weight, model.weight)


def test_what_a_killed_save_left_is_cleared_away(tmp_path):
    (tmp_path / ".checkpoint-7.partial").mkdir(parents=True)
    Run(0).train(1).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_which_checkpoints_are_tried(tmp_path):
    run = Run(0)
    for _ in range(3):
        run.train(5).save(tmp_path)
    assert [path.name for path in find_checkpoints(tmp_path, "latest")] == [
        "checkpoint-15", "checkpoint-10", "checkpoint-5",
    ]  # fmt: skip
    assert find_checkpoints(tmp_path, "checkpoint-5") == [tmp_path / "checkpoint-5"]
    assert find_checkpoints(tmp_path, str(tmp_path / "checkpoint-5")) == [tmp_path / "checkpoint-5"]
    with pytest.raises(CheckpointError, match="no checkpoint-6;.* holds: checkpoint-5, checkpoint-10, checkpoint-15"):
        find_checkpoints(tmp_path, "checkpoint-6")
    with pytest.raises(CheckpointError, match="holds: none"):
        find_checkpoints(tmp_path / "empty", "checkpoint-6")


def test_the_same_settings_after_a_way_through_the_file_are_the_same_run(tmp_path):
    config = TrainingConfig(learning_rate=1e-5, max_train_seconds=0.1, random_flip=True)
    state = Run(1).load(Run(0).train(1).save(tmp_path, config=config))
    check_unchanged(tmp_path, state, state_at(7, config))


def test_settings_that_do_not_change_the_run_may_differ():
    state = state_at(1, TrainingConfig(train_data_dir="here"))
    now = TrainingConfig(
        output_dir="elsewhere", max_train_steps=7, num_epochs=3, save_images_steps=0, checkpoints_total_limit=1,
        train_batch_size=4, gradient_accumulation_steps=2, resume_from_checkpoint="latest", train_data_dir="moved",
    )  # fmt: skip
    check_unchanged(Path("checkpoint-1"), state, state_at(7, now))


def test_differing_settings_are_all_named():
    state = state_at(1)
    now = TrainingConfig(seed=5, learning_rate=1e-3, resolution=64, num_epochs=3)
    with pytest.raises(OtherRunError) as error:
        other = {**NETWORK, "dropout": 0.2, "act_fn": "relu"}
        check_unchanged(Path("run/checkpoint-1"), state, TrainingState(7, 16, now.public(), other, "other", {}, 2, {}))
    message = str(error.value)
    for words in (
        "run/checkpoint-1", "--seed was 0, now 5", "--learning_rate was 0.0006, now 0.001",
        "--resolution was 32, now 64", "pictures an update were 8, now 16",
        "the training pictures or their labels are others", "the network's dropout was 0.1, now 0.2",
        "the network's act_fn was None, now relu",
    ):  # fmt: skip
        assert words in message
    assert "num_epochs" not in message and "layers_per_block" not in message
