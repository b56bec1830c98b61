"""The networks: the presets, configurations that are refused, conditioners that are extended."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import nn

from pokemon_ddpm import SpriteConditioner
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.models import network_config
from pokemon_ddpm.training import networks
from pokemon_ddpm.training.augmentation import AUGMENTATION_DIM
from pokemon_ddpm.training.networks import build_conditioner, build_unet, training_conditions, unet_config
from pokemon_ddpm.vocabulary import CONDITIONS, SHAPES, TYPES
from tests.tiny_models import tiny_pipeline

TINY = network_config(tiny_pipeline().unet)


def tiny() -> UNet2DModel:
    torch.manual_seed(0)
    return build_unet(TINY, 16, 3).eval()


@pytest.mark.parametrize(
    ("name", "resolution", "channels", "count", "attentions", "groups", "activation", "dropout"),
    [
        ("small", 32, 3, 6_809_251, 4, 32, nn.SiLU, 0.0),
        # For each of 13 further channels 64 * 9 weights of the input and 64 * 9 + 1 of the output, and 8 * 257 for the
        # preconditioning.
        ("packed", 64, 4, 7_397_955 + 13 * 576 + 13 * 577 + 8 * 257, 4, 32, nn.SiLU, 0.1),
        ("base", 64, 4, 22_086_467 + 576 + 577 + 8 * 257, 11, 32, nn.SiLU, 0.1),
        ("thesis-vanilla", 32, 3, 11_575_363, 0, 1, nn.ReLU, 0.0),
        ("thesis-attention", 32, 3, 12_963_907, 10, 8, nn.SiLU, 0.0),
        ("thesis-final", 32, 3, 12_963_907, 10, 16, nn.SiLU, 0.1),
    ],
)
def test_presets(name, resolution, channels, count, attentions, groups, activation, dropout):
    with torch.device("meta"):
        unet = build_unet(unet_config(name), resolution, channels)
    assert sum(p.numel() for p in [*unet.parameters(), *build_conditioner(unet).parameters()]) == count
    layers = [module for module in unet.modules() if isinstance(module, Attention)]
    assert len(layers) == attentions and (name[:6] != "thesis" or {module.heads for module in layers} <= {1})
    assert {module.num_groups for module in unet.modules() if isinstance(module, nn.GroupNorm)} == {groups}
    assert {module.p for module in unet.down_blocks[0].modules() if isinstance(module, nn.Dropout)} == {dropout}
    assert isinstance(unet.mid_block.resnets[0].nonlinearity, activation)
    assert isinstance(unet.time_proj, nn.Embedding) == (name == "thesis-vanilla")
    settings = {"patch_size": 1 if name == "base" else 2, "scaling_factor": 0.5}
    assert channels == 3 or settings.items() <= unet.config.items()


def test_a_configuration_of_diffusers_is_read(tmp_path):
    given = {"sample_size": 64, "in_channels": 1, "out_channels": 1, "num_class_embeds": 10, "class_embed_type": None}
    UNet2DModel(**{**TINY, **given}).save_config(tmp_path)
    config = network_config(build_unet(unet_config(str(tmp_path / "config.json")), 32, 3))
    assert config == {**TINY, "sample_size": 32, "num_class_embeds": 10}


@pytest.mark.parametrize(("content", "message"), [
    (b"{", "JSONDecodeError"),
    (b'{"block_out_channels": 64}', "TypeError"),
    (b'{"a":' * 50_000, "RecursionError"),
    (None, "FileNotFoundError"),
])  # fmt: skip
def test_other_configurations_are_refused(tmp_path, content, message):
    file = tmp_path / "network.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file}' is neither a preset \(small, packed, .*\) nor a .*{message}"):
        unet_config(str(file))


@pytest.mark.parametrize("wrong", [
    {"widths": [1]}, {"down_block_types": ["DownBlock2D", "Sideways"]}, {"norm_num_groups": 7},
    {"layers_per_block": 0}, {"time_embedding_type": "fourier"}, {"patch_size": 16}, {"scaling_factor": 0.5},
], ids=str)  # fmt: skip
def test_networks_that_cannot_be_built_are_a_value_error(wrong):
    message = "Invalid UNet2DModel configuration|no fourier time embedding|a resolution divisible by 32"
    with pytest.raises(ValueError, match=message):
        build_unet({**TINY, **wrong}, 16)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("augmentation_dim", [0, 4, AUGMENTATION_DIM, 8])  # without mirroring 4; 8 in earlier versions
def test_an_extended_conditioner_is_the_trained_one_where_new_attributes_are_any(augmentation_dim, mirrored):
    trained = SpriteConditioner({"type": list(TYPES)}, 32, augmentation_dim)
    for parameter in trained.parameters():
        nn.init.normal_(parameter)
    extended = build_conditioner(tiny(), ["view", "finish"], trained, knows_mirroring=mirrored)
    parameters = 5 if mirrored or augmentation_dim == 5 else 4
    assert extended.config.augmentation_dim == parameters
    assert set(extended.vocabulary) == {"type", "view", "finish"}
    types, augmentation = torch.tensor([[1, 2], [3, 18], [19, 19]]), torch.randn(3, parameters)
    expected = trained({"type": types}, augmentation[:, :augmentation_dim] if augmentation_dim in (4, 5) else None)
    torch.testing.assert_close(extended({"type": types}, augmentation), expected)
    for name in ("view", "finish"):  # new values differ
        rows = extended.tables[f"{name}_embedding"].weight[:-1]
        assert (torch.cdist(rows, rows) + torch.eye(len(rows)) > 0.1).all()
    assert build_conditioner(tiny(), [], extended).vocabulary == extended.vocabulary
    assert extended.config.has_types is True


def test_with_other_classes_a_conditioner_begins_where_the_trained_one_knows_nothing():
    vocabulary = {name: list(CONDITIONS[name]) for name in ("type", "view", "finish", "color")}
    trained = SpriteConditioner(vocabulary, 32, AUGMENTATION_DIM)
    for parameter in trained.parameters():
        nn.init.normal_(parameter)
    values = {**CONDITIONS, "type": ("cat", "dog", "fire"), "view": ("back", "front", "side"), "mood": ("glad", "sad")}
    own = build_conditioner(tiny(), ["type", "view", "mood"], trained, values)
    assert own.vocabulary == {name: list(values[name]) for name in ("mood", "type", "view")}
    assert own.config.has_types is False
    augmentation, fire = torch.randn(3, AUGMENTATION_DIM), TYPES.index("fire")
    given = {"type": torch.tensor([[2, 3], [2, 4], [4, 4]]), "view": torch.tensor([0, 1, 3])}
    same = {"type": torch.tensor([[fire, 18], [fire, 19], [19, 19]]), "view": torch.tensor([1, 0, 2])}
    same |= {"finish": torch.zeros(3).long(), "color": torch.full((3,), 10)}  # normal, any
    torch.testing.assert_close(own(given, augmentation), trained(same, augmentation))
    (cat, dog), old = own.tables["type_embedding"].weight[:2], trained.tables["type_embedding"].weight[:18]
    lost = (trained.tables["finish_embedding"].weight[0] + trained.tables["color_embedding"].weight[10]) / 2
    assert 0.5 < (cat - lost - old.mean(dim=0)).std() / old.std(dim=0).mean() < 2 and (cat - dog).norm() > 1


def test_the_table_of_conditions_is_that_of_the_fronts_by_line():
    """Images 0 and 1 are alike, 2 is a back, 3 has neither color nor line of its own."""
    labels = {"type": [[6, 18], [6, 18], [6, 18], [6, 7]], "color": [2, 2, 3, 10], "shape": [4, 4, 5, 6]}
    labels |= {"line": [70, 70, 70, 9], "view": [0, 0, 1, 0], "finish": [0, 0, 0, 1], "size": [1, 1, 1, -1]}
    tensors = {name: torch.tensor(ids) for name, ids in labels.items()}
    data, names = SpriteTensors(torch.zeros(4, 4, 8, 8), tensors), ["color", "finish", "shape", "size", "type", "view"]
    table = training_conditions(data, names)
    assert table["attributes"] == ["color", "finish", "shape", "size"] and table["drawn"] == ["color", "shape", "size"]
    assert table["rows"] == ["9 6 7 10 1 6 5", "70 6 18 2 0 4 1"]
    alone = replace(data, labels={name: tensors[name] for name in ("type", "shape")})
    assert training_conditions(alone, ["type", "shape"])["rows"] == ["0 6 7 6", "1 6 18 4", "2 6 18 5"]
    assert training_conditions(data, ["type", "view", "finish"]) is None
    assert build_conditioner(tiny(), names, data=data).draw("fire", {"finish": "shiny"}, 0)["shape"] in SHAPES


def test_any_labels_give_conditions_that_a_conditioner_takes(monkeypatch):
    types, shape = torch.tensor([[6, 18]]).repeat(5, 1), torch.arange(5)
    tensors = {"type": types, "shape": shape, "line": torch.tensor([7, -1, -1, 8, 8]), "view": torch.ones(5).long()}
    data = SpriteTensors(torch.zeros(5, 4, 8, 8), tensors)  # without a front, some without a line
    table = training_conditions(data, ["type", "shape"])
    assert sorted(table["rows"]) == ["10 6 18 2", "7 6 18 0", "8 6 18 3", "8 6 18 4", "9 6 18 1"]
    SpriteConditioner(dict(CONDITIONS), 16, training_conditions=table)

    monkeypatch.setattr(networks, "MAX_ROWS", 2)
    assert len(training_conditions(data, ["type", "shape"])["rows"]) == 2
