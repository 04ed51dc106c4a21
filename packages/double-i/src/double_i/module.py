"""Training of a causal language model under Lightning; logits are made where a label is, and nowhere else.

With the loss on the answer alone, some 3 of 80 tokens of a row are trained. The output layer, which for small
models with large vocabularies is most of the work, is applied to those tokens' hidden states only.
Source: ours; the value is that of transformers' own `labels`.
"""

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from double_i.data import IGNORED
from nonet.kernels.linear_cross_entropy import linear_cross_entropy
from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions
from nonet.training.trainer import RunningMeans, global_mean, shard, sharded

# Shapes: B rows, L tokens, D width, n tokens with a label.


class AnswerLoss(nn.Module):  # type: ignore[misc]
    """The next-token loss of a batch, as sum and count.

    Args:
        model: a causal language model of transformers, or one of those with peft's adapters in it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.by_states = _logits_are_states_times_head(model)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the losses in nats, and how many tokens that is.

        Args:
            batch: `input_ids`, `attention_mask`, `labels` (B, L).

        Returns:
            Two scalars; the first has a gradient.
        """
        labels = batch["labels"][:, 1:]
        wanted = labels != IGNORED
        count = wanted.sum()
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        if not self.by_states:
            logits = self.model(**inputs, use_cache=False).logits[:, :-1][wanted]
            return F.cross_entropy(logits.float(), labels[wanted], reduction="sum"), count
        inner = _inner(self.model)
        states = _body(inner)(**inputs, use_cache=False).last_hidden_state[:, :-1][wanted]  # (n, D)
        head = inner.get_output_embeddings()
        if type(head) is nn.Linear:
            total = linear_cross_entropy(states, head.weight, labels[wanted], bias=head.bias, reduction="sum")
        else:  # an adapter sits on the output layer
            total = F.cross_entropy(head(states).float(), labels[wanted], reduction="sum")
        return total, count


class TuneModule(L.LightningModule):  # type: ignore[misc]
    """A model, its loss and its optimiser.

    Logs `train/loss` and `val/loss`, nats a trained token over all devices.

    Args:
        model: as in `AnswerLoss`; weights that need no gradient stay as they are, and out of checkpoints.
        optimizer: name, rate, schedule.
        steps: length of the run, for schedules that end.
    """

    strict_loading = False  # frozen weights are not in checkpoints

    def __init__(self, model: Any, optimizer: OptimizerOptions, *, steps: int) -> None:
        super().__init__()
        self.objective, self.optimizer_options, self.steps = AnswerLoss(model), optimizer, steps
        self._means = RunningMeans("loss")
        self._frozen = {
            name for name, weight in self.named_parameters(remove_duplicate=False) if not weight.requires_grad
        }

    def configure_model(self) -> None:
        """Share the weights out over the devices, if the strategy asks for it."""
        if self.device_mesh is not None and not sharded(self.objective):
            shard(self.objective, self.device_mesh)

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """The mean loss of a trained token, over all devices."""
        loss = global_mean(*self.objective(batch))
        self.log("train/loss", loss.detach(), batch_size=1, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Add the batch's sum and count."""
        total, count = self.objective(batch)
        self._means.add("loss", total, count)

    def on_validation_epoch_end(self) -> None:
        """The mean over all validation tokens, on all devices together."""
        self.log_dict({f"val/{name}": value for name, value in self._means.take().items()}, batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what does not change."""
        for name in self._frozen:
            checkpoint["state_dict"].pop(name, None)

    def configure_optimizers(self) -> object:
        """The optimiser and its schedule."""
        return build_optimizer(self, self.optimizer_options, steps=self.steps)


def _inner(model: Any) -> Any:
    """The causal language model itself; adapters of peft are layers inside it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _body(inner: Any) -> Any:
    """The part of a language model before its output layer."""
    return getattr(inner, inner.base_model_prefix)


@torch.no_grad()
def _logits_are_states_times_head(model: Any) -> bool:
    """Whether the model's logits are its last hidden states times its output layer, tried on a few tokens.

    Some families scale or squash them after that.
    """
    inner = _inner(model)
    body = getattr(inner, getattr(inner, "base_model_prefix", ""), None)
    head = inner.get_output_embeddings() if hasattr(inner, "get_output_embeddings") else None
    if body is None or body is inner or head is None:
        return False
    device = next(inner.parameters()).device
    ids = torch.arange(8, device=device)[None] % inner.config.vocab_size
    before = model.training
    model.eval()
    try:
        states = getattr(body(input_ids=ids, use_cache=False), "last_hidden_state", None)
        if states is None:
            return False
        wanted = inner(input_ids=ids, use_cache=False).logits
        found = head(states)
        return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-4, atol=1e-4)
    finally:
        model.train(before)
