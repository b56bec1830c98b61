"""Pushing a model: one commit with what belongs to it; failures are told, change nothing and can be repeated."""
