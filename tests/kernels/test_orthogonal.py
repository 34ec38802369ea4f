import pytest
import torch

from nerfcomp.kernels.orthogonal import orthogonalize


@pytest.mark.parametrize("shape", [(24, 24), (40, 16), (16, 40)])
def test_singular_vectors_stay_and_values_become_about_one(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(3, *shape, generator=generator), full_matrices=False)
    values = torch.logspace(0, -2, min(shape)) * torch.tensor([1e-6, 1.0, 1e6])[:, None]
    matrices = left @ torch.diag_embed(values) @ right
    turned = left.mT @ orthogonalize(matrices) @ right.mT
    diagonal = turned.diagonal(dim1=1, dim2=2)
    assert diagonal.min() > 0.67 and diagonal.max() < 1.22
    assert (turned - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_directions_of_little_gradient_are_lifted() -> None:
    turned = orthogonalize(torch.diag(torch.tensor([1.0, 1e-2, 0.0]))[None])[0]
    assert turned[1, 1] > 0.67 and turned[2, 2] == 0


def test_zeros_stay_zeros() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))
