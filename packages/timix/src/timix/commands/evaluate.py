"""The verb `evaluate`: scores of a model on a task."""

import sys
from dataclasses import dataclass

from nonet.vision_language.tasks.task_options import EvaluateOptions


@dataclass(frozen=True, kw_only=True)
class Options(EvaluateOptions):
    """Score a model on a task: recalls, VQA's accuracy, CIDEr-D and BLEU, accuracy. Retrieval and, with a
    decoder, captions and questions need no fine-tuning."""


def run(options: Options) -> int:
    """Print the numbers; write them, and what the model said, where a folder is named."""
    from nonet.vision_language.tasks.using import evaluate_task

    for name, value in evaluate_task(options, lambda line: print(line, file=sys.stderr)).items():
        print(f"{name}: {value:.2f}")
    return 0
