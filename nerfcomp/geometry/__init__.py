"""Rays, cameras, lenses and camera paths."""
