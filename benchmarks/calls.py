"""Compares the CPU time of calls and streams with the alternatives, and async calls at once.

Every figure is a ratio to the bare ``ChatBedrockConverse`` (CBC) in the same round; rounds are
interleaved. The local AWS runs in a process of its own, over loopback and without TLS. Exits with 1
if a ratio misses its goal.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from langchain_aws import ChatBedrockConverse
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool

from benchmarks.peers import Work, peers
from langchain_modelmgr import ConfigurationManager, ModelManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SONNET = "anthropic.claude-3-5-sonnet-20241022-v2:0"
HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"
DENIED = "anthropic.claude-3-opus-20240229-v1:0"
SLOW = "meta.llama3-70b-instruct-v1:0"
LATENCY_SECONDS = 0.2
CHUNKS = 100

COLUMNS = ("call", "async call", "big prompt", "stream", "async stream")
GOALS = {
    "call": 0.85,
    "async call": 0.80,
    "big prompt": 0.85,
    "stream": 0.85,
    "async stream": 0.30,
    "500 at once": 0.10,
    "fallback": 1.0,
}
"""Largest ratio of the managed model to CBC; of ``fallback`` to CBC without retries."""

MANAGED = "managed"
BARE = "CBC"


def numbered(number: int) -> Any:
    """Return one of five tools."""

    def count(warehouse: str, kind: str = "euro", most: int = 10) -> str:
        """Count the pallets of a warehouse, of one kind, up to a number."""
        return f"{warehouse}{kind}{most}"

    return tool(f"count_{number}")(count)


TOOLS = [numbered(number) for number in range(5)]
PROMPT: list[Any] = [
    SystemMessage("You count pallets. " * 20),
    *[turn for i in range(12) for turn in (HumanMessage(f"Q{i} " * 40), AIMessage(f"A{i} " * 40))],
    HumanMessage("How many?"),
]


@contextmanager
def served() -> Iterator[str]:
    """Run the local AWS in another process, so that its work is not measured."""
    words = "word " * CHUNKS
    code = (
        "import sys\n"
        "from langchain_modelmgr.local import LocalAWS, ScriptedReply\n"
        "with LocalAWS() as aws:\n"
        f"    aws.script(lambda r: ScriptedReply(text={words!r}) if r.prompt == 'long' else None)\n"
        f"    aws.latency('{SLOW}', {LATENCY_SECONDS})\n"
        f"    aws.fail('{DENIED}', 'ThrottlingException', times=10**6)\n"
        "    print(aws.url, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


def managed(url: str, folder: str) -> ModelManager:
    """Return a manager without a sink, as CBC has none."""
    Path(folder, "bench.yaml").write_text(
        f"aws: {{region: us-east-1, endpoint_url: '{url}'}}\nmetrics: {{sink: none}}\nagents:\n"
        f"  calls: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}\n"
        f"  slow: {{model: '{SLOW}', fallbacks: []}}\n"
        f"  falls: {{model: '{DENIED}', fallbacks: ['{HAIKU}']}}\n",
        encoding="utf-8",
    )
    return ModelManager(ConfigurationManager("bench", folder))


def bare(url: str, model: str, **settings: Any) -> ChatBedrockConverse:
    """Return a ChatBedrockConverse as its users make it."""
    session = boto3.Session(region_name="us-east-1")
    return ChatBedrockConverse(
        model_id=model,
        client=session.client("bedrock-runtime", endpoint_url=url, **settings),
        bedrock_client=session.client("bedrock", endpoint_url=url),
    )


def of_langchain(llm: Any, config: Callable[[], Any] = lambda: None) -> Work:
    """Return the work of a LangChain model."""
    big = llm.bind_tools(TOOLS) if hasattr(llm, "bind_tools") else llm

    def call(times: int) -> None:
        for _ in range(times):
            llm.invoke("x", config())

    def prompt(times: int) -> None:
        for _ in range(times):
            big.invoke(PROMPT, config())

    async def acall(times: int) -> None:
        for _ in range(times):
            await llm.ainvoke("x", config())

    return {
        "call": call,
        "async call": acall,
        "big prompt": prompt,
        **streams_of(llm, config),
    }


def streams_of(llm: Any, config: Callable[[], Any]) -> Work:
    """Return the work of a LangChain model's streams: one for ten calls."""

    def stream(times: int) -> None:
        for _ in range(max(1, times // 10)):
            for _ in llm.stream("long", config()):
                pass

    async def astream(times: int) -> None:
        for _ in range(max(1, times // 10)):
            async for _ in llm.astream("long", config()):
                pass

    return {"stream": stream, "async stream": astream}


def of_boto3(url: str) -> Work:
    """Return the work of a bare client."""
    client = boto3.Session(region_name="us-east-1").client("bedrock-runtime", endpoint_url=url)

    def asked(text: str) -> Any:
        return {"modelId": SONNET, "messages": [{"role": "user", "content": [{"text": text}]}]}

    def call(times: int) -> None:
        for _ in range(times):
            client.converse(**asked("x"))

    def stream(times: int) -> None:
        for _ in range(max(1, times // 10)):
            for _ in client.converse_stream(**asked("long"))["stream"]:
                pass

    return {"call": call, "stream": stream}


def with_fallbacks(url: str) -> Work:
    """Return the work of CBC with LangChain's fallbacks and usage callback."""
    llm = bare(url, SONNET).with_fallbacks([bare(url, HAIKU)])
    return of_langchain(llm, lambda: {"callbacks": [UsageMetadataCallbackHandler()]})


def cpu(work: Callable[[int], Any], times: int, loop: asyncio.Runner) -> float:
    """Return the CPU seconds of this process for some calls."""
    started = time.process_time()
    made = work(times)
    if made is not None:
        loop.run(made)
    return time.process_time() - started


def table(subjects: dict[str, Work], rounds: int, calls: int) -> dict[tuple[str, str], list[float]]:
    """Measure all subjects, round by round; return the ratios to CBC."""
    ratios: dict[tuple[str, str], list[float]] = {}
    with asyncio.Runner() as loop:
        for number in range(-1, rounds):  # the first round warms up
            for column in COLUMNS:
                took = {
                    name: cpu(work[column], calls if number >= 0 else 10, loop)
                    for name, work in subjects.items()
                    if column in work
                }
                if number < 0:
                    time.sleep(0.3)
                    continue
                for name, seconds in took.items():
                    ratios.setdefault((name, column), []).append(seconds / took[BARE])
    return ratios


async def at_once(llm: Any, calls: int) -> tuple[float, int]:
    """Make calls at the same time; return the seconds, and the most threads."""
    await llm.ainvoke("x")
    await asyncio.sleep(1)
    most, ended = 0, False

    async def count() -> None:
        nonlocal most
        while not ended:
            most = max(most, threading.active_count())
            await asyncio.sleep(0.02)

    counting = asyncio.create_task(count())
    started = time.perf_counter()
    await asyncio.gather(*(llm.ainvoke("x") for _ in range(calls)))
    took = time.perf_counter() - started
    ended = True
    await counting
    return took, most


def to_the_answer(llm: Any, runs: int = 30) -> float:
    """Return the median of the seconds from a throttled primary to the fallback's answer."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        llm.invoke("x")
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def shown(values: list[float] | None) -> str:
    if not values:
        return "-"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def versions() -> str:
    names = ("langchain-modelmgr", "langchain-aws", "langchain-core", "boto3", "aiohttp")
    found = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {', '.join(found)}"


def measure(
    url: str, manager: ModelManager, rounds: int, calls: int, many: int
) -> dict[str, float]:
    """Print the tables; return the managed model's figure by goal."""
    subjects: dict[str, Work] = {
        "raw boto3": of_boto3(url),
        BARE: of_langchain(bare(url, SONNET)),
        "CBC + fallbacks + usage callback": with_fallbacks(url),
        MANAGED: of_langchain(manager.chat_model("calls")),
    }
    ratios = table(subjects, rounds, calls)
    # In rounds of their own: LiteLLM's threads work on after its calls, and would be counted here.
    others = {**peers(url, SONNET, HAIKU), BARE: subjects[BARE]}
    ratios |= table(others, rounds, calls)
    print(f"CPU time as a ratio to CBC in the same round, median (quartiles) of {rounds} rounds:\n")
    print(f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name in {**subjects, **others}:
        cells = (shown(ratios.get((name, column))) for column in COLUMNS)
        print(f"| {name} | {' | '.join(cells)} |")
    reached = {column: statistics.median(ratios[MANAGED, column]) for column in COLUMNS}
    if many:
        llm = manager.chat_model("slow")
        ours, threads = asyncio.run(at_once(llm, many))
        theirs, _ = asyncio.run(at_once(bare(url, SLOW), many))
        print(
            f"\n{many} ainvoke of {LATENCY_SECONDS} s at once: {ours:.1f} s, {threads} threads;",
            end=" ",
        )
        print(f"CBC {theirs:.1f} s; ratio {ours / theirs:.2f}")
        reached["500 at once"] = ours / theirs
        ours, threads = asyncio.run(at_once(llm, 4 * many))
        print(f"{4 * many} at once: {ours:.1f} s, {threads} threads")
    once = {"config": Config(retries={"total_max_attempts": 1})}
    chain = bare(url, DENIED, **once).with_fallbacks([bare(url, HAIKU, **once)])
    falls = manager.chat_model("falls")
    reached["fallback"] = statistics.median(
        to_the_answer(falls) / to_the_answer(chain) for _ in range(5)
    )
    print(
        f"throttled primary to the answer, ratio to CBC without retries: {reached['fallback']:.2f}"
    )
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=50, help="calls a round, streams a tenth")
    parser.add_argument("--at-once", type=int, default=500, help="async calls; 0: leave out")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "dummy",
        "AWS_SECRET_ACCESS_KEY": "dummy",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    print(versions())
    with (
        served() as url,
        tempfile.TemporaryDirectory() as folder,
        managed(url, folder) as manager,
    ):
        reached = measure(url, manager, given.rounds, given.calls, given.at_once)
    missed = {name: ratio for name, ratio in reached.items() if ratio > GOALS[name]}
    for name, ratio in missed.items():
        print(f"missed: {name} {ratio:.2f}, the goal is {GOALS[name]:.2f}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
