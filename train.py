"""Train, measure or run a field: ``python train.py fit --config configs/ngp.yaml --config configs/scenes/lego.yaml``.

Without ``--config`` the shipped default trains: a scene that the program makes itself, on whatever device there is.
"""

from nerfcomp.commands.train_program import DEFAULT_CONFIG, SUBCOMMANDS, main, run, with_default_config
from nerfcomp.process import prepare_process

prepare_process()  # before torch is loaded

__all__ = ["DEFAULT_CONFIG", "SUBCOMMANDS", "main", "run", "with_default_config"]

if __name__ == "__main__":
    run()
