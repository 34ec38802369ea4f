"""Trained models as a whole, of every kind: described, rebuilt, drawn, and kept in checkpoints and ``.nfc`` files."""
