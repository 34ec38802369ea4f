import pytest
import torch

from nerfcomp.fields.volume import ScalarHead
from nerfcomp.modules.sliced_loss import sliced_loss


@pytest.mark.parametrize("size", [1, 7, 8, 30])
def test_loss_and_gradients_are_those_of_one_pass(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nerfcomp.modules.sliced_loss._SLICE", 8)
    torch.manual_seed(size)
    head = ScalarHead(3, 5, 2)
    source = torch.randn(3, size, requires_grad=True)
    truth, weights = torch.randn(size), torch.rand(size)
    parameters = list(head.parameters())
    expected = (weights * (head(source.t()) - truth).square()).mean()
    wanted = torch.autograd.grad(3 * expected, [source, *parameters])
    loss, squares = sliced_loss(head, parameters, source.t(), truth, weights)
    found = torch.autograd.grad(3 * loss, [source, *parameters])
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(squares, (head(source.t()) - truth).square().detach())
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other)
