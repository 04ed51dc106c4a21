"""Weights from files: nonet's readers under the names of this package (ours)."""

from nonet.training.weight_files import WEIGHTS, read_folder, read_object, read_pickle, read_safetensors
from nonet.training.weight_files import named_tensors as tensors_of

__all__ = ["WEIGHTS", "read_folder", "read_object", "read_pickle", "read_safetensors", "tensors_of"]
