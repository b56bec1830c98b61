"""What others see of a model: cards, pushes to the Hub, Spaces, ONNX files and the page for a web server."""

import importlib.util


def check_onnx() -> None:
    """Raises ValueError if a package of the extra "onnx" is missing."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"This needs {' and '.join(missing)}: pip install {' '.join(missing)}")
