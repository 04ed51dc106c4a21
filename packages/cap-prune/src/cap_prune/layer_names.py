"""Where each supported encoder keeps the six linear layers that pruning touches (ours).

Only what is named here is ever pruned; another architecture is refused, never guessed at. MiniLM, TinyBERT
and the like are of type `bert`. A slim model's folder has a copy of this file, so it imports nothing else.
"""

from typing import NamedTuple


class Names(NamedTuple):
    """The attribute paths of one architecture, from the base model or from a layer."""

    layers: str
    query: str
    key: str
    value: str
    attention_output: str
    intermediate: str
    output: str
    head_size_at: str
    """module of a layer that has `attention_head_size`"""

    @property
    def matrices(self) -> dict[str, str]:
        """The paths of the six linear layers by their names here."""
        return {part: path for part, path in self._asdict().items() if part not in ("layers", "head_size_at")}


_BERT = Names(
    "encoder.layer", "attention.self.query", "attention.self.key", "attention.self.value",
    "attention.output.dense", "intermediate.dense", "output.dense", "attention.self",
)  # fmt: skip
NAMES = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    "distilbert": Names(
        "transformer.layer", "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
        "ffn.lin1", "ffn.lin2", "attention",
    ),
}  # fmt: skip
RECORD = "cap_units"
"""name of the entry of a config that holds a slim model's units, as `Units.to_dict` gives them"""
SLIM_PREFIX = "cap_"
"""a slim model's type is this and the type of the dense one"""
