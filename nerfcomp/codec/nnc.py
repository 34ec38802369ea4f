"""Adapter to nncodec: named arrays to one NNC bitstream (ISO/IEC 15938-17), numpy only.

nncodec is used below its public functions: those import torchvision, pandas and sklearn, decode every unit once more
and copy all tensors for each of them. The units are the same as theirs, byte for byte; the only choice made here is
to skip empty rows where that is shorter. Decoding is in :mod:`nerfcomp.codec.decoder`, which stands alone.

Notation: a *unit* is one length-prefixed part of the bitstream (start, model parameter set, topology, then one data
unit for each tensor or block); a *block* is a weight with its local scaling and its bias in one unit, see
:func:`coded_units`; see :mod:`nerfcomp.codec.quantizers` for qp, step and level.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from nncodec.extensions import deepCABAC
from nncodec.nnc_core import hls, nnr_model
from nncodec.nnc_core.coder import syntax_compiler
from nncodec.nnc_core.hdsp.hdsp_tool import HDSP_OPTS_OFF

from nerfcomp.codec.quantizers import MAX_LEVEL, QP_DENSITY, Quantized, check_qp, check_shape, quantize

UNARY_LENGTH_MINUS1 = 10
MIN_EMPTY_ROWS = 0.05
MAX_TUNED_BYTES = 2**18  # beyond it tuning saves less than half a per cent and takes most of the time
SCALING = "_scaling"  # suffix of a weight's local scaling; decoders look for the tensor under this very name
_NAME = re.compile(r"[A-Za-z0-9_.\-/:]{1,200}")


class _Levels(NamedTuple):
    """What one data unit codes: int32 ``levels``; ``qp`` is None for integers that are kept as they are."""

    levels: np.ndarray
    qp: int | None
    dependent: bool


def encode_nnc(
    tensors: Mapping[str, np.ndarray | Quantized],
    qp: int | Mapping[str, int] = -32,
    dependent: bool | Mapping[str, bool] = True,
    unscaled: Collection[str] = (),
) -> bytes:
    """Code named tensors into one NNC bitstream that any conforming decoder reads.

    A float tensor ``X.weight_scaling`` beside ``X.weight`` is its local scaling, one factor for each of the rows: both
    are coded as one block, and a decoder returns their product as ``X.weight``.

    Args:
        tensors: By name, in coded order. Float arrays are quantized, integer and bool arrays are kept exactly (as
            int32), a :class:`Quantized` is coded as it is.
        qp: One quantization parameter, or one for each of the float arrays by name.
        dependent: Use dependent quantization for the float arrays: for all, or by name.
        unscaled: Weights whose ``X.weight_scaling`` only happens to have this name, and is coded like any other tensor.

    Returns:
        The bitstream; the same bytes for the same input.

    Raises:
        ValueError: No tensor, or a name, shape, type, value or ``qp`` that the format or nncodec cannot hold.

    >>> len(encode_nnc({"bias": np.array([0.5, -0.25], np.float32)}, qp=-20))
    40
    """
    if not tensors:
        raise ValueError("There is no tensor to code; give at least one.")
    stream = bytearray()
    for unit in _leading_units():
        stream += _sized(hls.encode_nnr_unit_with_size_dummy(unit))
    for name in tensors:
        _check_name(name)
    places = {name: place for place, name in enumerate(tensors)}
    for names in coded_units(list(tensors), unscaled):
        coded = []
        for name in names:
            own_qp = qp.get(name) if isinstance(qp, Mapping) else qp
            own_dependent = dependent.get(name, True) if isinstance(dependent, Mapping) else dependent
            coded.append(_prepared(name, tensors[name], own_qp, own_dependent))
        _check_block(names, coded)
        header = hls.encode_nnr_unit_with_size_dummy(_data_unit(places[names[-1]], names, coded))
        stream += _sized(header + _payload(coded))
    return bytes(stream)


def coded_units(names: Sequence[str], unscaled: Collection[str] = ()) -> list[tuple[str, ...]]:
    """Group tensors into data units.

    Args:
        names: All tensors of one stream.
        unscaled: Weights without local scaling, whatever stands beside them.

    Returns:
        For each unit, at the place of its weight, the names in the order in which the unit codes them: the local
        scaling ``X.weight_scaling``, the bias ``X.bias`` if there is one, and ``X.weight`` itself. A tensor without
        local scaling has a unit of its own.

    >>> coded_units(["a.weight", "a.bias", "a.weight_scaling", "b.weight", "b.bias"])
    [('a.weight_scaling', 'a.bias', 'a.weight'), ('b.weight',), ('b.bias',)]
    >>> coded_units(["a.weight", "a.weight_scaling"], unscaled=["a.weight"])
    [('a.weight',), ('a.weight_scaling',)]
    """
    known = set(names)
    blocks = {}
    for name in names:
        if name.endswith("weight") and name + SCALING in known and name not in unscaled:
            bias = name.removesuffix("weight") + "bias"
            blocks[name] = (name + SCALING, *([bias] if bias in known else []), name)
    inside = {name for block in blocks.values() for name in block}
    return [blocks.get(name, (name,)) for name in names if name in blocks or name not in inside]


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or "_G" in name or "_H" in name:
        raise ValueError(
            f"Tensor name {str(name)[:80]!r} cannot be coded; use 1 to 200 of A-Z a-z 0-9 _ . - / : "
            "without '_G' and '_H', which NNC reserves for decomposed tensors."
        )


def _prepared(name: str, value: np.ndarray | Quantized, qp: int | None, dependent: bool) -> _Levels:
    """Check one tensor and bring it to levels."""
    if isinstance(value, Quantized):
        check_qp(name, value.qp)
        return _Levels(_checked_integers(name, value.levels), int(value.qp), bool(value.dependent))
    value = np.asarray(value)
    if value.dtype.kind in "iub":
        return _Levels(_checked_integers(name, value), None, False)
    if qp is None:
        raise ValueError(f"Tensor {name!r} has no qp; give one for each of the float tensors.")
    return _Levels(*quantize(value, qp, dependent, name=name))


def _checked_integers(name: str, value: np.ndarray) -> np.ndarray:
    check_shape(name, value.shape)
    if value.dtype.kind not in "iub":
        raise ValueError(f"Tensor {name!r} is {value.dtype}; levels must be integers.")
    low, high = int(value.min()), int(value.max())
    if low < -MAX_LEVEL or high > MAX_LEVEL:
        raise ValueError(f"Tensor {name!r} spans {low} to {high}; integers up to {MAX_LEVEL} in magnitude can be kept.")
    return np.ascontiguousarray(np.atleast_1d(value), dtype=np.int32)


def _leading_units() -> list[dict[str, Any]]:
    unrecognized = nnr_model.TopologyStorageFormat.NNR_TPL_UNREC
    raw = nnr_model.TopologyCompressionFormat.NNR_PT_RAW
    return [
        syntax_compiler.compile_start_unit(1),
        syntax_compiler.compile_mps({"qp_density": np.int32(QP_DENSITY)}, True, 1),
        syntax_compiler.compile_tpl({"topology_storage_format": unrecognized, "topology_compression_format": raw}),
    ]


def _check_block(names: tuple[str, ...], coded: Sequence[_Levels]) -> None:
    """Refuse blocks that the syntax cannot hold: vectors must have one value for each of the weight's rows."""
    rows = len(coded[-1].levels)
    for name, part in zip(names[:-1], coded[:-1]):
        if part.levels.shape != (rows,):
            raise ValueError(
                f"Tensor {name!r} has shape {part.levels.shape}; beside {names[-1]!r} it must be ({rows},)."
            )
    if len(coded) > 1 and any(part.qp is None or part.dependent != coded[-1].dependent for part in coded):
        raise ValueError(f"The tensors {', '.join(names)} form a block; quantize all of them, and in the same way.")


