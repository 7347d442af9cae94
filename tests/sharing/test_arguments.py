"""What of a manager and its models travels in a pickle, and what is refused."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from langchain_modelmgr import (
    ConfigurationManager,
    ManagedBedrockChat,
    ModelManager,
    UsageCallbackHandler,
)
from langchain_modelmgr.metrics import CloudWatchSink, EMFSink, MemorySink
from tests.models import SONNET
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

AGENTS = f"a: {{model: '{SONNET}', fallbacks: []}}"

IN_ANOTHER_PROCESS = """
import pickle, sys
models = pickle.load(sys.stdin.buffer)
for llm in models:
    llm.invoke("x")
managers = [llm.model_manager for llm in models]
first = managers[0]
print(len(set(map(id, managers))), first.pool.max_concurrency,
      [type(sink).__name__ for sink in first.totals.sinks.sinks],
      [len(sink.records) for sink in first.totals.sinks.sinks if hasattr(sink, "records")])
"""


def elsewhere(*models: ManagedBedrockChat) -> str:
    """Load the models in another process, call each once, and return what is printed there."""
    run = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS],
        input=pickle.dumps(models),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout.decode().strip()


def regions(local_aws: LocalAWS) -> list[str]:
    return [call.headers["Authorization"].split("/")[2] for call in local_aws.calls()]


def same(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))  # noqa: S301


# -- to another process


def test_region_concurrency_and_sinks_travel(configured: Configure, local_aws: LocalAWS) -> None:
    sink = MemorySink(maxlen=7)
    manager = ModelManager(
        configured(AGENTS, "project_prefix: p"), "eu-central-1", sinks=[sink], max_concurrency=3
    )
    llm = manager.chat_model("a")
    llm.invoke("x")

    report = elsewhere(llm, manager.chat_model("a", temperature=0.5))

    assert report == "1 3 ['MemorySink'] [2]"
    assert regions(local_aws) == ["eu-central-1"] * 3


def test_models_of_one_configuration_share_a_manager_there_too(
    configured: Configure, local_aws: LocalAWS
) -> None:
    config = configured(AGENTS)
    models = [ManagedBedrockChat(agent_name="a", config=config) for _ in range(3)]

    assert elsewhere(*models) == "1 320 ['MemorySink'] [3]"


def test_no_sinks_are_no_sinks_there_too(configured: Configure) -> None:
    manager = ModelManager(configured(AGENTS), sinks=[])

    assert elsewhere(manager.chat_model("a")) == "1 320 [] []"


def test_a_model_with_handlers_of_its_own_travels(configured: Configure) -> None:
    manager = ModelManager(configured(AGENTS), sinks=[])
    handler = UsageCallbackHandler(manager, "b")

    assert elsewhere(manager.chat_model("a", callbacks=[handler])) == "1 320 [] []"


# -- and back, in one


def test_in_one_process_a_pickle_is_the_manager_itself(
    configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(AGENTS)
    own = ModelManager(config, "eu-central-1", sinks=[MemorySink()])
    shared = ManagedBedrockChat(agent_name="a", config=config)
    data = pickle.dumps(shared.model_manager)
    monkeypatch.setenv("AWS_PROFILE", "other")

    assert same(own) is own
    assert same(own.chat_model("a")).model_manager is own
    assert same(UsageCallbackHandler(own, "a"))._manager is own
    assert pickle.loads(data) is shared.model_manager  # noqa: S301
    assert copy.copy(own) is copy.deepcopy(own) is own


class Own(ModelManager):
    """A manager of a user's own class."""


def test_a_manager_of_a_class_of_its_own_stays_one(configured: Configure) -> None:
    data = pickle.dumps(Own(configured(AGENTS), "eu-central-1"))

    loaded = pickle.loads(data)  # noqa: S301

    assert type(loaded) is Own
    assert loaded.clients.region == "eu-central-1"


