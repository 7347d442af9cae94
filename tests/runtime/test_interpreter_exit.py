"""The interpreter exits, whatever is left open: no thread of ours keeps it alive."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from textwrap import dedent
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from langchain_modelmgr.local import ScriptedReply
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

HUNG = 600.0
"""Seconds that no test waits."""

BEGIN = """
    import asyncio, threading
    from langchain_modelmgr import ConfigurationManager, ModelManager

    class Printed:
        closed = False
        def record(self, usage):
            print("recorded", usage.model_id, usage.outcome, flush=True)
        def flush(self, timeout=None): pass
        def close(self):
            print("closed", flush=True)

    manager = ModelManager(ConfigurationManager("test", "."), sinks=[Printed()])
    llm = manager.chat_model("a")

    async def first():
        stream = llm.astream("x")
        await anext(stream)
        print("streaming", flush=True)
        return stream

    def in_a_thread(run):
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        return asyncio.run_coroutine_threadsafe(run, loop)
"""

PROGRAMS = {
    "an unfinished stream on a closed loop": """
        loop = asyncio.new_event_loop()
        kept = loop.run_until_complete(first())
        loop.close()
    """,
    "an unfinished stream on a loop in a daemon thread": """
        kept = in_a_thread(first()).result()
    """,
    "a stream that hangs on a loop in a daemon thread": """
        async def read():
            async for _ in llm.astream("hang"):
                print("streaming", flush=True)
        kept = in_a_thread(read())
        sent()
    """,
    "a call that was cancelled": """
        async def cancelled():
            task = asyncio.create_task(llm.ainvoke("hang"))
            await asyncio.to_thread(sent)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        asyncio.run(cancelled())
    """,
    "a call that hangs on a loop in a daemon thread": """
        kept = in_a_thread(llm.ainvoke("hang"))
        sent()
    """,
    "a call whose reply trickles on a loop in a daemon thread": """
        kept = in_a_thread(llm.ainvoke("x"))
        sent()
        threading.Event().wait(0.5)
    """,
    "a call that hangs on a loop that was closed": """
        async def left():
            global kept
            kept = asyncio.ensure_future(llm.ainvoke("hang"))
            await asyncio.to_thread(sent)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(left())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    """,
    "a stream of a manager that was closed": """
        kept = in_a_thread(first()).result()
        manager.close()
    """,
}


def _run(program: str, aws: LocalAWS, folder: Path) -> list[str]:
    """Run a program and return what it printed; it must end long before anything that hangs."""
    (folder / "test.yaml").write_text(
        f"aws: {{region: us-east-1, endpoint_url: {aws.url}}}\nmetrics: {{sink: none}}\n"
        f"agents: {{a: {{model: '{SONNET}', timeout_seconds: 900, deadline_seconds: 3000, "
        f"fallbacks: ['{HAIKU}']}}}}\n"
    )
    sent = """
def sent():
    import os, time
    while not os.path.exists("arrived"):
        time.sleep(0.02)
"""
    Thread(target=_note_arrival, args=(aws, folder / "arrived"), daemon=True).start()
    done = subprocess.run(
        [sys.executable, "-c", dedent(BEGIN) + sent + dedent(program)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Fatal" not in done.stderr
    return done.stdout.splitlines()


def _note_arrival(aws: LocalAWS, file: Path) -> None:
    """Write a file when the first request has arrived, for the program to see."""
    until = time.monotonic() + 120
    while time.monotonic() < until and not aws.requests():
        time.sleep(0.02)
    file.touch()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("what", PROGRAMS)
def test_the_interpreter_exits_and_records_what_was_sent(
    tmp_path: Path, local_aws: LocalAWS, what: str
) -> None:
    local_aws.script(lambda _: ScriptedReply("word " * 20_000))  # more than sockets hold
    if "hang" in PROGRAMS[what]:
        local_aws.stall(SONNET, HUNG)
    if "trickles" in what:
        local_aws.trickle(SONNET, HUNG, every=0.1, at="body")

    printed = _run(PROGRAMS[what], local_aws, tmp_path)

    recorded = [line for line in printed if line.startswith("recorded")]
    assert recorded == [f"recorded {SONNET} aborted"]
    assert local_aws.requests() == 1
    assert local_aws.wait_closed(30)
    if "manager.close" in PROGRAMS[what]:
        assert printed.index(recorded[0]) < printed.index("closed")
