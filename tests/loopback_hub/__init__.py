"""A small Hugging Face Hub on 127.0.0.1 for the real clients: repositories with commits, and failures on demand."""

from tests.loopback_hub.clients import environment, serve_this_process, stranger
from tests.loopback_hub.repositories import Repository
from tests.loopback_hub.server import LoopbackHub

__all__ = ["LoopbackHub", "Repository", "environment", "serve_this_process", "stranger"]
