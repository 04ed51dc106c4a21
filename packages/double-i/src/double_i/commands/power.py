"""How many queries a verification needs."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say how many pairs of trigger and reference queries reach a power, with and without early stopping."""

    alpha: float = 1e-6
    """level of the test"""
    p_trigger: float = 0.9
    """share of target answers to the trigger, 0 to 1"""
    p_reference: float = 0.1
    """share of target answers to the reference, 0 to 1"""
    power: float = 0.95
    """wanted probability that the test rejects"""
    decoys: int = 99
    """decoy keys, for the count of prompts"""
    decoy_pairs: int = 20
    """pairs that each decoy is asked with"""
    seed: int = 0
    """of the simulation of early stopping"""


def run(options: Options) -> int:
    """Compute and print."""
    from double_i.fisher import power
    from double_i.power import LARGEST, needed, stopping
    from nonet.errors import UserError

    for name in ("p_trigger", "p_reference"):
        if not 0 <= getattr(options, name) <= 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name):g}; it lies in 0 to 1")
    shares = options.p_trigger, options.p_reference
    found = needed(options.alpha, *shares, options.power)
    print(f"level {options.alpha:g}, target answers: trigger {shares[0]:.0%}, reference {shares[1]:.0%}")
    print(f"fixed number    at least {found.smallest} pairs, with perfect answers")
    if found.pairs is None:
        print(f"                more than {LARGEST:,} pairs for power {options.power:g}")
    else:
        print(f"                {found.pairs} pairs for power {options.power:g} (exactly {found.power:.4f})")
        for n in sorted({found.smallest, max(found.smallest, found.pairs // 2), 2 * found.pairs}):
            print(f"                {n} pairs: power {power(n, *shares, options.alpha):.4f}")
    share, median, late = stopping(options.alpha, *shares, most=LARGEST, runs=2000, seed=options.seed)
    print(f"stopping early  at least {found.sequential} pairs, with perfect answers")
    print(f"                half of the runs stop by {median:.0f} pairs, 90 % by {late:.0f}")
    print(f"                {share:.1%} of 2,000 simulated runs stop within {LARGEST:,}")
    pairs = found.pairs if found.pairs is not None else LARGEST
    total = 2 * pairs + options.decoys * options.decoy_pairs
    print(f"with {options.decoys} decoys on {options.decoy_pairs} pairs: {total:,} prompts")
    return 0
