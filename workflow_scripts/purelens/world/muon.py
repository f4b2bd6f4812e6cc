"""Optimize weight matrices by Muon: momentum with orthogonalized updates (Jordan et al. 2024).

Torch's own implementation works in bfloat16, which is slow on a CPU; this one stays in float32.
"""

from collections.abc import Iterable

import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with orthogonalized updates.

    Parameters
    ----------
    weights
        Matrices.
    lr, momentum
        Learning rate and momentum.
    """

    def __init__(self, weights: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update all weights once, from their gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                average = self.state[weight].setdefault("average", torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalized(weight.grad.lerp(average, group["momentum"]))
                scale = max(1, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.add_(update, alpha=-group["lr"] * scale)


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """Bring all singular values of a matrix near 1, by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    update = matrix.T if tall else matrix
    update = update / (update.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = update @ update.T
        update = a * update + (b * gram + c * gram @ gram) @ update
    return update.T if tall else update
