"""Compositing along rays: what of each sample reaches the eye, and the sum of what is seen.

    T_i = prod over j < i of (1 - alpha_j + 1e-7),   w_i = alpha_i T_i,   seen = sum over i of w_i v_i

Source: Wang et al. 2021 (NeuS), section 3.1; the 1e-7 keeps a gradient behind a wall, as in the released code
of NeuS and PonderV2. With g_i what arrives at w_i, alpha's gradient is

    T_i g_i - (sum over j > i of g_j w_j) / (1 - alpha_i + 1e-7)

where each term of the sum has the divisor as a factor, so that nothing cancels.

Cost: forward and backward read each number once; the Triton form has one program a ray and keeps weights in
registers, the reference makes a pass for each step.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonet.kernels.dispatch import backend

# Shapes: R rays, S samples a ray from near to far, C numbers a sample.

LEAK = 1e-7  # that a wall lets through


class Composited(NamedTuple):
    """What a ray sees.

    Attributes:
        weights: (R, S), each at least 0; their sum is at most 1 + S LEAK.
        values: (R, C) weighted sums.
    """

    weights: Tensor
    values: Tensor


def ray_weights(alpha_RS: Tensor) -> Tensor:
    """The share of each sample in what a ray sees.

    Args:
        alpha_RS: (R, S) float, opacities in 0..1; a gradient passes, once.

    Returns:
        (R, S), float64 of float64, else float32. `ray_weights([[0.5, 0.5, 1]])` is .5, .25, .25 (to 1e-7).
    """
    return composite(alpha_RS, alpha_RS.new_zeros((*alpha_RS.shape, 0))).weights


def composite(alpha_RS: Tensor, values_RSC: Tensor) -> Composited:
    """Weights of samples, and the sums of their values.

    Args:
        alpha_RS: (R, S) float, opacities in 0..1; a gradient passes, once.
        values_RSC: (R, S, C) float, C may be 0; a gradient passes, once.

    Returns:
        Both in float64 if both are, else in float32, also under autocast.

    Raises:
        ValueError: shapes do not fit.
    """
    if alpha_RS.ndim != 2 or values_RSC.ndim != 3 or values_RSC.shape[:2] != alpha_RS.shape:
        raise ValueError(
            f"opacities (R, S) and values (R, S, C) are needed, not {tuple(alpha_RS.shape)} and "
            f"{tuple(values_RSC.shape)}"
        )
    kind = torch.promote_types(alpha_RS.dtype, values_RSC.dtype)
    kind = kind if kind == torch.float64 else torch.float32
    with torch.autocast(alpha_RS.device.type, enabled=False):
        weights, values = _Composite.apply(alpha_RS.to(kind), values_RSC.to(kind))
    return Composited(weights, values)


class _Composite(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        if backend(alpha) == "triton":
            from nonet.kernels.compositing_triton import composite_forward

            weights, seen = composite_forward(alpha, values, LEAK)
        else:
            clear = 1 - alpha[:, :-1] + LEAK
            weights = alpha.clone()
            weights[:, 1:] *= clear.cumprod(1)
            seen = torch.bmm(weights[:, None], values)[:, 0]
        ctx.save_for_backward(alpha, values, weights)
        return weights, seen

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(
        ctx: Any, of_weights: Tensor | None, of_seen: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        alpha, values, weights = ctx.saved_tensors
        to_alpha, to_values = ctx.needs_input_grad
        if of_weights is None and of_seen is None:
            return None, None
        if of_weights is None:
            of_weights = torch.zeros_like(weights)
        if of_seen is None:
            of_seen = values.new_zeros((len(values), values.shape[2]))
        if backend(alpha) == "triton":
            from nonet.kernels.compositing_triton import composite_backward

            return composite_backward(alpha, values, weights, of_weights, of_seen, to_alpha, to_values, LEAK)
        d_values = weights[:, :, None] * of_seen[:, None] if to_values else None
        if not to_alpha:
            return None, d_values
        arrives = of_weights + torch.bmm(values, of_seen[:, :, None])[:, :, 0]
        clear = 1 - alpha + LEAK
        reach = torch.ones_like(alpha)
        torch.cumprod(clear[:, :-1], 1, out=reach[:, 1:])
        behind = torch.zeros_like(alpha)
        if alpha.shape[1] > 1:
            behind[:, :-1] = (arrives * weights)[:, 1:].flip(1).cumsum(1).flip(1)
        return reach * arrives - behind / clear, d_values
