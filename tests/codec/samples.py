"""Small containers and every way of damaging them, shared by the tests and by benchmarks/corruption.py."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from nerfcomp.codec import Container, Storage, encode

PREFIX = 16
DIGEST = 32
FIELD = {"class_path": "nerfcomp.fields.NGPField", "init_args": {"levels": 2}}


class Corruption(NamedTuple):
    """Damaged bytes; ``rehashed`` ones carry a valid SHA-256, so that the checks behind it must hold."""

    kind: str
    data: bytes
    rehashed: bool


def ramp(shape: tuple[int, ...], scale: float = 0.01) -> np.ndarray:
    """Deterministic values of both signs with many zeros, float32."""
    index = np.arange(np.prod(shape), dtype=np.int64)
    values = (index * 7919 % 127 - 63) * (index * 104729 % 5 > 2)
    return (values * np.float64(scale)).astype(np.float32).reshape(shape)


def ball(cells: int, cascades: int = 1) -> np.ndarray:
    """Occupancy of a hollow, oblique, lopsided ball, (C, R, R, R) bool; no two slices are alike."""
    x, y, z = np.meshgrid(*[np.arange(cells) * 2 + 1 - cells] * 3, indexing="ij")
    squared = (5 * x + y) ** 2 + (4 * y - 2 * z) ** 2 + (5 * z + x) ** 2 + 3 * cells * (2 * x - y + z)
    shell = (squared < 14 * cells**2) & (squared > 8 * cells**2)
    return np.stack([np.roll(shell, index, axis=0) for index in range(cascades)])


def tensors() -> dict[str, np.ndarray]:
    """Two grid levels, a small network, an integer, occupancy and a box."""
    return {
        "levels.0.weight": ramp((300, 2)),
        "levels.1.weight": ramp((500, 2)),
        "net.0.weight": ramp((8, 4), 0.1),
        "net.0.bias": ramp((8,), 0.1),
        "net.1.weight": ramp((3, 8), 0.1),
        "step": np.array([1234], np.int32),
        "occupancy": ball(16),
        "aabb": np.array([[-1.5, -1.5, -1.5], [1.5, 1.5, 1.5]], np.float32),
    }


def storage() -> dict[str, Storage]:
    """Levels in sections of their own, the network in one, the rest exact."""
    chosen = {
        "levels.0.weight": Storage("grid.0", -28),
        "levels.1.weight": Storage("grid.1", -24),
        "net.0.weight": Storage("net", -30),
        "net.0.bias": Storage("net", -44),
        "net.1.weight": Storage("net", -30, dependent=False),
        "step": Storage("net", 0),
    }
    return {**chosen, "occupancy": Storage("occupancy"), "aabb": Storage("scene")}


def container() -> Container:
    """A whole small file."""
    header = {"field": FIELD, "render": {"near": 2.0, "far": 6.0, "background": [1, 1, 1]}}
    return Container(header, encode(tensors(), storage()))


def scaled_container() -> Container:
    """A small file whose networks have local scaling: two sections of blocks with and without biases."""
    values: dict[str, np.ndarray] = {}
    stored: dict[str, Storage] = {}
    for net, rows in (("coarse", 6), ("fine", 9)):
        own = {f"{net}.0.weight": ramp((rows, 5), 0.1), f"{net}.0.bias": ramp((rows,), 0.1)}
        own[f"{net}.0.weight_scaling"] = 1 + ramp((rows,), 0.002)
        own |= {f"{net}.1.weight": ramp((1, rows), 0.1), f"{net}.1.weight_scaling": np.array([0.9], np.float32)}
        values |= own
        stored |= {name: Storage(net, -28 if name.endswith("weight") else -46) for name in own}
    return Container({"field": FIELD}, encode(values, stored))


def header_length(data: bytes) -> int:
    """Length that the file's prefix names."""
    return int(struct.unpack_from("<I", data, 12)[0])


def rehash(body: bytes) -> bytes:
    """Append the SHA-256 that makes a body a file again."""
    return body + hashlib.sha256(body).digest()


