"""The loss of a language model head on CUDA: against float64, in memory, and against the card's ceilings."""

import pytest
import torch
import torch.nn.functional as F

from nonet.kernels.linear_cross_entropy import (
    _losses_and_gradient_triton,
    linear_cross_entropy,
    token_losses,
)
from nonet.testing import needs

pytestmark = [pytest.mark.gpu, needs("cuda"), needs("triton")]

PADDED_VOCABULARY = 96_128  # 96,103 up to a multiple of 64
LIMITS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture(autouse=True)
def exact_products():
    """No TF32: the limits are those of float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def case(rows, width, vocabulary, dtype, ignored=0.3):
    generator = torch.Generator("cuda").manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator, device="cuda")
    weight = torch.randn(vocabulary, width, generator=generator, device="cuda") * width**-0.5
    bias = torch.randn(vocabulary, generator=generator, device="cuda")
    labels = torch.randint(vocabulary, (rows,), generator=generator, device="cuda")
    labels[torch.rand(rows, generator=generator, device="cuda") < ignored] = -100
    return *(part.to(dtype).requires_grad_() for part in (hidden, weight, bias)), labels


def seconds(function, repeats=20):
    """Median seconds a call between CUDA events, after three calls that do not count."""
    times = []
    for number in range(repeats + 3):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        if number >= 3:
            times.append(start.elapsed_time(end) / 1000)
    return sorted(times)[repeats // 2]


@pytest.mark.parametrize("form", ["triton", "reference"])
@pytest.mark.parametrize("dtype", LIMITS)
def test_loss_and_gradients_are_torchs(monkeypatch, form, dtype):
    monkeypatch.setenv("NONET_KERNELS", form)
    for rows, width, vocabulary in [(1, 8, 3), (37, 24, 101), (300, 64, 96_103)]:
        hidden, weight, bias, labels = case(rows, width, vocabulary, dtype, ignored=0.3 if rows > 1 else 0)
        for chunk, smoothing in [(None, 0.0), (100, 0.1)]:
            assert_same(hidden, weight, bias, labels, chunk, smoothing)


def assert_same(hidden, weight, bias, labels, chunk, smoothing):
    loss = linear_cross_entropy(
        hidden, weight, labels, bias=bias, chunk=chunk, label_smoothing=smoothing, reduction="sum"
    )
    exact = [part.detach().double().requires_grad_() for part in (hidden, weight, bias)]
    wanted = F.cross_entropy(F.linear(*exact), labels, label_smoothing=smoothing, reduction="sum")
    share = LIMITS[hidden.dtype]
    assert loss.item() == pytest.approx(wanted.item(), rel=share)
    gradients = torch.autograd.grad(loss, (hidden, weight, bias))
    for ours, torchs in zip(gradients, torch.autograd.grad(wanted, exact), strict=True):
        torch.testing.assert_close(ours.double(), torchs, rtol=0, atol=share * torchs.abs().max().item())
    losses = token_losses(hidden, weight, labels, bias=bias, chunk=chunk, label_smoothing=smoothing)
    assert losses.double().sum().item() == pytest.approx(wanted.item(), rel=share)
    assert not losses[labels == -100].any()


def test_the_same_bits_every_time():
    hidden, weight, bias, labels = case(500, 64, 9001, torch.bfloat16)
    runs = []
    for _ in range(3):
        loss = linear_cross_entropy(hidden, weight, labels, bias=bias, chunk=64)
        runs.append((loss.detach(), *torch.autograd.grad(loss, (hidden, weight, bias))))
    for run in runs[1:]:
        assert all(torch.equal(one, other) for one, other in zip(runs[0], run, strict=True))


def test_autocast_gives_float32_gradients_of_a_float32_weight():
    hidden, weight, bias, labels = case(200, 64, 5003, torch.float32)
    with torch.autocast("cuda", torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, labels, bias=bias, chunk=50)
        plain = F.cross_entropy(F.linear(hidden, weight, bias), labels)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-2)
    ours = torch.autograd.grad(loss, (hidden, weight, bias))
    torchs = torch.autograd.grad(plain, (hidden, weight, bias))
    for one, other in zip(ours, torchs, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=2e-2 * other.abs().max().item())


def test_memory_is_a_chunk_and_the_gradients():
    hidden, weight, _, labels = case(8192, 1024, 96_103, torch.bfloat16, ignored=0)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    linear_cross_entropy(hidden, weight, labels).backward()
    peak = torch.cuda.max_memory_allocated() - before
    chunk, gradient = 512 * 2**20, weight.numel()
    # float32 sum, and either a bfloat16 product or the bfloat16 result beside it
    assert peak < chunk * 1.01 + gradient * (4 + 2) + 64 * 2**20
    assert peak < 3 * 8192 * 96_103 * 2, "torch's own calls hold float32 copies besides"


def test_the_pass_over_the_logits_reaches_the_bandwidth_of_a_copy(record_property):
    C, V = 2048, 96_103
    logits = torch.randn(C, PADDED_VOCABULARY, device="cuda").bfloat16()[:, :V]
    labels = torch.randint(V, (C,), device="cuda")
    losses = torch.empty(C, device="cuda")
    source = torch.randn(C * PADDED_VOCABULARY, device="cuda").bfloat16()
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / seconds(lambda: target.copy_(source))
    # Twice read and once written; the second reading may come from the cache.
    passed = 3 * 2 * C * V / seconds(lambda: _losses_and_gradient_triton(logits, labels, losses, 0.1, True))
    share = passed / copied
    record_property("share of copy bandwidth", share)
    print(f"pass {passed / 1e12:.2f} TB/s, copy {copied / 1e12:.2f} TB/s, share {share:.2f}")
    assert share > 0.6


def test_a_step_is_no_slower_than_torchs_own_calls(record_property):
    hidden, weight, _, labels = case(8192, 1024, 96_103, torch.bfloat16, ignored=0)

    def step(loss):
        hidden.grad = weight.grad = None
        loss().backward()

    ours = seconds(lambda: step(lambda: linear_cross_entropy(hidden, weight, labels)), repeats=9)
    torchs = seconds(lambda: step(lambda: F.cross_entropy(F.linear(hidden, weight), labels)), repeats=9)
    flops = 6 * hidden.numel() * len(weight)
    record_property("TFLOP/s", flops / ours / 1e12)
    print(f"ours {ours * 1e3:.1f} ms ({flops / ours / 1e12:.0f} TFLOP/s), torch {torchs * 1e3:.1f} ms")
    assert ours < 1.05 * torchs
