"""Integer layers: every twin gives the integers of the reference, and the reference those of a hand-written sum."""

from typing import get_args

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch
from llvmlite import ir
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from nerfcomp.kernels.int8_linear import (
    Backend,
    Grid,
    int8_linear,
    int8_linear_twice,
    is_exact,
    pack,
    proven_backend,
    quantize,
    simd,
)
from nerfcomp.kernels.int8_linear.numba_kernel import groups_of

FAST: list[Backend] = [name for name in get_args(Backend) if name in ("int_mm", "madd", "small")]
LARGEST = {"small": 32}  # weights of 6 bits, which all may be
GRID, TARGET = Grid(0.017, 9), Grid(0.31, 128)


def layer(rows: int, width: int, outputs: int, largest: int = 128) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Activations (rows, width), weights (outputs, width), their scales, biases."""
    generator = torch.Generator().manual_seed(rows + width)
    x = torch.randint(0, 256, (rows, width), generator=generator, dtype=torch.uint8)
    weight = torch.randint(-largest, largest, (outputs, width), generator=generator, dtype=torch.int16).to(torch.int8)
    return x, weight, torch.rand(outputs, generator=generator) * 0.02, torch.randn(outputs, generator=generator)


def test_reference_is_the_formula_of_the_paper() -> None:
    x, weight, scale, bias = layer(5, 19, 7)
    y = int8_linear(x, pack(weight, scale, GRID, "torch"), bias, relu=True, target=TARGET)
    for row in range(5):
        for n in range(7):
            total = sum((int(q) - 9) * int(w) for q, w in zip(x[row], weight[n]))
            value = max(0.017 * float(scale[n]) * total + float(bias[n]), 0.0)
            assert abs(int(y[row, n]) - min(max(value / 0.31 + 128, 0), 255)) <= 0.5 + 1e-3


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (51, 63, 256), (97, 283, 128), (48, 256, 3), (13, 512, 17)])
def test_twins_give_the_same_integers(backend: Backend, sizes: tuple[int, int, int]) -> None:
    if backend in ("madd", "small") and proven_backend() == "torch":
        pytest.skip("this processor has no AVX2")
    x, weight, scale, bias = layer(*sizes, LARGEST.get(backend, 128))
    mine, truth = pack(weight, scale, GRID, backend), pack(weight, scale, GRID, "torch")
    so_far = torch.randn(len(x), len(weight))
    for addend in (bias, so_far):
        for relu in (False, True):
            for target in (None, TARGET, Grid(0.05, 0), Grid(0.05, 255)):
                expected = int8_linear(x, truth, addend, relu, target)
                assert torch.equal(int8_linear(x, mine, addend, relu, target), expected)
                assert expected.dtype == (torch.float32 if target is None else torch.uint8)
        twice = int8_linear_twice(x, mine, addend, True, (TARGET, Grid(0.05, 255)))
        assert torch.equal(twice[0], int8_linear(x, truth, addend, True, TARGET))
        assert torch.equal(twice[1], int8_linear(x, truth, addend, True, Grid(0.05, 255)))


@pytest.mark.parametrize("backend", FAST)
def test_largest_sums_do_not_saturate(backend: Backend) -> None:
    if backend in ("madd", "small") and proven_backend() == "torch":
        pytest.skip("this processor has no AVX2")
    largest = 64 if backend == "small" else 128
    x, weight = torch.full((3, 300), 255, dtype=torch.uint8), torch.full((16, 300), -largest, dtype=torch.int8)
    y = int8_linear(x, pack(weight, torch.ones(16), Grid(1.0, 0), backend), torch.zeros(16))
    assert y.unique().tolist() == [-255 * largest * 300]


@pytest.mark.parametrize(("value", "words"), [(64, 1), (32, 2), (16, 4), (-64, 1), (-16, 4)])
def test_as_many_words_are_added_in_16_bits_as_always_fit(value: int, words: int) -> None:
    if proven_backend() == "torch":
        pytest.skip("this processor has no AVX2")
    weight = torch.full((16, 96), value, dtype=torch.int8)
    assert groups_of(weight.numpy()).tolist() == [words]
    x = torch.full((5, 96), 255, dtype=torch.uint8)
    y = int8_linear(x, pack(weight, torch.ones(16), Grid(1.0, 0), "small"), torch.zeros(16))
    assert y.unique().tolist() == [255 * value * 96]
    one_more = weight.clone()
    one_more[7, 40] += 1 if value > 0 else -1
    fewer = int(groups_of(one_more.numpy())[0])
    assert fewer == words // 2 and 2 * words * abs(value) * 255 < 2**15 <= (2 * words * abs(value) + 1) * 255


def test_weights_of_few_bits_take_the_faster_instruction() -> None:
    if proven_backend() != "madd":
        pytest.skip("this processor has no AVX2, or better")
    _, small, scale, _ = layer(1, 64, 16, 32)
    _, large, _, _ = layer(1, 64, 16, 128)
    assert (pack(small, scale, GRID).backend, pack(large, scale, GRID).backend) == ("small", "madd")
    with pytest.raises(ValueError, match="16 bits could overflow"):
        pack(large, scale, GRID, "small")


def test_saturating_products_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def saturating(x: Tensor, weight: Tensor, shift: Tensor, factor: Tensor, addend: Tensor, *rest: object) -> Tensor:
        pairs = (x.int()[:, None] * weight.int()[None])[..., : x.shape[1] // 2 * 2].unflatten(2, (-1, 2)).sum(3)
        total: Tensor = pairs.clamp(-(2**15), 2**15 - 1).sum(2) + shift
        return total.float() * factor + addend

    assert is_exact("int_mm")
    monkeypatch.setattr("nerfcomp.kernels.int8_linear.int8_linear_int_mm", saturating)
    assert not is_exact("int_mm")


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_quantize_rounds_half_to_even_and_cuts(backend: Backend) -> None:
    x = torch.tensor([[-9.0, -0.5, 0.5, 1.5], [2.5, 200.0, 253.0, 1e9]])
    assert quantize(x, Grid(1.0, 2), backend).tolist() == [[0, 2, 2, 4], [4, 202, 255, 255]]


def test_quantize_twins_agree() -> None:
    x = torch.randn(1000, 7) * 3
    assert torch.equal(quantize(x, Grid(0.03, 77)), quantize(x, Grid(0.03, 77), "torch"))
    q = (np.rint(x.numpy() * np.float32(1 / 0.03)) + 77).clip(0, 255)
    assert np.array_equal(quantize(x, Grid(0.03, 77)).numpy(), q)


def test_no_float_product_is_left() -> None:
    x, weight, scale, bias = layer(64, 256, 256)
    packed = pack(weight, scale, GRID)
    if packed.backend == "torch":
        pytest.skip("this processor has no AVX2")
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        int8_linear(x, packed, bias, True, TARGET)
    assert not {event.name for event in seen.events()} & {"aten::mm", "aten::addmm", "aten::matmul", "aten::linear"}


def test_weights_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="int8 weights of two dimensions"):
        pack(torch.zeros(2, 2), torch.ones(2), GRID)


def test_products_of_four_compile_to_one_instruction() -> None:
    """On a machine without VNNI, too: what `simd` writes is compiled for one that has it."""
    kind = ir.VectorType(ir.IntType(32), 8)
    function = ir.Function(ir.Module(), ir.FunctionType(kind, [kind] * 3), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    total, x, w = function.args
    builder.ret(simd._four_products(builder, total, [x], [w]))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(cpu="icelake-server")
    assert "vpdpbusd\t%ymm" in machine.emit_assembly(llvm.parse_assembly(str(function.module)))
