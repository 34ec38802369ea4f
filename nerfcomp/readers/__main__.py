"""Write the procedural scene in Blender format: ``python -m nerfcomp.make_scene runs/solids --image_size 400``."""

import argparse
import inspect
import os
import sys
from collections.abc import Sequence
from typing import get_args

from nerfcomp.readers.blender_writer import write_blender
from nerfcomp.readers.procedural import ProceduralReader


def main(args: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        args: Command-line arguments without the program's name; those of the process when absent.
    """
    parser = argparse.ArgumentParser(prog="python -m nerfcomp.make_scene", description=__doc__)
    parser.add_argument("root", help="folder to write")
    for name, parameter in inspect.signature(ProceduralReader).parameters.items():
        choices = get_args(parameter.annotation) or None
        kind = type(parameter.default)
        parser.add_argument(f"--{name}", type=kind, choices=choices, default=parameter.default, help="%(default)s")
    options = vars(parser.parse_args(args))
    root = options.pop("root")
    try:
        write_blender(ProceduralReader(**options), root)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":  # torch is here already: begin again with the program that prepares its process first
    os.execv(sys.executable, [sys.executable, "-m", "nerfcomp.make_scene", *sys.argv[1:]])
