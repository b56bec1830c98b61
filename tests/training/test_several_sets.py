"""Several sets of images in one training: their shares, timesteps, joined values, and a whole run."""

import json

import pytest
import torch

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner, SpriteTensors
from pokemon_ddpm.data import join
from pokemon_ddpm.training.batches import ImageSet, drop_conditions, positions, sample_batch
from pokemon_ddpm.training.config import TrainingConfig, parse_config
from pokemon_ddpm.vocabulary import COLORS, TYPES
from tests.labelled_images import folder_of_classes
from tests.training import runs
from tests.training.runs import same, train

SETS = [ImageSet(0, 10, 0.55), ImageSet(10, 4, 0.25), ImageSet(14, 7, 0.2, lowest_timestep=400)]


def numbered(count: int, names: tuple[str, ...] = TYPES, **labels: torch.Tensor) -> SpriteTensors:
    """Images whose gray value is their number."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 4, 8, 8)
    types = torch.stack([torch.arange(count) % len(names), torch.full((count,), len(names))], dim=1)
    return SpriteTensors(images, {"type": types, **labels}, names)


def test_each_set_has_its_share_of_every_batch():
    batches = [positions(SETS, step, 8) for step in range(50)]
    for number, expected in enumerate((220, 100, 80)):
        parts = [batch[number] for batch in batches]
        assert parts[0][0] == 0 and parts[-1][1] == expected
        assert all(one[1] == other[0] for one, other in zip(parts, parts[1:], strict=False))
    assert {sum(end - start for start, end in batch) for batch in batches} == {8}


def test_a_batch_has_images_of_each_set_at_its_timesteps():
    data, conditioner = numbered(21), SpriteConditioner({"type": list(TYPES)}, 4)
    config = TrainingConfig()
    batches = [sample_batch(data, conditioner, config, step, 40, SETS) for step in range(7)]
    numbers = torch.cat([batch.images[:, 0, 0, 0] for batch in batches])
    timesteps = torch.cat([batch.timesteps for batch in batches])
    # Of 280 images 154, 70 and 56 are of the three sets; each image comes up equally often, but for a begun epoch.
    for images, count in zip(SETS, (154, 70, 56), strict=True):
        seen = numbers.long().bincount(minlength=21)[images.first : images.first + images.count]
        assert seen.sum() == count and seen.max() - seen.min() <= 1
    last = numbers >= 14
    assert timesteps[last].min() >= 400 and timesteps[last].max() < 1000 and timesteps[~last].min() < 30
    assert abs(timesteps[last].float().mean() - 700) < 60


def test_balance_is_within_a_set_and_by_family_where_there_are_no_classes():
    family = torch.tensor([0] * 6 + [1, 2])
    data = join([numbered(4), numbered(8, ("image",), index=family)], ["one", "two"])
    conditioner = SpriteConditioner({"type": list(data.type_names), "source": ["one", "two"]}, 4)
    data = data.conditioned_on(conditioner.any_ids)
    config = TrainingConfig(class_balance=1.0)
    batch = sample_batch(data, conditioner, config, 0, 3000, [ImageSet(0, 4, 0.5), ImageSet(4, 8, 0.5)])
    second = batch.images[batch.labels["source"] == 1][:, 0, 0, 0].long()
    assert len(second) == 1500
    torch.testing.assert_close(family[second].bincount() / 1500, torch.full((3,), 1 / 3), atol=0.04, rtol=0)


def test_joined_sets_have_the_values_of_all():
    first = numbered(2, color=torch.tensor([3, 0]), line=torch.tensor([5, 5]))
    tags = torch.tensor([[True, False], [True, True]])
    first = SpriteTensors(first.images, first.labels | {"tags": tags}, own_values={"tags": ("fox", "wings")})
    own = numbered(3, ("dark", "slime", "image"), mood=torch.tensor([1, -1, 0]))
    own = SpriteTensors(own.images, own.labels, own.type_names, {"mood": ("calm", "wild")})
    data = join([first, own], ["pokemon", "mine"])
    assert data.type_names == (*TYPES, "slime") and data.own_values["source"] == ("pokemon", "mine")
    assert data.own_values["tags"] == ("fox", "wings") and "color" not in data.own_values
    dark, slime, none = TYPES.index("dark"), 18, 19
    assert data.labels["type"].tolist() == [[0, none], [1, none], [dark, none], [slime, none], [-1, -1]]
    assert data.labels["color"].tolist() == [3, 0, -1, -1, -1] and data.labels["line"].tolist() == [5, 5, -1, -1, -1]
    assert data.labels["mood"].tolist() == [-1, -1, 1, -1, 0] and data.labels["source"].tolist() == [0, 0, 1, 1, 1]
    assert data.labels["tags"].tolist() == [*tags.tolist(), *[[False, False]] * 3]
    assert data.vocabulary["color"] == COLORS
    assert [*data.own_values] == ["tags", "source", "mood"]  # the same in every process, as the parameters must be
    words = {"tags": tuple(f"word{number}" for number in range(10_001))}  # of which training keeps few
    captioned = SpriteTensors(own.images, own.labels | {"tags": torch.eye(3, 10_001, dtype=torch.bool)}, TYPES, words)
    assert "tags" not in join([own, captioned], ["mine", "other"]).with_frequent_tags().labels
    sprites = SpriteTensors(first.images, first.labels | {"body": torch.tensor([7, 8])})  # which have no names
    built = SpriteTensors(own.images, own.labels | {"body": torch.tensor([0, 1, 1])}, TYPES, {"body": ("slim", "fat")})
    assert join([sprites, built], ["pokemon", "mine"]).labels["body"].tolist() == [-1, -1, 0, 1, 1]
    back = data.with_values({"type": TYPES, "tags": ("wings", "new")})
    assert back.labels["type"].tolist()[2:] == [[dark, 18], [-1, -1], [-1, -1]]
    assert back.labels["tags"].tolist()[:2] == [[False, False], [True, False]]


def test_a_source_is_never_dropped():
    conditioner = SpriteConditioner({"type": list(TYPES), "source": ["a", "b"]}, 4)
    labels = {"type": torch.tensor([[0, 18]] * 500), "source": torch.arange(500) % 2}
    dropped = drop_conditions(labels, conditioner, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(dropped["source"], labels["source"]) and (dropped["type"] == 19).any()


@pytest.mark.parametrize(("entry", "message"), [
    ({"train_data_dir": "x"}, "'share'. An entry has train_data_dir .*, share, lowest"),
    ({"train_data_dir": "x", "share": 1.5}, "a share between 0 and 1"),
    ({"share": 0.5}, "needs train_data_dir or dataset_name"),
    ({"train_data_dir": "x", "share": 0.5, "lowest_timestep": 1000}, "a lowest_timestep from 0 below"),
    ({"train_data_dir": "x", "share": 0.5, "lowest_timestep": float("inf")}, "cannot convert float infinity"),
    ("x", "An entry has train_data_dir"),
])  # fmt: skip
def test_entries_that_cannot_be_used_are_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(other_data=[json.dumps(entry)])


def test_a_run_on_sprites_and_own_images_resumes_exactly(tmp_path, capsys):
    folder_of_classes(tmp_path / "mine", {"slime": 6, "bat": 6})
    file = tmp_path / "sets.yaml"
    entry = f"train_data_dir: {tmp_path / 'mine'}, share: 0.25, lowest_timestep: 300, source: drawn, label_column: "
    file.write_text(f"other_data:\n  - {{{entry}}}\n")
    flags = [str(file), *runs.tiny_flags(tmp_path)]
    assert parse_config(flags).parts()[0][0].share == 0.25
    train([*flags, "--validation_steps=2", "--warp_prob=0.5"])
    pipeline = PokemonDDPMPipeline.from_pretrained(tmp_path / "run")
    assert pipeline.conditioner.vocabulary["source"] == ["pokemon", "drawn"]
    assert pipeline.conditioner.vocabulary["type"] == [*TYPES, "bat", "slime"]
    one, other = (pipeline("fire", source=source, generator=torch.Generator().manual_seed(0), output_type="pt").images
                  for source in ("pokemon", "drawn"))  # fmt: skip
    assert not torch.equal(one, other)
    (tmp_path / "run").rename(tmp_path / "whole")
    train([*flags, "--validation_steps=2", "--warp_prob=0.5", "--max_train_seconds=1e-9"])
    train([*flags, "--validation_steps=2", "--warp_prob=0.5", runs.LATEST])
    assert same(tmp_path / "whole", tmp_path / "run")
