"""Several devices: which strategy of Lightning runs, means over all of them, and sharding of weights.

One device, data parallelism (DDP), sharded data parallelism (FSDP2) and several machines (torchrun, SLURM)
take the same code path; only the strategy object differs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nonet.errors import UserError
from nonet.training.options import TrainerOptions

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def global_mean(loss_sum: Tensor, count: Tensor | float) -> Tensor:
    """A mean over the tokens of all processes, whose gradient is right after processes average theirs.

    Each process has sum_r of its losses and count_r of its tokens. What comes back is
    sum_r * processes / (count_1 + count_2 + ...). Its mean over the processes is the mean over all tokens,
    and DDP and FSDP average gradients, so that they get exactly the gradient of that mean. In one process it
    is `loss_sum / count`. Without any token it is 0, with gradient 0. The batches of an accumulated step
    count alike, however many tokens they have.

    Args:
        loss_sum: sum of the losses of this process's tokens, a scalar.
        count: how many tokens (or the sum of their weights); not differentiated.

    Returns:
        A scalar like `loss_sum`.
    """
    total = torch.as_tensor(count, dtype=torch.float64 if loss_sum.device.type != "mps" else torch.float32)
    total = total.detach().to(loss_sum.device, copy=True)
    processes = 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        processes = torch.distributed.get_world_size()
        if processes > 1:
            torch.distributed.all_reduce(total)
    scale = torch.where(total > 0, processes / total, torch.zeros_like(total))
    return loss_sum * scale.to(loss_sum.dtype)


class RunningMeans:
    """Means over a whole data set, on all devices: sums and counts, added up batch by batch.

    For validation: `add` in `validation_step`, `take` in `on_validation_epoch_end`. (Lightning's own way,
    `log(..., batch_size=n, sync_dist=True)`, cuts the average number of examples a device to an integer.)

    Args:
        *names: of the means; the same on all devices.
    """

    def __init__(self, *names: str) -> None:
        self.names = names
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, total: Tensor, count: Tensor | float) -> None:
        """Add the sum of a batch's losses and their number."""
        count = torch.as_tensor(count, device=total.device)
        both = torch.stack([total.detach().double(), count.detach().double()]).cpu()
        self._sums[name] = self._sums[name] + both if name in self._sums else both

    def take(self) -> dict[str, float]:
        """The means of all that was added since the last call; names without any are left out.

        All devices have to call it.
        """
        sums = torch.stack([self._sums.pop(name, torch.zeros(2, dtype=torch.float64)) for name in self.names])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            if torch.distributed.get_backend() == "nccl":
                sums = sums.cuda()
            torch.distributed.all_reduce(sums)
        pairs = zip(self.names, sums.tolist(), strict=True)
        return {name: total / count for name, (total, count) in pairs if count}


def shard(model: nn.Module, mesh: "DeviceMesh", *, blocks: Sequence[nn.Module] | None = None) -> nn.Module:
    """Share a model's weights out over the devices (FSDP2), block by block, in place.

    To be called once, in `LightningModule.configure_model`:

        def configure_model(self):
            if self.device_mesh is not None and not sharded(self.model):
                shard(self.model, self.device_mesh)

    The forward pass must go through `model` itself: that is where the weights outside of blocks are gathered.

    Args:
        model: what `training_step` calls.
        mesh: Lightning's mesh, with a dimension `data_parallel`; or one of one dimension.
        blocks: parts that are gathered one after the other; by default the members of its outermost
            `ModuleList`s, which are the layers of a transformer.

    Returns:
        `model`.
    """
    from torch.distributed.fsdp import fully_shard

    if mesh.mesh_dim_names and "data_parallel" in mesh.mesh_dim_names:
        mesh = mesh["data_parallel"]
    for block in _blocks(model) if blocks is None else blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def sharded(model: nn.Module) -> bool:
    """Whether `shard` was applied to a model."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


def make_strategy(options: TrainerOptions, accelerator: str, *, unused: bool = False) -> Any:
    """What Lightning's `Trainer(strategy=...)` takes.

    Args:
        options: strategy, devices, nodes.
        accelerator: `"cpu"` or `"cuda"`, as chosen.
        unused: DDP looks for weights that a step leaves out.
    """
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

    if options.strategy == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=device_count(options, accelerator) * options.nodes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )
    if options.strategy == "ddp" or device_count(options, accelerator) * options.nodes > 1:
        return DDPStrategy(find_unused_parameters=True) if unused else DDPStrategy()
    return "auto"


def device_count(options: TrainerOptions, accelerator: str) -> int:
    """Devices of this machine that take part.

    Raises:
        UserError: more GPUs are wanted than there are.
    """
    present = torch.cuda.device_count() if accelerator == "cuda" else None
    if options.devices == "auto":
        return present or 1
    if present is not None and options.devices > present:
        raise UserError(f"devices is {options.devices}, but this machine has {present} GPUs that torch sees")
    return int(options.devices)


def choose_accelerator(options: TrainerOptions) -> str:
    """`"cuda"` or `"cpu"`.

    Raises:
        UserError: a GPU is wanted and there is none.
    """
    if options.accelerator == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if options.accelerator == "gpu":
        raise UserError("accelerator is gpu, but torch sees no GPU here: use cpu or auto")
    return "cpu"


def choose_precision(options: TrainerOptions, accelerator: str) -> str:
    """Lightning's name of the precision: `"bf16-mixed"` or `"32-true"`.

    Raises:
        UserError: bf16 is wanted on a GPU that does not have it.
    """
    if options.precision == "fp32":
        return "32-true"
    able = accelerator == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if options.precision == "auto":
        return "bf16-mixed" if able else "32-true"
    if accelerator == "cuda" and not able:
        raise UserError("precision is bf16, but this GPU does not have it (Ampere and later do): use fp32")
    return "bf16-mixed"


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Members of the outermost module lists."""
    found: list[nn.Module] = []
    for child in model.children():
        found.extend(child if isinstance(child, nn.ModuleList) else _blocks(child))
    return found
