"""``python -m examples.tenants``: two tenants with a budget each, one of which runs out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from langchain_modelmgr import BudgetExceededError, ConfigurationManager, ModelManager
from langchain_modelmgr.local import LocalAWS

CONFIG = """
metrics: {sink: none}
budgets:
  tenants: {by: metadata.tenant, usd: 0.013, per: day}
agents:
  helper: {model: anthropic.claude-3-5-sonnet-20241022-v2:0, fallbacks: [], max_tokens: 500}
"""

QUESTIONS = [("acme", "How many pallets are in Hamburg?" * 12)] * 4 + [("umbra", "And in Lyon?")]


def main() -> None:
    """Ask the questions of both tenants, and show what each has spent."""
    with LocalAWS.running() as aws, aws.environment(), tempfile.TemporaryDirectory() as folder:
        Path(folder, "dev.yaml").write_text(CONFIG, "utf-8")
        os.environ.setdefault("MODELMGR_STATE_DIR", folder)
        with ModelManager(ConfigurationManager("dev", folder)) as manager:
            llm = manager.chat_model("helper")
            for tenant, question in QUESTIONS:
                try:
                    answer = llm.invoke(question, {"metadata": {"tenant": tenant}})
                    cost = answer.response_metadata["model_manager"]["cost_usd"]
                    print(f"{tenant}: answered for ${cost}")
                except BudgetExceededError as error:
                    print(f"{tenant}: refused: {error.spent} of {error.limit} USD are spent, "
                          f"and this call may use up to {error.needed}")  # fmt: skip
            for status in manager.budget_status():
                print(f"{status.key}: ${status.spent} spent, ${status.remaining} left")


if __name__ == "__main__":
    main()
