"""A folder with one sub-folder of pictures for each class."""

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm.class_folders import has_class_folders
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.labelled_images import class_folder_tensors, labelled_tensors
from pokemon_ddpm.preprocessing import preprocess
from pokemon_ddpm.training.config import parse_config
from pokemon_ddpm.training.setup import load_split
from tests.labelled_pictures import SIZE, expected, folder_of_classes, picture


@pytest.fixture
def art(tmp_path: Path) -> Path:
    """Forty pictures in three classes, of which one holds a single one."""
    return folder_of_classes(tmp_path / "my art", {"Cat": 25, "dog": 14, "owl": 1})


def load(folder: Path, split: str = "train", **flags: bool) -> SpriteTensors:
    return class_folder_tensors(folder, split, SIZE, **flags)


def refusal(folder: Path, split: str = "train") -> str:
    with pytest.raises(ValueError) as error:
        load(folder, split)
    return str(error.value)


def contents(data: SpriteTensors) -> set[tuple[int, bytes]]:
    classes = data.labels["type"][:, 0].tolist()
    return {(label, image.numpy().tobytes()) for label, image in zip(classes, data.images, strict=True)}


def test_a_tenth_of_each_class_is_held_out(art: Path) -> None:
    train, held_out = load(art), load(art, "validation")
    assert train.type_names == held_out.type_names == ("Cat", "dog", "owl")
    assert torch.bincount(held_out.labels["type"][:, 0], minlength=3).tolist() == [2, 1, 0]
    assert torch.bincount(train.labels["type"][:, 0]).tolist() == [23, 13, 1]
    assert (train.labels["type"][:, 1] == 3).all()
    every = {(label, expected(label, number).tobytes()) for label, count in enumerate((25, 14, 1))
             for number in range(count)}  # fmt: skip
    assert contents(train) | contents(held_out) == every
    assert len(train) + len(held_out) == 40


def test_what_is_held_out_depends_on_names_alone(art: Path, tmp_path: Path) -> None:
    before = contents(load(art, "validation"))
    picture(0, 30).save(art / "dog" / "one-more.png")
    assert len(contents(load(art, "validation")) & before) >= len(before) - 1
    (art / "dog" / "one-more.png").unlink()
    art.rename(tmp_path / "elsewhere")
    assert contents(load(tmp_path / "elsewhere", "validation")) == before


def test_two_of_a_class_are_one_to_train_and_one_held_out(tmp_path: Path) -> None:
    folder_of_classes(tmp_path, {"a": 2, "b": 2})
    assert len(load(tmp_path)) == len(load(tmp_path, "validation")) == 2


def test_pictures_that_are_changed_are_seen(art: Path) -> None:
    before = load(art).digest()
    for file in (art / "Cat").iterdir():
        Image.new("RGB", (9, 9), (1, 2, 3)).save(file)
    after = load(art)
    assert after.digest() != before
    assert (after.images[0, :, 4:12, 4:12] == torch.tensor([1, 2, 3])[:, None, None]).all()


def test_folders_above_the_classes_are_splits(tmp_path: Path) -> None:
    for split, counts in {"Train": {"a": 3, "b": 2}, "val": {"b": 1}, "test": {"c": 2}}.items():
        folder_of_classes(tmp_path / split, counts)
    splits = {split: load(tmp_path, split) for split in ("train", "validation", "test")}
    assert {split: data.labels["type"][:, 0].tolist() for split, data in splits.items()} == {
        "train": [0, 0, 0, 1, 1], "validation": [1], "test": [2, 2],
    }  # fmt: skip
    assert {data.type_names for data in splits.values()} == {("a", "b", "c")}


def test_it_is_what_datasets_makes_of_it(tmp_path: Path, cache: Path) -> None:
    for split in ("train", "test"):
        folder_of_classes(tmp_path / "own" / split, {"a": 3, "B": 2, "c": 4})
    theirs = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "own"), cache_dir=str(cache))
    for split, rows in theirs.items():
        assert load(tmp_path / "own", split).digest() == labelled_tensors(rows, SIZE).digest()


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    folder_of_classes(tmp_path, {"exam": 2, "test": 2})
    assert load(tmp_path).type_names == ("exam", "test")


def test_without_a_validation_folder_it_says_how_to_train(tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "train", {"a": 3, "b": 2})
    assert len(load(tmp_path)) == 5
    assert "holds no picture for validation. Without held-out pictures" in refusal(tmp_path, "validation")
    assert "holds no picture for validation" in refusal(folder_of_classes(tmp_path / "x", {"a": 1}), "validation")


def test_folders_beside_splits_are_refused(tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "train", {"a": 3})
    folder_of_classes(tmp_path, {"b": 1})
    assert "holds train/, which is a split, and beside it b: give either" in refusal(tmp_path)


