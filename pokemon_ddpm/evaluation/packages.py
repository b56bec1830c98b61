"""The packages that measuring needs and that training and drawing do without."""

import importlib.util

PACKAGES = {"ot": "POT", "scipy": "scipy", "torch_fidelity": "torch-fidelity"}
"""What is imported -> what that is called where it is installed from."""


def check_packages() -> None:
    """Refuses to go on without them, before anything slow starts.

    Raises:
        ValueError: If one is missing; with what to do.
    """
    missing = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ValueError(f"Measuring needs {' and '.join(missing)}: pip install 'pokemon-ddpm[evaluation]'.")
