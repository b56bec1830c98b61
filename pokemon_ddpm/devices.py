"""Where to compute."""

import os


def best_device() -> str:
    """CUDA, then MPS, then the CPU; of several processes each its own GPU."""
    import torch  # takes seconds, and commands refuse mistakes before

    if torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"
