"""A small Hugging Face Hub on 127.0.0.1, against which the real clients work: repositories with commits, over HTTP."""

from tests.loopback_hub.clients import environment, stranger
from tests.loopback_hub.repositories import File, Repository
from tests.loopback_hub.server import LoopbackHub

__all__ = ["File", "LoopbackHub", "Repository", "environment", "stranger"]
