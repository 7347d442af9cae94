"""``modelmgr demo``: an agent with tools on a local AWS, without an account."""

from __future__ import annotations

import os

from langchain_modelmgr.errors import ModelManagerError

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
        raise ModelManagerError(
            f"the demo needs {error.name}: pip install 'langchain-modelmgr[demo]'"
        ) from None
    main()
