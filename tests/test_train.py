"""The front door of ``train.py``."""

from pathlib import Path

import pytest

import train
from tests.commands.test_program import HEAVY, in_process

LOADED = "import sys, train; train.run(); print(*sys.modules, file=sys.stderr)"
SCENE = "import runpy, sys; runpy.run_module('nerfcomp.make_scene', run_name='__main__')"
ORDER = """
import importlib.abc, os, sys
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            sys.exit(print("OMP_WAIT_POLICY is", os.environ.get("OMP_WAIT_POLICY")))
sys.meta_path.insert(0, Watch())
"""


@pytest.mark.parametrize("args", [[], ["--help"]])
def test_help_names_every_subcommand_and_loads_nothing(args: list[str]) -> None:
    result = in_process(LOADED, *args)
    assert all(f"  {name} " in result.stdout for name in train.SUBCOMMANDS)
    assert not {"jsonargparse", "yaml", *HEAVY} & set(result.stderr.split())


@pytest.mark.parametrize("program", ["import train; train.run()", SCENE])
def test_process_is_prepared_before_torch_is_loaded(program: str) -> None:
    assert "OMP_WAIT_POLICY is PASSIVE" in in_process(ORDER + program, "fit", "--config", "none.yaml").stdout


def test_without_a_configuration_the_default_trains(repository: Path) -> None:
    default = str(repository / "configs" / "default.yaml")
    assert train.with_default_config(["fit", "--seed=1"]) == ["fit", "--config", default, "--seed=1"]
    for args in (["fit", "--config", "a.yaml"], ["fit", "--config=a.yaml"], ["fit", "-c", "a.yaml"], ["--help"]):
        assert train.with_default_config(args) == args
