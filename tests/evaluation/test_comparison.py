import pytest

from pokemon_ddpm.evaluation import comparison
from pokemon_ddpm.evaluation.comparison import CORRUPTED_SETS, comparisons, corruption_curves
from pokemon_ddpm.evaluation.metrics import fid_value
from tests.sprite_sets import MeanExtractor, blob_images


def test_comparisons_are_of_equally_many_images():
    extractor = MeanExtractor()
    images = [blob_images(count, seed)[0] for seed, count in enumerate((150, 160, 100))]
    samples, train, held_out = map(extractor.features, images)
    rows = comparisons(samples, train, held_out, images[2], extractor, 0)
    found = {(row["name"], row["to"]): row for row in rows}
    assert found["all samples", "train"]["fid"].value == fid_value(samples, train)
    assert found["held-out", "train"]["fid"].value == pytest.approx(fid_value(held_out, train))
    for (name, to), row in found.items():
        expected = (150 if name == "all samples" else 100, 160 if to == "train" else 100)
        assert (row["fid"].n, row["fid"].m) == expected
    assert len(found) == 6 + len(CORRUPTED_SETS)
    assert found["blurred", "train"]["kid"].value > found["held-out", "train"]["kid"].high


def test_corruption_curves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparison, "STRENGTHS", (0.0, 0.5, 1.0))
    extractor, held_out = MeanExtractor(), blob_images(40, 1)[0]
    curves = corruption_curves(extractor, extractor.features(blob_images(60, 0)[0]), held_out)
    assert all([point["strength"] for point in points] == [0, 0.5, 1] for points in curves.values())
    assert len({(points[0]["kid"], points[0]["fid"]) for points in curves.values()}) == 1
    for key in ("kid", "fid"):
        values = [point[key] for point in curves["add_noise"]]
        assert values == sorted(set(values))
