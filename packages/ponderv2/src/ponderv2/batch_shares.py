"""Whether every process of a run gets a part of each batch, asked before there is a run folder (ours)."""

from nonet.data.batching import Batches
from nonet.errors import UserError
from nonet.training.options import TrainerOptions
from nonet.training.strategies import choose_accelerator, device_count
from ponderv2.mixed_batches import MixedBatches


def check_shares(batches: Batches, trainer: TrainerOptions) -> None:
    """Refuse batches that are too small for the processes of a run.

    Args:
        batches: what is learned from; those of all epochs are as large as those of the first.
        trainer: devices and machines.

    Raises:
        UserError: a batch has fewer items than there are processes, or devices are wanted that there are not.
    """
    processes = device_count(trainer, choose_accelerator(trainer)) * trainer.nodes
    if isinstance(batches, MixedBatches):
        batches.check_processes(processes)
        return
    least = min(len(items) for items in batches.epoch(0))
    if least < processes:
        raise UserError(
            f"there are batches of {least} for {processes} processes: use fewer devices, raise batch, or "
            "give more frames"
        )
