"""Our decoder of NNC beside nncodec's: equal on what nncodec writes with any tool, and a sentence for anything else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nerfcomp.codec import encode_nnc
from nerfcomp.codec.decoder import decode_stream
from nerfcomp.codec.nnc_bits import StreamError
from nerfcomp.codec.nnc_decoder import decode_nnc
from tests.codec.samples import flipped, ramp, unit_edges
from tests.codec.test_nnc import layer_qps, layers, nncodec_package

SHAPES = [(1,), (7,), (300,), (1, 9), (9, 1), (3, 4), (33, 70), (130, 9), (5, 4, 3, 3), (2, 1, 1, 1, 2), (17, 2, 8)]
TOOLS: dict[str, dict[str, Any]] = {
    "dependent": {},
    "plain": {"use_dq": False},
    "untuned": {"param_opt": False},
    "rows skipped": {"row_skipping": True},
    "rows skipped, plain": {"row_skipping": True, "use_dq": False},
    "layers by size": {"opt_qp": True},
    "short unary": {"cabac_unary_length_minus1": 0},
    "long unary": {"cabac_unary_length_minus1": 40, "qp": -44},
    "fine density": {"qp_density": 4, "qp": -90},
    "no density": {"qp_density": 0, "qp": -6},
    "rate and distortion": {"lambda_scale": 1.0},
    "whole numbers": {"int_quant_bw": 6},
    "coarse": {"qp": 4, "nonweight_qp": 0},
    **{f"blocks {4 << order}": {"scan_order": order} for order in (1, 2, 3, 4)},
    "blocks, plain, rows skipped": {"scan_order": 1, "use_dq": False, "row_skipping": True},
    "blocks, rows skipped": {"scan_order": 2, "row_skipping": True},
}


def arrays(blocks: bool) -> dict[str, np.ndarray]:
    """Tensors of all shapes and kinds; where blocks are scanned, none that nncodec cannot encode so."""
    rng = np.random.default_rng(0)
    shapes = [shape for shape in SHAPES if len(shape) == 1 or not blocks or (shape[0] > 1 and np.prod(shape[1:]) > 1)]
    found: dict[str, np.ndarray] = {f"t{i}": rng.laplace(0, 0.1, shape) for i, shape in enumerate(shapes)}
    found["zero"], found["rare"] = np.zeros((20, 30)), rng.normal(size=(60, 40)) * (rng.random((60, 40)) < 0.02)
    found["large"], found["rows"] = (
        rng.normal(size=(9, 9)) * 1e3,
        rng.normal(size=(64, 5)) * (np.arange(64) % 3 == 0)[:, None],
    )
    found = {name: value.astype(np.float32) for name, value in found.items()}
    return {**found, "n": np.arange(-9, 9, dtype=np.int32).reshape(3, 6), "m": np.array([2**30, -(2**30)], np.int32)}


def assert_same(stream: bytes) -> int:
    """Compare both decoders bit for bit; how many arrays."""
    theirs, ours = decode_stream(stream), decode_nnc(stream)
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (value.dtype, value.shape)
        assert ours[name].tobytes() == value.tobytes(), name
    return len(ours)


@pytest.mark.parametrize("tool", TOOLS)
def test_equal_on_what_nncodec_writes(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nnc = nncodec_package(monkeypatch)
    options = {"qp": -30, "nonweight_qp": -44, **TOOLS[tool]}
    given = arrays(blocks="scan_order" in options)
    stream = nnc.compress(dict(given), bitstream_path=None, return_bitstream=True, **options)
    assert assert_same(bytes(stream)) == len(given)


@pytest.mark.parametrize("dependent", [False, True])
def test_equal_on_what_we_write(dependent: bool) -> None:
    table = np.random.default_rng(0).laplace(0, 0.01, (4000, 2)).astype(np.float32)
    table[np.random.default_rng(1).random(4000) < 0.9] = 0
    assert_same(encode_nnc({"table": table, **layers()}, {"table": -32, **layer_qps()}, dependent))
    for qp in (-128, 127):
        assert_same(encode_nnc({"w": np.array([[0.0, 1e-10], [-1e-10, 0.0]], np.float32)}, qp, dependent))


def test_equal_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nerfcomp.codec.nnc_decoder.PARALLEL_LEVELS", 10)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert_same(encode_nnc(layers(), layer_qps()))


@pytest.mark.slow
def test_damaged_streams_are_refused_or_decode_alike() -> None:
    rng = np.random.default_rng(0)
    streams = [
        encode_nnc(layers(), layer_qps()),
        encode_nnc({"w": ramp((40, 9)), "n": np.arange(60).reshape(12, 5)}, -25),
    ]
    outcomes = {"refused": 0, "same": 0}
    for case in range(600):
        stream = streams[case % 2]
        start = int(rng.choice(unit_edges(stream)[:-1]))
        bit = int(rng.integers(8 * len(stream))) if case % 3 else 8 * start + int(rng.integers(8 * 30))
        damaged = (
            flipped(stream, min(bit, 8 * len(stream) - 1)) if case % 5 else stream[: int(rng.integers(len(stream)))]
        )
        try:
            ours = decode_nnc(damaged)
        except StreamError:
            outcomes["refused"] += 1
            continue
        theirs = decode_stream(damaged)
        assert [(k, v.tobytes()) for k, v in ours.items()] == [(k, v.tobytes()) for k, v in theirs.items()]
        outcomes["same"] += 1
    assert outcomes["refused"] > 400 and outcomes["same"] > 5


def _bits(stream: bytes, unit: int, bit: int, value: int, count: int) -> bytes:
    """Write a number into the header of one unit, ``bit`` bits after its size."""
    place = 8 * (unit_edges(stream)[unit] + 2) + bit
    whole = int.from_bytes(stream, "big")
    shift = 8 * len(stream) - place - count
    return (whole & ~(((1 << count) - 1) << shift) | value << shift).to_bytes(len(stream), "big")


REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing at first": (lambda s: s[unit_edges(s)[1] :], "one start unit"),
    "nothing": (lambda s: b"", "ends too early"),
    "a profile": (lambda s: _bits(s, 0, 8, 0, 8), "profile"),
    "parts": (lambda s: _bits(s, 1, 7, 1, 1), "split into parts"),
    "a performance map": (lambda s: _bits(s, 1, 9, 1, 1), "performance maps"),
    "a base model": (lambda s: _bits(s, 1, 17, 1, 1), "base model"),
    "indexed names": (lambda s: _bits(s, 1, 16, 1, 1), "indexed names"),
    "a topology": (lambda s: _bits(s, 2, 8, 1, 8), "topology"),
    "a layer's parameters": (lambda s: _bits(s, 3, 0, 2, 6), "type 2"),
    "raw floats": (lambda s: _bits(s, 3, 8, 2, 5), "payload of type 2"),
    "a length": (lambda s: s + bytes([0x7F, 0xFF]), "longer than the stream"),
    "no length": (lambda s: s + bytes(2), "ends too early"),
    "twice": (lambda s: s + s[unit_edges(s)[3] :], "one name"),
    "the end": (lambda s: s[: unit_edges(s)[3]] + _shorter(s[unit_edges(s)[3] :]), "end"),
}


def _shorter(unit: bytes) -> bytes:
    return (len(unit) - 3).to_bytes(2, "big") + unit[2:-3]


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_understood_gets_a_sentence(what: str) -> None:
    change, sentence = REFUSED[what]
    stream = encode_nnc({"w": ramp((9, 8))}, -24)
    with pytest.raises(StreamError, match=sentence):
        decode_nnc(change(stream))


def test_scaling_is_that_of_its_weight() -> None:
    tensors = {"a.weight": np.ones((3, 2), np.float32), "a.weight_scaling": np.ones(3, np.float32)}
    with pytest.raises(StreamError, match="weight's name"):
        decode_nnc(encode_nnc(tensors, -24).replace(b"_scaling", b"_scalinG"))


def test_decomposed_tensors_are_refused() -> None:
    stream = encode_nnc({"w.H": ramp((9, 8))}, -24).replace(b"w.H\0", b"w_H\0")
    with pytest.raises(StreamError, match="decomposed"):
        decode_nnc(stream)


def test_entry_points_that_lie_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nnc = nncodec_package(monkeypatch)
    given = {"w": np.random.default_rng(0).normal(size=(33, 40)).astype(np.float32)}
    stream = bytes(nnc.compress(given, bitstream_path=None, return_bitstream=True, qp=-20, scan_order=1))
    head = unit_edges(stream)[3] + 16
    outcomes = []
    for bit in range(8 * head, 8 * head + 60):
        try:
            outcomes.append(decode_nnc(flipped(stream, bit))["w"].tobytes() == decode_nnc(stream)["w"].tobytes())
        except StreamError as error:
            outcomes.append("entry point" in str(error))
    assert sum(outcomes) > 30
