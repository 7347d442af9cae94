"""SummaryTable: the dict that ``get_usage_summary()`` returns, which Jupyter shows as a table."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.runtime.html_table import ShownDict, data_frame, html_table

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLUMNS = ("agent", "model", "attempts", "success_rate", "average_latency_ms", "input_tokens",
            "output_tokens", "total_tokens", "cost_usd", "estimated_wasted_cost_usd",
            "unpriced_invocations")  # fmt: skip


class SummaryTable(ShownDict):
    """A summary: a dict, shown with a row for each agent and model."""

    def to_pandas(self) -> Any:
        """Return the figures of each agent and model as a DataFrame, money as ``Decimal``.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = [
            {
                **figures,
                "cost_usd": _amount(figures["total_cost_usd"]),
                "estimated_wasted_cost_usd": _amount(figures["estimated_wasted_cost_usd"]),
            }
            for figures in self["by_agent_and_model"]
        ]
        return data_frame(rows, _COLUMNS)

    def _repr_html_(self) -> str:
        of_calls = (
            f"{self['calls']:,} calls: {self['success_rate']:.1%} answered, "
            f"after {self['average_latency_ms']:,.1f} ms on average; "
            f"{self['fallbacks']:,} answered by a fallback, {self['aborted']:,} abandoned"
        )
        rows = [_row(figures) for figures in self["by_agent_and_model"]]
        # The summary's own rate and latency are those of calls, the rows' those of attempts.
        total = {"agent": "total", "model": "", "success_rate": "", "average_latency_ms": ""}
        return html_table(of_calls, _COLUMNS, rows, {**_row(self), **total})


def _row(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of some figures, money as Decimal: floats have another format."""
    return {
        **figures,
        "success_rate": f"{figures['success_rate']:.1%}",
        "cost_usd": _amount(figures["total_cost_usd"]),
        "estimated_wasted_cost_usd": _amount(figures["estimated_wasted_cost_usd"]),
    }


def _amount(usd: float | str) -> Decimal:
    return Decimal(str(usd))
