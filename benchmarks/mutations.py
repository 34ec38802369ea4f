"""Mutations of what files hold: values of descriptions, bytes of sections, tensors of checkpoints."""

import copy
import random
from typing import Any

ODD: list[Any] = [
    *(0, 1, -1, 2, 3, 7, 64, 255, 256, 1023, 2**15, 2**24, 2**27, 2**31 - 1, 2**40, 2**62, 10**400, -(2**63)),
    *(0.0, -0.0, 0.5, -1.5, 1e-30, 1e30, 1e308, -1e308, 5e-324, float("nan"), float("inf")),
    *(None, True, False, "", "16", "nan", "\x1b[2J", "\ud800", "../../x", "nerfcomp.fields.NGPField", "os.system"),
    *([], {}, [1, 2, 3], [[1.0] * 3, [2.0] * 3], [[]], {"class_path": "os.system", "init_args": {"command": "true"}}),
    *([0.1] * 12, [3] * 5000, "x" * 3000),
]
CLASSES = ["NGPField", "NeRFField", "LightField", "HashVolume", "LatentGridVolume", "HashSurfaceField", "NeuSField"]


def places(value: Any, limit: int = 12) -> list[tuple[Any, Any]]:
    """All containers with their keys inside a nested value."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        found += [(value, key) for key in value]
    elif isinstance(value, list):
        found += [(value, index) for index in range(min(len(value), limit))]
    for container, key in list(found):
        found += places(container[key], limit)
    return found


def mutated(value: Any, rng: random.Random, most: int = 3) -> Any:
    """A copy of a nested value with one to ``most`` places changed."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, most)):
        options = places(value)
        if not options:
            return rng.choice(ODD)
        container, key = rng.choice(options)
        _change(container, key, rng)
    return value


def _change(container: Any, key: Any, rng: random.Random) -> None:
    old, kind = container[key], rng.random()
    if kind < 0.12:
        del container[key]
    elif kind < 0.2 and isinstance(old, list) and old:
        container[key] = old[: rng.randint(0, len(old))] + old[: rng.randint(0, 2)]
    elif kind < 0.5 and type(old) is int:
        container[key] = old + rng.choice([-2, -1, 1, 2, 8]) if rng.random() < 0.5 else old * rng.choice([2, 4, -1, 0])
    elif kind < 0.5 and type(old) is float:
        container[key] = old * rng.choice([0.0, -1.0, 0.5, 2.0, 1e3, 1e-3, 1e10])
    elif kind < 0.5 and isinstance(old, str) and "fields." in old:
        container[key] = f"nerfcomp.fields.{rng.choice(CLASSES)}"
    elif kind < 0.56 and isinstance(container, dict) and isinstance(key, str):
        container[rng.choice([key + "x", key[:-1], "a" * 300])] = container.pop(key)
    else:
        container[key] = copy.deepcopy(rng.choice(ODD))


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The same bytes with some flipped, overwritten, taken out, doubled or cut off."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        if not out:
            break
        at, kind = rng.randrange(len(out)), rng.random()
        if kind < 0.5:
            out[at] ^= 1 << rng.randrange(8)
        elif kind < 0.75:
            out[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        elif kind < 0.85:
            del out[at : at + rng.choice([1, 2, 8, 64])]
        elif kind < 0.95:
            out[at:at] = out[at : at + rng.choice([1, 4, 32])]
        else:
            del out[at:]
    return bytes(out)
