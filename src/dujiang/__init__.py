"""Dujiang (都江): let organisations use each other's data without giving it away."""

__version__ = "0.1.0"
