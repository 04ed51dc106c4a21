"""The verb `predict`: what a model says to images and texts."""

import sys
from dataclasses import dataclass

from nonet.vision_language.tasks.task_options import PredictOptions


@dataclass(frozen=True, kw_only=True)
class Options(PredictOptions):
    """Write what a model says, one JSON object a line: the nearest texts and images, answers, captions, truth
    of statements, or boxes [x, y, width, height] in pixels of the stored image."""


def run(options: Options) -> int:
    """Write the lines; prints how many there are."""
    from nonet.vision_language.tasks.using import predict_task

    count = predict_task(options, lambda line: print(line, file=sys.stderr))
    print(f"{count} lines: {options.out}")
    return 0
