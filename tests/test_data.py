"""From data sets, archives and class folders to the tensors that training indexes."""

import hashlib
import itertools
import json
import math
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm import load_sprites, sprite_tensors
from pokemon_ddpm.class_folder import is_class_folder
from pokemon_ddpm.data import SpriteTensors, labelled_tensors, load_named, load_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import FEATURES
from pokemon_ddpm.preprocessing import preprocess
from pokemon_ddpm.vocabulary import COLORS
from tests.labelled_images import CLASSES, SIZE, box_image, expected, folder_of_classes, labelled, parquet
from tests.small_archives import PARAS, png, write

NUMBERS = {
    "color", "shape", "body", "game", "view", "finish", "form", "frame", "legendary", "height", "weight", "dex_number",
    "index", "line", "evolves_from",
}  # fmt: skip
LABELS = [0, 1, 2, 1, 0, 2, 2, 0, 1]


def refused(function, *arguments: object, **options: object) -> str:
    with pytest.raises(ValueError) as error:
        function(*arguments, **options)
    return str(error.value)


def made(count: int = 2, **columns: list) -> datasets.Dataset:
    """Rows with all columns of the sprites; some are given."""
    image = Image.new("RGB", (96, 96), "white")
    image.paste((10, 120, 230), (30, 30, 40, 60))
    empty = {"string": "", "list": []}
    kinds = {name: getattr(feature, "dtype", "list") for name, feature in FEATURES.items()}
    values = {name: [empty.get(kind, 0)] * count for name, kind in kinds.items()}
    return datasets.Dataset.from_dict({**values, "image": [image] * count, **columns}, features=FEATURES)


def test_the_starter_set_becomes_tensors(sprites_cache: Path) -> None:
    tensors = load_tensors(None, "validation", 64, cache_dir=sprites_cache)
    assert tensors.images.shape == (108, 4, 64, 64) and tensors.images.dtype == torch.uint8
    assert tensors.labels.keys() == NUMBERS | {"type", "size"}  # no tags
    assert all(ids.dtype == torch.int64 for ids in tensors.labels.values())
    for name, ids in tensors.labels.items():
        assert tensors.digest() != replace(tensors, labels={**tensors.labels, name: ids + 1}).digest()
    for number, row in enumerate(load_sprites(split="validation", cache_dir=sprites_cache)):
        labels = {name: ids[number].tolist() for name, ids in tensors.labels.items()}
        # Each size begins at twice the height of the one before, from 4 dm on.
        assert labels.pop("size") == min(4, max(0, int(math.log2(row["height"])) - 1))
        assert labels.pop("type") == [row["type1"], row["type2"]]
        assert labels == {name: -1 if row[name] is None else int(row[name]) for name in NUMBERS}
        assert np.array_equal(tensors.images[number].permute(1, 2, 0).numpy(), preprocess(row["image"], 64))


# Checkpoints hold these digests.
@pytest.mark.parametrize(
    "config, resolution, mode, digest",
    [("front", 32, "fit", "64fce11027292393"), ("front", 64, "fit", "5a18664a4479d5f3"),
     ("front", 32, "thesis", "a718774045e6012b"), ("all", 32, "fit", "9a2e2174372a1d5a"),
     ("front", 64, "pixel", "c7e5c4ff633689d9")],
)  # fmt: skip
def test_the_real_sprites_become_tensors(config, resolution, mode, digest, sprites_dir, sprites_cache) -> None:
    tensors = load_tensors(sprites_dir, "test", resolution, config_name=config, mode=mode, cache_dir=sprites_cache)
    assert tensors.digest().startswith(digest)


def test_the_options_of_the_archive_are_passed_on(small: Path, cache: Path) -> None:
    options = {"config_name": "all", "deduplicate": True, "exclude_faulty": True}
    tensors = load_tensors(small, "train", 16, mode="thesis", cache_dir=cache, **options)
    expected_rows = load_sprites(small, "all", split="train", cache_dir=cache)
    assert tensors.digest() == sprite_tensors(expected_rows, 16, "thesis").digest() and len(tensors) == 4
    (small / PARAS).write_bytes(b"garbage")
    assert f"{PARAS}: cannot be decoded" in refused(load_tensors, small, "train", 16, cache_dir=cache)


