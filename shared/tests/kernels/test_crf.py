"""Conditional random fields against every path written out, and against pytorch-crf.

`test_triton_form_passes_the_same_tests` runs this file a second time with every kernel in its Triton form.
"""

import itertools
import os
import warnings

import pytest
import torch

from nonet.kernels.crf import log_partition, marginals, path_score, viterbi
from nonet.testing import needs

OTHER_FORM = os.environ.get("NONET_KERNELS") == "triton"


def case(lengths=(6, 4, 1, 5), T=3, dtype=torch.float64, seed=0, scale=1.5):
    """Emissions, transitions, start, end, and the mask of these lengths, padded to the longest."""
    generator = torch.Generator().manual_seed(seed)
    B, L = len(lengths), max(lengths, default=0)
    shapes = [(B, L, T), (T, T), (T,), (T,)]
    parts = [(torch.randn(shape, generator=generator) * scale).to(dtype) for shape in shapes]
    mask = torch.arange(L)[None] < torch.tensor(lengths, dtype=torch.int64)[:, None]
    return *(part.requires_grad_() for part in parts), mask


def paths(emissions, transitions, start, end, length):
    """Every path of one sequence with its score, by the definition."""
    if not length:
        return {(): 0.0}
    found = {}
    for path in itertools.product(range(len(start)), repeat=length):
        score = start[path[0]] + end[path[-1]] + sum(emissions[t, y] for t, y in enumerate(path))
        found[path] = float(score + sum(transitions[a, b] for a, b in itertools.pairwise(path)))
    return found


def every_path(given):
    """The same of all sequences: a dictionary each, over numbers without gradients."""
    emissions, transitions, start, end, mask = (part.detach() for part in given)
    lengths = mask.sum(1).tolist()
    return [paths(rows, transitions, start, end, n) for rows, n in zip(emissions, lengths, strict=True)]


@pytest.mark.parametrize("lengths", [(6, 4, 1, 5), (3,), (1, 1), (2, 0, 6)])
@pytest.mark.parametrize("radix", [0, 2, 3])
def test_log_z_marginals_and_best_path_are_those_of_all_paths(lengths, radix):
    given = case(lengths)
    totals = log_partition(*given, radix=radix)
    shares = marginals(*given, radix=radix)
    tags, scores = viterbi(*given, radix=radix)
    for row, found in enumerate(every_path(given)):
        length = lengths[row]
        score = torch.tensor(list(found.values()), dtype=torch.float64)
        assert totals[row].item() == pytest.approx(score.logsumexp(0).item(), rel=1e-12)
        wanted = torch.zeros(max(lengths), 3, dtype=torch.float64)
        for path, share in zip(found, score.softmax(0), strict=True):
            for at, label in enumerate(path):
                wanted[at, label] += share
        torch.testing.assert_close(shares[row], wanted, rtol=0, atol=1e-12)
        best = max(found, key=found.__getitem__)
        assert tags[row].tolist() == [*best, *[-1] * (max(lengths) - length)]
        assert scores[row].item() == pytest.approx(found[best], rel=1e-12, abs=1e-12)


def test_the_score_of_a_path_is_its_sum():
    given = case((6, 4, 1, 0))
    emissions, transitions, start, end, mask = given
    tags = torch.randint(3, (4, 6), generator=torch.Generator().manual_seed(1))
    scores = path_score(emissions, tags.masked_fill(~mask, -100), transitions, start, end, mask)
    for row, found in enumerate(every_path(given)):
        wanted = found[tuple(tags[row, : int(mask[row].sum())].tolist())]
        assert scores[row].item() == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def test_two_free_labels_have_2_to_the_length_paths():
    nothing = torch.zeros(1, 5, 2, dtype=torch.float64)
    zeros = torch.zeros(2, dtype=torch.float64)
    total = log_partition(nothing, zeros.expand(2, 2), zeros, zeros, torch.ones(1, 5, dtype=torch.bool))
    assert total.exp().item() == pytest.approx(32)


def torchcrf(given):
    from torchcrf import CRF

    emissions, transitions, start, end, _ = given
    peer = CRF(len(start), batch_first=True).to(emissions.dtype)
    for mine, theirs in ((transitions, peer.transitions), (start, peer.start_transitions)):
        theirs.data.copy_(mine.data)
    peer.end_transitions.data.copy_(end.data)
    return peer


@needs("pytorch-crf")
@pytest.mark.parametrize("T", [3, 5, 10])
def test_loss_gradients_and_paths_are_those_of_pytorch_crf(T):
    given = case((20, 13, 1, 17), T)
    emissions, transitions, start, end, mask = given
    peer = torchcrf(given)
    tags = torch.randint(T, mask.shape, generator=torch.Generator().manual_seed(1))
    ours = log_partition(*given) - path_score(emissions, tags, transitions, start, end, mask)
    theirs = -peer(emissions, tags, mask=mask, reduction="none")
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    weights = torch.arange(1.0, 5.0, dtype=torch.float64)
    wanted = torch.autograd.grad(
        (theirs * weights).sum(),
        (emissions, peer.transitions, peer.start_transitions, peer.end_transitions),
    )
    found = torch.autograd.grad((ours * weights).sum(), (emissions, transitions, start, end))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    best, _ = viterbi(*given)
    assert [[tag for tag in row if tag >= 0] for row in best.tolist()] == peer.decode(emissions, mask)


