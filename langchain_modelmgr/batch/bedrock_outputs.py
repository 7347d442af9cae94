"""What becomes of the output of a batch inference job: accounted, settled, kept as answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_modelmgr.batch.accounting import (
    JobRecords,
    account,
    cost_of_output,
    settled_amount,
)
from langchain_modelmgr.batch.answers import Answer
from langchain_modelmgr.batch.row_queue import positions_of
from langchain_modelmgr.budgets.settlements import SETTLEMENTS
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_modelmgr.batch.bedrock_jobs import JobNote
    from langchain_modelmgr.batch.chunks import Chunks, ChunkTask
    from langchain_modelmgr.batch.output_spool import OutputSpool
    from langchain_modelmgr.batch.records import Output
    from langchain_modelmgr.batch.row_queue import Spans
    from langchain_modelmgr.budgets.job_hold import Held
    from langchain_modelmgr.catalog import ModelConfig

ENGINE = "bedrock"
"""The engine's name in the results."""

ERROR_CHARACTERS = 500


class OutputKeeper:
    """Keeps the outputs of a plan's jobs.

    Args:
        manager: The manager.
        chunks: The plan's chunks.
        priced: The model, with the prices of batch inference.
        model: The model's id, for the results.
        metadata: The metadata of the plan's budget.
    """

    def __init__(
        self,
        manager: Any,
        chunks: Chunks,
        priced: ModelConfig,
        model: str,
        metadata: dict[str, Any],
    ) -> None:
        self._manager = manager
        self._chunks = chunks
        self._priced = priced
        self._model = model
        self._metadata = metadata
        self._stores: dict[str, Any] = {}

    def held(self, reservations: Iterable[Held]) -> None:
        """Remember the stores of reservations, for ``settle``."""
        self._stores |= {each.id: each.store for each in reservations}

    def take(self, note: JobNote, arn: str, outputs: OutputSpool, *, is_whole: bool) -> None:
        """Account a job, settle its reservations, and keep its answers. It may be repeated.

        Args:
            note: The job.
            arn: Its ARN.
            outputs: What it has written.
            is_whole: Whether it has processed all of its records.
        """
        agent = self._chunks.plan.agent
        records = JobRecords(outputs, agent, note.model, self._priced, self._metadata)
        account(self._manager, self._chunks.store, note.number, arn, records)
        self.settle(note, outputs)
        self._keep(note.positions(), outputs, is_whole=is_whole)

    def _keep(
        self, positions: dict[ChunkTask, Spans], outputs: OutputSpool, *, is_whole: bool
    ) -> None:
        for task in self._chunks.unfinished(positions):
            wanted, chunk = positions_of(positions[task]), self._chunks.open(task)
            lost = []
            for row in chunk.pending:
                output = outputs.get(row.position)
                if output is not None and not output.may_pass:
                    chunk.answered(self._answer(output))
                elif is_whole and row.position in wanted and output is None:
                    lost.append(row)  # answered, and billed, but its line is missing
            if lost:
                chunk.note_group(lost)
                for row in lost:
                    chunk.note(row)
            chunk.close()

    def _answer(self, output: Output) -> Answer:
        if output.error is not None:
            text = f"BatchRecordError: {mask_account_ids(output.error)}"[:ERROR_CHARACTERS]
            return Answer.failed(output.position, text, ENGINE)
        usage = output.usage
        return Answer(
            position=output.position,
            text=output.text,
            error=None,
            model=self._model,
            engine=ENGINE,
            input_tokens=None if usage is None else usage.prompt_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            cost_usd=cost_of_output(output, self._priced),
        )

    def settle(self, note: JobNote, outputs: Iterable[Output]) -> None:
        """Settle the reservations of a job by what it has used."""
        for held, units in note.held:
            amounts = [settled_amount(unit, outputs, self._priced) for unit in units]
            if (store := self._stores.get(held)) is not None:
                SETTLEMENTS.settle(store, held, amounts)
            else:
                self._manager.budgets.settle(held, amounts)