def test_labels_and_unknown_values() -> None:
    labels = sprite_tensors(made(weight=[None, 905], legendary=[True, False], color=[3, 3], finish=[0, 1]), 8).labels
    assert labels["weight"].tolist() == [-1, 905] and labels["legendary"].tolist() == [1, 0]
    assert labels["color"].tolist() == [3, len(COLORS)]  # a shiny has not the color of its species
    few = made().select_columns(["image", "type1", "type2", "name"]).add_column("size", [12, 99])
    assert sprite_tensors(few, 8).labels.keys() == {"type"}
    labels = sprite_tensors(made(12, height=[1, 3, 4, 7, 8, 15, 16, 31, 32, 1000, 0, None]), 8).labels
    assert labels["size"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]  # 5: unknown


def test_unusable_columns_of_sprites_are_refused() -> None:
    assert "The column type1 must be a ClassLabel" in refused(sprite_tensors, made().remove_columns("type1"), 8)
    assert "give --label_column (of this data set: kind)" in refused(sprite_tensors, labelled(LABELS), 8)
    for column in ("color", "legendary"):
        other = made().cast_column(column, datasets.ClassLabel(names=["red", "green"]))
        assert f"The column {column} must be a" in refused(sprite_tensors, other, 8)
    other = made().remove_columns("tags").add_column("tags", ["fox wings", "owl"])
    assert "The column tags must be a List" in refused(sprite_tensors, other, 8)
    assert sprite_tensors(made(tags=[["fox", None], ["", " "]]), 8).own_values == {"tags": ("fox",)}
    assert "must not be empty" in refused(sprite_tensors, made(type2=[0, None]), 8)


def tensors(dataset: datasets.Dataset, **columns: str) -> SpriteTensors:
    return labelled_tensors(dataset, SIZE, "fit", **{"image_column": "art", "label_column": "kind", **columns})


def test_a_labelled_set_becomes_tensors() -> None:
    data = tensors(labelled([*LABELS, -1, None]))
    assert data.images.dtype == torch.uint8 and data.images.is_contiguous()
    images = [expected(max(label or 0, 0), number) for number, label in enumerate([*LABELS, -1, None])]
    assert np.array_equal(data.images, images)
    assert data.labels["type"].tolist() == [*([label, 3] for label in LABELS), [-1, -1], [-1, -1]]  # 3: none
    assert data.labels.keys() == {"type"} and data.type_names == tuple(CLASSES)


def test_all_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    paths = [str(tmp_path / "a.eps"), "https://example.com/a.png", "/dev/zero"]
    images = [box_image(0, 0), {"bytes": b"no image", "path": None}, None, *paths]
    rows = datasets.Dataset.from_dict({"art": images, "kind": [0] * 6}, features=labelled([0]).features)
    headline, *lines = refused(tensors, rows).split("\n  ")
    assert headline == "The column art: 5 unusable. Repair or remove them:"
    unknown = "cannot be decoded (unknown format)"
    reasons = {1: unknown, 2: "is not a file", 3: unknown, 4: "is not a file", 5: "is not a file"}
    assert lines == [f"row {row}: {reason}" for row, reason in reasons.items()]


def test_columns_of_another_kind_are_refused() -> None:
    rows = labelled([0, 1], note=["a", "b"])
    message = refused(tensors, rows, image_column="pic")
    assert message == "--image_column pic is missing. Columns of type Image: art."
    message = refused(tensors, rows, label_column="note")
    assert "note is Value" in message and "of type ClassLabel: kind. class_encode_column" in message
    assert "column kind has the label -1, which is not from 0 to 2" in refused(tensors, labelled([-1, None]))
    table = labelled([0, 1]).data.table.set_column(1, "kind", [[0, 3]]).replace_schema_metadata()
    wrong = datasets.Dataset(table, info=datasets.DatasetInfo(features=labelled([0]).features))
    assert "has the label 3, which is not from 0 to 2" in refused(tensors, wrong)
    unnamed = labelled([0, 1], names=["0", "b ", "c,d"], art=[None, None])
    assert refused(tensors, unnamed).startswith("Unusable class names: 'b ', 'c,d'.")  # before any image is read


