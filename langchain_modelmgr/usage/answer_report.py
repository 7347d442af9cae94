"""AnswerReport: ``response_metadata["model_manager"]``, which Jupyter shows as a table."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_modelmgr.runtime.html_table import ShownDict, data_frame, html_table
from langchain_modelmgr.runtime.masking import mask_account_ids
from langchain_modelmgr.runtime.money_text import usd

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = ("attempt", "model", "result", "latency_ms", "adapted")


class AnswerReport(ShownDict):
    """How an answer came about: a dict with its attempts, skipped models and cost."""

    def to_pandas(self) -> Any:
        """Return the attempts and the skipped models as a DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        return data_frame(self._rows(), _COLUMNS)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for number, attempt in enumerate(self["attempts"], 1):
            yield {
                "attempt": number,
                "model": mask_account_ids(attempt["model_id"]),
                "result": attempt["error"] or "answered",
                "latency_ms": attempt["latency_ms"],
                "adapted": "; ".join(attempt["adapted"]),
            }
        for skipped in self["skipped"]:
            yield {
                "attempt": None,
                "model": mask_account_ids(skipped["model_id"]),
                "result": f"skipped: {skipped['reason']}",
                "latency_ms": None,
                "adapted": "",
            }

    def _repr_html_(self) -> str:
        cost = self["cost_usd"]
        caption = (
            f"agent {self['agent_name']}: {mask_account_ids(self['model_id'])} answered"
            f"{' before, now from the response cache' if self['cached'] else ''}, "
            f"{self['latency_ms']:,.1f} ms, "
            f"{'unknown cost' if cost is None else usd(Decimal(cost))}"
        )
        wasted = Decimal(self["estimated_wasted_cost_usd"])
        if wasted:
            caption += f", and about {usd(wasted)} for attempts that broke"
        return html_table(caption, _COLUMNS, self._rows())
