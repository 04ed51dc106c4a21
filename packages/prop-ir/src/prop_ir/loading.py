"""Loading a model folder with transformers: quiet, seeded, in float32, without code from the folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig
from transformers.utils import logging

from nonet.errors import UserError
from nonet.training.hub import local_folder


def config_of(name: str | Path) -> tuple[Path, Any]:
    """A model's folder, and its configuration with one label.

    Args:
        name: folder or hub name.

    Raises:
        UserError: there is no such model, or its config.json cannot be used.
    """
    folder = local_folder(name)
    try:
        return folder, AutoConfig.from_pretrained(folder, num_labels=1)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: config.json cannot be used: {reason}") from error


def load_kind(kind: Any, folder: Path, config: Any) -> tuple[Any, dict[str, list[str]]]:
    """A model of one of transformers' Auto classes, and the names that did not fit.

    Args:
        kind: such as AutoModelForMaskedLM.
        folder: of the model.
        config: its configuration.

    Returns:
        The model in float32, and lists of names under `missing_keys`, `unexpected_keys`, `mismatched_keys`;
        weights of another shape count as mismatched and keep their drawn values.

    Raises:
        UserError: the weights are damaged or absent, or transformers has no such model for this encoder.
    """
    try:
        with _quiet():
            model, info = kind.from_pretrained(
                folder, config=config, dtype=torch.float32, ignore_mismatched_sizes=True,
                output_loading_info=True,
            )  # fmt: skip
    except (OSError, SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{folder}: cannot be loaded with {kind.__name__}: {reason}") from error
    lists = ("missing_keys", "unexpected_keys", "mismatched_keys")
    return model, {name: [e[0] if isinstance(e, tuple) else e for e in info[name]] for name in lists}


@contextlib.contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Weights drawn in the block follow from the seed; the global generator is as before after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and tables that transformers prints: callers say what matters."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
