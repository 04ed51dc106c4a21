"""Sparse convolution: sums over neighbouring voxels, where there are any.

    out[o] = bias + sum over taps t and pairs (i, o) of t:  features[i] @ weight[t]

The pairs come from a kernel map (`submanifold_map`, `strided_map`, or `transposed()` for the inverse
convolution; taps are numbered row-major over z, y, x). Submanifold: Graham et al. 2018, section 3.
The gradient of features is the convolution over the transposed map with transposed weights; that of a tap's
weights is the sum over its pairs of input row times output gradient. First derivatives only.

Every form sums an output over taps in their order, with no two threads adding to one number. Forms:
`compiled` on the CPU (numba) and `triton` on CUDA, the same bits each time and for any number of threads;
`reference` in torch operators for any device, whose matrix products round as torch's do; and `spconv`, which
is that package. NONET_SPARSE_CONV names one; else NONET_KERNELS and the device decide.

Cost of P pairs, C to D channels: 2 P C D flops forward, twice that backward. The compiled form reads C
numbers a pair, and writes each output once; the reference writes and reads C + D more numbers a pair.
"""

import importlib
import os
import sys
from types import ModuleType
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nonet.errors import UserError
from nonet.kernels.dispatch import backend, compiled_form
from nonet.kernels.kernel_map import KernelMap, strided_map, submanifold_map

__all__ = ["sparse_conv", "KernelMap", "submanifold_map", "strided_map", "chosen_form", "Form"]

# Shapes: n_in and n_out voxels, K taps, C and D channels in and out.

Form = Literal["compiled", "reference", "triton", "spconv"]
FORMS = ("compiled", "reference", "triton", "spconv")


def sparse_conv(
    features: Tensor, weight: Tensor, kernel_map: KernelMap, bias: Tensor | None = None
) -> Tensor:
    """The convolution (n_out, D) of features at the voxels of a map, with gradients.

    Args:
        features: (n_in, C) float. Under autocast on CUDA it and the weights become autocast's type first; on
            the CPU half precision is summed in float32.
        weight: (K, C, D), dtype of the features; tap t belongs to the offset that `kernel_map` numbers t.
        kernel_map: on the features' device.
        bias: (D,) or None.

    Returns:
        (n_out, D), dtype of the features. An output without pairs is the bias.

    Raises:
        ValueError: shapes, types or devices do not fit.
        UserError: NONET_SPARSE_CONV or NONET_KERNELS asks for a form that is not to be had here.
    """
    if features.is_cuda and torch.is_autocast_enabled("cuda"):
        kind = torch.get_autocast_dtype("cuda")
        features, weight = features.to(kind), weight.to(kind)
        bias = None if bias is None else bias.to(kind)
    _check(features, weight, kernel_map, bias)
    return _sparse_conv(features, weight, kernel_map, bias)


def chosen_form(tensor: Tensor) -> Form:
    """The form that convolutions of a tensor like this take.

    Raises:
        UserError: NONET_SPARSE_CONV or NONET_KERNELS is no form's name, or that of one that cannot run here.
    """
    wanted = os.environ.get("NONET_SPARSE_CONV", "")
    if wanted not in ("", *FORMS):
        raise UserError(f"NONET_SPARSE_CONV={wanted}: say {', '.join(FORMS[:-1])} or {FORMS[-1]}")
    if wanted == "compiled" and tensor.device.type != "cpu":
        raise UserError(f"NONET_SPARSE_CONV=compiled, but the tensors are on {tensor.device}: use the CPU")
    if wanted == "triton" and not tensor.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError(f"NONET_SPARSE_CONV=triton, but the tensors are on {tensor.device}: use CUDA")
    if wanted:
        return cast(Form, wanted)
    if backend(tensor) == "triton":
        return "triton" if tensor.dtype != torch.float64 else "reference"
    return "compiled" if compiled_form(tensor) else "reference"


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _sparse_conv(features: Tensor, weight: Tensor, kernel_map: KernelMap, bias: Tensor | None) -> Tensor:
    found: Tensor = _SparseConv.apply(features, weight, bias, kernel_map)
    return found


