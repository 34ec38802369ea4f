"""Help on the subcommands of ``train.py`` from the sources alone: loading torch and Lightning would take seconds."""

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
_WIDTH = 100  # of the text behind a name
_OPTIONS = """
  --config FILE                 a configuration; several are laid over each other, options over all of them
  --print_config                show what comes out, and whatever may be set
  --ckpt_path FILE              checkpoint, folder or name of a run: fit resumes it, the others measure or draw it
  --model CLASS                 stage, with --model.ARGUMENT VALUE; --model.help CLASS explains its arguments
  --data CLASS                  views or voxels, with --data.ARGUMENT VALUE; --data.help CLASS explains its arguments
  --data.reader.root FOLDER     the scene on disk
  --trainer.max_steps N         length of the run
  --trainer.devices N           processes or accelerators; with --trainer.strategy ddp
  --trainer.logger.name NAME    the run is runs/NAME/version_N
  --full_help                   every option there is, Lightning's too
"""
_ROOMS: dict[str, tuple[str, str | tuple[str, ...]]] = {  # title: folder, ending of the names
    "stages (--model)": ("modules", "Module"),
    "data (--data)": ("datamodules", "DataModule"),
    "readers (--data.reader)": ("readers", "Reader"),
    "fields (--model.field)": ("fields", ("Field", "Volume")),
    "samplers (--model.sampler)": ("rendering", "Sampler"),
    "hooks on weights (--model.hooks)": ("compression", ""),
    "callbacks (--trainer.callbacks+)": ("callbacks", ""),
}


def stage_help(subcommand: str, purpose: str, config: Path) -> str:
    """Say which options and classes a subcommand knows, and which values a configuration gives.

    Args:
        subcommand: Of ``train.py``.
        purpose: What it does.
        config: The configuration.
    """
    from nerfcomp.commands.configurations import merged

    lines = [f"usage: train.py {subcommand} [--config FILE ...] [--OPTION VALUE ...]", "", purpose, _OPTIONS.rstrip()]
    lines += ["", f"what {config.parent.name}/{config.name} says:"]
    lines += [f"  {option}" for option in settings_as_options(merged(config))]
    for title, (room, ending) in _ROOMS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:24}{text}" for name, text in shown_classes(room) if name.endswith(ending)]
    return "\n".join(lines) + "\n"


def settings_as_options(value: Any, prefix: str = "") -> Iterator[str]:
    """Settings of a configuration as one would type them.

    >>> list(settings_as_options({"model": {"class_path": "A", "init_args": {"width": 3}}, "trainer": {"steps": 5}}))
    ['--model A', '--model.width 3', '--trainer.steps 5']
    """
    if not isinstance(value, dict):
        many = value if isinstance(value, list) else [value]
        names = ", ".join(str(entry["class_path"] if isinstance(entry, dict) else entry) for entry in many)
        yield f"--{prefix} [{names}]" if isinstance(value, list) else f"--{prefix} {names}"
        return
    if "class_path" in value:
        yield f"--{prefix} {value['class_path']}"
    for name, part in value.items():
        if name == "init_args":
            yield from (option for option in settings_as_options(part, prefix))
        elif name != "class_path":
            yield from settings_as_options(part, f"{prefix}.{name}" if prefix else name)


def shown_classes(room: str) -> Iterator[tuple[str, str]]:
    """Public classes of a folder of the package that YAML may name, with the first line of their docstrings."""
    listed = _listed(_PACKAGE / room / "__init__.py")
    found = {}
    for path in sorted((_PACKAGE / room).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in listed and _is_built(node, room):
                text = (ast.get_docstring(node) or "").split("\n")[0]
                found[node.name] = textwrap.shorten(text, _WIDTH, placeholder=" ...")
    yield from sorted(found.items())


def _listed(path: Path) -> set[str]:
    """Names in ``__all__``."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def _is_built(node: ast.ClassDef, room: str) -> bool:
    """Whether an object of a class is what the folder is for."""
    if (ast.get_docstring(node) or "").startswith("Base of"):
        return False
    bases = {base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases}
    if room == "compression":
        return bool({base for base in bases if base.endswith("Hook")}) and "Protocol" not in bases
    return not bases & {"NamedTuple", "Protocol", "ABC", "LightningCLI", "TensorBoardLogger", "TorchCheckpointIO"}
