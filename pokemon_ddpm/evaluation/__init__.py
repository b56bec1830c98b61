"""Evaluation of trained models; the modules need the package of the extra "evaluation"."""

import importlib.util

MIN_SAMPLES = 50


def check_packages() -> None:
    """Raises ValueError if the package of the extra is missing."""
    if importlib.util.find_spec("torch_fidelity") is None:
        raise ValueError("Evaluation needs torch-fidelity: pip install torch-fidelity")
