"""`make bench-vlp-atlas`: which pre-training objectives help, on scenes of digits, and in UNITER's order?

Written down before it was run:

1. of the pre-trained arms, masked regions' features alone (MRFR) are the weakest;
2. masked words (MLM) and matching (ITM) are about the same alone: the 95 % interval of their difference
   over the seeds has 0 in it;
3. combinations are best: the mean of the six arms with two objectives or more is above the best single one,
   and the best arm of all is one of the two with the most objectives;
4. the order of the ten arms is that of UNITER's ablation (Chen et al. 2020, table 2): Kendall's tau above 0,
   with its whole interval.

All arms have the same encoder, the same initial weights (of a seed), the same number of pre-training steps,
each with one objective that is drawn with equal chances, and the same fine-tuning. Losses are those of
`nonet.vision_language.objectives`. WRA is .1 of the loss, in the steps of ITM, as in UNITER's code. Measures
on scenes of test digits: the right image for a caption and the right caption for an image among 16 scenes,
four in each of four sets of cells (R@1, by the matching head; chance is 6.25 %, cells alone give 25 %), and
which digit is in a cell, after few labelled questions. Meta-sum is the sum of the three, as UNITER's is over
its tasks. Sizes were chosen with another seed for ten minutes of one core; no arm has settings of its own.
`--work DIR` keeps the arms and goes on with them. Source: ours, after UNITER.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arms import arguments, run_arms
from benchmarks.harness import Row, save, table

from nonet.metrics.stats import t_interval

SEEDS = (0, 1, 2)
ARMS: dict[str, tuple[tuple[str, ...], float]] = {
    "none": ((), 314.34),
    "MRFR": (("mrfr",), 344.66),
    "ITM": (("itm",), 385.29),
    "MLM": (("mlm",), 386.10),
    "MLM + ITM": (("mlm", "itm"), 393.04),
    "MLM + ITM + MRC": (("mlm", "itm", "mrc"), 393.97),
    "MLM + ITM + MRFR": (("mlm", "itm", "mrfr"), 396.24),
    "MLM + ITM + MRC-kl": (("mlm", "itm", "mrc-kl"), 397.09),
    "MLM + ITM + MRC-kl + MRFR": (("mlm", "itm", "mrc-kl", "mrfr"), 399.97),
    "MLM + ITM + MRC-kl + MRFR + WRA": (("mlm", "itm", "mrc-kl", "mrfr", "wra"), 400.93),
}
"""objectives of an arm, and the Meta-Sum that UNITER's table 2 has for it"""
MEASURES = ("image R@1", "caption R@1", "answers")


@dataclass(frozen=True)
class Sizes:
    """How long, how wide, how many."""

    steps: int = 600
    tune_steps: int = 60
    batch: int = 48
    rate: float = 2e-3
    labelled: int = 512
    groups: int = 20
    candidates: int = 16
    questions: int = 1000


TINY = Sizes(steps=2, tune_steps=1, batch=8, labelled=8, groups=2, candidates=4, questions=20)


def pretraining_loss(model: Any, world: Any, name: str, extra: bool, count: int, generator: Any) -> Any:
    """The loss of a batch of fresh scenes; `extra` adds WRA to ITM."""
    import torch
    from benchmarks.vlp_atlas import digit_scenes as scenes_of

    from nonet.vision_language import objectives as of

    scenes = world.draw(count, generator)
    ids, pixels = world.captions(scenes), world.pixels[scenes.images]
    if name == "itm":
        return matching_loss(model, world, scenes, extra, generator)
    if name == "mlm":
        words = torch.arange(scenes_of.FIRST_DIGIT, scenes_of.VOCABULARY)
        masked = of.mask_tokens(
            ids, ids != scenes_of.CLS, mask_id=scenes_of.MASK, replacements=words, generator=generator
        )
        text, _ = model(masked.ids, pixels, scenes.cells)
        return of.masked_lm(model.to_word(text), masked.labels).loss
    mask = of.choose(torch.ones(count, scenes_of.REGIONS, dtype=torch.bool), 0.15, generator)
    _, regions = model(ids, of.mask_regions(pixels, mask), scenes.cells)
    if name == "mrfr":
        return of.region_regression(model.to_pixels(regions), pixels, mask, over_features="mean").loss
    classes = world.classes[scenes.images]
    loss = of.region_kl if name == "mrc-kl" else of.region_classification
    return loss(model.to_class(regions), classes, mask).loss


