"""The verb `predict`: what a model says to images and texts."""

import sys
from dataclasses import dataclass

from pta_vlp.task_options import PrunedPredictOptions


@dataclass(frozen=True, kw_only=True)
class Options(PrunedPredictOptions):
    """Write what a model says, from the patches that are kept, one JSON object a line: the nearest texts and
    images, answers, captions, truth of statements, or boxes [x, y, width, height] in pixels of the stored
    image."""


def run(options: Options) -> int:
    """Write the lines; prints how many there are."""
    from nonet.training.seeds import seed_all
    from nonet.vision_language.tasks.using import predict_task
    from pta_vlp.pruned_tasks import Pruning

    seed_all(0)  # for a random selection
    pruning = Pruning(options, options.keep)
    count = predict_task(options, lambda line: print(line, file=sys.stderr), pruning)
    print(f"{count} lines: {options.out}")
    return 0
