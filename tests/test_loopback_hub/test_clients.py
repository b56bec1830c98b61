"""The libraries that push and pull, in processes of their own that know nothing of this project."""

import pytest

from tests.conftest import tiny_pipeline
from tests.loopback_hub import environment, stranger
from tests.test_loopback_hub.users import anonymous, ash, post, read, written

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_strangers_know_nothing_of_this_project(hub, tmp_path):
    given = environment(tmp_path, hub.endpoint)
    (tmp_path / "neighbour.py").touch()
    code = """
import importlib, os, sys
for name in ("pokemon_ddpm", "pokemon_ddpm.hub", "train_conditional", "neighbour"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error.name)
print(os.environ["HF_ENDPOINT"], sys.argv[1:])
"""
    said = stranger(code, given, tmp_path, "a", 1).splitlines()
    assert said == ["pokemon_ddpm", "pokemon_ddpm", "train_conditional", "neighbour", f"{hub.endpoint} ['a', '1']"]
    with pytest.raises(AssertionError, match="a reason"):
        stranger("raise SystemExit('a reason')", given, tmp_path)


def test_a_card_is_validated_and_pushed(hub, tmp_path):
    ash(hub).create_repo("ash/model")
    code = """
from huggingface_hub import ModelCard
card = ModelCard("---\\nlicense: mit\\n---\\n# Sprites\\n")
card.validate()
card.push_to_hub("ash/model")
print(ModelCard.load("ash/model").data.license)
"""
    assert stranger(code, environment(tmp_path, hub.endpoint, "hf_ash"), tmp_path) == "mit\n"
    assert hub.repository("ash/model").files()["README.md"].startswith(b"---\nlicense: mit\n---")
    with pytest.raises(ValueError, match="do not end"):
        ash(hub).upload_file(path_or_fileobj=b"---\nlicense: mit\n", path_in_repo="README.md", repo_id="ash/model")


PUSH_PIPELINE = """
import sys
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
pipeline.push_to_hub("ash/sprites", private=True)
pulled = DiffusionPipeline.from_pretrained("ash/sprites", trust_remote_code=True)
pulled.set_progress_bar_config(disable=True)
print(len(pulled("fire", num_inference_steps=1).images))
"""


def test_diffusers_pushes_and_pulls(hub, tmp_path):
    saved = tmp_path / "saved"
    tiny_pipeline().save_pretrained(saved)
    assert stranger(PUSH_PIPELINE, environment(tmp_path, hub.endpoint, "hf_ash"), tmp_path, saved) == "1\n"
    repository = hub.repository("ash/sprites")
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert repository.private and repository.files()[weights] == (saved / weights).read_bytes()
    assert len(hub.asked("^GET .*/resolve/.*/unet/.*safetensors")) == 1


PUSH_DATASET = """
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as Picture
features = Features({"image": Image(mode="RGBA"), "type": ClassLabel(names=["fire", "water"])})
def rows(first, count):
    shades = range(first, first + count)
    return {"image": [Picture.new("RGBA", (4, 4), (shade, 0, 0, 255)) for shade in shades],
            "type": [shade % 2 for shade in shades]}
splits = {"train": Dataset.from_dict(rows(0, 6), features), "test": Dataset.from_dict(rows(6, 2), features)}
DatasetDict(splits).push_to_hub("ash/sprites")
"""
PULL_DATASET = """
from datasets import load_dataset
sets = load_dataset("ash/sprites")
assert {name: len(rows) for name, rows in sets.items()} == {"train": 6, "test": 2}, sets
print(sets["train"].features["type"].names, sets["train"].features["image"].mode)
print([row["image"].getpixel((0, 0))[0] for row in sets["train"]], list(sets["test"]["type"]))
"""
STREAM_DATASET = """
from datasets import load_dataset
train = load_dataset("ash/sprites", split="train", streaming=True)
print(train.features["type"].names, train.features["image"].mode)
print([(row["image"].getpixel((0, 0))[0], row["type"]) for row in train])
"""


def test_datasets_pushes_pulls_and_streams(hub, tmp_path):
    stranger(PUSH_DATASET, environment(tmp_path / "push", hub.endpoint, "hf_ash"), tmp_path)
    repository = hub.repository("ash/sprites", "dataset")
    assert set(repository.files()) == {
        "README.md",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
    }
    assert stranger(PULL_DATASET, environment(tmp_path / "pull", hub.endpoint), tmp_path).splitlines() == [
        "['fire', 'water'] RGBA",
        "[0, 1, 2, 3, 4, 5] [0, 1]",
    ]
    hub.requests.clear()
    assert stranger(STREAM_DATASET, environment(tmp_path / "stream", hub.endpoint), tmp_path).splitlines() == [
        "['fire', 'water'] RGBA",
        "[(0, 0), (1, 1), (2, 0), (3, 1), (4, 0), (5, 1)]",
    ]
    assert hub.asked("^GET .*train.*parquet") and not hub.asked("^GET .*test.*parquet")


def test_a_space_is_pushed_and_pulled(hub, tmp_path):
    api = ash(hub)
    assert post(hub, "/api/repos/create", json={"name": "app", "type": "space"}).status_code == 400, "no sdk"
    url = api.create_repo("ash/app", repo_type="space", space_sdk="gradio")
    assert str(url) == f"{hub.endpoint}/spaces/ash/app" and url.repo_type == "space"
    files = {"app.py": b"print()\n", "README.md": b"---\nsdk: gradio\n---\n", "picture.png": b"\x89PNG\0"}
    api.upload_folder(folder_path=written(files, tmp_path / "here"), repo_id="ash/app", repo_type="space")
    pulled = anonymous(hub).snapshot_download("ash/app", repo_type="space", cache_dir=tmp_path / "cache")
    assert read(pulled) == files
    assert anonymous(hub).space_info("ash/app").sdk == "gradio"
