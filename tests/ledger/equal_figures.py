"""Makes many mixed calls, then holds four accounts of them against each other.

    python -m tests.ledger.equal_figures --calls 20000

Invokes, streams, asynchronous and guide-style calls from several threads, under random throttles,
server errors, cut and abandoned streams, with an unpriced model. At the end it must
hold: requests that the server received = attempts in the summary, in the usage table and in
CloudWatch; and tokens, money and unpriced answers are equal in the last three, and in the replies
that callers got.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_modelmgr import ConfigurationManager, ModelManager, ModelManagerError
from langchain_modelmgr.local import LocalAWS, ScriptedReply
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_modelmgr.local import ScriptedRequest

UNPRICED = "acme.unpriced-v1:0"
THREADS = 8
WAYS = ("invoke", "stream", "abandoned", "ainvoke", "astream", "invoke_model")

YAML = f"""
aws: {{region: us-east-1, endpoint_url: URL}}
project_prefix: equal
models:
  {UNPRICED}: {{max_tokens: 4096, supports_tools: true, supports_streaming: true}}
agents:
  a: {{model: "{SONNET}", fallbacks: ["{HAIKU}"], cooldown_seconds: 0}}
  b: {{model: "{HAIKU}", fallbacks: ["{UNPRICED}"], cooldown_seconds: 0}}
  c: {{model: "{UNPRICED}", fallbacks: [], cooldown_seconds: 0}}
"""


@dataclass
class Replies:
    """The token counts that callers received with their answers."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    tokens: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    failed: int = 0

    def add(self, input_tokens: int, output_tokens: int) -> None:
        """Count an answer."""
        with self.lock:
            self.answered += 1
            self.tokens += Counter(input=input_tokens, output=output_tokens)

    def fail(self) -> None:
        """Count a call that failed."""
        with self.lock:
            self.failed += 1


def reply_to(request: ScriptedRequest) -> ScriptedReply:
    """Answer with token counts that differ from call to call."""
    number = int(request.prompt.rpartition(" ")[2])
    output = number % 89 + 1
    usage = {"inputTokens": number % 97 + 1, "outputTokens": output}
    return ScriptedReply(
        text="pallets and more pallets",
        usage={**usage, "totalTokens": sum(usage.values())},
    )


def order_faults(aws: LocalAWS) -> None:
    """Let a share of requests and streams fail, the same ones for the same seed."""
    for n, (code, rate) in enumerate(
        (("ThrottlingException", 0.05), ("InternalServerException", 0.03))
    ):
        aws.fail(None, code, rate=rate, seed=n)
    for after in (0, 1):
        aws.fail(SONNET, "ThrottlingException", rate=0.02, seed=9 + after, at="stream", after=after)


def call(manager: ModelManager, number: int, replies: Replies) -> None:
    """Make one call, in the way that its number says."""
    dice = random.Random(number)
    agent, way = dice.choice("abc"), dice.choice(WAYS)
    text = f"How many pallets? {number}"
    try:
        if way == "invoke_model":
            answer = manager.invoke_model(agent, [{"role": "user", "content": [{"text": text}]}])
            replies.add(answer["usage"]["input_tokens"], answer["usage"]["output_tokens"])
            return
        usage = _through_langchain(manager.chat_model(agent), way, text)
        if usage is not None:
            replies.add(usage["input_tokens"], usage["output_tokens"])
    except ModelManagerError:
        replies.fail()


def _through_langchain(llm: Any, way: str, text: str) -> Mapping[str, int] | None:
    message: Any = None
    if way == "invoke":
        message = llm.invoke(text)
    elif way == "ainvoke":
        message = asyncio.run(llm.ainvoke(text))
    elif way == "astream":
        message = asyncio.run(_astreamed(llm, text))
    elif way == "stream":
        for chunk in llm.stream(text):
            message = chunk if message is None else message + chunk
    else:
        chunks = llm.stream(text)
        next(chunks)
        chunks.close()
        return None
    usage: Mapping[str, int] = message.usage_metadata
    return usage


async def _astreamed(llm: Any, text: str) -> Any:
    message: Any = None
    async for chunk in llm.astream(text):
        message = chunk if message is None else message + chunk
    return message


def accounts(aws: LocalAWS, manager: ModelManager) -> dict[str, dict[str, Any]]:
    """Return the same figures from summary, usage table and CloudWatch."""
    kept = manager.flush_metrics(timeout=120).kept
    assert not kept, f"{kept} data points were not sent"
    summary = manager.get_usage_summary()
    table = manager.usage("24h").totals
    namespace = manager.config.namespace
    names = ("attempts", "input_tokens", "output_tokens", "cost_usd", "unpriced", "wasted_usd")
    rows = {
        "summary": (
            summary["attempts"],
            summary["input_tokens"],
            summary["output_tokens"],
            round(summary["total_cost_usd"], 9),
            summary["unpriced_invocations"],
            round(summary["estimated_wasted_cost_usd"], 9),
        ),
        "table": (
            table["attempts"],
            table["input_tokens"],
            table["output_tokens"],
            round(float(table["cost_usd"]), 9),
            table["unpriced"],
            round(float(table["estimated_wasted_cost_usd"]), 9),
        ),
        "cloudwatch": (
            *(
                int(aws.metrics.sum(namespace, name))
                for name in ("ModelInvocations", "InputTokens", "OutputTokens")
            ),
            round(aws.metrics.sum(namespace, "ModelCost"), 9),
            int(aws.metrics.sum(namespace, "UnpricedAttempts")),
            round(aws.metrics.sum(namespace, "WastedCost"), 9),
        ),
    }
    return {name: dict(zip(names, row, strict=True)) for name, row in rows.items()}


def prove(calls: int, folder: Path) -> dict[str, Any]:
    """Make the calls; return the figures, or fail where they differ."""
    with LocalAWS.running() as aws:
        text = YAML.replace("URL", aws.url) + "metrics: {extra: [unpriced, wasted_cost]}\n"
        (folder / "equal.yaml").write_text(text)
        aws.script(reply_to)
        order_faults(aws)
        replies = Replies()
        with ModelManager(ConfigurationManager("equal", folder)) as manager:
            with ThreadPoolExecutor(THREADS) as pool:
                for done in pool.map(lambda n: call(manager, n, replies), range(calls)):
                    assert done is None
            found = accounts(aws, manager)
            received = aws.requests()
    summary = found["summary"]
    for name, figures in found.items():
        assert figures == summary, f"{name}: {figures} is not the summary's {summary}"
    assert received == summary["attempts"], f"the server received {received}: {summary}"
    assert replies.failed, "no call failed: the faults did not meet any"
    shown = replies.tokens
    assert shown["input"] <= summary["input_tokens"]
    assert shown["output"] <= summary["output_tokens"]
    return {**summary, "calls": calls, "answered": replies.answered, "failed": replies.failed}


def main() -> int:
    """Prove, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        figures = prove(given.calls, Path(folder))
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in figures.items()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
