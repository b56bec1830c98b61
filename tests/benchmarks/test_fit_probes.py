"""The discriminant against Bayes' rule of known Gaussians, and the tables of annotations."""

import torch

from benchmarks import fit_probes
from pokemon_ddpm.vocabulary import BODIES


def test_the_discriminant_is_bayes_rule_of_gaussians(monkeypatch):
    monkeypatch.setattr(fit_probes, "SHRINKAGE", 0.0)
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[0.0, 0], [3, 0], [0, 3]], dtype=torch.float64)
    bodies = torch.arange(3).repeat_interleave(torch.tensor([40_000, 10_000, 5000]))
    mixing = torch.tensor([[1.0, 0.5], [0, 2]], dtype=torch.float64)
    noise = torch.randn(len(bodies), 2, generator=generator, dtype=torch.float64) @ mixing
    weight, bias = fit_probes.discriminant(centers[bodies] + noise, bodies, 3)
    places = 4 * torch.randn(500, 2, generator=generator, dtype=torch.float64)
    away = places[:, None] - centers
    distances = torch.einsum("nki,ij,nkj->nk", away, torch.linalg.inv(mixing.T @ mixing), away)
    assert ((places @ weight.T + bias).argmax(dim=1) == distances.argmin(dim=1)).float().mean() > 0.97


def test_each_tag_has_a_discriminant_of_its_own(monkeypatch):
    monkeypatch.setattr(fit_probes, "SHRINKAGE", 0.0)
    generator = torch.Generator().manual_seed(0)
    tags = torch.rand(20_000, 2, generator=generator) < torch.tensor([0.5, 0.1])
    shifts = torch.tensor([[2.0, 0, 1], [0, 4, 0]], dtype=torch.float64)
    features = tags.double() @ shifts + torch.randn(20_000, 3, generator=generator, dtype=torch.float64)
    known = torch.cat([tags, torch.zeros(20_000, 1, dtype=torch.bool)], dim=1)
    weight, bias = fit_probes.tag_discriminants(features, known)
    assert (weight[2] == 0).all() and bias[2] == 0
    for number, shift in enumerate(shifts):  # with unit noise the best direction is the shift, cut in its middle
        assert torch.cosine_similarity(weight[number], shift, dim=0) > 0.999
        best = features @ shift > shift @ shift / 2
        assert ((features @ weight[number] + bias[number] > 0) == best).double().mean() > 0.97


def test_annotations_name_the_bodies_of_the_probe():
    annotations = fit_probes.read()
    assert len(annotations) == annotations.index.nunique() == 3429
    assert {*annotations.body} == {*BODIES}
