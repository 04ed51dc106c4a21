"""Heads and neurons taken out of a model for good: smaller matrices instead of masks (ours).

What a removed unit gave is gone, as with a gate of 0, so that outputs are equal; its share of time and memory
is gone, too.
"""

import copy
from typing import Any

from cap_prune.architectures import model_type, units_of
from cap_prune.layer_names import RECORD
from cap_prune.slim_models import SLIM_OF, keep_units
from cap_prune.units import Units
from nonet.errors import UserError


def slim(model: Any, keep: Units) -> None:
    """Remove every unit that is not kept, in place.

    The model becomes one of the classes of `slim_models`, whose config records what is left, so that saving
    and loading it just work.

    Args:
        model: a supported encoder, dense or slim already.
        keep: live units of the model, by their numbers in the dense one.

    Raises:
        ValueError: `keep` has units that the model lacks.
        UserError: an architecture or a head that is not supported.
    """
    heads, neurons = keep.places(units_of(model))
    kind = SLIM_OF.get(type(model), type(model))
    if kind not in SLIM_OF.values():
        raise UserError(
            f"a {type(model).__name__} cannot be pruned; load {model_type(model)} without head, for sequence "
            "classification or for question answering"
        )
    keep_units(model, heads, neurons)
    old = model.config
    config = copy.deepcopy(old)  # another model may have been built from the same object
    config.__class__ = kind.config_class  # same fields, another model type
    setattr(config, RECORD, keep.to_dict())
    headless = kind.__name__.partition("For")[0].removesuffix("Model") + "Model"
    config.auto_map = {"AutoModel": f"slim_models.{headless}"}  # saving adds the class itself
    for module in model.modules():
        if getattr(module, "config", None) is old:
            module.config = config
    model.__class__ = kind  # same code: the classes differ in how they are built and saved