@pytest.mark.skipif(OTHER_FORM, reason="the Triton form has one bracketing")
@pytest.mark.parametrize("L", [1, 2, 7, 8, 9, 64, 65, 200])
@pytest.mark.parametrize("T", [1, 2, 3, 9])
def test_any_bracketing_gives_the_numbers_of_the_loop(L, T):
    lengths = [L, *torch.randint(0, L + 1, (3,), generator=torch.Generator().manual_seed(L)).tolist()]
    given = case(lengths, T)
    loop, gradients = passes(given, L + 1)
    for radix in (0, 2, 3, 8):
        other, other_gradients = passes(given, radix)
        torch.testing.assert_close(other, loop, rtol=1e-12, atol=1e-11)
        torch.testing.assert_close(other_gradients, gradients, rtol=0, atol=1e-11)


def passes(given, radix):
    """log Z, the marginals, and the best paths with their scores; and the gradients of a weighted sum."""
    total = log_partition(*given, radix=radix)
    found = [total.detach(), marginals(*given, radix=radix), *viterbi(*given, radix=radix)]
    return found, torch.autograd.grad(total @ torch.arange(1.0, 5, dtype=total.dtype), given[:4])


@pytest.mark.skipif(OTHER_FORM, reason="a minute in the interpreter; pytorch-crf's are compared above")
def test_gradients_are_those_of_finite_differences():
    *parts, mask = case((5, 3, 0, 1))
    assert torch.autograd.gradcheck(lambda *given: log_partition(*given, mask), parts)
    tags = torch.randint(3, (4, 5), generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda emissions, *rest: path_score(emissions, tags, *rest, mask), parts)


def test_second_derivatives_are_refused():
    given = case((3,))
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(log_partition(*given).sum(), given[0], create_graph=True)


@pytest.mark.skipif(OTHER_FORM, reason="half a minute in the interpreter")
def test_float32_over_512_positions_is_near_float64():
    given = case((512, 300, 511, 17), dtype=torch.float32, scale=2)
    exact = [part.detach().double() for part in given[:4]]
    wanted, found = log_partition(*exact, given[4]), log_partition(*given)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=0)
    shares, close = marginals(*exact, given[4]), marginals(*given)
    torch.testing.assert_close(close.double(), shares, rtol=0, atol=5e-5)
    assert found.dtype == close.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    *parts, mask = case((6, 4), dtype=dtype)
    total = log_partition(*parts, mask)
    wanted = log_partition(*(part.detach().float() for part in parts), mask)
    assert total.dtype == torch.float32
    assert torch.equal(total, wanted)
    total.sum().backward()
    assert {part.grad.dtype for part in parts} == {dtype}


def test_large_scores_and_forbidden_labels_are_exact():
    given = [part.detach() for part in case((6, 4))]
    given[0][0, :, 2] = -float("inf")
    given[1][0, 1] = -float("inf")
    given[0][1] += 1e4
    given[0][1, 2] -= 2e4
    total, shares = log_partition(*given), marginals(*given)
    tags, _ = viterbi(*given)
    for row, found in enumerate(every_path(given)):
        score = torch.tensor(list(found.values()), dtype=torch.float64)
        assert total[row].item() == pytest.approx(score.logsumexp(0).item(), rel=1e-12)
        best = max(found, key=found.__getitem__)
        assert tags[row, : len(best)].tolist() == list(best)
    assert not shares[0, :, 2].any()
    torch.testing.assert_close(shares.sum(2), given[4].double(), rtol=0, atol=1e-9)


def test_where_every_path_is_forbidden_the_gradient_is_0_and_not_nan():
    given = case((4, 3))
    with torch.no_grad():
        given[0][0, 1] = -float("inf")
    total = log_partition(*given)
    assert total[0].item() == -float("inf")
    gradient = torch.autograd.grad(total[1], given[0], retain_graph=True)[0]
    assert gradient.isfinite().all()
    assert not torch.autograd.grad(total[0], given[0])[0].any()


def test_equal_paths_take_the_lower_label():
    nothing, zeros = torch.zeros(2, 5, 3), torch.zeros(3)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    tags, scores = viterbi(nothing, torch.zeros(3, 3), zeros, zeros, mask)
    assert tags.tolist() == [[0] * 5, [0, 0, 0, -1, -1]]
    assert scores.tolist() == [0, 0]


