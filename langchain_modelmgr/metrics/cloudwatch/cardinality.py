"""Limits the number of metrics: further agents and models are counted as ``other``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_modelmgr.usage.record import OTHER

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SERIES = 1_000
"""Metrics of one destination; further agents and models are counted as ``other``."""

FOLDING = (
    "more than %d metrics: further agents are counted as 'other', where no alarm of theirs sees "
    "them; agents of the configuration keep their own"
)
"""The warning when the first agent or model is counted as ``other``."""

_SERIES_A_PAIR = 6
_MODELS_OF_OTHER = 20
"""Models that are kept apart for agents without metrics of their own."""

Pair = tuple[str, str]


class Places:
    """Decides which agents and models have metrics of their own; agents of the YAML always do.

    The agent becomes ``other`` before the model does, so that metrics of a model stay complete.

    Args:
        taken: Pairs that have metrics already.

    Attributes:
        used: The pairs that attempts were counted under.
    """

    def __init__(self, taken: Iterable[Pair] = ()) -> None:
        self._taken = set(taken)
        self.used: dict[Pair, None] = {}

    def admit(
        self,
        agent: str,
        model: str,
        *,
        reserved: frozenset[str],
        metrics: int,
        max_series: int = MAX_SERIES,
    ) -> Pair:
        """Return the agent and model under which an attempt is counted.

        Args:
            agent: The agent's name.
            model: The model id.
            reserved: The agents of the YAML.
            metrics: The number of metrics of an attempt.
            max_series: Largest number of metrics.
        """
        most = max(max_series // max(_SERIES_A_PAIR, metrics), 1)
        pair = self._placed(agent, model, reserved, most)
        self._taken.add(pair)
        self.used[pair] = None
        return pair

    def _placed(self, agent: str, model: str, reserved: frozenset[str], most: int) -> Pair:
        if (agent, model) in self._taken:
            return agent, model
        names = [name for name, _ in tuple(self._taken)]  # a copy: other threads may add to it
        own = sum(name in reserved for name in names)
        if agent in reserved:
            return (agent, model) if own < most else (agent, OTHER)
        folded = names.count(OTHER)
        if len(names) - own - folded < most - max(own, len(reserved)) - 1:
            return agent, model
        known = (OTHER, model) in self._taken or folded < min(_MODELS_OF_OTHER, most // 2)
        return (OTHER, model) if known else (OTHER, OTHER)
