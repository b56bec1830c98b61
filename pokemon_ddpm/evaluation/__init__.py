"""Evaluation of trained models; the modules need the package of the extra "evaluation"."""

MIN_SAMPLES = 50
