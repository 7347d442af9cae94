"""What tests of the ledger and the scripts beside them share: ledgers, records, processes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import boto3

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.metrics import CloudWatchSink, ledger_for
from langchain_modelmgr.runtime.cloudwatch_client import FixedClient
from langchain_modelmgr.usage.record import AttemptStart
from tests.support import ROOT
from tests.usage_records import make

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.ledger.ledger import Ledger
    from langchain_modelmgr.local import LocalAWS

UNREADABLE_LINES = [
    b'{"metric": 99}', b'[1,"a","m"]', b'[2,null,null,1,"now",0]', b'"text"', b"[9]",
    b"\xff\xfe", b'[1,"a","m",null,null,1,1,1,0,1,null,"0.1"]', b"[[[[", b"null", b'[0,"x",3]',
]  # fmt: skip
"""Lines that no version of the ledger wrote."""


def session(key: str, token: str | None = None) -> boto3.Session:
    return boto3.Session(key, "secret", token, region_name="us-east-1")


def opened(folder: Path | None, **settings: Any) -> tuple[Ledger, CloudWatchSink]:
    sink = CloudWatchSink(FixedClient(boto3.Session, None), "x/Models")
    return ledger_for([sink], folder, **settings), sink


def configured_manager(folder: Path, *, extra: str = "", **given: Any) -> ModelManager:
    """Return a manager of a file that names a ledger in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dev.yaml").write_text(
        f"ledger: '{folder}'\naws: {{region: us-east-1}}\n"
        f"metrics: {{extra: [{extra}]}}\n"
        "agents: {a: {model: anthropic.claude-3-5-sonnet-20241022-v2:0, fallbacks: []}}\n"
    )
    return ModelManager(ConfigurationManager("dev", folder), **given)


def write(ledger: Ledger, sink: CloudWatchSink, count: int = 1, **changes: Any) -> None:
    for _ in range(count):
        usage = make(**changes)
        ledger.attempt_ended(None, usage)
        sink.record(usage)


def query(ledger: Ledger, text: str) -> list[tuple[Any, ...]]:
    with ledger.reading() as connection:
        return connection.execute(text).fetchall()


def invocations(aws: LocalAWS, **dimensions: str) -> float:
    return aws.metrics.sum("x/Models", "ModelInvocations", **dimensions)


def attempt_start(ledger: Ledger) -> AttemptStart:
    return AttemptStart(
        "sql_agent", "m", 1, 0, ledger.next_call(), "run", None, None, 5_000, ledger.now_ms()
    )


def in_another_process(folder: Path, code: str) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.ledger.support import *
from tests.usage_records import make
ledger, sink = opened(Path({str(folder)!r}))
{code}
sys.stdout.flush()
os._exit(0)  # no exit handler runs, as at kill -9
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
