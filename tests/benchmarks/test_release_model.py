"""What the script does with weights before it saves them."""

import torch

from benchmarks.release_model import extrapolate, factor


def test_embeddings_are_moved_away_from_any() -> None:
    table = torch.tensor([[1.0, 2.0], [3.0, -1.0], [1.0, 1.0]])
    extrapolate(table, factor("color=2")[1])
    assert table.tolist() == [[1, 3], [5, -3], [1, 1]]
