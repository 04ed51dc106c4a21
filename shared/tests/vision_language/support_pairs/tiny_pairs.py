"""A tiny image-text model without dropout, and batches of made-up pairs."""

import dataclasses
from functools import lru_cache

import torch
from torch.nn import functional as F

from nonet.testing import normal, seeded, whole
from nonet.vision_language.feature_queue import FeatureQueue
from nonet.vision_language.objectives.masking import MaskedTokens
from nonet.vision_language.objectives.objective import IGNORE
from nonet.vision_language.pair_config import TINY
from nonet.vision_language.pair_model import PairModel

BEGIN, MASK, WORDS = 2, 4, 64

CONFIG = dataclasses.replace(
    TINY, vit_width=32, vit_depth=2, image=32, vocabulary=WORDS, text_width=32, text_hidden=64, positions=32,
    text_layers=1, embed=16, dropout=0.0, vit_attention_dropout=0.0,
)  # fmt: skip


def tiny_model(seed=0, **changes):
    """With random weights; the same seed gives the same ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PairModel(dataclasses.replace(CONFIG, **changes))


@lru_cache
def _sizes(count):
    return torch.randint(4, 9, (count,), generator=seeded(9)).tolist()


def pairs(count, seed=0, start=0):
    """Pairs start, start + 1, ... of an endless list, whatever the batch."""
    total = start + count
    images = normal(total, 3, 32, 32, seed=seed)[start:]
    ids = 5 + whole(WORDS - 5, total, 9, seed=seed)[start:]
    ids[:, 0] = BEGIN
    lengths = torch.tensor(_sizes(64)[start:total])
    mask = (torch.arange(9) < lengths[:, None]).long()
    ids = ids * mask
    return {
        "images": images,
        "input_ids": ids,
        "attention_mask": mask,
        "image_ids": torch.arange(start, total),
        "prefix_ids": ids[:, :3],
        "prefix_mask": mask[:, :3],
        "target_ids": ids,
        "target_mask": mask,
        "ids": [f"pairs.jsonl:{number}" for number in range(start, total)],
    }


def every_third(ids, mask, generator):
    """Masks words by what they are, not by chance: on any number of processes the same ones."""
    chosen = mask.bool() & (ids % 3 == 0)
    return MaskedTokens(torch.where(chosen, MASK, ids), torch.where(chosen, ids, IGNORE), chosen)


def unit(count, seed):
    """(count, 16) vectors of length 1."""
    return F.normalize(normal(count, 16, seed=seed), dim=1)


def queue_of(count):
    """A full queue; its images are numbers 100, 101, ..."""
    queue = FeatureQueue(count, 16)
    queue.push(unit(count, 40), unit(count, 41), torch.arange(100, 100 + count))
    return queue