def with_header(data: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """Edit the JSON header of a file and make lengths and SHA-256 fit again."""
    end = PREFIX + header_length(data)
    header = json.loads(data[PREFIX:end])
    edit(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    return rehash(data[:12] + struct.pack("<I", len(text)) + text + data[end:-DIGEST])


def section_edges(data: bytes) -> list[int]:
    """Offsets at which sections begin and end."""
    edge = PREFIX + header_length(data)
    edges = [edge]
    for entry in json.loads(data[PREFIX:edge])["sections"]:
        edges.append(edges[-1] + entry["bytes"])
    return edges


def unit_edges(stream: bytes) -> list[int]:
    """Offsets at which the units of an NNC stream begin, and its end."""
    edges = [0]
    while edges[-1] < len(stream):
        at = edges[-1]
        long = stream[at] >> 7
        size = int.from_bytes(stream[at : at + (4 if long else 2)], "big") & (0x7FFFFFFF if long else 0x7FFF)
        edges.append(at + size)
    return edges


def replaced_section(data: bytes, index: int, payload: bytes) -> bytes:
    """Put another payload into one section; table and SHA-256 follow."""
    edges = section_edges(data)
    body = data[: edges[index]] + payload + data[edges[index + 1] : -DIGEST]

    def edit(header: dict[str, Any]) -> None:
        header["sections"][index]["bytes"] = len(payload)

    return with_header(body + bytes(DIGEST), edit)


def flipped(data: bytes, bit: int) -> bytes:
    """Flip one bit."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def damaged_files(data: bytes, count: int, seed: int) -> Iterator[Corruption]:
    """Damage that leaves the SHA-256 as it was: what disks, networks and editors do."""
    rng = np.random.default_rng(seed)
    edges = section_edges(data)
    for index in range(count):
        at = int(rng.integers(1, len(data)))
        match index % 8:
            case 0 | 1:
                yield Corruption("bit flip", flipped(data, int(rng.integers(8 * len(data)))), False)
            case 2:
                yield Corruption("cut off anywhere", data[:at], False)
            case 3:
                yield Corruption("cut off at a section", data[: edges[int(rng.integers(len(edges)))]], False)
            case 4:
                yield Corruption("sections swapped", _swapped(data, edges, rng), False)
            case 5:
                yield Corruption("lying lengths", _lying_prefix(data, rng), False)
            case 6:
                yield Corruption("bytes inserted", data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:], False)
            case _:
                run = min(len(data) - at, int(rng.integers(1, 64)))
                noise = bytes(byte ^ 0x5A for byte in data[at : at + run])
                yield Corruption("burst", data[:at] + noise + data[at + run :], False)


def _swapped(data: bytes, edges: list[int], rng: np.random.Generator) -> bytes:
    first, second = sorted(rng.choice(len(edges) - 1, 2, replace=False))
    a, b = data[edges[first] : edges[first + 1]], data[edges[second] : edges[second + 1]]
    middle = data[edges[first + 1] : edges[second]]
    return data[: edges[first]] + b + middle + a + data[edges[second + 1] :]


def _lying_prefix(data: bytes, rng: np.random.Generator) -> bytes:
    length = int(rng.choice([0, 1, header_length(data) - 1, header_length(data) + 1, 2**31, 2**32 - 1]))
    return data[:12] + struct.pack("<I", length) + data[16:]


def rehashed_streams(data: bytes, count: int, seed: int) -> Iterator[Corruption]:
    """Damage inside the sections behind a valid SHA-256: what somebody hostile does to reach the decoder of NNC."""
    rng = np.random.default_rng(seed)
    header = json.loads(data[PREFIX : PREFIX + header_length(data)])
    streams = [index for index, entry in enumerate(header["sections"]) if entry["kind"] == "nnc"]
    edges = section_edges(data)
    for index in range(count):
        chosen = int(rng.choice(streams))
        stream = data[edges[chosen] : edges[chosen + 1]]
        units = unit_edges(stream)
        start = units[int(rng.integers(len(units) - 1))]
        match index % 6:
            case 0:
                payload = flipped(stream, int(rng.integers(8 * len(stream))))
                kind = "bit flip in a stream"
            case 1:
                limit = min(8 * len(stream), 8 * (start + 48))
                payload = flipped(stream, int(rng.integers(8 * start, limit)))
                kind = "bit flip in a unit's header"
            case 2:
                payload, kind = stream[: int(rng.integers(1, len(stream)))], "stream cut off anywhere"
            case 3:
                payload, kind = stream[: units[int(rng.integers(1, len(units) - 1))]], "stream cut off at a unit"
            case 4:
                other = int(rng.choice([s for s in streams if s != chosen]))
                payload, kind = data[edges[other] : edges[other + 1]], "another section's stream"
            case _:
                payload, kind = stream[:start] + rng.bytes(len(stream) - start), "noise from a unit on"
        yield Corruption(kind, replaced_section(data, chosen, payload), True)
