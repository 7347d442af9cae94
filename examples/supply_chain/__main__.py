"""``python -m examples.supply_chain``: asks three questions, one answered by a fallback."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import ExitStack

from examples.supply_chain.orchestrator import SupplyChainOrchestrator
from examples.supply_chain.script import supply_chain_model

HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"
QUESTIONS = (
    ("warehouse_manager", "Show me inventory levels"),
    ("logistics_manager", "What is the fastest route from Hamburg to Lyon?"),
    ("procurement_manager", "When do I reorder P-007, and which supplier is punctual?"),
)


def main() -> None:
    """Ask the three questions, using the local AWS or with ``--aws`` the real one."""
    parser = argparse.ArgumentParser(prog="python -m examples.supply_chain", description=__doc__)
    parser.add_argument("--aws", action="store_true", help="ask real models: config/aws.yaml")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stdout, format="  [%(levelname)s %(message)s]")
    with ExitStack() as stack:
        aws = None
        if not arguments.aws:
            from langchain_modelmgr.local import LocalAWS

            aws = stack.enter_context(LocalAWS.running())
            aws.script(supply_chain_model)
        environment = "aws" if arguments.aws else "dev"
        app = stack.enter_context(SupplyChainOrchestrator(environment))
        for number, (persona, question) in enumerate(QUESTIONS, 1):
            print(f"\n{persona}: {question}")
            if aws is not None and number == 2:
                aws.fail(HAIKU, "ThrottlingException", times=1)
            result = app.process_query(question, persona, session_id=f"session-{number}")
            print(result["answer"])
            print(
                f"  {', '.join(result['agents'])} by {', '.join(result['models'])}; "
                f"{result['fallbacks']} fallbacks, {result['tokens']} tokens, "
                f"${result['cost_usd']:.6f}"
            )


if __name__ == "__main__":
    main()
