"""Trained models from and to other tools."""