class _SparseConv(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap
    ) -> Tensor:
        ctx.kernel_map, ctx.form = kernel_map, chosen_form(features)
        ctx.save_for_backward(features, weight)
        parts = _exact(ctx.form, features, weight, *([] if bias is None else [bias]))
        found = _module(ctx.form).convolve(parts[0], parts[1], None if bias is None else parts[2], kernel_map)
        return cast(Tensor, found.to(features.dtype))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        kernel_map: KernelMap = ctx.kernel_map
        rows, taps, given = _exact(ctx.form, features, weight, gradient)
        module = _module(ctx.form)
        of_features = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            turned = taps.transpose(1, 2).contiguous()
            of_features = module.convolve(given, turned, None, kernel_map.transposed()).to(features.dtype)
        if ctx.needs_input_grad[1]:
            of_weight = module.weight_gradient(rows, given, kernel_map).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            of_bias = given.sum(0).to(weight.dtype)
        return of_features, of_weight, of_bias, None


def convolve(features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """The reference form: for each tap gather, multiply, and add to its outputs, which are distinct."""
    found = features.new_zeros(kernel_map.n_out, weight.shape[2])
    if bias is not None:
        found += bias
    for tap, (first, last) in enumerate(kernel_map.spans()):
        if first < last:
            rows = features.index_select(0, kernel_map.inputs[first:last])
            found.index_add_(0, kernel_map.outputs[first:last], rows @ weight[tap])
    return found


def weight_gradient(features: Tensor, gradient: Tensor, kernel_map: KernelMap) -> Tensor:
    """The reference form of the weights' gradient (K, C, D)."""
    found = features.new_zeros(kernel_map.taps, features.shape[1], gradient.shape[1])
    for tap, (first, last) in enumerate(kernel_map.spans()):
        rows = features.index_select(0, kernel_map.inputs[first:last])
        torch.mm(rows.t(), gradient.index_select(0, kernel_map.outputs[first:last]), out=found[tap])
    return found


def _module(form: Form) -> ModuleType:
    """The module with a form's `convolve` and `weight_gradient`."""
    if form == "reference":
        return sys.modules[__name__]
    return importlib.import_module(f"nonet.kernels.sparse_conv_{form}")


def _exact(form: Form, *tensors: Tensor) -> list[Tensor]:
    """Tensors apart from the graph, in the type to compute in: float32 at least, but for Triton."""
    kind = tensors[0].dtype
    if form != "triton":
        kind = torch.promote_types(kind, torch.float32)
    return [tensor.detach().to(kind) for tensor in tensors]


def _check(features: Tensor, weight: Tensor, kernel_map: KernelMap, bias: Tensor | None) -> None:
    if features.ndim != 2 or not features.is_floating_point() or not features.shape[1]:
        raise ValueError(f"features {tuple(features.shape)} {features.dtype}: expected (n_in, C) floats")
    if len(features) != kernel_map.n_in:
        raise ValueError(f"{len(features)} rows of features do not fit a map of {kernel_map.n_in} inputs")
    K, C = kernel_map.taps, features.shape[1]
    if weight.ndim != 3 or weight.shape[:2] != (K, C) or not weight.shape[2]:
        raise ValueError(f"weights {tuple(weight.shape)}: expected ({K}, {C}, D) for {K} taps, {C} channels")
    if bias is not None and bias.shape != weight.shape[2:]:
        raise ValueError(f"a bias {tuple(bias.shape)} does not fit {weight.shape[2]} channels out")
    kinds = {part.dtype for part in (features, weight, bias) if part is not None}
    if len(kinds) > 1:
        names = " and ".join(sorted(str(kind) for kind in kinds))
        raise ValueError(f"features, weights and bias are {names}: expected one type")
    places = {str(part.device) for part in (features, weight, bias, kernel_map.inputs) if part is not None}
    if len(places) > 1:
        raise ValueError(f"features, weights and map are on {' and '.join(sorted(places))}")
