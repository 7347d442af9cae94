"""``modelmgr demo``: an agent with tools on a local AWS, without an account."""

from __future__ import annotations

import os

import typer

from langchain_modelmgr.cli.output import note

EXAMPLE = "Example: `modelmgr demo`"


def demo() -> None:
    """Run an agent on a local AWS: a throttled model, its fallback, the cost, the metrics.

    It takes no AWS account, ignores your AWS settings and sends nothing.
    """
    # LangChain would trace the demo's runs to LangSmith, where the environment turns that on.
    os.environ.update(LANGSMITH_TRACING="false", LANGCHAIN_TRACING_V2="false")
    try:
        from langchain_modelmgr.cli.demo_agent import main
    except ModuleNotFoundError as error:
        note(f"the demo needs {error.name}: pip install 'langchain-modelmgr[demo]'")
        raise typer.Exit(1) from None
    main()
