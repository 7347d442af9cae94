"""SinkStats: counts of what a sink recorded, sent, kept and dropped."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class SinkStats:
    """Counts of data points by what happened to them. An attempt makes one to five data points.

    ``recorded == sent + kept + dropped + ambiguous``, always.

    Attributes:
        recorded: Recorded.
        sent: Accepted by CloudWatch.
        kept: Waiting to be sent.
        dropped: Discarded: too old, refused as invalid, or for lack of space.
        ambiguous: Sent without an answer, and not sent again so as not to be counted twice.
        requests: The number of requests.
        folded: Attempts counted as ``other`` because there are too many agents and models.
        errors: Errors of the sink itself, none of which reached the caller.
        adopted: Taken over from dead processes; included in ``recorded``.
        resent: Sent again although the first request may have been accepted.
        oldest_age_seconds: Age of the oldest data point that is kept; 0 if none is.
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
        """Return the sums; the age is the greater one."""
        sums = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name != "oldest_age_seconds"
        }
        return SinkStats(
            **sums, oldest_age_seconds=max(self.oldest_age_seconds, other.oldest_age_seconds)
        )
