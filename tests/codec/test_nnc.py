import itertools
import sys
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nncodec import nnc_core

from nerfcomp.codec import Quantized, decode_nnc, dequantize, encode_nnc, quantize
from nerfcomp.codec.nnc import coded_units
from tests.codec.samples import ramp, unit_edges

SHAPES = st.lists(st.integers(1, 5), max_size=5).map(tuple)


def reference_stream(tensors: dict[str, np.ndarray], qp: int, dependent: bool, tuned: bool) -> bytes:
    """The bitstream that nncodec's own approximator and coder make: its `compress` minus what needs torch."""
    model = nnc_core.nnr_model.NNRModel(tensors)
    data = nnc_core.approximator.init_approx_data(tensors, model.model_info, qp_density=2, scan_order=0)
    settings = nnc_core.approximator.ApproxInfo(
        data, model.model_info, "uniform", 0, qp, False, not dependent, 10, 0, nonweight_qp=qp
    )
    encoder: dict[str, Any] = {
        "cabac_unary_length_minus1": 10,
        "param_opt_flag": tuned,
        "general_profile_idc": 1,
        "node_id_present_flag": 1,
        "device_id": 0,
        "mps_parent_signalling_enabled_flag": 0,
        "parent_node_id_present_flag": 0,
        "temporal_context_modeling_flag": 0,
        "row_skip_enabled_flag": 0,
    }
    quantized = nnc_core.approximator.approx(settings.approx_info, model.model_info, data, encoder)
    stream, _ = nnc_core.coder.encode(enc_info=encoder, model_info=model.model_info, approx_data=quantized)
    return bytes(stream)


def units(stream: bytes) -> list[bytes]:
    edges = unit_edges(stream)
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize("dependent", [False, True])
def test_bytes_equal_those_of_nncodec(dependent: bool) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "conv.weight": rng.normal(size=(5, 4, 3, 3)).astype(np.float32),
        "conv.bias": rng.normal(size=(5,)).astype(np.float32),
        "steps": rng.integers(-1000, 1000, (3, 4)).astype(np.int32),
        "row": rng.normal(size=(1, 9)).astype(np.float32),
        "column": rng.normal(size=(9, 1)).astype(np.float32),
        "big": rng.laplace(size=(200, 90)).astype(np.float32),
    }
    ours = units(encode_nnc(tensors, -22, dependent))
    theirs = [units(reference_stream(tensors, -22, dependent, tuned)) for tuned in (False, True)]
    assert ours == [min(plain, tuned, key=len) for plain, tuned in zip(*theirs, strict=True)]
    assert ours[-1] == theirs[1][-1] != theirs[0][-1]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    shapes=st.lists(SHAPES, min_size=1, max_size=4),
    qp=st.integers(-60, 60),
    dependent=st.booleans(),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 30.0, 1e4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(shapes: list[tuple[int, ...]], qp: int, dependent: bool, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    qp = max(qp, 0) if scale > 100 else qp
    tensors = {f"t{i}": (rng.normal(size=shape) * scale).astype(np.float32) for i, shape in enumerate(shapes)}
    data = encode_nnc(tensors, qp, dependent)
    decoded = decode_nnc(data)
    assert list(decoded) == list(tensors)
    for name, value in tensors.items():
        expected = dequantize(quantize(value, qp, dependent))
        assert decoded[name].dtype == np.float32
        assert decoded[name].shape == (value.shape or (1,))
        np.testing.assert_array_equal(decoded[name], expected)
    assert encode_nnc(decoded, qp, dependent=False) == encode_nnc(decoded, qp, dependent=False)


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, low=st.integers(-(2**30), 0), high=st.integers(0, 2**30), seed=st.integers(0, 99))
def test_integers_are_exact(shape: tuple[int, ...], low: int, high: int, seed: int) -> None:
    value = np.random.default_rng(seed).integers(low, high + 1, shape)
    np.testing.assert_array_equal(decode_nnc(encode_nnc({"n": value}))["n"], np.atleast_1d(value))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int16, np.int64, np.uint32])