def test_a_named_data_set_is_loaded(tmp_path: Path, cache: Path) -> None:
    labelled(LABELS).save_to_disk(tmp_path / "arrow")
    rows = load_named(str(tmp_path / "arrow"), None, "train", cache)
    assert tensors(rows).digest() == tensors(labelled(LABELS)).digest()
    rows = load_named(str(folder_of_classes(tmp_path / "art", {"a": 2, "b": 2})), None, "train", cache)
    assert labelled_tensors(rows, SIZE).labels["type"].tolist() == [[0, 2]] * 2 + [[1, 2]] * 2


def test_a_data_set_reads_nothing_outside_of_its_folder(tmp_path: Path, cache: Path, hub) -> None:
    for name in ("own", "other"):
        write(tmp_path / name, "0.png", png(box_image(0, 0)))
        images = [{"bytes": b"", "path": str(tmp_path / name / "0.png")}, box_image(1, 1)]
        parquet(tmp_path / name, train=labelled([0, 1], art=images))
    inside = load_named(str(tmp_path / "own"), None, "train", cache)
    assert np.array_equal(tensors(inside).images[0], expected(0, 0))
    (table,) = tmp_path.glob("other/data/*")
    card = b"---\nconfigs:\n- config_name: default\n  data_files: %s\n---\n"
    paths = {"relative": b"../other/data/*", "absolute": os.fsencode(table)}
    sets = {"rows": {"a.parquet": table.read_bytes()}, **{k: {"README.md": card % v} for k, v in paths.items()}}
    for name, files in sets.items():
        for file, content in files.items():
            write(tmp_path / name, file, content)
        hub.create(f"ash/{name}", "dataset").commit(files)
        for source in [str(tmp_path / name), *[f"ash/{name}"] * (name == "rows")]:
            message = refused(load_named, source, None, "train", cache)
            assert "other/" in message and "is not a file in the folder of the data set; move it there" in message
    hub.create("ash/classes", "dataset").commit({f"{name}/0.png": png(box_image(0, 0)) for name in "ab"})
    assert len(labelled_tensors(load_named("ash/classes", None, "train", cache), SIZE)) == 2


