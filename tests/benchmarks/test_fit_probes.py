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


def test_annotations_name_the_bodies_of_the_probe():
    annotations = fit_probes.read()
    assert len(annotations) == annotations.index.nunique() == 3429
    assert {*annotations.body} == {*BODIES}
