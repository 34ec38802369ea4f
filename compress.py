"""Compress a trained field to one small file and back: ``python compress.py encode CKPT --out lego.nfc``."""

from nerfcomp.commands.program import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
