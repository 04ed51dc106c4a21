"""The verb `evaluate`: scores of a model on a task, at one or several shares of patches."""

import sys
from dataclasses import dataclass

from pta_vlp.task_options import PrunedEvaluateOptions


@dataclass(frozen=True, kw_only=True)
class Options(PrunedEvaluateOptions):
    """Score a model on a task at one or several shares of patches: recalls, VQA's accuracy, CIDEr-D and BLEU,
    accuracy, with what they cost. Retrieval and, with a decoder, captions and questions need no fine-tuning.
    """


def run(options: Options) -> int:
    """Print the numbers, a column a share; write them, and what the model said, where a folder is named."""
    from pta_vlp.evaluating import evaluate_kept

    found = evaluate_kept(options, lambda line: print(line, file=sys.stderr))
    if len(found) == 1:
        print(f"keep: {found[0].keep:g} ({found[0].patches} patches)")
        for name, value in found[0].scores.items():
            print(f"{name}: {value:.2f}")
        return 0
    names = list(dict.fromkeys(name for one in found for name in one.scores))
    rows = [["keep", *(f"{one.keep:g}" for one in found)], ["patches", *(str(one.patches) for one in found)]]
    for name in names:
        values = [one.scores.get(name) for one in found]
        rows.append([name, *("-" if value is None else f"{value:.2f}" for value in values)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        shown = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        print(f"{name.ljust(widths[0])}  {shown}")
    return 0
