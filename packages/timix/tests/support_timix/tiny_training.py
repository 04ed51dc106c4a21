"""The module of a tiny training on squares, and its batches by number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from square_pairs import config, write_squares

from nonet.data.batching import RandomBatches
from nonet.options import build, read
from nonet.training.seeds import seed_all
from nonet.vision_language.pretraining.method import begin_with
from nonet.vision_language.pretraining.starting import Start
from timix.commands.pretrain import Options
from timix.mix_training import build_module, method
from timix.module import MixModule

WIDE = 0.3  # standard deviation of weights that tell images, and texts, apart; a new model has 0.02

BARE = {"queue": 0, "momentum": 0.0, "alpha": 0.0}
"""the option `itc` without a momentum model"""

ITC_ALONE = {"itm": 0.0, "mlm": 0.0, "prefix": 0.0}
"""the option `losses` with contrast only"""


def options(folder: Path, **values: Any) -> Options:
    """Options of a tiny training on pairs and regions, which are written into `folder`."""
    files = write_squares(folder)
    lines = {"pairs": [str(files["pairs"])], "regions": [str(files["regions"])]} | values
    return build(Options, [read(config(folder, **lines))])


def built(given: Options, *, wide: bool = False) -> tuple[Start, MixModule, Callable[[int], dict[str, Any]]]:
    """What the run begins with, its module, and its batches by number.

    Args:
        given: options of the run.
        wide: draw weights anew, far from 0, and the words of each batch. All features of a new model are
            nearly one vector, so that its loss is the logarithm of the batch's size, whatever is right.
    """
    seed_all(given.trainer.seed)
    begin = begin_with(given, method(given), lambda line: None)
    if wide:
        draws = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in begin.model.parameters():
                if weight.ndim > 1:
                    weight.normal_(0, WIDE, generator=draws)
    module = build_module(given, begin, 100, 4)
    visits, collate = begin.visits(given), begin.collate(given)
    visits.regions = None if begin.regions is None else begin.make_regions(given)(0, 1)
    batches = RandomBatches(len(begin.train), given.batch, given.trainer.seed)

    def batch(number: int) -> dict[str, Any]:
        epoch, place = divmod(number, batches.steps(0))
        items = batches.epoch(epoch)[place]
        found = collate([visits[(epoch, int(item))] for item in items] + [visits[(number, -1)]])
        if wide:
            words, random = found["input_ids"][:, 1:], torch.Generator().manual_seed(number)
            words.copy_(torch.randint(5, len(begin.tokenizer), words.shape, generator=random))
        return found

    return begin, module, batch
