"""What two processes do with a batch in two unequal shares; imports neither timm nor Lightning."""

import torch
from tiny_pairs import CONFIG, every_third, pairs, queue_of
from torch import nn

from nonet.training.strategies import global_mean
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_losses import PairLosses
from nonet.vision_language.pair_model import PairModel

NAMES = ("itc", "mlm", "prefix")
SIZES = (4, 3)  # pairs of each process


class PlainTower(nn.Module):
    """Linear patches and nothing behind them: the steps of a vision tower."""

    def __init__(self):
        super().__init__()
        self.cut, self.project = nn.Unfold(8, stride=8), nn.Linear(192, 32)

    def patches(self, images):
        return self.project(self.cut(images).mT)

    def from_patches(self, patches):
        return torch.cat([patches.mean(1, keepdim=True), patches], 1)

    def blocks(self, tokens, first=0, last=None):
        return torch.tanh(tokens)

    def finish(self, tokens):
        return tokens


def plain_model(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PairModel(CONFIG, vision=PlainTower())


class InOneForward(nn.Module):
    """What DistributedDataParallel wraps."""

    def __init__(self):
        super().__init__()
        self.model, self.twin, self.queue = plain_model(0), Twin(plain_model(1)), queue_of(6)

    def forward(self, batch, names, seed):
        losses = PairLosses(
            every_third,
            weights=dict.fromkeys(names, 1.0),
            distil=("itc", "mlm", "prefix"),
            by_image=True,
            online_keys=True,  # which have gradients on the other process
        )
        generator = torch.Generator().manual_seed(seed)
        return losses(self.model, batch, generator=generator, twin=self.twin, queue=self.queue, alpha=0.3)


def gradients(module):
    named = module.model.named_parameters()
    return {name: weight.grad.clone() for name, weight in named if weight.grad is not None}


def on_a_process():
    """Mean losses over processes, gradients that DDP averaged, and what all see of one another."""
    rank = torch.distributed.get_rank()
    module = InOneForward()
    parallel = nn.parallel.DistributedDataParallel(module)
    found = parallel(pairs(SIZES[rank], start=SIZES[0] * rank), (*NAMES, "itm"), rank)
    means = {name: global_mean(*pair) for name, pair in found.terms.items()}
    sum(means.values()).backward()
    averages = {}
    for name, value in means.items():
        total = value.detach().clone()
        torch.distributed.all_reduce(total)
        averages[name] = float(total) / 2
    return averages, gradients(module), found.every_id, found.teacher_text
