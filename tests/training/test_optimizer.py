"""Muon, against singular value decompositions."""

import copy

import pytest
import torch

from pokemon_ddpm.diffusion import ConditionalDenoiser
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.optimizer import make_optimizer
from tests.tiny_models import tiny_pipeline


def denoiser() -> ConditionalDenoiser:
    pipeline = tiny_pipeline(channels=4)
    return ConditionalDenoiser(pipeline.unet, pipeline.conditioner)


def configured(optimizer: str, **settings: object) -> TrainingConfig:
    return TrainingConfig(optimizer=optimizer, learning_rate=0.01, **settings)


def set_gradients(model: torch.nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def nearest_orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    u, _, v = torch.linalg.svd(matrix.double().flatten(start_dim=1), full_matrices=False)
    return u @ v


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_muon_moves_matrices_inside_the_network_along_orthogonal_updates(precision: str) -> None:
    model = denoiser()
    before = copy.deepcopy(model).state_dict()
    set_gradients(model)
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    make_optimizer(configured("muon", mixed_precision=precision, adam_weight_decay=0.5), model).step()
    for name, parameter in model.named_parameters():
        change = parameter.detach() - before[name] * (1 - 0.01 * 0.5)
        if name.startswith(("unet.down_blocks", "unet.mid_block", "unet.up_blocks")) and parameter.ndim > 1:
            matrix = change.flatten(start_dim=1)
            scale = 0.01 * 0.2 * max(matrix.shape) ** 0.5
            expected = nearest_orthogonal(gradients[name]).flatten()
            assert torch.cosine_similarity(-matrix.double().flatten(), expected, dim=0) > 0.94, name
            assert 0.65 < matrix.norm() / scale / min(matrix.shape) ** 0.5 < 1.2, name
        else:  # the first update of Adam is the sign of the gradient
            torch.testing.assert_close(change, -0.01 * gradients[name].sign(), rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_only_embeddings_of_tags_and_new_ones_learn_faster(name: str) -> None:
    vocabulary = {"type": ["fire", "water"], "view": ["front", "back"], "tags": ["fox", "owl"]}
    pipeline = tiny_pipeline(channels=4, vocabulary=vocabulary)
    model = ConditionalDenoiser(pipeline.unet, pipeline.conditioner)
    groups = make_optimizer(configured(name), model, ["type"]).param_groups
    factors = {id(p): group["lr_factor"] for group in groups for p in group["params"]}
    assert len(factors) == len([*model.parameters()]) == sum(len(group["params"]) for group in groups)
    for key, parameter in model.named_parameters():
        faster = {"type": 40, "tags": 20}
        table = key.removeprefix("conditioner.tables.").removesuffix("_embedding.weight")
        assert factors[id(parameter)] == faster.get(table, 1), key


def test_a_second_update_has_the_momentum_of_the_first() -> None:
    model = denoiser()
    parameter = model.unet.mid_block.resnets[0].conv1.weight
    optimizer = make_optimizer(configured("muon", adam_weight_decay=0.0), model)
    momentum = torch.zeros_like(parameter)
    for step in range(2):
        set_gradients(model, step)
        gradient, before = parameter.grad.clone(), parameter.detach().clone()
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        expected = nearest_orthogonal(0.05 * gradient + 0.95 * momentum)
        change = (before - parameter.detach()).double().flatten()
        assert torch.cosine_similarity(change, expected.flatten(), dim=0) > 0.98