def _data_unit(index: int, names: tuple[str, ...], coded: Sequence[_Levels]) -> dict[str, Any]:
    """Describe the unit of one tensor or block, the weight last. ``index`` is its place in the stream."""
    name, weight, block = names[-1], coded[-1], None
    cpt = 0
    if len(names) > 1:
        cpt = int(hls.BlockParameterTypes.NNR_CPT_LS)
        cpt |= int(hls.BlockParameterTypes.NNR_CPT_BI) if len(names) > 2 else 0
        types = dict(zip(names, ("weight.ls", *(["bias"] if len(names) > 2 else []), "weight")))
        block = nnr_model.NNRBlockAccess(
            {"block_identifier": dict.fromkeys(names, name), "parameter_type": types}, name
        )
    unit: dict[str, Any] = syntax_compiler.compile_ndu(
        param=name,
        approx_data={
            "approx_method": {name: "skip" if weight.qp is None else "uniform"},
            "dq_flag": {name: int(weight.dependent)},
            "scan_order": {name: 0},
            "parameters": {name: weight.levels},
            "compressed_parameter_types": {name: cpt},
        },
        enc_info={
            "cabac_unary_length_minus1": UNARY_LENGTH_MINUS1,
            "general_profile_idc": 1,
            "node_id_present_flag": 1,
            "device_id": 0,
            "mps_parent_signalling_enabled_flag": 0,
            "parent_node_id_present_flag": 0,
        },
        model_info={"parameter_index": {name: index}},
        ndu_oob=syntax_compiler.compile_ndu_oob(),
        is_block=block is not None,
        cpt=cpt,
        block_access=block,
        base_params=None,
        put_node_depths=None,
        tensor_dims=weight.levels.shape,
    )
    return unit


