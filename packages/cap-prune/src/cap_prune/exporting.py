"""A pruned model for use: really smaller, or in formats that other programs read (ours).

Every form is read back from its folder and compared with the source before the folder appears.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from cap_prune.architectures import units_of
from cap_prune.dead_units import useful_units
from cap_prune.export_card import card
from cap_prune.layer_counts import WEIGHT_SUFFIXES
from cap_prune.layer_names import RECORD
from cap_prune.loading import ONNX
from cap_prune.onnx_export import write_onnx
from cap_prune.packing import read_packed, write_packed
from cap_prune.sample_inputs import difference
from cap_prune.slim_models import DENSE_OF
from cap_prune.slimming import slim
from cap_prune.widening import widen
from nonet.errors import RunFailed
from nonet.files import write_json, write_text
from nonet.training.hub import no_bars, save_folder

Format = Literal["slim", "dense-zero", "csr", "2:4", "onnx"]
TOLERANCE: dict[Format, float] = {"slim": 1e-5, "dense-zero": 1e-5, "csr": 1e-5, "2:4": 1e-5, "onnx": 1e-4}
"""largest difference of an output from the source's that is taken for equal; csr and 2:4 keep every weight"""
FACTS = "export.json"
PACKAGE_CODE = '''"""Classes of slim models, from the package that made this one: pip install cap-prune."""

from cap_prune.slim_models import *  # noqa: F403
'''


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        format: one of `Format`.
        difference: largest difference between its outputs and the source's.
        bytes: of the files with weights.
        source_bytes: of the source's weights, as plain safetensors.
        notes: what a user of the folder has to know, a line each.
    """

    folder: Path
    format: Format
    difference: float
    bytes: int
    source_bytes: int
    notes: tuple[str, ...]


def export(
    model: Any,
    tokenizer: Any,
    folder: Path,
    format: Format = "slim",
    *,
    source: str | Path = "",
    code: Literal["inside", "package"] = "inside",
    overwrite: bool = False,
) -> Exported:
    """Write a model's folder, whole or not at all, and prove that it gives the same numbers.

    Args:
        model: a supported encoder, dense or slim; it stays as it is.
        tokenizer: goes with it.
        folder: new, or written by us.
        format: `slim`: heads and neurons that give nothing are gone; `dense-zero`: a plain model of
            transformers with zeros in their place; `csr`, `2:4`: see `packing`; `onnx`: see `onnx_export`.
        source: where the model is from; the card has its last part.
        code: what a slim folder carries for programs without cap-prune: the classes themselves, or a line
            that asks for the package.
        overwrite: replace a folder that we wrote.

    Raises:
        UserError: the folder holds something else, or the model cannot be written in this format.
        RunFailed: what was written gives other numbers; nothing is left behind.
    """
    writer = _Writer(model, format, code)
    text = card(writer.model, format, folder.name, Path(source).name, writer.notes)
    save_folder(writer, tokenizer, folder, text, overwrite=overwrite)
    source_bytes = sum(weight.numel() * weight.element_size() for weight in model.state_dict().values())
    return Exported(folder, format, writer.apart, writer.bytes, source_bytes, tuple(writer.notes))


class _Writer:
    """What `save_folder` calls: one of the formats, checked where it was written."""

    def __init__(self, model: Any, format: Format, code: str) -> None:
        self.source, self.format, self.code = _exact(model), format, code
        self.notes: list[str] = []
        self.apart, self.bytes = 0.0, 0
        if format == "dense-zero":
            self.model = widen(model)
            self.notes.append("plain transformers loads it; as large and as slow as the dense model")
        elif format in ("slim", "onnx"):
            self.model = _without_dead(model)
            self._say_what_is_gone(model)
        else:
            self.model = model
            self.notes.append("weights are whole again once loaded: it saves disk, not memory or time")
        if format == "2:4" and not torch.cuda.is_available():
            self.notes.append("no speed-up on this device: only sparse tensor cores of NVIDIA GPUs use 2:4")

    def save_pretrained(self, folder: Path, **options: Any) -> None:
        """Write the files, read them back, compare.

        Raises:
            RunFailed: other numbers.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write: Callable[[Path], float] = {
            "slim": self._write_plain,
            "dense-zero": self._write_plain,
            "csr": self._write_packed,
            "2:4": self._write_packed,
            "onnx": self._write_onnx,
        }[self.format]
        self.apart = write(folder)
        if not self.apart <= TOLERANCE[self.format]:
            raise RunFailed(
                f"format {self.format}: read back, the model gives other numbers (by {self.apart:g}, allowed "
                f"{TOLERANCE[self.format]:g} of the largest output); nothing was written"
            )
        self.bytes = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES)
        write_json(
            folder / FACTS, {"format": self.format, "difference": self.apart, "weight_bytes": self.bytes}
        )

    def _write_plain(self, folder: Path) -> float:
        self.model.save_pretrained(folder)
        if self.format == "slim" and self.code == "package":
            (folder / "layer_names.py").unlink()
            write_text(folder / "slim_models.py", PACKAGE_CODE)
        with no_bars():
            return difference(self.source, _exact(type(self.model).from_pretrained(folder).eval()))

    def _write_packed(self, folder: Path) -> float:
        whole = write_packed(self.model, folder, self.format)
        if whole:
            self.notes.append(f"{len(whole)} matrices stay whole, as their inputs are no multiple of 4")
        self._write_config(folder)
        again, state = copy.deepcopy(self.model).cpu(), read_packed(folder)
        for name, weight in self.model.state_dict().items():
            if not torch.equal(weight.cpu(), state[name]):
                raise RunFailed(f"format {self.format}: {name} is not what it was; nothing was written")
        again.load_state_dict(state)
        return difference(self.source, _exact(again))

    def _write_onnx(self, folder: Path) -> float:
        self._write_config(folder)
        return max(write_onnx(_exact(self.model), folder / ONNX), difference(self.source, _exact(self.model)))

    def _write_config(self, folder: Path) -> None:
        """The config without code: packed weights are for this package, and a graph needs neither."""
        facts = self.model.config.to_dict()
        kind = type(self.model)
        left_out = ["auto_map", "model_type"]
        if self.format == "onnx":  # what transformers reads alone, for the tokenizer's sake
            kind = DENSE_OF[kind]
            left_out.append(RECORD)
        config = kind.config_class(**{name: value for name, value in facts.items() if name not in left_out})
        config.architectures = [kind.__name__]
        config.to_json_file(folder / "config.json")

    def _say_what_is_gone(self, model: Any) -> None:
        left = units_of(self.model)
        dead = units_of(model).live_heads - left.live_heads, units_of(model).live_neurons - left.live_neurons
        if any(dead):
            self.notes.append(f"{dead[0]} heads and {dead[1]} neurons that gave only zeros are gone, too")
        if left.whole:
            self.notes.append("no head and no neuron could be taken out: it is as large as the dense model")


def _without_dead(model: Any) -> Any:
    """A copy of the model, slim, without the units that give nothing."""
    found = copy.deepcopy(model).cpu()
    slim(found, useful_units(found))
    return found.eval()


def _exact(model: Any) -> Any:
    """The model on the CPU in float32, itself if it is there already."""
    where = next(model.parameters())
    if where.dtype == torch.float32 and where.device.type == "cpu":
        return model
    return copy.deepcopy(model).to("cpu", torch.float32)