def matching_loss(model: Any, world: Any, scenes: Any, align: bool, generator: Any) -> Any:
    """Matching of captions, half of which have another image; `align` adds WRA."""
    import torch

    from nonet.vision_language import objectives as of

    labels = torch.randint(2, (len(scenes.cells),), generator=generator)
    others = world.others(scenes, generator)
    own = labels[:, None] == 1
    images = torch.where(own, scenes.images, others.images)
    cells = torch.where(own, scenes.cells, others.cells)
    text, regions = model(world.captions(scenes), world.pixels[images], cells)
    loss = of.image_text_matching(model.to_match(text[:, 0]), labels).loss
    if align:
        loss = loss + 0.1 * of.word_region_alignment(text[:, 1:], regions, matched=labels).loss
    return loss


def train(model: Any, steps: int, rate: float, loss_of: Callable[[int], Any]) -> None:
    """AdamW with a linear warm-up over a tenth of the steps and a linear decline."""
    import torch

    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, fused=True)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    for step in range(steps):
        optimiser.zero_grad()
        loss_of(step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()


def arm(name: str, seed: int, sizes: Sizes) -> dict[str, Any]:
    """Pre-train, fine-tune a copy for each task, and measure both on scenes of test digits."""
    import copy

    import torch
    from benchmarks.vlp_atlas.digit_scenes import Encoder, worlds

    names, _ = ARMS[name]
    tasks = [each for each in names if each != "wra"]
    world, unseen = worlds(seed)
    torch.manual_seed(seed)
    model = Encoder()
    generator = torch.Generator().manual_seed(1000 + seed)

    def pretraining(_: int) -> Any:
        drawn = tasks[int(torch.randint(len(tasks), (), generator=generator))]
        return pretraining_loss(model, world, drawn, "wra" in names, sizes.batch, generator)

    if tasks:
        train(model, sizes.steps, sizes.rate, pretraining)
    finder, answerer = copy.deepcopy(model), copy.deepcopy(model)
    found = retrieval(finder, world, unseen, sizes, torch.Generator().manual_seed(2000 + seed))
    found |= answers(answerer, world, unseen, sizes, torch.Generator().manual_seed(3000 + seed))
    return found


def retrieval(model: Any, world: Any, unseen: Any, sizes: Sizes, generator: Any) -> dict[str, float]:
    """Fine-tune the matching head; R@1 in both directions, in percent."""
    import torch

    train(
        model, sizes.tune_steps, sizes.rate,
        lambda _: matching_loss(model, world, world.draw(sizes.batch, generator), False, generator),
    )  # fmt: skip
    hits = torch.zeros(2)
    n = sizes.candidates
    with torch.no_grad():
        for _ in range(sizes.groups):
            scenes = unseen.group(n, generator)
            captions = unseen.captions(scenes).repeat_interleave(n, 0)
            pixels, cells = unseen.pixels[scenes.images].repeat(n, 1, 1), scenes.cells.repeat(n, 1)
            text, _ = model(captions, pixels, cells)
            logits = model.to_match(text[:, 0])
            scores = (logits[:, 1] - logits[:, 0]).view(n, n)  # captions x images
            own = torch.arange(n)
            hits += torch.stack([(scores.argmax(axis) == own).sum() for axis in (1, 0)])
    shares = (100 * hits / (sizes.groups * n)).tolist()
    return dict(zip(MEASURES[:2], shares, strict=True))


def answers(model: Any, world: Any, unseen: Any, sizes: Sizes, generator: Any) -> dict[str, float]:
    """Fine-tune on few labelled questions; share of right answers, in percent."""
    import torch

    from nonet.vision_language.objectives import answer_label

    def logits_of(part: Any, scenes: Any) -> tuple[Any, Any]:
        ids, labels = part.questions(scenes)
        text, _ = model(ids, part.pixels[scenes.images], scenes.cells)
        return model.to_answer(text[:, 0]), labels

    labelled = world.draw(sizes.labelled, generator)

    def loss_of(_: int) -> Any:
        rows = torch.randint(sizes.labelled, (sizes.batch,), generator=generator)
        return answer_label(*logits_of(world, type(labelled)(*(part[rows] for part in labelled)))).loss

    train(model, sizes.tune_steps, sizes.rate, loss_of)
    with torch.no_grad():
        logits, labels = logits_of(unseen, unseen.draw(sizes.questions, generator))
    return {MEASURES[2]: 100 * float((logits.argmax(1) == labels).float().mean())}


def sums_of(found: Sequence[dict[str, Any]], arms: int) -> Any:
    """(seeds, arms) Meta-sums of results that are ordered by seed, then by arm."""
    return np.array([sum(one[measure] for measure in MEASURES) for one in found]).reshape(-1, arms)


def arm_rows(found: Sequence[dict[str, Any]], arms: Sequence[str]) -> list[Row]:
    """A row an arm: the measures, their sum with its 95 % interval over the seeds, and UNITER's sum."""
    sums = sums_of(found, len(arms))
    means = sums.mean(0)
    rows = []
    for number, name in enumerate(arms):
        row: Row = {"name": name}
        for measure in MEASURES:
            row[measure] = f"{np.mean([one[measure] for one in found[number :: len(arms)]]):.1f}"
        if len(sums) > 1:
            interval = t_interval(sums[:, number])
            row["Meta-sum (95 % over seeds)"] = (
                f"{interval.mean:.1f} ({interval.low:.1f} to {interval.high:.1f})"
            )
        else:
            row["Meta-sum"] = f"{sums[0, number]:.1f}"
        row["by seed"] = ", ".join(f"{value:.1f}" for value in sums[:, number])
        row["place"] = 1 + int((means > means[number]).sum())
        row["UNITER's Meta-Sum"] = f"{ARMS[name][1]:.2f}"
        rows.append(row)
    return rows


def kendall(first: Any, second: Any) -> float:
    """Kendall's tau-b: pairs in the same order less pairs in the other; 1 for one order, 0 if all tie."""
    upper = np.triu_indices(len(first), 1)
    a, b = (np.sign(np.subtract.outer(values, values))[upper] for values in map(np.asarray, (first, second)))
    pairs = np.sqrt((a != 0).sum() * (b != 0).sum())
    return float((a * b).sum() / pairs) if pairs else 0.0


def order_rows(sums: Any, arms: Sequence[str]) -> list[Row]:
    """What was written down, and what came out."""
    uniter = [ARMS[name][1] for name in arms]
    means = dict(zip(arms, sums.mean(0), strict=True))
    column = {name: sums[:, number] for number, name in enumerate(arms)}
    pretrained, single = [name for name in arms if name != "none"], ("MRFR", "ITM", "MLM")
    several = [name for name in pretrained if name not in single]
    weakest, best = min(pretrained, key=means.__getitem__), max(arms, key=means.__getitem__)
    gap = t_interval(column["MLM"] - column["ITM"])
    top = max(single, key=means.__getitem__)
    gain = t_interval(np.mean([column[name] for name in several], 0) - column[top])
    # With so few seeds, all resamples of them can be gone through.
    resamples = [
        kendall(sums[list(rows)].mean(0), uniter) for rows in product(range(len(sums)), repeat=len(sums))
    ]
    low, high = np.quantile(resamples, (0.025, 0.975))
    return [
        {
            "name": "MRFR alone is the weakest of the pre-trained",
            "found": f"weakest: {weakest}, {means[weakest]:.1f}; MRFR {means['MRFR']:.1f}",
            "holds": "yes" if weakest == "MRFR" else "no",
        },
        {
            "name": "MLM and ITM alone are about the same",
            "found": f"MLM - ITM: {gap.mean:+.1f} ({gap.low:+.1f} to {gap.high:+.1f})",
            "holds": "yes" if gap.low <= 0 <= gap.high else "no",
        },
        {
            "name": "combinations are better than the best single objective",
            "found": f"their mean - {top}: {gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})",
            "holds": "no" if gain.mean <= 0 else "yes" if gain.low > 0 else "direction only",
        },
        {
            "name": "one of the two arms with the most objectives is the best",
            "found": f"best: {best}, {means[best]:.1f}",
            "holds": "yes" if best in arms[-2:] else "no",
        },
        {
            "name": "UNITER's order (Kendall's tau, bootstrap over seeds)",
            "found": f"{kendall(sums.mean(0), uniter):.2f} ({low:.2f} to {high:.2f})",
            "holds": "yes" if low > 0 else "no",
        },
    ]  # fmt: skip


def main(tiny: bool = False, work: Path = Path("runs/vlp_atlas/objectives"), processes: int = 2) -> list[Row]:
    """All arms and seeds; kept in benchmarks/results unless tiny."""
    sizes, seeds = (TINY, SEEDS[:2]) if tiny else (Sizes(), SEEDS)
    arms = list(ARMS)
    jobs = [
        (f"{name.lower().replace(' + ', '+')}-{seed}", arm, (name, seed, sizes))
        for seed in seeds
        for name in arms
    ]
    found = run_arms(jobs, work / ("tiny" if tiny else "arms"), processes=1 if tiny else processes)
    rows = arm_rows(found, arms)
    order = order_rows(sums_of(found, len(arms)), arms)
    print(table(rows), table(order), sep="\n\n")
    if not tiny:
        seconds = sum(one["cpu_seconds"] for one in found)
        context = {
            "versions": ("torch", "numpy", "scikit-learn"), "data": "scenes of scikit-learn's digits",
            "seed": list(seeds), "cpu_seconds": round(seconds),
        }  # fmt: skip
        save("vlp-atlas", rows, table="objectives", **context)
        save("vlp-atlas", order, table="objectives-order", **context)
    return rows + order


if __name__ == "__main__":
    given = arguments(__doc__, "runs/vlp_atlas/objectives").parse_args()
    main(work=given.work, processes=given.processes)