def _sized(unit: bytearray) -> bytearray:
    sized, _ = hls.update_nnr_unit_size(unit)
    assert isinstance(sized, bytearray)
    return sized


def _payload(coded: Sequence[_Levels]) -> bytes:
    """Entropy-code one unit; where a tensor has many empty rows, with a skip flag for each row if that is shorter."""
    skip_rows = [_skips_rows(part) for part in coded]
    payload = _cabac(coded, skip_rows, tuned=False)
    if len(payload) > MAX_TUNED_BYTES:
        return payload
    return min(payload, _cabac(coded, skip_rows, tuned=True), key=len)


def _skips_rows(part: _Levels) -> bool:
    rows = part.levels.reshape(len(part.levels), -1)
    if 1 in rows.shape or _empty_rows(part).mean() < MIN_EMPTY_ROWS:
        return False
    plain, skipping = (len(_cabac([part], [skip], tuned=False)) for skip in (False, True))
    return skipping < plain


def _empty_rows(part: _Levels) -> np.ndarray:
    return np.array(~part.levels.reshape(len(part.levels), -1).any(axis=1), dtype=np.int32)


def _cabac(coded: Sequence[_Levels], skip_rows: Sequence[bool], tuned: bool) -> bytes:
    """Run the coder once; ``tuned`` tries nine starting states for every context, which takes four times as long."""
    encoder = deepCABAC.Encoder()
    for part, skip in zip(coded, skip_rows):
        if part.qp is not None:
            encoder.iae_v(6 + QP_DENSITY, part.qp)
        encoder.initCtxModels(UNARY_LENGTH_MINUS1 + 1, int(tuned))
        empty = _empty_rows(part)
        skipped = empty if skip else np.zeros_like(empty)
        encoder.encodeLayer(part.levels, int(part.dependent), 0, 1, 0, int(skip), skipped, *HDSP_OPTS_OFF(), 0, 0)
    payload: bytes = encoder.finish().tobytes()
    return payload