def test_a_pickle_in_a_data_set_is_not_loaded(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by torch.load(weights_only=True), as datasets would."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    executed = tmp_path / "executed"
    write(tmp_path / "pandas", "train.pkl", f"cos\nmkdir\n(V{executed}\ntR.".encode())
    write(tmp_path / "webdataset", "a.png", png(box_image(0, 0)))
    with tarfile.open(tmp_path / "webdataset" / "train.tar", "w") as archive:
        archive.add(tmp_path / "webdataset" / "a.png", "a.png")
        archive.add(tmp_path / "pandas" / "train.pkl", "a.pth")
    (tmp_path / "webdataset" / "a.png").unlink()
    for name, reason in (("pandas", "No (supported) data files"), ("webdataset", "has the format webdataset")):
        assert reason in refused(load_named, str(tmp_path / name), None, "train", cache)
    assert not executed.exists()


def test_names_that_cannot_be_loaded_are_refused(tmp_path: Path, cache: Path) -> None:
    broken = parquet(tmp_path / "broken", train=labelled(LABELS))
    (broken / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    for name, reason in {
        str(tmp_path / "missing"): "cannot be loaded: Couldn't find any data file",
        "~nouser/x": "cannot be loaded: Couldn't find any data file",
        str(broken): "cannot be loaded: ",
    }.items():
        message = refused(load_named, name, None, "train", cache)
        assert message.startswith(name) and reason in message


def test_large_metadata_of_a_data_set_are_not_read(tmp_path: Path, hub) -> None:
    large = f"x: {'x' * 2**16}\n"
    for number, (file, content) in enumerate({"README.md": f"---\n{large}---\n", ".huggingface.yaml": large}.items()):
        folder = folder_of_classes(tmp_path / file, {"a": 1})
        (folder / file).write_text(content)
        hub.create(f"ash/{number}", "dataset").commit({file: content.encode()})
        for name in (str(folder), f"ash/{number}"):
            assert f"{name} cannot be loaded: " in (message := refused(load_named, name, None, "train"))
            assert "larger than" in message


@pytest.fixture
def art(tmp_path: Path) -> Path:
    """Forty images in three classes; one has a single image."""
    return folder_of_classes(tmp_path / "my [art]", {"Cat": 25, "dog": 14, "owl": 1})


def load(folder: Path, split: str = "train", **options: object) -> SpriteTensors:
    return load_tensors(folder, split, SIZE, **{"mode": "fit", **options})


def contents(data: SpriteTensors) -> set[tuple[int, bytes]]:
    classes = data.labels["type"][:, 0].tolist()
    return {(label, image.numpy().tobytes()) for label, image in zip(classes, data.images, strict=True)}


def test_a_tenth_of_each_class_is_held_out(art: Path) -> None:
    train, held_out = load(art), load(art, "validation")
    assert train.type_names == held_out.type_names == ("Cat", "dog", "owl")
    counts = [torch.bincount(split.labels["type"][:, 0], minlength=3).tolist() for split in (train, held_out)]
    assert counts == [[23, 13, 1], [2, 1, 0]] and (train.labels["type"][:, 1] == 3).all()
    every = {(label, expected(label, i).tobytes()) for label, n in enumerate((25, 14, 1)) for i in range(n)}
    assert contents(train) | contents(held_out) == every and len(train) + len(held_out) == 40
    # Those with the smallest SHA-256 of the path. Another choice would change the digest that checkpoints hold.
    ranked = sorted(range(25), key=lambda number: hashlib.sha256(f"Cat/{number:03d}.png".encode()).digest())
    chosen = {(0, expected(0, number).tobytes()) for number in ranked[:2]}
    assert {content for content in contents(held_out) if content[0] == 0} == chosen
    alone = load(art / "Cat"), load(art / "Cat", "validation")  # images without folders are one class
    assert alone[0].type_names == ("image",) and [*map(len, alone)] == [23, 2]


def test_folders_above_the_classes_are_splits(tmp_path: Path) -> None:
    for split, counts in {"Train": {"a": 3, "b": 2}, "val": {"b": 1}, "test": {"a": 2}}.items():
        folder_of_classes(tmp_path / split, counts)
    splits = {split: load(tmp_path, split) for split in ("train", "validation", "test")}
    classes = {split: data.labels["type"][:, 0].tolist() for split, data in splits.items()}
    assert classes == {"train": [0, 0, 0, 1, 1], "validation": [1], "test": [0, 0]}
    assert {data.type_names for data in splits.values()} == {("a", "b")}
    (tmp_path / "val").rename(tmp_path / "elsewhere")
    assert "elsewhere/b/000.png: expected SPLIT/CLASS/FILE" in refused(load, tmp_path)
    shutil.rmtree(tmp_path / "elsewhere")
    message = refused(load, tmp_path, "validation")
    assert "contains no images for validation. Without held-out images, train with --validation_steps 0" in message


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("split", ["", "train"])
def test_labels_in_metadata(tmp_path: Path, kind: str, split: str) -> None:
    (tmp_path / split / "images").mkdir(parents=True)
    rows = [(f"images/{i}.png", ["10", "9"][i % 2]) for i in range(5)]
    for i, (name, label) in enumerate(rows):
        box_image(int(label) % 2, i).save(tmp_path / split / name)
    lines = [json.dumps({"file_name": name, "label": int(label)}) for name, label in rows]
    if kind == "csv":
        lines = ["file_name,text,label", *(f"{name},x,{label}" for name, label in rows)]
    (tmp_path / split / f"metadata.{kind}").write_text("\n".join(lines))
    assert is_class_folder(tmp_path)
    data = load(tmp_path)
    assert data.type_names == ("9", "10")
    wanted = {(int(label == "10"), expected(int(label) % 2, i).tobytes()) for i, (_, label) in enumerate(rows)}
    assert contents(data) | (set() if split else contents(load(tmp_path, "validation"))) == wanted


def test_further_columns_of_metadata_are_attributes(tmp_path: Path, caplog) -> None:
    """Beside class folders, with creatures of four images, which are held out together."""
    art, rows = folder_of_classes(tmp_path / "art", {"a": 20, "b": 20}), []
    columns = ("file_name", "view", "mood", "creature", "text", "style", "class\x1b", "line")
    for name in ("a", "b"):
        for i in range(20):
            file, view = f"{name}/{i:03d}.png", ("front", "back")[i % 2]
            row = (file, view, str(9 + i % 3) if i else "", f"{name}{i // 4}", f"sprite {name}{i}", "some", "7", view)
            rows.append(dict(zip(columns, row, strict=True)))
    (art / "metadata.csv").write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]))
    train, held_out = load(art), load(art, "validation")
    words = train.own_values.pop("tags"), held_out.own_values.pop("tags")
    assert train.own_values == held_out.own_values == {"view": ("front", "back"), "mood": ("9", "10", "11")}
    assert [len(tags) for tags in words] == [33, 9] and {*words[0]} & {*words[1]} == {"sprite"}
    assert train.varying_attributes() == ["type", "view", "mood"] and (len(train), len(held_out)) == (32, 8)
    unnamed = " (not a possible name of an attribute)"
    reasons = f"style (one value), class\\x1b{unnamed}, line{unnamed}"
    assert f"3 columns that are no attributes are ignored: {reasons}" in caplog.text
    both = train.labels.keys() - {"tags"}
    labels = {name: torch.cat([train.labels[name], held_out.labels[name]]).tolist() for name in both}
    assert sorted(labels["view"]) == [0] * 20 + [1] * 20 and sorted(labels["mood"])[:3] == [-1, -1, 0]
    assert [len(split.labels["index"].unique()) for split in (train, held_out)] == [8, 2]
    assert train.digest() != replace(train, own_values={**train.own_values, "mood": ("x", "y", "z")}).digest()
    rows = [{**row, "mood": "any" if row["mood"] == "9" else row["mood"]} for row in rows]
    (art / "metadata.csv").unlink()
    (art / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert "Unusable values of mood: 'any'. A name must" in refused(load, art)


@pytest.mark.parametrize(("content", "message"), [
    ("name,view\na/000.png,front", "metadata.csv needs the column file_name, but its columns are name, view."),
    ("file_name,view\n\x1b.png,front", "\n  \\x1b.png: there is no such image"),
    ("file_name,view\n\x1b.png,x\n\x1b.png,y", "metadata.csv has two different rows for \\x1b.png; keep one."),
    ("file_name,\x1b,\x1b\na/000.png,a,b", "metadata.csv cannot be read: there are several columns named \\x1b"),
    ("file_name,label\na/000.png,x", "a/001.png: expected FILE, with a label in its metadata"),
    ("file_name,mood\na/000.png,fr\xf6hlich", "metadata.csv cannot be read: it is not in UTF-8"),
    (f"file_name,label\na/000.png,{'1' * 5000}\na/001.png,2", "Unusable class names: '1111"),
])  # fmt: skip
def test_mistakes_in_the_metadata_beside_class_folders(tmp_path: Path, content: str, message: str) -> None:
    folder = folder_of_classes(tmp_path, {"a": 3, "b": 3})
    (folder / "metadata.csv").write_text(content, encoding="latin-1")
    assert message in refused(load, folder)


def test_metadata_is_a_file_in_the_folder(tmp_path: Path) -> None:
    file, outside = folder_of_classes(tmp_path / "art", {"a": 2, "b": 2}) / "metadata.jsonl", tmp_path / "outside"
    outside.write_text("file_name,label\na/000.png,x\n")
    for make, reason in {
        os.mkfifo: "is not a file",
        lambda file: file.symlink_to("/dev/zero"): "is not a file",
        lambda file: file.symlink_to(outside): "is a link out of the folder",
        lambda file: (file.touch(), os.truncate(file, 2**24 + 1)): "larger than 16 MiB",
        lambda file: file.write_text('{"a": 1}\n{'): "Expecting property name enclosed in double quotes: line 2",
        lambda file: file.write_text("1\n1,2"): "",
        lambda file: file.write_text("[" * 200_000 + '"'): "",
    }.items():
        make(file)
        assert refused(load, file.parent).startswith(f"{file} cannot be read: {reason}")
        file.unlink()


def test_bad_files_of_a_split_are_named_at_once_and_classes_without_an_image(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (folder_of_classes(tmp_path / split, {"a": 2, "b": 1}) / "b" / "000.png").write_bytes(b"no image")
        (tmp_path / split / "a" / "000.png").write_bytes(b"no image")
        message = refused(load, tmp_path, "validation" if split == "val" else "train")
        assert "2 unusable" in message and f"{split}/a/000.png" in message and f"{split}/b/000.png" in message
    folder_of_classes(tmp_path / "val", {"only-val": 1}), shutil.rmtree(tmp_path / "train" / "b")
    (tmp_path / "val" / "b" / "000.png").unlink(), (tmp_path / "train" / "a" / "000.png").unlink()
    assert "there is no training image of only-val; add one" in refused(load, tmp_path)


def test_splits_are_no_classes(tmp_path: Path) -> None:
    folder = folder_of_classes(tmp_path, {"train": 3, "Test": 2})
    assert f"{folder}: Test, train are splits and contain no folders of classes. Put" in refused(load, folder)
    assert load(folder_of_classes(tmp_path / "vehicles" / "train", {"train": 3}).parent).type_names == ("train",)
    for name, kind in {"pets": "cat", "birds": "owl"}.items():  # of nested folders the last ones are classes
        folder_of_classes(tmp_path / "art" / name, {kind: 2})
    assert load(tmp_path / "art").type_names == ("cat", "owl")


def test_no_more_than_two_thirds_of_a_class_are_held_out(tmp_path: Path) -> None:
    """Of large creatures that come first, of creatures of two classes, and of pairs."""
    folder = folder_of_classes(tmp_path, {"a": 10, "b": 8, "c": 2})
    for first, second in itertools.permutations("xy"):
        creatures = {"a": [first] * 9 + [second], "b": ["p"] * 4 + ["q"] * 4, "c": ["p", "q"]}
        rows = [f"{label}/{i:03d}.png,{name}" for label, names in creatures.items() for i, name in enumerate(names)]
        (folder / "metadata.csv").write_text("\n".join(["file_name,creature", *rows]))
        classes = [load(folder, split).labels["type"][:, 0] for split in ("train", "validation")]
        assert [torch.bincount(ids).tolist() for ids in classes] == [[9, 4, 1], [1, 4, 1]]


def test_all_that_is_no_image_is_named_or_skipped(art: Path, tmp_path: Path, caplog) -> None:
    before = load(art).digest()
    for name in (".DS_Store", "Cat/.hidden.png", "README.txt", "__pycache__/x.png", ".git/x.png"):
        (art / name).parent.mkdir(exist_ok=True)
        (art / name).write_bytes(b"nothing")
    (art / "empty").mkdir()
    (art / "Cat" / "loop").symlink_to(tmp_path)  # is not followed
    assert load(art).digest() == before
    outside = folder_of_classes(tmp_path / "outside", {"fox": 1})
    (art / "Cat" / "link.png").symlink_to(outside / "fox" / "000.png")
    (art / "fox").symlink_to(outside / "fox")
    (art / "Cat" / "gone.png").symlink_to(art / "Cat" / "nowhere.png")
    (art / "Cat" / "itself.png").symlink_to("itself.png")
    (art / "Cat" / "inside.png").symlink_to(art / "Cat" / "000.png")
    (art / "dog" / "\x1bnotes.txt").write_text("no image")
    (art / "dog" / "half.png").write_bytes((art / "dog" / "001.png").read_bytes()[:60])
    box_image(0, 0).save(art / "stray\n.png")
    Image.new("L", (9, 9), 255).save(art / "dog" / "white.png")
    message = refused(load, art)
    assert message.startswith(f"{art}: 7 unusable. Repair or remove them:")
    assert {line.strip().split(" (")[0] for line in message.splitlines()[1:]} == {
        "Cat/gone.png: is not a file", "Cat/itself.png: is not a file", "Cat/link.png: is a link out of the folder",
        "fox/000.png: is a link out of the folder", "stray\\n.png: expected CLASS/FILE",
        "dog/half.png: cannot be decoded", "dog/white.png: is empty or white",
    }  # fmt: skip
    assert caplog.text.count("1 files that are no images are ignored: dog/\\x1bnotes.txt") == 1


def test_archives_and_class_folders_are_told_apart(art: Path, small: Path, tmp_path: Path) -> None:
    assert is_class_folder(art) and is_class_folder(str(art))
    nested = tmp_path / "download"
    nested.mkdir()
    small.rename(nested / "archive")
    box_image(0, 0).save(nested / "archive" / "preview.png")
    (tmp_path / "empty").mkdir()
    for path in (nested / "archive", nested, tmp_path / "empty", tmp_path / "nowhere"):
        assert not is_class_folder(path), path
    message = refused(load_tensors, tmp_path / "empty", "train", 32)
    assert "contains no pokedex.csv. Give the folder with it and sprites/, " in message
    assert "Unusable class names: 'any'" in refused(load, folder_of_classes(tmp_path / "x", {"any": 2, "cat": 2}))
