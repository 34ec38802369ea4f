"""Names of exact contents."""

import torch

from nerfcomp.evaluation.identity import fingerprint


def test_fingerprint_tells_weights_and_words_apart() -> None:
    weights = [torch.arange(6.0).reshape(2, 3), torch.tensor([True]), torch.zeros(0, 3), torch.tensor(1)]
    changed = [weights[0] + torch.tensor(1e-6), *weights[1:]]
    names = {
        fingerprint(weights, 8, 8),
        fingerprint(changed, 8, 8),
        fingerprint(weights, 8, 9),
        fingerprint([weights[0].reshape(3, 2), *weights[1:]], 8, 8),
    }
    assert len(names) == 4
    assert fingerprint(weights, 8, 8) == fingerprint([tensor.clone() for tensor in weights], 8, 8)
