"""Hooks in checkpoints: described as class path and plain arguments, checked, and attached anew."""

import json
from typing import Any

from torch import nn

from nerfcomp.compression.binary_mask import BinaryMask
from nerfcomp.compression.fake_quantization import FakeQuantization
from nerfcomp.compression.hooked import detach, hooked_weights
from nerfcomp.compression.hooks import WeightHook
from nerfcomp.compression.local_scaling import LocalScaling
from nerfcomp.compression.masks import Masking
from nerfcomp.compression.rate_aware import RateAware
from nerfcomp.compression.smallify import Smallify
from nerfcomp.compression.variational_dropout import VariationalDropout
from nerfcomp.descriptions import Description, checked_class
from nerfcomp.errors import ContainerError

HOOKS: tuple[type[WeightHook], ...] = (
    LocalScaling,
    Masking,
    BinaryMask,
    Smallify,
    VariationalDropout,
    FakeQuantization,
    RateAware,
)  # that a file may ask for
_PACKAGE = "nerfcomp.compression"
SCALING_HOOK = f"{_PACKAGE}.{LocalScaling.__name__}"
_MOST_HOOKS = 16


def describe_hooks(module: nn.Module) -> list[dict[str, Any]]:
    """Say in JSON values which hooks are on a module, in the order in which they are attached anew.

    Raises:
        ValueError: A parametrization is there that is no hook of ours.

    >>> layer = nn.Linear(3, 2)
    >>> _ = LocalScaling().attach(layer)
    >>> describe_hooks(layer)
    [{'class_path': 'nerfcomp.compression.LocalScaling', 'init_args': {'weights': ['weight']}}]
    """
    groups: dict[tuple[int, str], list[str]] = {}
    hooks: dict[tuple[int, str], WeightHook] = {}
    for name, functions in hooked_weights(module).items():
        for place, function in enumerate(functions):
            hook = function.hook([])
            key = (place, json.dumps([_class_path(hook), hook.arguments()], sort_keys=True))
            groups.setdefault(key, []).append(name)
            hooks[key] = hook
    found = []
    for key in sorted(groups, key=lambda key: key[0]):  # all first hooks, then all second ones, ...
        arguments = {**hooks[key].arguments(), "weights": groups[key]}
        found.append(Description(_class_path(hooks[key]), arguments)._asdict())
    return found


def attach_described(module: nn.Module, values: Any) -> None:
    """Attach hooks that a file of unknown origin describes, in place.

    Args:
        module: Without hooks.
        values: What `describe_hooks` gave; not trusted.

    Raises:
        ContainerError: Not a short list of descriptions, another class than ours, or wrong arguments.
    """
    if not isinstance(values, list) or len(values) > _MOST_HOOKS:
        raise ContainerError(f"Hooks must be a list of at most {_MOST_HOOKS}, found {str(values)[:80]!r}.")
    allowed = {f"{_PACKAGE}.{cls.__name__}": cls for cls in HOOKS}
    for value in values:
        description = Description.from_json(value)
        cls = checked_class(description, allowed)
        try:
            hook: WeightHook = cls(**description.init_args)
            attached = hook.attach(module)
        except (TypeError, ValueError) as error:
            raise ContainerError(f"The file's hook {description.class_path} does not work: {error}") from error
        missing = set(hook.weights) - set(attached)
        if missing:
            raise ContainerError(f"The file hooks weights that its network does not have: {sorted(missing)[:4]}.")


def take_hooks(module: nn.Module, values: Any) -> None:
    """Have those hooks on a module that a file describes, and no others; arguments as of `attach_described`."""
    if describe_hooks(module) != values:
        detach(module)
        attach_described(module, values)


def _class_path(hook: WeightHook) -> str:
    """Class path of a hook; that of a hook from elsewhere may not be built from files."""
    package = _PACKAGE if type(hook) in HOOKS else type(hook).__module__
    return f"{package}.{type(hook).__name__}"
