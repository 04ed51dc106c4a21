"""Which attention heads and feed-forward neurons of an encoder are live: plain numbers, no torch (ours).

A unit keeps the number it had in the dense model, however often the model is slimmed.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Units:
    """The live units of every layer, by their numbers in the dense model.

    Attributes:
        heads: for each layer the live heads, ascending.
        neurons: for each layer the live neurons of the feed-forward layer, ascending.
        all_heads: heads a layer of the dense model.
        all_neurons: neurons a layer of the dense model.
    """

    heads: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]
    all_heads: int
    all_neurons: int

    def __post_init__(self) -> None:
        if len(self.heads) != len(self.neurons):
            raise ValueError(f"{len(self.heads)} layers of heads, {len(self.neurons)} layers of neurons")
        for name, layers, limit in (
            ("heads", self.heads, self.all_heads),
            ("neurons", self.neurons, self.all_neurons),
        ):
            for number, live in enumerate(layers):
                if list(live) != sorted(set(live)) or (live and not 0 <= live[0] <= live[-1] < limit):
                    raise ValueError(
                        f"layer {number}: {name} must ascend within 0..{limit - 1}, are {live[:9]}"
                    )

    @classmethod
    def full(cls, layers: int, heads: int, neurons: int) -> "Units":
        """All units of a dense encoder."""
        return cls((tuple(range(heads)),) * layers, (tuple(range(neurons)),) * layers, heads, neurons)

    @property
    def layers(self) -> int:
        """Layers of the encoder."""
        return len(self.heads)

    @property
    def live_heads(self) -> int:
        """Live heads over all layers."""
        return sum(map(len, self.heads))

    @property
    def live_neurons(self) -> int:
        """Live neurons over all layers."""
        return sum(map(len, self.neurons))

    @property
    def whole(self) -> bool:
        """Whether nothing is pruned."""
        return (
            self.live_heads == self.layers * self.all_heads
            and self.live_neurons == self.layers * self.all_neurons
        )

    def holds(self, other: "Units") -> bool:
        """Whether every live unit of the other is live here: pruning never brings a unit back."""
        return (
            (self.layers, self.all_heads, self.all_neurons)
            == (other.layers, other.all_heads, other.all_neurons)
            and all(set(a) >= set(b) for a, b in zip(self.heads, other.heads, strict=True))
            and all(set(a) >= set(b) for a, b in zip(self.neurons, other.neurons, strict=True))
        )

    def places(self, inside: "Units") -> tuple[list[list[int]], list[list[int]]]:
        """Where these heads and neurons lie in a model whose live units are `inside`.

        Raises:
            ValueError: `inside` lacks one of them.
        """
        if not inside.holds(self):
            raise ValueError("units that the model does not have cannot be kept")
        return _places(self.heads, inside.heads), _places(self.neurons, inside.neurons)

    def to_dict(self) -> dict[str, object]:
        """Plain lists, for JSON."""
        return {
            "heads": [list(each) for each in self.heads],
            "neurons": [list(each) for each in self.neurons],
            "all_heads": self.all_heads,
            "all_neurons": self.all_neurons,
        }

    @classmethod
    def from_dict(cls, value: dict[str, object]) -> "Units":
        """The units that `to_dict` wrote."""
        heads, neurons = (
            tuple(tuple(int(unit) for unit in layer) for layer in value[name])  # type: ignore[attr-defined]
            for name in ("heads", "neurons")
        )
        return cls(heads, neurons, int(value["all_heads"]), int(value["all_neurons"]))  # type: ignore[call-overload]


def _places(keep: Sequence[Sequence[int]], live: Sequence[Sequence[int]]) -> list[list[int]]:
    found = []
    for wanted, there in zip(keep, live, strict=True):
        place = {unit: number for number, unit in enumerate(there)}
        found.append([place[unit] for unit in wanted])
    return found