def test_a_model_of_a_configuration_finds_its_manager_again(configured: Configure) -> None:
    llm = ManagedBedrockChat(agent_name="a", config=configured(AGENTS))
    llm.invoke("x")

    same(llm).invoke("x")

    assert same(llm).model_manager is llm.model_manager
    assert llm.model_manager.get_usage_summary()["total_invocations"] == 2


def test_managers_that_are_gone_are_made_once_for_many_pickles(configured: Configure) -> None:
    manager = ModelManager(configured(AGENTS), "eu-central-1", sinks=[MemorySink()])
    data = [pickle.dumps(manager.chat_model("a")) for _ in range(3)]
    del manager

    for pickled in data:
        pickle.loads(pickled).invoke("x")  # noqa: S301

    last = pickle.loads(data[0]).model_manager  # noqa: S301
    assert last.get_usage_summary()["total_invocations"] == 3


# -- what stays


def test_a_session_of_the_users_own_is_refused(configured: Configure) -> None:
    session = boto3.Session(aws_access_key_id="AKIDOFTHEUSER", aws_secret_access_key="s3cret")
    manager = ModelManager(configured(AGENTS), session=session)

    for thing in (manager, manager.chat_model("a"), manager.chat_model("a").bind(stop=["x"])):
        with pytest.raises(TypeError, match="boto3 session can't leave this process") as caught:
            pickle.dumps(thing)
        assert "AKID" not in str(caught.value)
    assert copy.deepcopy(manager.chat_model("a")).model_manager is manager


class Handle:
    """A sink that holds what no pickle can hold."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def record(self, usage: object) -> None: ...

    def flush(self, timeout: float | None = None) -> None: ...

    def close(self) -> None: ...


class Portable(Handle):
    """The same, which says how to make another."""

    def __reduce__(self) -> Any:
        return Portable, ()


def test_a_sink_that_can_not_travel_is_refused_by_name(configured: Configure) -> None:
    config = configured(AGENTS)
    cloudwatch = CloudWatchSink(lambda: boto3.client("cloudwatch"), "N/Models")
    emf = EMFSink("N/Models", stream=sys.stderr)

    for sink, name in ((Handle(), "Handle"), (cloudwatch, "CloudWatchSink"), (emf, "EMFSink")):
        with pytest.raises(TypeError, match=f"its sink {name} can't leave this process"):
            pickle.dumps(ModelManager(config, sinks=[MemorySink(), sink]))


def test_a_sink_that_says_how_is_made_anew(
    configured: Configure, capfd: pytest.CaptureFixture[str]
) -> None:
    emf = EMFSink("N/Models", extra=["fallbacks"])
    data = pickle.dumps(ModelManager(configured(AGENTS), sinks=[Portable(), emf]))

    loaded = pickle.loads(data)  # noqa: S301
    loaded.chat_model("a").invoke("x")

    assert [type(sink) for sink in loaded.totals.sinks.sinks] == [Portable, EMFSink]
    assert '"N/Models"' in capfd.readouterr().out


def test_a_pickle_contains_neither_records_nor_credentials(configured: Configure) -> None:
    sink = MemorySink()
    llm = ModelManager(configured(AGENTS), sinks=[sink]).chat_model("a")
    llm.invoke("a secret question", {"metadata": {"who": "somebody"}})

    data = pickle.dumps(llm)

    assert sink.records
    assert not [word for word in (b"secret question", b"somebody", b"AKIA") if word in data]


def test_an_environment_travels_as_the_file_that_was_read(
    configured: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configured(AGENTS)
    monkeypatch.setenv("MODELMGR_CONFIG_DIR", str(tmp_path))
    data = pickle.dumps(ManagedBedrockChat(agent_name="a", environment="test"))
    (tmp_path / "test.yaml").unlink()

    loaded = pickle.loads(data)  # noqa: S301

    assert loaded.invoke("x").text
    assert isinstance(loaded.config, ConfigurationManager)
