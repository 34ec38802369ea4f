"""Write the procedural scene in Blender format: ``python -m nerfcomp.make_scene runs/solids --image_size 400``.

``python -m nerfcomp.readers`` does the same: Python has loaded torch by its first line, which starts this instead.
"""

from nerfcomp.process import prepare_process, show_messages


def run() -> None:
    """Run the command line of this process."""
    prepare_process()  # before torch is loaded
    from nerfcomp.readers.__main__ import main

    show_messages()
    main()


if __name__ == "__main__":
    run()
