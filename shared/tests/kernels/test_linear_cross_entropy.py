"""The loss of a language model head against torch's own two calls in float64.

`test_triton_form_passes_the_same_tests` runs this file a second time with every kernel in its Triton form.
"""

import math
import os

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nonet.kernels.linear_cross_entropy import CHUNK_BYTES, linear_cross_entropy, token_losses
from nonet.testing import needs

TOLERANCE = {torch.float64: (1e-12, 1e-12), torch.float32: (1e-6, 1e-5), torch.bfloat16: (2e-2, 2e-2)}
OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"


def case(shape=(37,), D=24, V=101, dtype=torch.float64, bias=False, ignored=0.3, seed=0):
    """Hidden, weight, bias and labels; a share of the labels is -100."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(*shape, D, generator=generator), torch.randn(V, D, generator=generator)]
    parts += [torch.randn(V, generator=generator)] if bias else []
    hidden, weight, *rest = (part.to(dtype).requires_grad_() for part in parts)
    labels = torch.randint(V, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < ignored] = -100
    return hidden, weight, rest[0] if rest else None, labels


def torch_loss(hidden, weight, bias, labels, **options):
    """The definition, in float64, on copies: the loss and the gradients."""
    parts = [part.detach().double().requires_grad_() for part in (hidden, weight, bias) if part is not None]
    logits = F.linear(*parts)
    loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), **options)
    return loss.detach(), torch.autograd.grad(loss, parts)


def assert_same(hidden, weight, bias, labels, *, chunk=None, factor=1.0, **options):
    parts = [part for part in (hidden, weight, bias) if part is not None]
    loss = linear_cross_entropy(hidden, weight, labels, bias=bias, chunk=chunk, **options)
    gradients = torch.autograd.grad(factor * loss, parts)
    exact, exact_gradients = torch_loss(hidden, weight, bias, labels, **options)
    of_loss, of_gradients = TOLERANCE[hidden.dtype]
    assert loss.dtype == torch.promote_types(hidden.dtype, torch.float32)
    assert loss.item() == pytest.approx(exact.item(), rel=of_loss, nan_ok=True)
    for gradient, wanted, part in zip(gradients, exact_gradients, parts, strict=True):
        assert gradient.dtype == part.dtype
        assert gradient.shape == part.shape
        limit = of_gradients * factor * max(wanted.abs().max().item() if wanted.numel() else 0, 1e-3)
        assert torch.allclose(gradient.double(), factor * wanted, rtol=0, atol=limit)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("chunk", [None, 1, 5, 1000])
@pytest.mark.parametrize(("smoothing", "reduction", "bias"), [(0.0, "mean", False), (0.1, "sum", True)])
def test_loss_and_gradients_are_torchs(dtype, chunk, smoothing, reduction, bias):
    assert_same(*case(dtype=dtype, bias=bias), chunk=chunk, label_smoothing=smoothing, reduction=reduction)


@pytest.mark.parametrize("V", [1, 2, 16, 127, 4096, 4097, 9001])
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_any_vocabulary(V, smoothing):
    assert_same(*case((3,), 4, V, ignored=0), label_smoothing=smoothing)


@pytest.mark.parametrize("shape", [(1,), (0,), (2, 5), (2, 1, 3), ()])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_any_shape_of_rows(shape, reduction):
    hidden, weight, bias, labels = case(shape, ignored=0)
    if shape == ():
        hidden = hidden.detach().requires_grad_()
        ours = linear_cross_entropy(hidden, weight, labels, reduction=reduction)
        assert ours.item() == pytest.approx(F.cross_entropy(F.linear(hidden, weight), labels).item())
    else:
        assert_same(hidden, weight, bias, labels, reduction=reduction, label_smoothing=0.1)


def test_two_words_by_hand():
    hidden = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([[0.0], [math.log(3)]], dtype=torch.float64, requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(3 / 4))
    assert round(loss.item(), 4) == 0.2877
    assert weight.grad.flatten().tolist() == pytest.approx([1 / 4, 3 / 4 - 1])
    assert hidden.grad.item() == pytest.approx((3 / 4 - 1) * math.log(3))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradcheck(smoothing):
    hidden, weight, bias, labels = case((5,), 3, 7, bias=True)

    def loss(hidden, weight, bias):
        return linear_cross_entropy(hidden, weight, labels, bias=bias, label_smoothing=smoothing, chunk=2)

    assert torch.autograd.gradcheck(loss, (hidden, weight, bias))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_label_counts(smoothing):
    hidden, weight, bias, labels = case(bias=True)
    labels.fill_(-100)
    assert_same(hidden, weight, bias, labels, reduction="sum", label_smoothing=smoothing)
    loss = linear_cross_entropy(hidden, weight, labels, bias=bias, label_smoothing=smoothing)
    loss.backward()
    assert loss.isnan(), "as torch does"
    assert not any(part.grad.any() for part in (hidden, weight, bias))
    assert not token_losses(hidden, weight, labels).any()


def test_another_ignore_index_that_is_also_a_word():
    hidden, weight, bias, labels = case(ignored=0)
    labels[::3] = 7
    assert_same(hidden, weight, bias, labels, ignore_index=7)


def test_ignored_rows_may_hold_anything():
    hidden, weight, _, labels = case()
    clean = linear_cross_entropy(hidden, weight, labels)
    with torch.no_grad():
        hidden[labels == -100] = float("nan")
    loss = linear_cross_entropy(hidden, weight, labels)
    loss.backward()
    assert loss.item() == clean.item()
    assert weight.grad.isfinite().all()
    assert not hidden.grad[labels == -100].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_logits_far_apart_neither_overflow_nor_vanish(dtype):
    hidden, weight, _, labels = case(dtype=dtype)
    with torch.no_grad():
        weight *= 1000
    assert_same(hidden, weight, None, labels)


def test_words_ruled_out_by_a_bias_of_minus_infinity():
    hidden, weight, bias, labels = case(V=5000, bias=True)
    with torch.no_grad():
        bias[:4500] = float("-inf")  # all of a first block of 4096
    labels[labels >= 0] = 4600
    assert_same(hidden, weight, bias, labels)


def test_transposed_and_strided_inputs():
    hidden, weight, _, labels = case((8, 6), 10, 31)
    spread = torch.zeros(6, 8, 20, dtype=torch.float64).transpose(0, 1)[..., ::2].copy_(hidden.detach())
    assert_same(spread.requires_grad_(), weight.detach().t().contiguous().t().requires_grad_(), None, labels)
    assert_same(hidden[:, 1:], weight, None, labels[:, 1:])
    assert_same(hidden[:1].expand(8, 6, 10), weight, None, labels)


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_backward_scales(factor):
    assert_same(*case(bias=True), factor=factor, reduction="sum")


def test_a_second_backward_over_the_same_graph_gives_the_same():
    hidden, weight, _, labels = case()
    loss = linear_cross_entropy(hidden, weight, labels)
    first = torch.autograd.grad(2 * loss, (hidden, weight), retain_graph=True)
    second = torch.autograd.grad(loss, (hidden, weight))
    for once, again in zip(first, second, strict=True):
        torch.testing.assert_close(once, 2 * again, rtol=1e-14, atol=0)


def test_a_second_derivative_is_refused():
    hidden, weight, _, labels = case()
    loss = linear_cross_entropy(hidden, weight, labels)
    with pytest.raises(RuntimeError, match="has first derivatives only"):
        torch.autograd.grad(loss, hidden, create_graph=True)


class Largest(TorchDispatchMode):
    """Notes what is made: bytes of the largest result, and how many results have each shape."""

    def __init__(self):
        super().__init__()
        self.bytes, self.shapes = 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = function._schema.returns and not any(each.alias_info for each in function._schema.returns)
        for each in result if isinstance(result, (tuple, list)) else (result,):
            if made and isinstance(each, torch.Tensor):
                self.bytes = max(self.bytes, each.nbytes)
                self.shapes.append(tuple(each.shape))
        return result


def test_neither_a_batch_of_logits_nor_a_second_gradient_of_the_weight_is_made():
    hidden, weight, bias, labels = case((200,), 8, 301, dtype=torch.float32, bias=True)
    with Largest() as seen:
        (linear_cross_entropy(hidden, weight, labels, bias=bias, chunk=20) / 3).backward()
    logits = 20 * math.ceil(301 / 64) * 64 * 4
    assert seen.bytes <= logits
    assert seen.shapes.count((301, 8)) == 1
    with Largest() as seen:
        (F.cross_entropy(F.linear(hidden, weight, bias), labels) / 3).backward()
    assert seen.bytes == 200 * 301 * 4, "the measure sees what torch's own calls make"


def test_the_default_chunk_keeps_to_its_bytes(monkeypatch):
    monkeypatch.setitem(CHUNK_BYTES, "cpu", 10 * 128 * 4)
    hidden, weight, _, labels = case((64,), 8, 128, dtype=torch.float32, ignored=0)
    with Largest() as seen:
        linear_cross_entropy(hidden, weight, labels)
    assert (10, 128) in seen.shapes, "7 chunks of 10, the last of 4"
    assert seen.bytes <= 10 * 128 * 4


@pytest.mark.parametrize("wanted", ["hidden", "weight", "bias", "nothing"])
def test_only_gradients_that_are_wanted_are_computed(wanted):
    hidden, weight, bias, labels = case(bias=True)
    parts = {"hidden": hidden, "weight": weight, "bias": bias}
    for name, part in parts.items():
        part.requires_grad_(name == wanted)
    with Largest() as seen:
        loss = linear_cross_entropy(hidden, weight, labels, bias=bias, chunk=10)
    assert (seen.shapes.count((101, 24)) > 0) == (wanted == "weight")
    assert (seen.shapes.count((101,)) > 0) == (wanted == "bias")
    exact, _ = torch_loss(hidden, weight, bias, labels)
    assert loss.item() == pytest.approx(exact.item())
    assert loss.requires_grad == (wanted != "nothing")
    if wanted != "nothing":
        loss.backward()
        ours = parts[wanted].grad
        _, of_parts = torch_loss(hidden, weight, bias, labels)
        torch.testing.assert_close(ours, of_parts[list(parts).index(wanted)])
    with torch.no_grad():
        parts["hidden"].requires_grad_()
        assert not linear_cross_entropy(hidden, weight, labels).requires_grad


@pytest.mark.parametrize("chunk", [None, 10])
def test_autocast_computes_in_bfloat16_and_sums_the_weights_gradient_in_float32(chunk):
    hidden, weight, bias, labels = case(dtype=torch.float32, bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, labels, bias=bias, chunk=chunk)
    gradients = torch.autograd.grad(loss, (hidden, weight, bias))
    with torch.autocast("cpu", torch.bfloat16):
        plain = F.cross_entropy(F.linear(hidden, weight, bias), labels)
    wanted = torch.autograd.grad(plain, (hidden, weight, bias))
    assert loss.dtype == torch.float32
    assert loss.item() != pytest.approx(torch_loss(hidden, weight, bias, labels)[0].item(), rel=1e-6)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-2)
    for ours, torchs in zip(gradients, wanted, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, torchs, rtol=0, atol=2e-2 * torchs.abs().max().item())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [0.0, 0.4])
def test_token_losses_are_torchs(dtype, smoothing, ignored):
    hidden, weight, bias, labels = case((3, 11), dtype=dtype, bias=True, ignored=ignored)
    losses = token_losses(hidden, weight, labels, bias=bias, label_smoothing=smoothing, chunk=4)
    logits = F.linear(hidden.double(), weight.double(), bias.double()).flatten(0, 1)
    wanted = F.cross_entropy(logits, labels.flatten(), label_smoothing=smoothing, reduction="none")
    assert losses.shape == labels.shape
    assert not losses.requires_grad
    limit = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.1}[dtype]
    torch.testing.assert_close(losses.double(), wanted.detach().view(3, 11), rtol=0, atol=limit)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo looks at it
def test_a_compiled_function_may_call_it():
    hidden, weight, _, labels = case()

    def step(hidden, weight):
        return linear_cross_entropy(torch.tanh(hidden), weight, labels) * 2

    compiled = torch.compile(step, backend="aot_eager")
    ours = torch.autograd.grad(compiled(hidden, weight), (hidden, weight))
    wanted = torch.autograd.grad(step(hidden, weight), (hidden, weight))
    torch.testing.assert_close(ours, wanted)
    losses = torch.compile(token_losses, backend="aot_eager")(hidden, weight, labels)
    torch.testing.assert_close(losses, token_losses(hidden, weight, labels))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"hidden": torch.zeros(4, 3)},
            r"hidden \(4, 3\) does not fit weight \(5, 2\): \(..., D\), \(V, D\)",
        ),
        (
            {"labels": torch.zeros(3, dtype=torch.int64)},
            r"labels \(3,\) torch.int64 do not fit hidden \(4, 2\)",
        ),
        ({"labels": torch.zeros(4)}, "one int64 label a row"),
        ({"labels": torch.tensor([0, 5, 1, 1])}, r"label 5 is neither in 0\.\.4 nor ignore_index \(-100\)"),
        ({"labels": torch.tensor([0, -1, 1, 1])}, "label -1 is neither"),
        ({"bias": torch.zeros(4)}, r"bias \(4,\) does not fit weight \(5, 2\)"),
        ({"weight": torch.zeros(5, 2, dtype=torch.float64)}, "weight torch.float64: cast to one of"),
        ({"hidden": torch.zeros(4, 2).half(), "weight": torch.zeros(5, 2).half()}, "hidden is torch.float16"),
        ({"weight": torch.zeros(5, 2, device="meta")}, "hidden is on cpu, weight on meta"),
        ({"label_smoothing": 1.5}, r"label_smoothing 1.5 is not in 0\.\.1"),
        ({"chunk": 0}, "chunk 0 is less than one row"),
        ({"reduction": "none"}, "say mean or sum; token_losses gives one loss a row"),
    ],
)
def test_mistakes_are_named(change, text):
    given = {
        "hidden": torch.zeros(4, 2),
        "weight": torch.zeros(5, 2),
        "labels": torch.tensor([0, 4, 1, -100]),
    }
    with pytest.raises(ValueError, match=text):
        linear_cross_entropy(**(given | change))
    if "reduction" not in change:
        with pytest.raises(ValueError, match=text):
            token_losses(**(given | change))


def test_autocast_to_float16_is_refused():
    hidden, weight, _, labels = case(dtype=torch.float32)
    with torch.autocast("cpu", torch.float16), pytest.raises(ValueError, match="use bfloat16"):
        linear_cross_entropy(hidden, weight, labels)


@needs("triton")
@pytest.mark.slow
@pytest.mark.skipif(OTHER_FORM, reason="this is the second run")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__, "-k", "not compile")


@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="the interpreter has replaced the compiler")
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_triton_form_compiles_to_wide_loads_and_stores(kind):
    from nonet.kernels.linear_cross_entropy import _kernel

    kernel = _kernel()
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    constants = {"ON_LABEL": 0.9, "ON_ALL": 0.1 / 96103, "GRADIENT": True, "DOUBLE": False, "BLOCK": 4096}
    signature = {"logits": f"*{kind}", "labels": "*i64", "losses": "*fp32", "V": "i32", "stride": "i32"}
    source = ASTSource(
        kernel,
        signature=signature | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
        attrs={(argument,): [["tt.divisibility", 16]] for argument in (0, 1, 2, 4)},  # V is anything
    )
    assembly = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8}).asm["ptx"]
    wide = [line for line in assembly.splitlines() if ".v4.b32" in line]
    assert sum("ld.global" in line for line in wide) >= 2, "16 bytes at a time in both passes"
    assert any("st.global" in line for line in wide)
