"""What a network must keep to, and by how much it does not."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from gaprune.options import COSTS, check_limits
from gaprune.prune import Costs


@dataclass(frozen=True)
class Constraints:
    """Limits of a search; ``None`` where there is none.

    Attributes:
        flops: at most so many FLOPs of one image; a number up to 1 is a share of the original's.
        params: at most so many parameters, or such a share.
        size: at most so many bytes on disk, or such a share.
        accuracy: at least this accuracy on the search set, 0 to 1.
        latency: at most such a share of the original's time.

    Raises:
        OptionError: a limit that says nothing; the message says what would.
    """

    flops: float | None = None
    params: float | None = None
    size: float | None = None
    accuracy: float | None = None
    latency: float | None = None

    def __post_init__(self) -> None:
        check_limits(self.flops, self.params, self.size, self.accuracy)

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(self))

    @property
    def of_costs(self) -> bool:
        """Whether one of the limits is of costs."""
        return any(getattr(self, name) is not None for name in COSTS)

    def counted(self, original: Costs) -> Constraints:
        """The same with shares of ``original`` as counts."""
        shares = {name: limit for name in COSTS if (limit := getattr(self, name)) is not None and limit <= 1}
        return replace(self, **{name: share * getattr(original, name) for name, share in shares.items()})

    def violation(self, costs: Costs, accuracy: float | None = None, latency: float | None = None) -> float:
        """How far a network is from keeping to all limits; exactly 0 where it does.

        The sum of what each value is beyond its limit, as a share of the limit (Deb, "An efficient constraint
        handling method for genetic algorithms", CMAME 186, 2000). The accuracy's part comes last, so that the sum
        without it is never the larger.

        Args:
            costs: the network's.
            accuracy: on the search set; ``None`` leaves its part out. An upper bound of it gives a lower bound.
            latency: share of the original's; ``None`` leaves its part out.
        """
        return sum(max(0.0, beyond) for _, beyond in self._beyond(costs, accuracy, latency))

    def shortfalls(self, costs: Costs, accuracy: float | None = None, latency: float | None = None) -> list[str]:
        """What a network has in place of the limits that it does not keep to, one text each."""
        texts = []
        for name, beyond in self._beyond(costs, accuracy, latency):
            if beyond > 0 and name == "latency":
                texts.append(f"latency {latency:.1%} of the original's (at most {self.latency:.1%})")
            elif beyond > 0 and name == "accuracy":
                texts.append(f"accuracy {accuracy:.4f} (at least {self.accuracy:.4f})")
            elif beyond > 0:
                texts.append(f"{name} {getattr(costs, name):,} (at most {getattr(self, name):,.0f})")
        return texts

    def _beyond(self, costs: Costs, accuracy: float | None, latency: float | None) -> list[tuple[str, float]]:
        """Each limit's name, and by what share of it the value is beyond; below 0 where there is room."""
        limits = {name: limit for name in COSTS if (limit := getattr(self, name)) is not None}
        found = [(name, (getattr(costs, name) - limit) / limit) for name, limit in limits.items()]
        if self.latency is not None and latency is not None:
            found.append(("latency", (latency - self.latency) / self.latency))
        if self.accuracy is not None and accuracy is not None:
            found.append(("accuracy", (self.accuracy - accuracy) / self.accuracy))
        return found