def test_neither_padding_nor_neighbours_change_a_sequence():
    emissions, *rest, mask = case((20, 13, 7))
    junk = torch.full((3, 12, 3), 50.0, dtype=torch.float64)
    longer = torch.cat([emissions.detach(), junk], 1)
    wider = torch.cat([mask, torch.zeros(3, 12, dtype=torch.bool)], 1)
    torch.testing.assert_close(log_partition(longer, *rest, wider), log_partition(emissions, *rest, mask))
    for row, length in enumerate((20, 13, 7)):
        alone = (emissions[row : row + 1, :length], *rest, mask[row : row + 1, :length])
        torch.testing.assert_close(log_partition(*alone)[0], log_partition(emissions, *rest, mask)[row])
        tags, score = viterbi(*alone)
        together, scores = viterbi(longer, *rest, wider)
        assert tags[0].tolist() == together[row, :length].tolist()
        assert score.item() == pytest.approx(scores[row].item())


@pytest.mark.parametrize("lengths", [(), (0, 0)])
def test_no_sequences_and_empty_ones(lengths):
    given = case(lengths)
    total = log_partition(*given)
    assert total.tolist() == [0.0] * len(lengths)
    tags, scores = viterbi(*given)
    assert tags.shape == given[4].shape
    assert scores.tolist() == total.tolist()
    assert marginals(*given).shape == given[0].shape
    tags = torch.zeros(len(lengths), 0, dtype=torch.int64)
    loss = total.sum() + path_score(given[0], tags, *given[1:]).sum()
    assert all(not part.any() for part in torch.autograd.grad(loss, given[:4]))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({0: torch.zeros(2, 3)}, r"emissions \(2, 3\) torch.float32: expected \(B, L, T\)"),
        ({0: torch.zeros(2, 3, 2).long()}, "torch.int64: expected"),
        ({1: torch.zeros(3, 2)}, r"transitions \(3, 2\) torch.float32 do not fit emissions \(2, 3, 2\)"),
        ({2: torch.zeros(3)}, r"start \(3,\)"),
        ({3: torch.zeros(2, device="meta")}, "tensors are on cpu and meta"),
        ({4: torch.ones(2, 3)}, r"mask \(2, 3\) torch.float32 does not fit emissions: \(2, 3\) of bool"),
        ({4: torch.ones(2, 4, dtype=torch.bool)}, r"mask \(2, 4\)"),
        ({4: torch.tensor([[True, False, True]] * 2)}, "the mask has a hole"),
    ],
)
def test_mistakes_are_named(change, text):
    parts = [torch.zeros(2, 3, 2), torch.zeros(2, 2), torch.zeros(2), torch.zeros(2)]
    parts.append(torch.ones(2, 3, dtype=torch.bool))
    for at, other in change.items():
        parts[at] = other
    for function in (log_partition, marginals, viterbi):
        with pytest.raises(ValueError, match=text):
            function(*parts)


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        (torch.full((2, 3), 2), r"label 2 is not in 0\.\.1"),
        (torch.full((2, 3), -1), "label -1 is not"),
        (torch.zeros(2, 2).long(), r"tags \(2, 2\) torch.int64 do not fit mask \(2, 3\)"),
        (torch.zeros(2, 3), "int64 there"),
    ],
)
def test_wrong_paths_are_named(tags, text):
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=text):
        path_score(torch.zeros(2, 3, 2), tags, torch.zeros(2, 2), torch.zeros(2), torch.zeros(2), mask)


def test_a_run_of_one_position_is_refused():
    with pytest.raises(ValueError, match="radix 1: a run has two positions at least"):
        log_partition(*case((3,)), radix=1)


@pytest.mark.slow  # as torch's compiler takes long to import
@pytest.mark.skipif(OTHER_FORM, reason="a compiler beside the interpreter")
def test_a_compiled_function_may_call_it():
    *parts, mask = case((5, 3))

    def loss(emissions, transitions, start, end):
        return log_partition(torch.tanh(emissions), transitions, start, end, mask).sum() * 2

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        ours = torch.autograd.grad(torch.compile(loss, backend="aot_eager")(*parts), parts)
    torch.testing.assert_close(ours, torch.autograd.grad(loss(*parts), parts))


@needs("triton")
@pytest.mark.slow
@pytest.mark.skipif(OTHER_FORM, reason="this is the second run")
def test_triton_form_passes_the_same_tests(passes_in_triton):
    passes_in_triton(__file__)


@needs("triton")
@pytest.mark.skipif(OTHER_FORM, reason="the interpreter has replaced the compiler")
@pytest.mark.parametrize("kind", ["fp32", "fp64"])
@pytest.mark.parametrize("which", [0, 1])
def test_triton_form_compiles_for_a_gpu(kind, which):
    from nonet.kernels.crf_triton import _kernels

    kernel = _kernels()[which]
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    floats = ["emissions", "transitions", "start", "end", *(["totals", "unary", "pairs"], ["scores"])[which]]
    whole = {"tags": "*i64", "sources": "*i32"} if which else {}
    signature = dict.fromkeys(floats, f"*{kind}") | {"lengths": "*i64", "L": "i32", "T": "i32"} | whole
    signature["PADDED"] = "constexpr"
    source = ASTSource(kernel, signature=signature, constexprs={"PADDED": 4})
    assembly = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1}).asm["ptx"]
    assert "st.global" in assembly
    assert ".local" not in assembly, "the numbers of a sequence stay in registers"
