"""LoRA adapters in a model, and the model with them merged in (ours, through peft; Hu et al. 2021)."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from double_i.tune_options import LoraOptions
from nonet.errors import UserError


def add_lora(model: Any, options: LoraOptions, *, seed: int = 0) -> Any:
    """A model of peft with new adapters in it, which change nothing before they are trained.

    Args:
        model: a causal language model of transformers; its weights are frozen.
        options: rank, alpha, dropout and where.
        seed: of the adapters' weights.

    Raises:
        UserError: the model has no such modules, or they are embeddings that it shares with its output layer.
    """
    from peft import LoraConfig, get_peft_model

    targets: Any = list(options.targets)
    if targets == ["all-linear"]:
        targets = "all-linear"
    else:
        _check_targets(model, targets)
    config = LoraConfig(
        r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=targets,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            with quiet_peft():
                return get_peft_model(model, config)
        except ValueError as error:
            raise UserError(f"LoRA does not fit this model: {str(error).splitlines()[0]}") from error


def merged(adapted: Any) -> Any:
    """A copy of a model with adapters in which they are part of the weights."""
    with quiet_peft():
        return copy.deepcopy(adapted).merge_and_unload().requires_grad_(True).eval()


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without a warning of transformers about peft's own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".is_gradient_checkpointing. is deprecated")
        yield


def _check_targets(model: Any, targets: Sequence[str]) -> None:
    names = [
        name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear | torch.nn.Embedding)
    ]
    last = sorted({name.rsplit(".", 1)[-1] for name in names})
    for target in targets:
        hits = [name for name in names if name == target or name.endswith(f".{target}")]
        if not hits:
            raise UserError(f"the model has no module {target!r}; it has {', '.join(last)}")
        parts = [model.get_submodule(name) for name in hits]
        tied = model.get_input_embeddings().weight is getattr(model.get_output_embeddings(), "weight", None)
        if tied and any(
            p is model.get_input_embeddings() or p is model.get_output_embeddings() for p in parts
        ):
            raise UserError(
                f"{target!r} is one matrix for embeddings and output layer in this model: merging an adapter "
                "into one would change the other; leave it out of the targets"
            )
