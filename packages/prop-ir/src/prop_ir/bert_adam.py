"""BertAdam, the optimiser of BERT's released code: Adam without bias correction, each gradient clipped.

For parity with the original; AdamW with one clip for all gradients is what to use else. One step with
gradient g, after g is scaled down to norm `clip` if it is longer:

    m = b1 m + (1 - b1) g,    v = b2 v + (1 - b2) g^2,    p = p - lr (m / (sqrt(v) + eps) + decay p)
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class BertAdam(torch.optim.Optimizer):  # type: ignore[misc]
    """Adam as BERT's released code has it.

    Args:
        params: parameters, or groups of them; a group may have its own `lr` and `weight_decay`.
        lr: learning rate.
        betas: b1 and b2.
        eps: smallest divisor.
        weight_decay: added to the update, times the rate.
        clip: largest norm of one parameter's gradient; 0: not clipped.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        clip: float = 1.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "clip": clip}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            (b1, b2), eps = group["betas"], group["eps"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state, g = self.state[p], p.grad
                if not state:
                    state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)
                if group["clip"]:  # as torch's clip_grad_norm_, with its 1e-6
                    g = g * (group["clip"] / (g.norm() + 1e-6)).clamp(max=1.0)
                m = state["m"].mul_(b1).add_(g, alpha=1 - b1)
                v = state["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
                update = m / (v.sqrt() + eps)
                if group["weight_decay"]:
                    update.add_(p, alpha=group["weight_decay"])
                p.sub_(update, alpha=group["lr"])
        return loss
