"""Pictures with class labels of their own, from columns of a data set or from a folder of folders, to a pipeline."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline, load_sprites, sprite_tensors
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.labelled_images import check_class_names, labelled_tensors, square
from pokemon_ddpm.training.config import parse_config
from pokemon_ddpm.training.setup import load_split
from tests.generating import run as command
from tests.labelled_pictures import CLASSES, SIZE, expected, folder_of_classes, labelled, parquet, picture
from tests.small_archives import png
from tests.training_runs import assert_same_checkpoint, tiny_flags, train

LABELS = [0, 1, 2, 1, 0, 2, 2, 0, 1]


def tensors(dataset: datasets.Dataset, **columns: str) -> SpriteTensors:
    return labelled_tensors(dataset, SIZE, "fit", **{"image_column": "picture", "label_column": "kind", **columns})


def refusal(dataset: datasets.Dataset, **columns: str) -> str:
    with pytest.raises(ValueError) as error:
        tensors(dataset, **columns)
    return str(error.value)


def test_a_labelled_set_becomes_tensors() -> None:
    data = tensors(labelled(LABELS))
    assert data.images.dtype == torch.uint8 and data.images.is_contiguous()
    assert np.array_equal(data.images, [expected(label, number) for number, label in enumerate(LABELS)])
    assert data.labels.keys() == {"type"} and data.labels["type"].dtype == torch.int64
    assert data.labels["type"].tolist() == [[label, 3] for label in LABELS]  # 3: no second one
    assert data.type_names == tuple(CLASSES)


@pytest.mark.parametrize("missing", [-1, None])
def test_a_picture_without_a_label_says_nothing(missing: int | None) -> None:
    data = tensors(labelled([2, missing]))
    assert data.labels["type"].tolist() == [[2, 3], [-1, -1]]
    assert data.described({"type": 4}).labels["type"].tolist() == [[2, 3], [4, 4]]
    assert data.described({"type": 4}).to(torch.device("meta")).type_names == tuple(CLASSES)


def test_the_digest_tells_class_names_apart() -> None:
    names = [CLASSES, ["tall", "flat", "wide"], ["Tall", "flatwide", "box"]]
    assert len({tensors(labelled(LABELS, each)).digest() for each in names}) == 3
    assert tensors(labelled(LABELS)).digest() == tensors(labelled(LABELS)).digest()


def test_the_digest_of_sprites_is_of_pictures_and_labels_alone() -> None:
    """Checkpoints hold it."""
    data = SpriteTensors(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), {"type": torch.tensor([[1, 18]])})
    content = bytes(192) + b"type" + (1).to_bytes(8, "little") + (18).to_bytes(8, "little")
    assert data.digest() == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "P with transparency", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_of_any_mode(mode: str) -> None:
    """A black box on white, or on nothing where the mode can say so."""
    image = Image.new("L", (24, 20), 255)
    image.paste(0, (3, 5, 11, 9))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA", "P with transparency"):
        clear = Image.eval(image, lambda value: 255 - value)
        image = Image.new("LA", image.size, (0, 0))
        image.putalpha(clear)
        image = image.convert(mode) if len(mode) < 5 else image.convert("RGBA").quantize(4)
    else:
        image = image.convert(mode)
    stored = image if mode == "CMYK" else {"bytes": png(image), "path": None}
    rows = datasets.Dataset.from_dict({"picture": [stored], "kind": [0]}, features=labelled([0]).features)
    black = np.full((3, SIZE, SIZE), 255)
    black[:, 6:10, 4:12] = 0
    assert abs(tensors(rows).images[0].numpy() - black.astype(float)).max() <= 1


def test_a_picture_with_a_transparent_colour_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 20), (1, 2, 3))
    image.paste((200, 0, 0), (5, 5, 10, 10))
    image.save(tmp_path / "a.png", transparency=(1, 2, 3))
    features = labelled([0]).features
    rows = datasets.Dataset.from_dict({"picture": [str(tmp_path / "a.png")], "kind": [0]}, features=features)
    images = tensors(rows).images[0]
    assert images[:, 0, 0].tolist() == [255] * 3 and images[:, 8, 8].tolist() == [200, 0, 0]


@pytest.mark.parametrize("size", [(16, 16), (64, 64)])
def test_a_picture_that_fills_its_frame_has_no_margin(size: tuple[int, int]) -> None:
    pixels = square(Image.new("RGB", size, (10, 20, 30)), SIZE)
    assert pixels.shape == (SIZE, SIZE, 3) and (pixels == (10, 20, 30)).all()


def test_a_wide_picture_is_kept_whole() -> None:
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    image.paste((0, 0, 255), (32, 0, 64, 32))
    pixels = square(image, SIZE)
    assert (pixels[:4] == 255).all() and (pixels[12:] == 255).all()
    assert (pixels[4:12, :7] == (255, 0, 0)).all() and (pixels[4:12, 9:] == (0, 0, 255)).all()


@pytest.mark.parametrize("size, box", [((1, 1), (7, 7, 8, 8)), ((6, 3), (5, 6, 11, 9)), ((900, 2), (0, 7, 16, 8))])
def test_a_small_or_thin_picture_is_put_in_the_middle(size: tuple, box: tuple) -> None:
    dark = Image.fromarray(square(Image.new("RGB", size, (0, 0, 0)), SIZE)).convert("L").point(lambda v: 255 - v)
    assert dark.getbbox() == box


def test_an_empty_picture_is_white() -> None:
    assert (square(Image.new("RGB", (5, 5), "white"), SIZE) == 255).all()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"image_column": "pic"},
            "--image_column pic: there is no such column, but picture, kind, note. Of the kind Image: p",
        ),
        ({"image_column": "note"}, "--image_column note: the column must be of the kind Image, but is Value"),
        (
            {"label_column": "class"},
            "--label_column class: there is no such column, but picture, kind, note. Of the kind Cl",
        ),
        ({"label_column": "note"}, "must be of the kind ClassLabel, but is Value"),
        (
            {"label_column": "note"},
            "Of the kind ClassLabel: kind. To make classes of its values, save the data set after cl",
        ),
        ({"label_column": "picture"}, "must be of the kind ClassLabel, but is Image"),
    ],
)
def test_columns_of_another_kind_are_refused(columns: dict[str, str], said: str) -> None:
    assert said in refusal(labelled([0, 1], note=["a", "b"]), **columns)


def test_without_any_label_it_is_refused() -> None:
    assert refusal(labelled([-1, -1])) == "No picture has a label in the column kind."
    assert "Of the kind ClassLabel: none." in refusal(labelled([0]).remove_columns("kind"))


def test_a_label_beyond_the_classes_is_refused() -> None:
    table = labelled([0, 1], names=["a", "b", "c", "d"]).data.table
    table = table.set_column(1, "kind", [[0, 3]]).replace_schema_metadata()
    rows = datasets.Dataset(table, info=datasets.DatasetInfo(features=labelled([0]).features))
    assert refusal(rows) == "The column kind holds 3, but has 3 classes, from 0."


def test_all_pictures_that_cannot_be_read_are_named() -> None:
    pictures = [picture(0, 0), {"bytes": b"no picture", "path": None}, None]
    rows = datasets.Dataset.from_dict({"picture": pictures, "kind": [0, 1, 2]}, features=labelled([0]).features)
    said = refusal(rows)
    assert said.startswith("2 unusable pictures in the column picture:\n  row 1: does not decode (no known format)")
    assert said.endswith("\n  row 2: no picture")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", " "], "' ' is empty"),
        (["a", "b "], "'b ' is empty, or has space at an end"),
        (["a", "b\n"], "does not print"),
        (["a", "Any"], "'Any' has a meaning of its own"),
        (["none", "a"], "'none' has a meaning of its own"),
        (["a", "all"], "'all' has a meaning of its own"),
        (["a/b", "c"], "'a/b' has one of / = , in it"),
        (["a=b", "c"], "'a=b' has one of"),
        (["tench, Tinca tinca", "c"], "'tench, Tinca tinca' has one of"),
        (["Cat", "cat"], "'Cat' is there twice (upper and lower case are the same); 'cat' is there twice"),
        ([f"{i}/" for i in range(12)], "'9/' has one of / = , in it; and 2 more. Rename them: "),
    ],
)
def test_class_names_that_could_not_be_asked_for_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(ValueError) as error:
        check_class_names(names)
    assert str(error.value).startswith("Classes that could not be asked for: ") and said in str(error.value)


def test_class_names_are_checked_before_any_picture_is_read() -> None:
    rows = labelled([0, 1], names=["a", "b/c"], picture=[None, None])
    assert "'b/c'" in refusal(rows)
    check_class_names(["0", "Übung", "wide box", "snake_case-9", "猫"])


@pytest.fixture
def flags(tmp_path: Path, cache: Path) -> list[str]:
    """A run of four updates, of which `run` in tmp_path is the output folder."""
    return [*tiny_flags(tmp_path, cache), "--ddpm_num_inference_steps=2", "--checkpointing_steps=2"]


def columns(folder: Path) -> list[str]:
    return [f"--dataset_name={folder}", "--image_column=picture", "--label_column=kind"]


def said_by(flags: Sequence[str]) -> str:
    """The message of a run that must be refused."""
    with pytest.raises(SystemExit) as stop:
        train(flags)
    return str(stop.value)


def test_a_labelled_set_trains_a_pipeline_of_its_classes(flags: list[str], tmp_path: Path) -> None:
    data = parquet(tmp_path / "boxes", train=labelled(LABELS), validation=labelled([1, -1, 0]))
    flags += [*columns(data), "--save_images_steps=4", "--validation_steps=2"]
    train(flags)
    run = tmp_path / "run"
    pipeline = PokemonDDPMPipeline.from_pretrained(run)
    assert pipeline.conditioner.vocabulary == {"type": CLASSES}
    images = pipeline(["tall", "Wide Box", 1, {"flat": 1, "tall": 2}, None], num_inference_steps=2).images
    assert [image.size for image in images] == [(SIZE, SIZE)] * 5
    assert (run / "samples" / "step-000004.png").is_file()
    assert command("describe", run)[1].endswith(f"type: {', '.join(CLASSES)}")
    words = ["--model", run, "--num-images", 1, "--num-inference-steps", 2]
    assert command("generate", *words, "--type", "wide box", "--output", tmp_path / "box.png")[0] == 0
    assert command("generate", *words, "--type", "all", "--output", tmp_path / "all.png")[0] == 0
    code, said = command("generate", *words, "--type", "tal", "--output", tmp_path / "none.png")
    assert code and "Did you mean 'Tall'?" in said

    # It can be gone on with, and is then what it would have been; but not with other classes.
    (run / "checkpoint-4").rename(tmp_path / "whole")
    train([*flags, "--resume_from_checkpoint=latest"])
    assert_same_checkpoint(run / "checkpoint-4", tmp_path / "whole")
    others = parquet(tmp_path / "others", train=labelled(LABELS, ["x", "y", "z"]), validation=labelled([0]))
    again = [*flags, f"--dataset_name={others}"]
    assert "the training pictures or their labels are others" in said_by([*again, "--resume_from_checkpoint=latest"])
    tuned = [flag for flag in again if not flag.startswith("--model_config")]
    tuned += [f"--pretrained_model_name_or_path={run}", f"--output_dir={tmp_path / 'tuned'}"]
    assert "its conditioner knows other words for type than the data set has." in said_by(tuned)
    train([*tuned, f"--dataset_name={data}", "--max_train_steps=1"])
    assert PokemonDDPMPipeline.from_pretrained(tmp_path / "tuned").conditioner.vocabulary == {"type": CLASSES}


def test_another_label_column_is_another_run(flags: list[str], tmp_path: Path) -> None:
    rows = labelled(LABELS).add_column("other", LABELS, feature=datasets.ClassLabel(names=CLASSES))
    flags += [*columns(parquet(tmp_path / "boxes", train=rows)), "--validation_steps=0", "--max_train_steps=1"]
    train(flags)
    said = said_by([*flags, "--label_column=other", "--resume_from_checkpoint=latest"])
    assert "--label_column was kind, now other" in said


def test_a_folder_of_classes_trains_like_the_same_pictures_in_columns(flags: list[str], tmp_path: Path) -> None:
    art = folder_of_classes(tmp_path / "art" / "train", dict.fromkeys(sorted(CLASSES), 4)).parent
    folder_of_classes(art / "validation", {"flat": 1})
    train([*flags, f"--train_data_dir={art}"])
    run = tmp_path / "run"
    assert PokemonDDPMPipeline.from_pretrained(run).conditioner.vocabulary == {"type": sorted(CLASSES)}
    run.rename(tmp_path / "from-folder")
    files = sorted((art / "train").glob("*/*.png"))
    labels = [sorted(CLASSES).index(file.parent.name) for file in files]
    rows = labelled(labels, sorted(CLASSES), picture=[str(file) for file in files])
    train([*flags, *columns(parquet(tmp_path / "boxes", train=rows)), "--validation_steps=0"])
    one, other = (
        (folder / "checkpoint-4" / "model.safetensors").read_bytes() for folder in (run, tmp_path / "from-folder")
    )
    assert one == other


@pytest.mark.parametrize("split", ["train", "validation"])
def test_exported_sprites_are_the_builder_s(split: str, sprites_cache: Path, tmp_path: Path) -> None:
    sprites = load_sprites(cache_dir=sprites_cache)
    folder = parquet(tmp_path / "sprites", **{split: sprites[split]})
    config = parse_config([f"--dataset_name={folder}", f"--cache_dir={tmp_path / 'cache'}", "--resolution=16"])
    data, built = load_split(config, split), sprite_tensors(sprites[split], 16)
    assert torch.equal(data.images, built.images)
    assert data.labels.keys() == built.labels.keys()
    assert all(torch.equal(ids, built.labels[name]) for name, ids in data.labels.items())
    assert data.digest() == built.digest()


def test_sprites_may_have_their_pictures_in_another_column(sprites_cache: Path, tmp_path: Path) -> None:
    sprites = load_sprites(split="validation", cache_dir=sprites_cache).select(range(9))
    folder = parquet(tmp_path / "sprites", train=sprites.rename_column("image", "art"))
    flags = [f"--dataset_name={folder}", f"--cache_dir={tmp_path / 'cache'}"]
    data = load_split(parse_config([*flags, "--image_column=art"]), "train")
    assert data.digest() == sprite_tensors(sprites, 32).digest()
    with pytest.raises(ValueError, match="--dataset_name .*sprites: The data set lacks the column image; it has art"):
        load_split(parse_config(flags), "train")


def test_without_types_the_label_columns_are_named(tmp_path: Path, cache: Path) -> None:
    folder = parquet(tmp_path / "boxes", train=labelled(LABELS))
    config = parse_config([f"--dataset_name={folder}", "--image_column=picture", f"--cache_dir={cache}"])
    with pytest.raises(ValueError, match="lacks the columns type1, type2; .* give --label_column: kind"):
        load_split(config, "train")


def test_without_held_out_pictures_it_says_how_to_train(flags: list[str], tmp_path: Path) -> None:
    data = parquet(tmp_path / "boxes", train=labelled(LABELS), test=labelled([0]))
    assert "train with --validation_steps 0" in said_by([*flags, *columns(data)])