def test_every_integer_type_comes_back_as_int32(dtype: type) -> None:
    value: np.ndarray = np.array([[0, 1], [1, 0]]).astype(dtype)
    decoded = decode_nnc(encode_nnc({"n": value}))["n"]
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, value)


def test_each_tensor_has_its_own_qp_whatever_its_shape() -> None:
    tensors = {"weight": ramp((6, 6)), "bias": ramp((6,))}
    decoded = decode_nnc(encode_nnc(tensors, {"weight": -20, "bias": -40}, {"weight": False}))
    np.testing.assert_array_equal(decoded["weight"], dequantize(quantize(tensors["weight"], -20, False)))
    np.testing.assert_array_equal(decoded["bias"], dequantize(quantize(tensors["bias"], -40, True)))


def test_quantized_tensors_are_coded_as_they_are() -> None:
    quantized = quantize(ramp((20, 2)), -25)
    assert encode_nnc({"w": quantized}) == encode_nnc({"w": ramp((20, 2))}, -25)


@pytest.mark.parametrize("dependent", [False, True])
def test_empty_rows_are_skipped_where_it_pays(dependent: bool) -> None:
    rng = np.random.default_rng(0)
    table = rng.laplace(0, 0.01, (20000, 2)).astype(np.float32)
    table[rng.random(20000) < 0.9] = 0
    data = encode_nnc({"w": table}, -32, dependent)
    assert len(data) < 0.96 * len(encode_nnc({"w": table.reshape(-1)}, -32, dependent))
    np.testing.assert_array_equal(decode_nnc(data)["w"], dequantize(quantize(table, -32, dependent)))


def test_shape_of_a_table_costs_neither_bytes_nor_values() -> None:
    table = np.random.default_rng(0).laplace(0, 0.01, (4096, 2)).astype(np.float32)
    tall, wide = (encode_nnc({"w": table.reshape(shape)}, -30) for shape in ((4096, 2), (64, 128)))
    assert abs(len(tall) - len(wide)) < 4
    np.testing.assert_array_equal(decode_nnc(tall)["w"], decode_nnc(wide)["w"].reshape(4096, 2))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    decode_nnc(encode_nnc({"w": ramp((30, 30)), "n": np.arange(5)}, -30))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["", "a_G", "x_Hidden", "a\0b", "ü", "a b", "n" * 201, 3])
def test_names_that_nncodec_mangles_are_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="cannot be coded"):
        encode_nnc({name: np.ones(2, np.float32)})


@pytest.mark.parametrize(
    "value",
    [
        np.array([2**31 - 1]),
        np.zeros((0,), np.int32),
        np.array([1j]),
        np.array(["a"]),
        Quantized(np.array([2**31 - 1], np.int32), 0, True),
        Quantized(np.array([1.0]), 0, True),
        Quantized(np.array([1], np.int32), 300, True),
    ],
)
def test_values_that_cannot_be_coded_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="w"):
        encode_nnc({"w": value})


def test_empty_streams_and_missing_qps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        encode_nnc({})
    with pytest.raises(ValueError, match="has no qp"):
        encode_nnc({"w": np.ones(2, np.float32)}, {"v": -20})


