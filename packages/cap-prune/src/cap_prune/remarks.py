"""What a reader of the numbers should know: where sparsity is no speed, and why (ours).

Dense kernels multiply by a 0 as by any other number; only a matrix that is smaller, or a kernel that knows
its pattern, takes less time.
"""

from collections.abc import Sequence

from cap_prune.layer_counts import LayerCounts

FEW = 0.02
"""share of zeros below which they are an accident"""


def remarks(
    layers: Sequence[LayerCounts],
    *,
    pattern: bool,
    device: str,
    dtype_bytes: int,
    batch: int,
    length: int,
    speed_up: tuple[float, float, float] | None = None,
) -> list[str]:
    """Sentences about one model, the most important first.

    Args:
        layers: counts of every layer.
        pattern: whether all matrices are 2:4 sparse.
        device: `cpu` or `cuda`.
        dtype_bytes: bytes of one weight.
        batch: texts at a time in the measurement.
        length: pieces of a text in it.
        speed_up: measured times as fast as the dense model: middle, least, greatest; None: not measured.
    """
    said: list[str] = []
    entries, kept = sum(each.weights for each in layers), sum(each.nonzero for each in layers)
    zeros = 1 - kept / entries if entries else 0.0
    gone = 1 - entries / sum(each.dense_weights for each in layers)
    saved = 1 - sum(each.macs for each in layers) / sum(each.dense_macs for each in layers)
    if zeros > FEW:
        said.append(
            f"{zeros:.1%} of the weights in the layers' matrices are zeros: they give no speed here: dense "
            "kernels multiply by them as by any other number, and no smaller file unless it is packed (csr, "
            "2:4)."
        )
        if pattern:
            said.append(_two_of_four(device, dtype_bytes, batch * length))
        said.append(_compressed(sum(each.csr_bytes for each in layers) / sum(each.bytes for each in layers)))
    if gone > 0:
        said.append(
            f"{gone:.1%} of the matrices' entries are really gone, and with them {saved:.1%} of the layers' "
            f"multiplications at length {length}; embeddings are whole and cost no multiplications."
        )
    if gone == 0 and zeros <= FEW:
        said.append("Nothing is pruned: this is a dense model.")
    if speed_up is not None and gone > 0:
        middle, least, greatest = speed_up
        bound = 1 / max(1 - saved, 1e-9)
        said.append(
            f"Measured {middle:.2f} times as fast as a dense model of the same shape ({least:.2f} to "
            f"{greatest:.2f}); the layers' multiplications alone would allow {bound:.2f}. What is left is "
            "LayerNorm, softmax, embeddings and calls, which do not shrink."
        )
        if least <= 1:
            said.append(
                f"At batch {batch} and length {length} no gain is shown: the range reaches down to "
                f"{least:.2f} times."
            )
    headless = [each.layer for each in layers if each.heads == 0]
    if headless:
        said.append(
            f"No head is left in layer {_listed(headless)}: its attention adds the output bias and no more."
        )
    idle = [each.layer for each in layers if each.neurons == 0]
    if idle:
        said.append(f"No neuron is left in layer {_listed(idle)}: its feed-forward part adds its bias only.")
    return said


def _two_of_four(device: str, dtype_bytes: int, rows: int) -> str:
    if device != "cuda":
        return (
            "The zeros are in a 2:4 pattern, which only sparse tensor cores of NVIDIA GPUs (Ampere+) "
            "can use: no speed-up on this device."
        )
    kind = "" if dtype_bytes == 2 else " and in fp16 or bf16, which this model is not"
    return (
        "The zeros are in a 2:4 pattern: sparse tensor cores can use it after "
        f"cap_prune.use_sparse_kernels{kind}. It pays in large matrices and batches; with {rows} pieces a "
        "batch measure it with `cap-prune bench --sparse` before you rely on it."
    )


def _compressed(share: float) -> str:
    """What compressed rows save, which take this share of the matrices' bytes."""
    if share >= 1:
        return (
            f"As compressed rows (csr) the matrices would take {share:.2f} times their bytes: too few zeros "
            "to save any."
        )
    return (
        f"As compressed rows (csr) the matrices take {share:.2f} times their bytes on disk; multiplying in "
        "that format seldom beats dense kernels, so measure it."
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
