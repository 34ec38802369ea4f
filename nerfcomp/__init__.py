"""Train, compress, decode and render neural fields."""

__version__ = "0.1.0"
