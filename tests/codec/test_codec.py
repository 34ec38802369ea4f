from typing import Any

import numpy as np
import pytest
from nncodec import nnc_core

from nerfcomp.codec import (
    Container,
    Quantized,
    Storage,
    decode,
    dequantize,
    encode,
    from_bytes,
    quantize,
    to_bytes,
    unwrap,
)
from nerfcomp.errors import ContainerError
from tests.codec.samples import FIELD, container, ramp, scaled_container, storage, tensors


def test_tensors_come_back_through_the_bytes_of_a_file() -> None:
    decoded = decode(from_bytes(to_bytes(container())))
    assert list(decoded) == list(tensors())
    for name, value in tensors().items():
        stored = storage()[name]
        lossy = stored.qp is not None and value.dtype.kind == "f"
        expected = dequantize(quantize(value, stored.qp or 0, stored.dependent)) if lossy else value
        np.testing.assert_array_equal(decoded[name], expected, strict=True)


def test_same_input_same_bytes() -> None:
    assert to_bytes(container()) == to_bytes(container())


def test_unwrapped_streams_are_read_by_plain_nncodec() -> None:
    streams = unwrap(container())
    assert list(streams) == ["grid.0", "grid.1", "net"]
    decoded = {}
    for stream in streams.values():
        keys = ("parameter_type", "parameter_dimensions", "parameter_index", "block_identifier")
        info: dict[str, Any] = {key: {} for key in keys} | {"topology_storage_format": None}
        info["performance_maps"] = {"mps": {}, "lps": {}}
        flags = ("sparsification", "pruning", "unification", "decomposition_performance_map")
        info["performance_map_flags"] = {f"{scope}_{flag}_flag": {} for scope in ("mps", "lps") for flag in flags}
        coded = nnc_core.coder.decode(stream, info)
        nnc_core.approximator.rec(coded)
        decoded.update(coded["parameters"])
    expected = decode(container())
    assert list(decoded) == ["levels.0.weight", "levels.1.weight", "net.0.weight", "net.0.bias", "net.1.weight", "step"]
    for name, value in decoded.items():
        np.testing.assert_array_equal(value, expected[name], strict=True)


def test_quantized_tensors_need_no_qp() -> None:
    quantized = quantize(tensors()["net.0.weight"], -30)
    sections = encode({"w": quantized}, {"w": Storage("net")})
    decoded = decode(Container({"field": FIELD}, sections))
    np.testing.assert_array_equal(decoded["w"], dequantize(quantized))


def test_qp_zero_is_a_qp() -> None:
    sections = encode({"w": np.array([4.0, 0.2], np.float32)}, {"w": Storage("net", qp=0)})
    assert decode(Container({"field": FIELD}, sections))["w"].tolist() == [4.0, 0.0]


@pytest.mark.parametrize(
    "value", [np.float32(2.5), np.array(7, np.int64), np.arange(6, dtype=np.uint8).reshape(1, 2, 3)]
)
def test_raw_tensors_are_exact(value: np.ndarray) -> None:
    sections = encode({"v": value}, {"v": Storage("raw")})
    np.testing.assert_array_equal(decode(Container({"field": FIELD}, sections))["v"], np.atleast_1d(value), strict=True)


@pytest.mark.parametrize(
    "values, places, sentence",
    [
        ({"a": np.ones(2)}, {}, "no storage"),
        ({"a": np.ones(2, np.float32), "b": np.ones(2)}, {"a": Storage("s", 1), "b": Storage("s")}, "different kinds"),
        ({"a": np.ones(2)}, {"a": Storage("s")}, "must be finite and of one of the types"),
        ({"a": np.full(2, np.nan, np.float32)}, {"a": Storage("s")}, "must be finite"),
        ({"a": np.full(2, np.nan, np.float32)}, {"a": Storage("s", -20)}, "not finite"),
        (
            {"a": np.ones((1, 2, 2, 2), bool), "b": np.ones((1, 2, 2, 2), bool)},
            {"a": Storage("s"), "b": Storage("s")},
            "different sections",
        ),
    ],
)
def test_refusals_say_why(values: dict[str, np.ndarray | Quantized], places: dict[str, Storage], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        encode(values, places)


def test_hostile_values_in_exact_sections_are_refused() -> None:
    (floats,) = encode({"a": np.ones(2, np.float32)}, {"a": Storage("s")})
    (flags,) = encode({"a": np.ones(2, bool)}, {"a": Storage("s")})
    (grid,) = encode({"a": np.ones((1, 4, 4, 4), bool)}, {"a": Storage("s")})
    for section in (floats._replace(data=b"\xff" * 8), flags._replace(data=b"\x02\x01"), grid._replace(data=bytes(40))):
        with pytest.raises(ContainerError, match="'s'"):
            decode(Container({"field": FIELD}, (section,)))


def test_local_scaling_comes_back_folded() -> None:
    weight, scale, bias = ramp((6, 5), 0.1), 1 + ramp((6,), 0.01), ramp((6,), 0.1)
    names = ("net.weight", "net.bias", "net.weight_scaling")
    storage = {name: Storage("net", qp) for name, qp in zip(names, (-28, -44, -48))}
    (section,) = encode(dict(zip(names, (weight, bias, scale))), storage)
    assert [spec.name for spec in section.tensors] == ["net.bias", "net.weight"]
    decoded = decode(from_bytes(to_bytes(Container({"field": FIELD}, (section,)))))
    folded = dequantize(quantize(scale, -48))[:, None] * dequantize(quantize(weight, -28))
    np.testing.assert_array_equal(decoded["net.weight"], folded)


def test_scales_under_another_name_are_refused() -> None:
    intact = scaled_container()
    section = intact.sections[0]
    renamed = section._replace(data=section.data.replace(b"coarse.0.weight_scaling", b"coarse.0.weight_scalinG"))
    assert renamed.data != section.data
    with pytest.raises(ContainerError, match="cannot be decoded"):
        decode(intact._replace(sections=(renamed, *intact.sections[1:])))
