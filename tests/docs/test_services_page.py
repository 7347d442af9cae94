"""The recipes of docs/services.md as real processes that SIGTERM ends: all metrics arrive."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support import BLOCK, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS

PAGE = (ROOT / "docs" / "services.md").read_text("utf-8")
TITLED = re.compile(r'^```python title="([^"]+)"\n(.*?)^```', re.MULTILINE | re.DOTALL)
TIMEOUT_SECONDS = 50

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGTERM is POSIX's")


class Service:
    """A process that runs a recipe, with a disk that goes with it."""

    def __init__(self, folder: Path, aws: LocalAWS) -> None:
        self.folder = folder
        self.aws = aws
        self.log = folder / "log"
        self.process: subprocess.Popen[str] | None = None

    def start(self, *command: str, **environment: str) -> None:
        """Run a Python module or file; standard error goes with standard output."""
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env={**os.environ, **self.aws.env(), "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def wait_for(self, pattern: str) -> str:
        """Wait until the output has a line like this."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < end:
            if found := re.search(pattern, self.log.read_text()):
                return found[found.lastindex or 0]
            time.sleep(0.05)
        raise AssertionError(f"{pattern} did not come: {self.log.read_text()}")

    def stop(self) -> int:
        """Send SIGTERM, wait for the end, and return the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT_SECONDS)

    def delivered(self) -> float:
        """Return the invocations that CloudWatch has."""
        return sum(
            value * count
            for datum in self.aws.metrics.datums
            if datum.name == "ModelInvocations"
            for value, count in datum.values
        )


@pytest.fixture
def service(tmp_path: Path, local_aws: LocalAWS) -> Iterator[Service]:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    for name, text in TITLED.findall(PAGE):
        (tmp_path / name).write_text(text)
    started = Service(tmp_path, local_aws)
    yield started
    if started.process is not None:
        started.process.kill()
        started.process.communicate()


def ask(url: str) -> str:
    with urllib.request.urlopen(f"{url}?question=pallets", timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310 - loopback
        return str(reply.read().decode())


def test_fastapi_delivers_when_uvicorn_is_stopped(service: Service) -> None:
    service.start("-m", "uvicorn", "app:app", "--port", "0")
    url = service.wait_for(r"running on (http://127\.0\.0\.1:\d+)")
    assert ask(url)

    service.stop()

    assert service.delivered() == 1


@pytest.mark.parametrize("options", [[], ["--preload"], ["--threads", "2"]])
def test_gunicorn_delivers_when_it_is_stopped(service: Service, options: list[str]) -> None:
    service.start("-m", "gunicorn", "service:app", "--bind", "127.0.0.1:0", *options)
    url = service.wait_for(r"Listening at: (http://127\.0\.0\.1:\d+)")
    assert ask(url)

    service.stop()

    assert service.delivered() == 1


def test_gunicorn_ends_the_lifespan_of_an_asgi_application(service: Service) -> None:
    service.start("-m", "gunicorn", "app:app", "--bind", "127.0.0.1:0", "-k", "asgi")
    url = service.wait_for(r"Listening at: (http://127\.0\.0\.1:\d+)")
    assert ask(url)

    service.stop()

    assert service.delivered() == 1


def test_celery_delivers_when_a_worker_is_stopped(service: Service) -> None:
    for name in ("in", "out"):
        (service.folder / name).mkdir()
    broker = {
        "BROKER_URL": "filesystem://",
        "CELERY_BROKER_TRANSPORT_OPTIONS": "",
    }
    (service.folder / "celeryconfig.py").write_text(
        'broker_transport_options = {"data_folder_in": "in", "data_folder_out": "in"}\n'
        "worker_hijack_root_logger = False\n"
    )
    service.start(
        "-m", "celery", "-A", "tasks", "--config", "celeryconfig", "worker",
        "--pool", "prefork", "--concurrency", "1", "--loglevel", "INFO",
        "--without-gossip", "--without-mingle", **broker,
    )  # fmt: skip
    service.wait_for("ready")
    subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", "--config", "celeryconfig", "call",
         "tasks.ask", "--args", '["pallets"]'],
        cwd=service.folder,
        env={**os.environ, **service.aws.env(), "PYTHONPATH": str(ROOT), **broker},
        check=True,
        capture_output=True,
    )  # fmt: skip
    service.wait_for("succeeded")

    service.stop()

    assert service.delivered() == 1


def test_a_program_of_ones_own_delivers_at_sigterm(service: Service) -> None:
    service.start("worker.py")
    assert service.process is not None
    assert service.process.stdin is not None
    service.process.stdin.write("pallets\n")
    service.process.stdin.flush()
    service.wait_for(r"\S.*\n")

    status = service.stop()

    assert status == 128 + signal.SIGTERM
    assert service.delivered() == 1


def test_every_recipe_of_the_page_is_run_here() -> None:
    assert {name for name, _ in TITLED.findall(PAGE)} == {
        "app.py",
        "service.py",
        "tasks.py",
        "worker.py",
    }
    assert len(TITLED.findall(PAGE)) == len(BLOCK.findall(PAGE))
