"""Write the procedural scene in Blender format: ``python -m nerfcomp.make_scene runs/solids --image_size 400``.

``python -m nerfcomp.readers`` does the same: Python has loaded torch by its first line, which starts this instead.
"""

import logging

from nerfcomp.process import prepare_process


def run() -> None:
    """Run the command line of this process."""
    prepare_process()  # before torch is loaded
    from nerfcomp.readers.__main__ import main

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()


if __name__ == "__main__":
    run()
