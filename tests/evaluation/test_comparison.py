import pytest

from pokemon_ddpm.evaluation import comparison
from pokemon_ddpm.evaluation.comparison import CORRUPTED_SETS, comparisons, corruption_curves, measure_images
from pokemon_ddpm.evaluation.metrics import fid
from tests.sprite_sets import MeanExtractor, blob_images


def test_comparisons_are_of_equally_many_images():
    extractor = MeanExtractor()
    sets = [measure_images(extractor, blob_images(count, seed)[0]) for seed, count in enumerate((150, 160, 100))]
    found = dict(comparisons(*sets, extractor, num_bootstraps=5))
    samples, train, held_out = (each.features for each in sets)
    assert found["all samples", "train"].fid.value == fid(samples, train, 0).value
    assert found["held-out", "train"].fid.value == pytest.approx(fid(held_out, train, 0).value)
    for (name, to), distances in found.items():
        expected = (150 if name == "all samples" else 100, 160 if to == "train" else 100)
        assert (distances.fid.n, distances.fid.m) == expected
    assert len(found) == 6 + len(CORRUPTED_SETS)
    assert found["blurred", "train"].kid.value > found["held-out", "train"].kid.high


def test_corruption_curves(monkeypatch):
    monkeypatch.setattr(comparison, "STRENGTHS", (0.0, 0.5, 1.0))
    extractor, held_out = MeanExtractor(), blob_images(40, 1)[0]
    curves = corruption_curves(extractor, extractor(blob_images(60, 0)[0]), held_out)
    assert all([point.strength for point in points] == [0, 0.5, 1] for points in curves.values())
    assert len({(points[0].kid, points[0].fid) for points in curves.values()}) == 1
    for key in ("kid", "fid"):
        values = [getattr(point, key) for point in curves["add_noise"]]
        assert values == sorted(set(values))
