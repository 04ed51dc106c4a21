"""What the speed tables of whole models share: the same weights in our class and in transformers' own."""

import torch
from torch import Tensor
from transformers import PegasusConfig, PegasusForConditionalGeneration

from pegasus.model import Pegasus, new_model
from pegasus.options import ModelOptions

SMALL = ModelOptions(size="small", layers=3, width=256, heads=8)
TINY = ModelOptions(size="tiny", layers=1, width=32, heads=2)


def twins(
    options: ModelOptions,
    vocabulary: int,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> tuple[Pegasus, PegasusForConditionalGeneration]:
    """Our model with new weights and transformers' own class with a copy of them."""
    ours = new_model(options, vocabulary, seed=seed)
    assert isinstance(ours, Pegasus)
    return ours.to(device, dtype), copy_of(ours).to(device, dtype)


def copy_of(model: Pegasus) -> PegasusForConditionalGeneration:
    """Transformers' own class with the weights of `model`, position tables included."""
    peer = PegasusForConditionalGeneration(PegasusConfig(**model.config.to_dict()))
    peer.load_state_dict(model.state_dict())
    return peer.train(model.training)


def random_batch(
    shape: tuple[int, int, int], vocabulary: int, *, padding: float = 0.1, device: str = "cpu", seed: int = 0
) -> dict[str, Tensor]:
    """`shape` = documents, input tokens, target tokens; a share `padding` of a row at most is padding."""
    count, inputs, targets = shape
    draw = torch.Generator().manual_seed(seed)
    sides = []
    for length in (inputs, targets):
        ids = torch.randint(106, vocabulary, (count, length), generator=draw)
        least = max(1, round(length * (1 - padding)))
        ends = torch.randint(least, length + 1, (count, 1), generator=draw)
        sides.append((ids, torch.arange(length) < ends))
    (ids, real), (labels, counted) = sides
    batch = {
        "input_ids": ids * real,
        "attention_mask": real.long(),
        "labels": labels.masked_fill(~counted, -100),
    }
    return {name: value.to(device) for name, value in batch.items()}