def test_all_that_is_no_picture_is_named_or_skipped(art: Path, tmp_path: Path, caplog) -> None:
    before = load(art).digest()
    for name in (".DS_Store", "Cat/.hidden.png", "Cat/Thumbs.db", "README.txt", "__pycache__/x.png", ".git/x.png"):
        (art / name).parent.mkdir(exist_ok=True)
        (art / name).write_bytes(b"nothing")
    (art / "empty").mkdir()
    assert load(art).digest() == before
    picture(0, 0).save(tmp_path / "secret.png")
    (tmp_path / "more").mkdir()
    picture(0, 0).save(tmp_path / "more" / "x.png")
    (art / "Cat" / "link.png").symlink_to(tmp_path / "secret.png")
    (art / "Cat" / "gone.png").symlink_to(art / "Cat" / "nowhere.png")
    (art / "Cat" / "inside.png").symlink_to(art / "Cat" / "000.png")
    (art / "fox").symlink_to(tmp_path / "more")
    (art / "dog" / "puppies").mkdir()
    (art / "dog" / "notes.txt").write_text("no picture")
    (art / "dog" / "half.png").write_bytes((art / "dog" / "001.png").read_bytes()[:60])
    picture(0, 0).save(art / "stray.png")
    said = refusal(art)
    assert said.startswith(f"{art}: 7 unusable. Repair or remove them, or pass --skip_bad_images")
    for line in (
        "Cat/gone.png: is no file", "Cat/link.png: links out of the folder", "fox: links out of the folder",
        "dog/puppies: is a folder", "dog/notes.txt: does not decode", "dog/half.png: does not decode",
        "stray.png: lies in no class's folder",
    ):  # fmt: skip
        assert f"\n  {line}" in said
    data, held_out = (load(art, split, skip_bad_images=True) for split in ("train", "validation"))
    assert "7 unusable, skipped:" in caplog.text
    assert data.type_names == ("Cat", "dog", "owl") and len(data) + len(held_out) == 41  # one of them by the link


def test_duplicates_can_be_left_out(tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "train", {"a": 3, "b": 2})
    picture(0, 1).save(tmp_path / "train" / "b" / "again.png")
    assert len(load(tmp_path)) == 6
    assert load(tmp_path, deduplicate=True).labels["type"][:, 0].tolist() == [0, 0, 0, 1, 1]
    (tmp_path / "train" / "b" / "bad.png").write_bytes(b"bad")
    data = load_split(parse_config([f"--train_data_dir={tmp_path}", "--deduplicate", "--skip_bad_images"]), "train")
    assert len(data) == 5


def test_a_class_name_that_could_not_be_asked_for_is_refused(tmp_path: Path) -> None:
    assert "'any' has a meaning of its own" in refusal(folder_of_classes(tmp_path, {"any": 2, "cat": 2}))


def test_the_mode_is_passed_on(art: Path) -> None:
    data = class_folder_tensors(art, "train", 32, "thesis")
    image = Image.new("RGBA", (15, 20), "white")
    image.alpha_composite(picture(0, 0))
    pixels = preprocess(image.convert("RGB"), 32, "thesis").transpose(2, 0, 1)
    assert any(np.array_equal(pixels, each) for each in data.images.numpy())


def test_the_archive_and_a_folder_of_classes_are_told_apart(art: Path, small: Path, tmp_path: Path) -> None:
    assert has_class_folders(art) and has_class_folders(str(art))
    nested = tmp_path / "download"
    nested.mkdir()
    small.rename(nested / "archive")
    picture(0, 0).save(nested / "archive" / "preview.png")
    for path in (nested / "archive", nested, art / "Cat", art / "Cat" / "000.png", tmp_path / "nowhere"):
        assert not has_class_folders(path), path


def test_the_settings_follow_from_the_folder(art: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config([f"--train_data_dir={art}"])
    assert (config.dataset_config_name, config.output_dir) == (None, "outputs/my art-32")
    monkeypatch.chdir(art)
    assert parse_config(["--train_data_dir=."]).output_dir == "outputs/my art-32"
    assert parse_config([f"--train_data_dir={small}"]).dataset_config_name == "front"
    assert load_split(config, "train").digest() == class_folder_tensors(art, "train", 32).digest()


@pytest.mark.parametrize("flag", ["--dataset_config_name=front", "--exclude_faulty"])
def test_flags_of_the_archive_are_refused(flag: str, art: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parse_config([f"--train_data_dir={art}", flag])
    assert "are about the sprite archive, but" in capsys.readouterr().err


def test_a_folder_that_is_neither_is_refused(art: Path) -> None:
    config = parse_config([f"--train_data_dir={art / 'Cat'}"])
    with pytest.raises(ValueError, match="is neither the sprite archive .* nor are there sub-folders with pictures"):
        load_split(config, "train")
