"""Evaluation of trained models; the modules need the packages of the extra "evaluation"."""

import importlib.util

MIN_SAMPLES = 50
PACKAGES = {"ot": "POT", "torch_fidelity": "torch-fidelity"}


def check_packages() -> None:
    """Raises ValueError if a package of the extra is missing."""
    missing = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ValueError(f"Evaluation needs {' and '.join(missing)}: pip install {' '.join(missing)}")
