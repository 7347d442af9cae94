"""What became of the usage that a sink has taken."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class SinkStats:
    """What became of the usage, in data points: an attempt makes one to five of them.

    ``recorded == sent + kept + dropped + ambiguous``, always.

    Attributes:
        recorded: Taken.
        sent: Taken by CloudWatch.
        kept: In memory, to be sent.
        dropped: Given up: no room, too old, or refused as invalid.
        ambiguous: Sent without an answer; not sent again, so as not to count twice.
        requests: Requests made.
        folded: Attempts counted under ``other``, for too many agents and models.
        errors: Faults of the sink itself, each kept from the caller.
        adopted: Taken over from processes that died; they are in ``recorded``.
        resent: Sent again without knowing whether the first time counted.
        oldest_age_seconds: Age of the oldest that is kept; 0: nothing is.
    """

    recorded: int = 0
    sent: int = 0
    kept: int = 0
    dropped: int = 0
    ambiguous: int = 0
    requests: int = 0
    folded: int = 0
    errors: int = 0
    adopted: int = 0
    resent: int = 0
    oldest_age_seconds: float = 0.0

    def __add__(self, other: SinkStats) -> SinkStats:
        """Return both together; the age is the greater."""
        sums = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name != "oldest_age_seconds"
        }
        return SinkStats(
            **sums, oldest_age_seconds=max(self.oldest_age_seconds, other.oldest_age_seconds)
        )
