"""Compares concurrent async calls with the alternatives, as ratios within one run.

Measures, against the local AWS in a process of its own: 500 ``ainvoke`` of 200 ms each, and the
time from a throttled primary to its fallback's answer. Plain ``ChatBedrockConverse`` with
LangChain's ``with_fallbacks`` is compared with ``ManagedBedrockChat``.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from langchain_aws import ChatBedrockConverse

from langchain_modelmgr import ConfigurationManager, ModelManager

if TYPE_CHECKING:
    from collections.abc import Iterator

SONNET = "anthropic.claude-3-5-sonnet-20241022-v2:0"
HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"
DENIED = "anthropic.claude-3-opus-20240229-v1:0"
LATENCY_SECONDS = 0.2


def serve() -> Iterator[str]:
    """Run the local AWS in another process, so that its work is not measured."""
    code = (
        "import sys, time\n"
        "from langchain_modelmgr.local import LocalAWS\n"
        "with LocalAWS() as aws:\n"
        f"    aws.latency('{SONNET}', {LATENCY_SECONDS})\n"
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
    Path(folder, "bench.yaml").write_text(
        f"aws: {{region: us-east-1, endpoint_url: '{url}'}}\n"
        "metrics: {sink: none}\n"
        f"agents:\n  calls: {{model: '{SONNET}', fallbacks: []}}\n"
        f"  falls: {{model: '{DENIED}', fallbacks: ['{HAIKU}']}}\n",
        encoding="utf-8",
    )
    return ModelManager(ConfigurationManager("bench", folder))


def plain(url: str, model: str) -> ChatBedrockConverse:
    session = boto3.Session(region_name="us-east-1")
    return ChatBedrockConverse(
        model_id=model,
        client=session.client("bedrock-runtime", endpoint_url=url),
        bedrock_client=session.client("bedrock", endpoint_url=url),
    )


async def concurrent(llm: Any, calls: int) -> float:
    await llm.ainvoke("warm up")
    started = time.perf_counter()
    await asyncio.gather(*(llm.ainvoke("x") for _ in range(calls)))
    return time.perf_counter() - started


def to_fallback(llm: Any, runs: int) -> float:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        llm.invoke("x")
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    calls = parser.parse_args().calls
    logging.disable(logging.WARNING)
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "dummy",
        "AWS_SECRET_ACCESS_KEY": "dummy",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for url in serve():
        with tempfile.TemporaryDirectory() as folder, managed(url, folder) as manager:
            crt = "with" if importlib.util.find_spec("awscrt") else "without"
            print(f"{os.cpu_count()} cores, {crt} awscrt, Python {sys.version.split()[0]}")
            ours = asyncio.run(concurrent(manager.chat_model("calls"), calls))
            theirs = asyncio.run(concurrent(plain(url, SONNET), calls))
            print(f"{calls} ainvoke of {LATENCY_SECONDS:.1f} s at once:")
            print(f"  ManagedBedrockChat   {ours:7.2f} s")
            print(f"  ChatBedrockConverse  {theirs:7.2f} s   ratio {theirs / ours:.1f}")
            ours = to_fallback(manager.chat_model("falls"), 50)
            theirs = to_fallback(plain(url, DENIED).with_fallbacks([plain(url, HAIKU)]), 3)
            print("throttled primary to the fallback's answer (median):")
            print(f"  ManagedBedrockChat   {1000 * ours:7.1f} ms")
            print(f"  with_fallbacks       {1000 * theirs:7.1f} ms   ratio {theirs / ours:.0f}")


if __name__ == "__main__":
    main()
