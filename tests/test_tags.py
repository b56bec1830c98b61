"""Tags: from facts and captions to labels, some of them in training, a sum of embeddings, and what is drawn."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pokemon_ddpm import SpriteConditioner, SpriteTensors, load_sprites
from pokemon_ddpm.app.handlers import Refused, controls, default_settings, new_job
from pokemon_ddpm.cli import app
from pokemon_ddpm.data import load_tensors, tag_labels
from pokemon_ddpm.dataset_scripts import sprite_archive
from pokemon_ddpm.generation import SpriteRequest, generate, read_settings
from pokemon_ddpm.training.batches import drop_conditions
from pokemon_ddpm.training.networks import training_conditions
from pokemon_ddpm.vocabulary import COLORS, SHAPES, TYPES
from tests.labelled_images import box_image
from tests.small_archives import write_small_archive
from tests.tiny_models import tiny_pipeline

FACTS = Path(sprite_archive.__file__).with_name("sprite_facts.csv")
TAGS = ["fox", "owl", "wings", "round", "standing"]
VOCABULARY = {"type": list(TYPES), "tags": TAGS}


@pytest.fixture
def conditioner() -> SpriteConditioner:
    torch.manual_seed(0)
    return SpriteConditioner(VOCABULARY, 8)


def test_the_embedding_is_the_sum_over_the_root_of_the_number(conditioner):
    table, types = (conditioner.tables[f"{name}_embedding"].weight for name in ("tags", "type"))
    without = 2 * types[-1]
    for given, rows in (
        (["wings", "fox"], (table[2] + table[0]) / 2**0.5),
        ("Fox, wings", (table[2] + table[0]) / 2**0.5),
        (("owl",), table[1]),
        (["fox", "fox"], table[0]),
        ("any", table[5]),
        (None, table[5]),
        ([], table[5]),
        (TAGS, table[:5].sum(dim=0) / 5**0.5),
    ):
        torch.testing.assert_close(conditioner.encode([None], tags=[given])[0], without + rows)
    blend = conditioner.encode([{"fire": 1, "water": 1}, "ice"], tags=["fox", "owl"])
    fire, water = (types[TYPES.index(name)] for name in ("fire", "water"))
    torch.testing.assert_close(blend[0], (fire + water) / 2 + types[-1] + table[0])


def test_unknown_tags_are_named_with_the_nearest(conditioner):
    with pytest.raises(ValueError, match="^Unknown tag 'wing'. Did you mean 'wings'[?] Known: fox, owl, .*, any.$"):
        conditioner.encode([None], tags=[["fox", "wing"]])
    with pytest.raises(ValueError, match="^tags is no condition of this model; its conditions are pokemon_type.$"):
        SpriteConditioner({"type": list(TYPES)}, 8).tag_ids("fox")
    for wrong in (3, 0, ["fox", None], [["fox"]], torch.tensor([1]), b"fox"):
        with pytest.raises(ValueError, match="^tags must be words, a list of words, or None, not "):
            conditioner.tag_ids(wrong)


def test_a_call_takes_one_set_or_one_for_each_type():
    pipeline = tiny_pipeline(vocabulary=VOCABULARY)
    both = pipeline.expand_conditions(["fire", "water"], {"tags": ["fox", "wings"]})[1]["tags"]
    assert both == [("fox", "wings")] * 2
    tags = pipeline.expand_conditions(["fire", "water"], {"tags": [["fox"], ["owl", "wings"]]})[1]["tags"]
    assert tags == [["fox"], ["owl", "wings"]]
    usual = tiny_pipeline(vocabulary=VOCABULARY, defaults={"default_conditions": {"tags": ["fox", "wings"]}})
    usual.check_defaults()
    assert usual.expand_conditions(["fire", "water"], {})[1]["tags"] == [("fox", "wings")] * 2
    same = [pipeline("fire", tags=tags, generator=torch.Generator().manual_seed(1), output_type="pt").images
            for tags in (["fox", "wings"], "wings fox", ["owl"])]  # fmt: skip
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])


def test_a_request_has_its_tags_as_a_text_or_a_list(tmp_path):
    pipeline = tiny_pipeline(vocabulary=VOCABULARY, channels=4)
    requests = [SpriteRequest(5, "fire", {"tags": tags}) for tags in ("fox wings", ["fox", "wings"])]
    plain = pipeline(["fire"], tags=["wings", "fox"], generator=torch.Generator().manual_seed(5)).images[0]
    assert {image.tobytes() for image in generate(pipeline, requests, chunk_size=1)} == {plain.tobytes()}
    pipeline.save_pretrained(tmp_path / "model")
    command = ["generate", "--model", tmp_path / "model", "--num-images", 1, "--output-dir", tmp_path / "sprites"]
    result = CliRunner().invoke(app, [*map(str, command), "--tag", "fox", "--tag", "wings"])
    (file,) = (tmp_path / "sprites").glob("*.png")
    assert result.exit_code == 0 and read_settings(file)[1].attributes["tags"] == "fox wings"


def test_the_app_offers_several_tags_at_once():
    models = {"tagged": tiny_pipeline(vocabulary=VOCABULARY, channels=4), "plain": tiny_pipeline()}
    usual = default_settings(models, "tagged")
    assert usual["tags"] == [] and controls(models, usual)["tags"]["multiselect"]
    job = new_job(models, usual | {"tags": ["wings", "owl"]})
    assert {request.attributes["tags"] for request in job.requests} == {"wings owl"}
    assert "tags" not in new_job(models, usual).requests[0].attributes
    for wrong in ("wings", ["wing"], ["owl"] * 6, [[]]):
        with pytest.raises(Refused, match="tags must be"):
            new_job(models, usual | {"tags": wrong})
    hidden = controls(models, usual | {"tags": ["owl"], "model": "plain"})["tags"]
    assert hidden["value"] == [] and not hidden["visible"]


def test_training_keeps_up_to_four_and_never_all(conditioner):
    images = 6000
    tags = torch.ones(images, 5, dtype=torch.bool)
    tags[::2, 2:] = False  # every second image has two
    labels = {"type": torch.tensor([[0, 18]] * images), "tags": tags}
    kept = drop_conditions(labels, conditioner, 0.1, torch.Generator().manual_seed(0))["tags"]
    assert not (kept & ~tags).any()
    for rows, expected in ((kept[::2], [1 / 6, 5 / 6]), (kept[1::2], [1 / 6, 1 / 6, 1 / 6, 1 / 6, 2 / 6])):
        share = rows.sum(dim=1).bincount() / len(rows)
        expected = 0.9 * torch.tensor(expected)
        expected[0] += 0.1  # those without any condition
        torch.testing.assert_close(share, expected, atol=0.03, rtol=0)
    even = kept[1::2].float().mean(dim=0)
    assert even.max() - even.min() < 0.06


def test_sprites_have_the_tags_of_their_form_and_backs_none_of_faces(tmp_path):
    write_small_archive(tmp_path / "small")
    rows = load_sprites(tmp_path / "small", "all", cache_dir=tmp_path / "cache")["train"]
    known = {int(row["index"]): row["tags"].split() for row in csv.DictReader(FACTS.open())}
    backs = {row["index"]: row["tags"] for row in rows if rows.features["view"].int2str(row["view"]) == "back"}
    faces = {"cute", "fierce", "calm", "sad", "funny", "fangs", "big-mouth", "beak", "whiskers", "one-eye"}
    assert all(row["tags"] == known[row["index"]] for row in rows if row["index"] not in backs)
    assert backs and all(tags == [tag for tag in known[index] if tag not in faces] for index, tags in backs.items())
    assert any(faces & {*known[index]} for index in backs)
    tensors = load_tensors(tmp_path / "small", "train", 16, config_name="all", cache_dir=tmp_path / "cache")
    for number, row in enumerate(rows):
        present = tensors.labels["tags"][number].nonzero().flatten().tolist()
        assert [tensors.own_values["tags"][tag] for tag in present] == sorted(row["tags"])


def test_tags_that_would_fill_the_memory_are_refused():
    with pytest.raises(ValueError, match="^32,769 different tags of 32,769 images are too many; leave out long texts"):
        tag_labels([[*map(str, range(2**15 + 1))], *[[]] * 2**15])


def test_words_of_captions_train_if_they_are_not_too_rare_or_too_frequent(tmp_path):
    (tmp_path / "own").mkdir()
    captions = ["A blue Dragon, with horns!"] * 4 + [["a", "red fox/cat", "with any horns"]] * 4 + ["a unique-one"]
    captions[0] = "A blue dragon, cafe\N{COMBINING ACUTE ACCENT}"  # two forms of Unicode
    captions[1] = "a caf\N{LATIN SMALL LETTER E WITH ACUTE}, dragon, horns"
    lines = []
    for number, caption in enumerate(captions):
        box_image(number % 3, number).save(tmp_path / "own" / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": caption, "creature": str(number)}))
    (tmp_path / "own" / "metadata.jsonl").write_text("\n".join(lines))
    data = load_tensors(tmp_path / "own", "train", 16)
    counts = dict(zip(data.own_values["tags"], data.labels["tags"].sum(dim=0).tolist(), strict=True))
    assert counts["a"] == len(data) and "any" not in counts and {"dragon", "fox", "cat", "horns"} <= counts.keys()
    assert counts["caf\N{LATIN SMALL LETTER E WITH ACUTE}"] == 2 and "horns'" not in counts
    learned = data.with_frequent_tags()
    assert {"a", "unique-one"}.isdisjoint(learned.own_values["tags"]) and "dragon" in learned.own_values["tags"]
    assert learned.labels["tags"].shape == (len(data), len(learned.own_values["tags"]))


def tagged_conditioner(rows: int = 12) -> SpriteConditioner:
    """Draws from twelve lines of one type, each with a part and a build of its own, three of each shape."""
    parts, build = ([f"{kind}{line}" for line in range(rows)] for kind in ("part", "build"))
    data = SpriteTensors(
        torch.zeros(rows, 4, 8, 8, dtype=torch.uint8),
        {
            "type": torch.tensor([[3, 18]] * rows), "line": torch.arange(rows), "color": torch.arange(rows) % 10,
            "shape": torch.arange(rows) // 3, "tags": torch.eye(rows, dtype=torch.bool).repeat(1, 2),
        },
        own_values={"tags": (*parts, *build)},
    )  # fmt: skip
    table = training_conditions(data, ["color", "shape", "tags", "type"])
    assert table["build"] == []
    vocabulary = {"type": list(TYPES), "color": list(COLORS), "shape": list(SHAPES), "tags": [*parts, *build]}
    return SpriteConditioner(vocabulary, 8, training_conditions=table | {"build": build})


def test_parts_and_build_are_drawn_from_two_lines_of_the_drawn_shape():
    conditioner, lines = tagged_conditioner(), Counter()
    for seed in range(400):
        drawn = conditioner.draw("electric", {}, seed)
        part, build = (int(tag.strip("abdiklprtu")) for tag in drawn["tags"].split())
        assert part // 3 == build // 3 == SHAPES.index(drawn["shape"])
        lines[part, build] += 1
        assert drawn == conditioner.draw("electric", {"tags": None}, seed)
    assert len(lines) == 12 * 3 and lines.most_common()[-1][1] > 2
    assert conditioner.nothing_drawn == {"color": "any", "shape": "any", "tags": "any"}


def test_given_tags_are_kept_and_decide_what_is_drawn():
    conditioner = tagged_conditioner()
    shapes = {conditioner.draw(None, {"tags": "part1 part2 part3 build4"}, seed)["shape"] for seed in range(60)}
    assert shapes == {SHAPES[0], SHAPES[1]}
    assert all("tags" not in conditioner.draw(None, {"tags": tags}, 0) for tags in ("any", ["part1"]))


@pytest.mark.parametrize("change", [
    {"tags": ["0"]}, {"tags": ["99"] * 12}, {"build": ["new"]}, {"tags": ["-1"] * 12}, {"build": None},
    {"vocabulary": {"type": TYPES, "color": COLORS, "shape": SHAPES}, "build": [], "tags": [""] * 12},
], ids=str)  # fmt: skip
def test_a_table_with_other_tags_or_for_a_model_without_is_refused(change):
    config = tagged_conditioner().config
    table = {name: values for name, values in {**config.training_conditions, **change}.items() if values is not None}
    vocabulary = table.pop("vocabulary", config.vocabulary)
    with pytest.raises(ValueError, match="training_conditions do not fit"):
        SpriteConditioner(vocabulary, 8, training_conditions=table)
