"""Kills the drivers of a batch job at random until its rows are all answered.

    python -m tests.batch.killed_jobs --engine local --kills 50 [--s3]

After the last kill: each key has exactly one result; the local AWS was asked once for each row,
and once more for each row that was noted without an answer, at most; the ledger has an attempt
for each request that was answered.
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
from pathlib import Path
from typing import Any
from uuid import uuid4

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.batch.store import SEGMENT_ROWS
from langchain_modelmgr.local import LocalAWS
from langchain_modelmgr.local.scripted import ScriptedReply
from tests.models import SONNET
from tests.support import ROOT

CONFIG = f"""
aws: {{{{region: us-east-1, endpoint_url: "{{url}}"}}}}
ledger: "{{ledger}}"
agents:
  labeler: {{{{model: "{SONNET}", fallbacks: [], max_tokens: 50}}}}
"""

DRIVER = """
import sys
from langchain_modelmgr import ConfigurationManager, ModelManager
from tests.batch.killed_jobs import job_of, client_of

if __name__ == "__main__":
    config, into, rows, engine, concurrency = sys.argv[1:]
    with client_of(engine) as client, ModelManager(ConfigurationManager("dev", config)) as manager:
        job = job_of(manager, into, int(rows))
        job.run(engine=engine, concurrency=int(concurrency), client=client)
"""

EARLY = 0.25
"""The part of the drivers that are killed while they start, or plan."""

USAGE = {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30}


def job_of(manager: ModelManager, into: str, rows: int) -> Any:
    """Return the job of some rows."""
    given = ({"id": f"k{n}", "text": str(n)} for n in range(rows))
    return manager.batch("labeler", given, into=into, key="id", prompt="Label: {text}")


def client_of(engine: str) -> Any:
    """Return a cluster's client, or a context without one."""
    if engine != "dask":
        from contextlib import nullcontext

        return nullcontext()
    from distributed import Client, LocalCluster

    cluster: Any = LocalCluster
    return Client(cluster(n_workers=2, threads_per_worker=2, dashboard_address=":0"))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Proof:
    """What was counted in the end."""

    rows: int
    kills: int
    results: list[Any]
    requests: int
    answered: int
    maybe_billed_twice: int
    recorded: int
    published: int
    concurrency: int
    on_s3: bool

    def check(self) -> None:
        """Raise ``AssertionError`` if anything is not as promised."""
        assert self.results == [f"k{n}" for n in range(self.rows)], "each key once, in order"
        again = self.requests - self.rows
        most = self.concurrency + (SEGMENT_ROWS if self.on_s3 else 0)
        assert 0 <= again <= self.kills * most, f"{again} rows were asked again"
        assert again <= self.maybe_billed_twice, "a row that was asked again is counted"
        assert self.answered == self.rows, "each result is an answer"
        assert self.recorded >= self.rows, "each answer is in the ledger"
        assert self.published == self.recorded, "CloudWatch has what the ledger has"


def prove(
    *,
    rows: int,
    kills: int,
    concurrency: int = 8,
    engine: str = "local",
    s3_url: str | None = None,
    longest: float = 1.0,
) -> Proof:
    """Kill drivers at random, then let one end; return what was counted.

    Args:
        rows: The rows of the job.
        kills: How many drivers are killed.
        concurrency: The rows that are out at once.
        engine: The engine.
        s3_url: The address of an S3 server; None: the job is in a folder.
        longest: The most seconds after its first request that a driver is killed.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        aws = stack.enter_context(LocalAWS())
        aws.script(lambda _: ScriptedReply(text="label", usage=USAGE))
        aws.latency(SONNET, 0.05)
        config = folder / "config"
        config.mkdir()
        text = CONFIG.format(url=aws.url, ledger=folder / "ledger")
        (config / "dev.yaml").write_text(text)
        own = {**_credentials(s3_url), "AWS_ENDPOINT_URL": aws.url}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **own}
        os.environ.update(own)
        into = _place(s3_url, folder)
        command = [sys.executable, "-c", DRIVER, str(config), into, str(rows), engine]
        for _ in range(kills):
            driver = subprocess.Popen(
                [*command, str(concurrency)], env=environment, start_new_session=True,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if random.random() < EARLY:
                time.sleep(random.uniform(0.2, 1.5))
            else:
                _wait_for_more(aws, driver)
                time.sleep(random.uniform(0.0, longest))
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
        subprocess.run([*command, str(concurrency)], env=environment, check=True, timeout=600)
        with ModelManager(ConfigurationManager("dev", config)) as manager:
            job = job_of(manager, into, rows)
            table = job.results().to_table()
            status = job.status()
            (found,) = manager.usage_sql("SELECT count(*) AS n FROM attempts")
            manager.flush_metrics(timeout=120)
            published = aws.metrics.sum(manager.config.namespace, "ModelInvocations")
        return Proof(
            rows=rows,
            kills=kills,
            results=table.column("key").to_pylist(),
            requests=aws.requests(),
            answered=sum(text == "label" for text in table.column("text").to_pylist()),
            maybe_billed_twice=status.maybe_billed_twice,
            recorded=int(found["n"]),
            published=int(published),
            concurrency=concurrency,
            on_s3=s3_url is not None,
        )


def _wait_for_more(aws: LocalAWS, driver: subprocess.Popen[bytes]) -> None:
    """Wait until a driver has sent a request, or has ended."""
    before, end = aws.requests(), time.monotonic() + 60
    while aws.requests() == before and driver.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def _credentials(s3_url: str | None) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "dummy"}
    return keys if s3_url is None else {**keys, "AWS_ENDPOINT_URL_S3": s3_url}


def _place(s3_url: str | None, folder: Path) -> str:
    if s3_url is None:
        return str(folder / "job")
    import boto3

    bucket = f"bucket-{uuid4().hex}"
    boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/job"


def main() -> None:
    """Run the proof, and print what was counted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", default="local")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--s3", action="store_true")
    given = parser.parse_args()
    with ExitStack() as stack:
        s3_url = None
        if given.s3:
            from moto.server import ThreadedMotoServer

            logging.getLogger("werkzeug").setLevel(logging.ERROR)
            server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
            server.start()
            stack.callback(server.stop)
            host, port = server.get_host_and_port()
            s3_url = f"http://{host}:{port}"
        proof = prove(
            rows=given.rows, kills=given.kills, concurrency=given.concurrency,
            engine=given.engine, s3_url=s3_url,
        )  # fmt: skip
    print(  # noqa: T201 - the figures that a closing note quotes
        f"{proof.rows} rows, {proof.kills} kills, {proof.requests} requests, "
        f"{proof.maybe_billed_twice} maybe billed twice, {proof.recorded} attempts recorded, "
        f"{proof.published} published"
    )
    proof.check()


if __name__ == "__main__":
    main()