def layers() -> dict[str, np.ndarray]:
    """Three linear layers with scales: with bias, without, and of a single row; one more without scales."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, out, inputs, bias in (("a", 7, 5, True), ("b", 64, 40, False), ("c", 1, 9, True)):
        tensors[f"{name}.weight"] = rng.normal(0, 0.1, (out, inputs)).astype(np.float32)
        tensors[f"{name}.weight_scaling"] = rng.normal(1, 0.05, out).astype(np.float32)
        if bias:
            tensors[f"{name}.bias"] = rng.normal(0, 0.1, out).astype(np.float32)
    return {**tensors, "d.weight": ramp((3, 4)), "d.bias": ramp((3,))}


def layer_qps() -> dict[str, int]:
    chosen = {".weight": -24, "_scaling": -48, ".bias": -44}
    return {name: next(qp for end, qp in chosen.items() if name.endswith(end)) for name in layers()}


def nncodec_package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """nncodec's public interface, with stubs for the big packages that it imports and decoding does not need."""

    for name in ("torchvision", "cv2", "sklearn", "sklearn.metrics", "h5py", "pandas"):
        monkeypatch.setitem(sys.modules, name, MagicMock(__path__=[]))
    from nncodec import nnc

    assert isinstance(nnc, ModuleType)
    return nnc


@pytest.mark.parametrize("dependent", [False, True])
def test_scales_are_folded_by_plain_nncodec_as_by_ours(dependent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, qps = layers(), layer_qps()
    stream = encode_nnc(tensors, qps, dependent)
    values = {name: dequantize(quantize(value, qps[name], dependent)) for name, value in tensors.items()}
    folded = {name: value for name, value in values.items() if not name.endswith("_scaling")}
    for name in ("a.weight", "b.weight", "c.weight"):
        folded[name] = values[f"{name}_scaling"][:, None] * values[name]
    ours = decode_nnc(stream)
    theirs = nncodec_package(monkeypatch).decompress(bytearray(stream), reconstruct_lsa=True)
    assert ours.keys() == theirs.keys() == folded.keys()
    for name, value in folded.items():
        np.testing.assert_array_equal(ours[name], value)
        np.testing.assert_array_equal(theirs[name], value)


def test_a_name_alone_makes_no_local_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {"a.weight": np.ones((3, 2), np.float32), "a.weight_scaling": np.full(3, 4.0, np.float32)}
    stream = encode_nnc(tensors, -24, unscaled=["a.weight"])
    theirs = nncodec_package(monkeypatch).decompress(bytearray(stream), reconstruct_lsa=True)
    for decoded in (decode_nnc(stream), theirs):
        assert list(decoded) == list(tensors)
        assert decoded["a.weight"].max() == 1.0 and decoded["a.weight_scaling"].max() == 4.0


def test_blocks_are_those_of_nncodec(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, qps = layers(), layer_qps()
    blocks = {name: name.split(".")[0] if name[0] != "d" else None for name in tensors}
    types = {"weight": "weight", "weight_scaling": "weight.ls", "bias": "bias"}
    kinds = {name: types[name.split(".")[1]] for name in tensors}
    nnc = nncodec_package(monkeypatch)
    theirs = [
        units(
            nnc.compress(
                dict(tensors),
                bitstream_path=None,
                qp_per_tensor=qps,
                param_opt=tuned,
                block_id_and_param_type={"block_identifier": blocks, "parameter_type": kinds},
                return_bitstream=True,
            )
        )
        for tuned in (False, True)
    ]
    assert units(encode_nnc(tensors, qps)) == [min(pair, key=len) for pair in zip(*theirs, strict=True)]


def test_scales_of_a_weight_that_is_not_there_are_a_tensor_like_others() -> None:
    values = decode_nnc(encode_nnc({"a.weight_scaling": np.ones(3, np.float32)}, -40))
    assert list(values) == ["a.weight_scaling"]
    assert coded_units(["x", "x_scaling"]) == [("x",), ("x_scaling",)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a.weight_scaling": np.ones((7, 1), np.float32)}, "must be"),
        ({"a.weight_scaling": np.ones(5, np.float32)}, "must be"),
        ({"a.bias": np.ones(6, np.float32)}, "must be"),
        ({"a.weight_scaling": np.ones(7, np.int32)}, "in the same way"),
        ({"a.bias": quantize(np.ones(7, np.float32), -40, False)}, "in the same way"),
    ],
)
def test_blocks_that_the_syntax_cannot_hold_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_nnc({**layers(), **change}, layer_qps())
