"""Start runs of one name at the same moment, again and again: each must get a folder of its own.

    python -m benchmarks.starts [--rounds 20] [--together 8]

Half of the rounds claim the folder as ``train.py fit`` does, half as ``compress.py lsa``, in forked processes that wait
for each other and claim at once; nothing is trained. Fails unless there are as many folders as starts, each with what
its process wrote into it.
"""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded
import torch

from nerfcomp.callbacks.run_folder import RunLogger
from nerfcomp.commands.lsa import open_run
from nerfcomp.commands.lsa_files import LSAOptions
from nerfcomp.readers import ProceduralReader
from nerfcomp.readers.blender_writer import write_blender

log = logging.getLogger("starts")


def claim(root: Path, scene: Path, as_fit: bool) -> Path:
    """The folder that a start of one of the two programs gets."""
    if as_fit:
        run_logger = RunLogger(save_dir=str(root), name="same")
        run_logger.experiment.close()
        return Path(run_logger.log_dir)
    options = dict.fromkeys(LSAOptions._fields) | {"batch_size": 64, "processes": 1, "dataset_type": "blender"}
    options |= {"nickname": "same", "qp": -20, "epochs": 2, "n_iters": 3, "learning_rate": 1e-3, "lsa": True}
    options |= {"learning_rate_decay": 0.1, "test_stride": 1, "root": str(scene), "ckpt": "pair.ckpt"}
    return open_run({**options, "out": root, "resume": None}).folder


def start_together(root: Path, scene: Path, together: int, as_fit: bool) -> int:
    """Start so many at once; how many folders bear the number of exactly one process."""
    gate, opened = os.pipe()
    children = []
    for number in range(together):
        child = os.fork()
        if child == 0:
            os.close(opened)
            os.read(gate, 1)  # until the parent closes its end
            status = 1
            try:
                with open(claim(root, scene, as_fit) / "whose", "a", encoding="ascii") as file:
                    file.write(f"{number}\n")
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(opened)
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    os.close(gate)
    owners = [path.read_text().split() for path in root.rglob("whose")]
    return sum(len(owner) == 1 for owner in owners) if not failed else -failed


def main() -> None:
    """Run all rounds; fail if a folder is missing or shared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--together", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    total = 0
    with tempfile.TemporaryDirectory() as name:
        scene = Path(name) / "scene"
        write_blender(ProceduralReader(image_size=8, n_train=2, n_val=1, n_test=1, supersampling=1), scene)
        for as_fit in (True, False):
            claim(Path(name) / "warm", scene, as_fit)  # loads what the starts need
        for number in range(options.rounds):
            root = Path(name) / f"round{number}"
            root.mkdir()
            total += start_together(root, scene, options.together, as_fit=number % 2 == 0)
    log.info("%d folders of %d starts", total, options.rounds * options.together)
    if total != options.rounds * options.together:
        sys.exit(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
