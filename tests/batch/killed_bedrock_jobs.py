"""Kills the drivers of batch inference jobs at random until all rows are answered.

    python -m tests.batch.killed_bedrock_jobs --kills 50 [--s3]

After the last kill: each key has exactly one result; Bedrock processed each row once; ledger and
CloudWatch have an attempt for each; the budget was charged with what the results cost.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

from moto.server import ThreadedMotoServer

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.batch.worker import task_name
from langchain_modelmgr.local import LocalAWS
from tests.batch.killed_jobs import job_of
from tests.support import ROOT

MODEL = "amazon.nova-lite-v1:0"
CONFIG = f"""
aws: {{{{region: us-east-1}}}}
ledger: "{{ledger}}"
batch: {{{{role: "arn:aws:iam::123456789012:role/batch", bucket: "{{bucket}}"}}}}
agents:
  labeler: {{{{model: "{MODEL}", fallbacks: [], max_tokens: 50}}}}
"""

DRIVER = """
import sys
from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.batch import bedrock_drafts, bedrock_engine
from tests.batch.killed_jobs import job_of

bedrock_drafts.MAX_RECORDS = 150
bedrock_engine.POLL_SECONDS = 0.05, 0.1
config, into, rows = sys.argv[1:]
with ModelManager(ConfigurationManager("dev", config)) as manager:
    job_of(manager, into, int(rows)).run(engine="bedrock", max_usd=10)
"""

OPERATIONS = (
    "CreateModelInvocationJob",
    "GetModelInvocationJob",
)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was counted in the end."""

    rows: int
    results: list[Any]
    processed: int
    jobs: int
    recorded: int
    published: int
    maybe_billed_twice: int
    cost: Decimal
    spent: Decimal
    ledger_cost: Decimal

    def check(self) -> None:
        """Raise ``AssertionError`` if anything is not as promised."""
        assert self.results == [f"k{n}" for n in range(self.rows)], "each key once, in order"
        assert self.processed == self.rows, "Bedrock processed each row once"
        assert self.recorded == self.rows, "the ledger has each attempt once"
        assert self.published == self.rows, "CloudWatch has each attempt once"
        assert self.maybe_billed_twice == 0, "no row was asked again"
        assert self.cost == self.ledger_cost, "the ledger has what the results cost"
        assert self.spent == self.cost, "the budget was charged with it"


def prove(*, rows: int, kills: int, s3_url: str, on_s3: bool = False) -> Proof:
    """Kill drivers at random, then let one end; return what was counted.

    Args:
        rows: The rows of the job.
        kills: How many drivers are killed.
        s3_url: The address of an S3 server.
        on_s3: Whether the job is on S3, too; else in a folder.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        aws = stack.enter_context(LocalAWS(s3_url=s3_url))
        aws.batch.outcome(polls=3)
        bucket = f"bucket-{uuid4().hex}"
        aws.client("s3").create_bucket(Bucket=bucket)
        config = folder / "config"
        config.mkdir()
        text = CONFIG.format(ledger=folder / "ledger", bucket=bucket)
        (config / "dev.yaml").write_text(text)
        stack.enter_context(aws.environment())
        os.environ["MODELMGR_STATE_DIR"] = str(folder / "state")
        into = f"s3://{bucket}/plan" if on_s3 else str(folder / "job")
        command = [sys.executable, "-c", DRIVER, str(config), into, str(rows)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        for _ in range(kills):
            driver = subprocess.Popen(
                command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
            )
            _wait_for_one_more(aws, driver)
            time.sleep(random.uniform(0.0, 0.4))
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
        subprocess.run(command, env=environment, check=True, timeout=600)
        with ModelManager(ConfigurationManager("dev", config)) as manager:
            job = job_of(manager, into, rows)
            table, status = job.results().to_table(), job.status()
            (found,) = manager.usage_sql(
                "SELECT count(*) AS n, sum(cost_pico_usd) AS pico FROM attempts"
            )
            manager.flush_metrics(timeout=120)
            counts = aws.batch.counts()
            return Proof(
                rows=rows,
                results=table.column("key").to_pylist(),
                processed=counts.records,
                jobs=counts.jobs,
                recorded=int(found["n"]),
                published=int(aws.metrics.sum(manager.config.namespace, "ModelInvocations")),
                maybe_billed_twice=status.maybe_billed_twice,
                cost=status.cost_usd,
                spent=Decimal(manager.budget(task_name(job.plan), usd=10).spent),
                ledger_cost=Decimal(found["pico"]).scaleb(-12),
            )


def _wait_for_one_more(aws: LocalAWS, driver: subprocess.Popen[bytes]) -> None:
    """Wait for a request of a random kind, or for some time, or for the driver's end."""
    kind = random.choice((*OPERATIONS, None))
    operations = OPERATIONS if kind is None else (kind,)
    before = aws.requests(operations=operations)
    end = time.monotonic() + (random.uniform(0.5, 4.0) if kind is None else 30)
    while time.monotonic() < end and driver.poll() is None:
        if kind is not None and aws.requests(operations=operations) > before:
            return
        time.sleep(0.01)


def main() -> None:
    """Run the proof, and print what was counted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--s3", action="store_true")
    given = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        proof = prove(
            rows=given.rows, kills=given.kills, s3_url=f"http://{host}:{port}", on_s3=given.s3
        )
    finally:
        server.stop()
    print(  # noqa: T201 - the figures that a closing note quotes
        f"{proof.rows} rows, {given.kills} kills, {proof.jobs} jobs, {proof.processed} records, "
        f"{proof.recorded} attempts recorded, {proof.published} published, {proof.cost} USD"
    )
    proof.check()


if __name__ == "__main__":
    main()
