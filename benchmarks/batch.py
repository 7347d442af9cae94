"""CPU of batch jobs, as ratios to what a user would write instead, in one run.

    python benchmarks/batch.py [--rows 1000] [--rounds 5]
    python benchmarks/batch.py --memory 20000 200000 [--engine bedrock]

- a row of the engine ``local`` beside a row of ``llm.batch`` of the same managed model;
- a row of the engine ``dask`` beside one of ``local``, once the cluster has started;
- memory of a job, beside that of one with ten times as many rows, and the CPU of resuming it;
- with ``--memory``: the memory of jobs of so many rows, and nothing else.

The local AWS runs in a process of its own, and for the engine ``bedrock`` S3 by moto's server.
CPU is that of this process and its children.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.batch import bedrock_engine
from langchain_modelmgr.batch.answers import Answer
from langchain_modelmgr.batch.chunks import Chunks
from langchain_modelmgr.batch.store import FolderStore

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
CONFIG = f"""
metrics: {{sink: none}}
batch: {{role: "arn:aws:iam::123456789012:role/batch", bucket: rows}}
agents:
  labeler: {{model: '{MODEL}', max_tokens: 100}}
"""
PROMPT = "Label this: {text}"


SERVER = """
import json, sys, threading
from moto.server import ThreadedMotoServer
from langchain_modelmgr.local import LocalAWS

s3 = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
s3.start()
host, port = s3.get_host_and_port()
with LocalAWS(s3_url=f"http://{host}:{port}") as aws:
    aws.client("s3").create_bucket(Bucket="rows")
    print(json.dumps(aws.env()), flush=True)
    threading.Event().wait()
"""


def serve_with_s3() -> subprocess.Popen[str]:
    """Start a local AWS with S3 in a process of its own, and use it."""
    server = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    os.environ.update(json.loads(server.stdout.readline()))
    return server


def serve() -> subprocess.Popen[str]:
    """Start a local AWS in a process of its own, and use it."""
    command = [sys.executable, "-m", "langchain_modelmgr", "local"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("unset"):
            break
        name, _, value = line.removeprefix("export ").strip().partition("=")
        os.environ[name] = value
    return server


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": n, "text": f"ticket number {n}, which is about a bus"} for n in range(count)]


def of_local(manager: ModelManager, folder: Path, count: int, **more: Any) -> float:
    """Return the CPU seconds of a row of a job, planning and results included."""
    shutil.rmtree(folder, ignore_errors=True)
    started = time.process_time()
    job = manager.batch("labeler", rows(count), into=folder, key="id", prompt=PROMPT)
    status = job.run(concurrency=32, **more)
    answers = job.results().to_table().num_rows
    spent = time.process_time() - started
    assert status.done == answers == count
    return spent / count


def of_batch(manager: ModelManager, count: int) -> float:
    """Return the CPU seconds of a row of ``llm.batch``."""
    llm = manager.chat_model("labeler")
    started = time.process_time()
    prompts: list[Any] = [PROMPT.format(**row) for row in rows(count)]
    answers = llm.batch(prompts, config={"max_concurrency": 32})
    texts = [answer.text for answer in answers]
    assert len(texts) == count
    return (time.process_time() - started) / count


def cpu_of_workers(client: Any) -> float:
    return float(sum(client.run(time.process_time).values()))


def of_dask(manager: ModelManager, client: Any, folder: Path, count: int) -> float:
    before = cpu_of_workers(client)
    here = of_local(manager, folder, count, client=client)
    return here + (cpu_of_workers(client) - before) / count


def peak(count: int, engine: str = "local") -> float:
    """Return the most memory of a process that runs a job, in MB."""
    run = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, __file__, "--whole", str(count), "--engine", engine],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout)


def whole(count: int, engine: Any) -> None:
    """Run a job of generated rows, and print the most memory that this process had."""
    with tempfile.TemporaryDirectory() as name:
        manager = manager_in(Path(name))
        of_batch(manager, 50)
        job = manager.batch(
            "labeler", generated(count), into=Path(name) / "job", key="id", prompt=PROMPT
        )
        vars(bedrock_engine)["POLL_SECONDS"] = 0.5, 0.5
        status = job.run(concurrency=32, engine=engine)
        read = sum(each.num_rows for each in job.results().to_batches())
        assert (status.done, read) == (count, count)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def of_resuming(manager: ModelManager, folder: Path, count: int) -> float:
    """Return the CPU seconds of resuming a finished plan; its answers are made up here."""
    into = folder / "finished"
    source = folder / "rows.csv"
    source.write_text("id,text\n" + "".join(f"{n},ticket {n}\n" for n in range(count)))
    job = manager.batch("labeler", source, into=into, key="id", prompt=PROMPT)
    chunks = Chunks(job.plan, FolderStore(into))
    for task in chunks.pending():
        chunk = chunks.open(task)
        for row in chunk.pending:
            chunk.answered(Answer(row.position, "label", None, MODEL, "local", 9, 1, Decimal(1)))
    started = time.process_time()
    status = manager.batch("labeler", source, into=into, key="id", prompt=PROMPT).run()
    assert status.done == count
    return time.process_time() - started


def generated(count: int) -> Any:
    return ({"id": n, "text": f"ticket number {n}, which is about a bus"} for n in range(count))


def manager_in(folder: Path) -> ModelManager:
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "dev.yaml").write_text(CONFIG)
    return ModelManager(ConfigurationManager("dev", folder / "config"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--whole", type=int, help="only run one job of so many rows")
    parser.add_argument("--memory", type=int, nargs="*", default=[], help="rows of jobs")
    parser.add_argument("--engine", choices=("local", "bedrock"), default="local")
    given = parser.parse_args()
    if given.whole is not None:
        whole(given.whole, given.engine)
        return
    server = serve_with_s3() if given.engine == "bedrock" else serve()
    folder = Path(tempfile.mkdtemp())
    try:
        for size in given.memory:
            print(f"memory of {size:,} rows: {peak(size, given.engine):.0f} MB", flush=True)
        if not given.memory:
            measure(folder, given.rows, given.rounds)
    finally:
        server.terminate()
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, count: int, rounds: int) -> None:
    manager = manager_in(folder)
    of_batch(manager, 50)  # builds clients
    pairs = [
        (of_local(manager, folder / "job", count), of_batch(manager, count)) for _ in range(rounds)
    ]
    local = median(own / other for own, other in pairs)
    print(f"a row, local beside llm.batch: {local:.2f} ({pairs[-1][1] * 1e6:,.0f} us)")
    import distributed

    dask: Any = distributed
    with (
        dask.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster,
        dask.Client(cluster) as client,
    ):
        of_dask(manager, client, folder / "dask", 100)
        found = [
            of_dask(manager, client, folder / "dask", count)
            / of_local(manager, folder / "job", count)
            for _ in range(rounds)
        ]
    print(f"a row, dask beside local: {median(found):.2f}")
    for size in (count, 10 * count):
        print(f"memory of {size:,} rows: {peak(size):.0f} MB")
    print(f"resuming 200,000 finished rows: {of_resuming(manager, folder, 200_000):.2f} s")


if __name__ == "__main__":
    main()
