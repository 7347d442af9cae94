"""Which manager models share, and how unused managers are closed."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_modelmgr import ConfigurationManager, ManagedBedrockChat, ModelManager
from langchain_modelmgr.errors import ConfigurationError, ModelManagerError
from langchain_modelmgr.local import LocalAWS
from langchain_modelmgr.sharing.registry import MANAGERS_KEPT
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.agents import Configure

ALONE = f"agents: {{a: {{model: '{SONNET}', fallbacks: []}}}}\n"


def ask(**fields: Any) -> ManagedBedrockChat:
    """Make a model, and one call."""
    llm = ManagedBedrockChat(agent_name="a", **fields)
    llm.invoke("x")
    return llm


def calls(manager: ModelManager) -> int:
    return int(manager.get_usage_summary()["total_invocations"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a configuration that names neither region nor endpoint."""
    monkeypatch.setenv("MODELMGR_CONFIG_DIR", str(tmp_path))
    (tmp_path / "dev.yaml").write_text(f"metrics: {{sink: none}}\n{ALONE}")
    return tmp_path


# -- one manager for each AWS environment


def test_a_second_local_aws_is_reached_by_new_models(folder: Path) -> None:
    with LocalAWS.running() as first:
        before = ask().model_manager
        first.fail(None, "ThrottlingException", times=9)
        for _ in range(3):
            with pytest.raises(ModelManagerError):
                ask()
    with LocalAWS.running() as second:
        after = ask().model_manager

        assert second.requests() == 1

    assert after is not before
    assert calls(after) == 1


def test_a_local_aws_on_the_same_port_is_another_one(folder: Path) -> None:
    with LocalAWS.running() as first:
        port = int(first.url.rpartition(":")[2])
        before = ask().model_manager
    with LocalAWS.running(port) as second:
        after = ask().model_manager

        assert second.requests() == 1

    assert after is not before


def test_a_model_made_before_reaches_each_local_aws_in_turn(folder: Path) -> None:
    llm = ManagedBedrockChat(agent_name="a")

    for count in (1, 2, 3):
        with LocalAWS.running() as aws:
            for _ in range(count):
                llm.invoke("x")
                list(llm.stream("x"))

            assert aws.requests() == calls(llm.model_manager) == 2 * count


def test_a_model_returns_to_its_manager_when_a_local_aws_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    llm = ManagedBedrockChat(agent_name="a")
    own = llm.model_manager

    with LocalAWS.running():
        llm.invoke("x")
        other = llm.model_manager
    left = llm.model_manager
    with contextlib.suppress(ModelManagerError):
        llm.invoke("x")

    assert other is not own
    assert left is other
    assert calls(other) == 1
    assert llm.model_manager is own


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIAI44QH8DHBEXAMPLE"),
        ("AWS_PROFILE", "other"),
        ("AWS_BEARER_TOKEN_BEDROCK", "other"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:1"),
    ],
)
def test_another_aws_environment_has_another_manager(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    before = ManagedBedrockChat(agent_name="a").model_manager
    same = ManagedBedrockChat(agent_name="a").model_manager
    with monkeypatch.context() as other:
        other.setenv(name, value)
        after = ManagedBedrockChat(agent_name="a").model_manager
    again = ManagedBedrockChat(agent_name="a").model_manager

    assert before is same is again
    assert after is not before


@pytest.mark.parametrize(
    ("file", "text", "is_other"),
    [
        ("credentials", "[default]\naws_access_key_id=B\naws_secret_access_key=x\n", True),
        ("credentials", "[default]\naws_access_key_id=A\naws_secret_access_key=y\n", False),
        ("credentials", "[default]\naws_access_key_id=A\n[else]\naws_access_key_id=C\n", False),
        ("config", "[default]\nregion=eu-west-1\n", True),
        ("config", "[default]\nservices=s\n[services s]\nbedrock =\n  endpoint_url = x\n", True),
        ("config", "[default]\nsource_profile=p\n[profile p]\nrole_arn=r\n", True),
        ("config", "[profile p]\nrole_arn=r\n", False),
        ("config", "this is no INI file", False),
    ],
)
def test_a_changed_profile_is_another_aws_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, is_other: bool
) -> None:
    for name, variable in (("config", "CONFIG"), ("credentials", "SHARED_CREDENTIALS")):
        monkeypatch.setenv(f"AWS_{variable}_FILE", str(folder / name))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    (folder / "credentials").write_text("[default]\naws_access_key_id=A\naws_secret_access_key=x\n")

    before = ManagedBedrockChat(agent_name="a").model_manager
    (folder / file).write_text(text)
    after = ManagedBedrockChat(agent_name="a").model_manager

    assert (after is not before) == is_other


def test_a_manager_keeps_the_aws_settings_that_it_was_made_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalAWS() as aws:
        for name, value in aws.env().items():
            monkeypatch.setenv(name, value)
        llm = ManagedBedrockChat(agent_name="a")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAI44QH8DHBEXAMPLE")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")

        llm.invoke("x")

        authorization = aws.calls()[0].headers["Authorization"]
    assert "AKIAIOSFODNN7EXAMPLE" in authorization
    assert "/us-east-1/bedrock/" in authorization


def test_a_model_that_was_given_a_manager_keeps_it(folder: Path) -> None:
    with LocalAWS.running():
        manager = ModelManager(ConfigurationManager())
        llm = manager.chat_model("a")
    with LocalAWS.running():
        assert llm.model_manager is manager


def test_a_manager_made_outside_of_a_local_aws_is_refused_inside(folder: Path) -> None:
    manager = ModelManager(ConfigurationManager())
    shared = ManagedBedrockChat(agent_name="a")

    with LocalAWS.running() as aws:
        for llm in (manager.chat_model("a"), manager.chat_model("a").bind(stop=["E"])):
            with pytest.raises(ConfigurationError, match="created outside the local AWS"):
                llm.invoke("x")
        shared.invoke("x")
        ModelManager(ConfigurationManager()).chat_model("a").invoke("x")

        assert aws.requests() == 2


# -- forgetting


def test_a_forgotten_manager_is_replaced_in_models_old_and_new(configured: Configure) -> None:
    config = configured(f"a: {{model: '{SONNET}'}}")
    llm = ask(config=config)
    before = llm.model_manager

    before.forget()

    assert calls(before) == 1
    assert llm.model_manager is not before
    assert llm.model_manager is ask(config=config).model_manager
    assert calls(llm.model_manager) == 1


def test_forgetting_ends_cooldowns(configured: Configure, local_aws: LocalAWS) -> None:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    llm = ask(config=config)
    local_aws.fail(SONNET, "ThrottlingException", times=3)
    for _ in range(3):
        llm.invoke("x")
    assert llm.invoke("x").response_metadata["model_name"] == HAIKU

    llm.model_manager.forget()

    assert llm.invoke("x").response_metadata["model_name"] == SONNET


def test_a_manager_of_ones_own_is_only_closed_by_forgetting(configured: Configure) -> None:
    manager = ModelManager(configured(f"a: {{model: '{SONNET}'}}"))
    llm = manager.chat_model("a")

    manager.forget()
    llm.invoke("x")

    assert llm.model_manager is manager
    assert calls(manager) == 1


# -- many configurations


def tenant(folder: Path, name: str, more: str = "") -> ManagedBedrockChat:
    (folder / f"{name}.yaml").write_text(f"project_prefix: {name}\n{more}{ALONE}")
    return ask(config=ConfigurationManager(name, folder))


def threads() -> int:
    return sum(t.name.startswith("modelmgr") for t in threading.enumerate())


def files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are not looked at


def until(is_true: Callable[[], bool], seconds: float = 50.0) -> bool:
    end = time.monotonic() + seconds
    while not is_true() and time.monotonic() < end:
        time.sleep(0.02)
    return is_true()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
async def test_threads_and_files_of_many_configurations_are_bounded(tmp_path: Path) -> None:
    with LocalAWS.running() as aws:
        for i in range(20):
            await tenant(tmp_path, f"t{i}").ainvoke("x")
        threads_then, files_then = threads(), files()
        for i in range(20, 60):
            await tenant(tmp_path, f"t{i}").ainvoke("x")
        gc.collect()

        assert until(lambda: threads() <= threads_then)
        # Those that are kept may have connected meanwhile (both ends are in this process), and have
        # their ledger's database open.
        assert until(lambda: files() <= files_then + 6 * MANAGERS_KEPT)
        # The records of the managers that were closed are in CloudWatch.
        counted = [f"t{i}/Models" for i in range(20)]
        assert until(
            lambda: all(aws.metrics.sum(name, "ModelInvocations") == 2 for name in counted)
        )


def test_many_configurations_share_connections_to_one_aws(tmp_path: Path) -> None:
    with LocalAWS.running():
        clients = [tenant(tmp_path, f"t{i}").model_manager.clients for i in range(3)]
        clients[0].close()
        other = ask(config=ConfigurationManager("t1", tmp_path)).model_manager.clients

    assert len({id(c.runtime()) for c in (*clients, other)}) == 1


def test_totals_outlive_a_collected_manager(tmp_path: Path) -> None:
    with LocalAWS.running():
        for name in [*(f"t{i}" for i in range(20)), "t0", "t0"]:
            llm = tenant(tmp_path, name, "metrics: {sink: none}\n")

    assert calls(llm.model_manager) == 3


def test_an_edited_file_continues_its_totals(tmp_path: Path) -> None:
    with LocalAWS.running():
        managers = []
        for tokens in range(1, 21):
            (tmp_path / "dev.yaml").write_text(
                f"metrics: {{sink: none}}\nagents: {{a: {{model: '{SONNET}', max_tokens: {tokens}}}}}"
            )
            managers.append(ask(config=ConfigurationManager("dev", tmp_path)).model_manager)

    assert len(set(map(id, managers))) == 20
    assert calls(managers[-1]) == 20


def test_a_manager_in_use_is_found_however_many_others_there_are(tmp_path: Path) -> None:
    with LocalAWS.running():
        first = tenant(tmp_path, "t", "metrics: {sink: none}\n")
        stream = first.stream("x")
        next(stream)
        for i in range(40):
            tenant(tmp_path, f"t{i}", "metrics: {sink: none}\n")

        assert tenant(tmp_path, "t", "metrics: {sink: none}\n").model_manager is first.model_manager
        assert list(stream)
        assert calls(first.model_manager) == 3


def test_a_call_that_outlives_its_model_and_manager_is_finished_and_counted(
    tmp_path: Path,
) -> None:
    with LocalAWS.running() as aws:
        llm = tenant(tmp_path, "t")
        stream = llm.stream("x")
        next(stream)
        llm.model_manager.forget()
        del llm
        for i in range(20):
            tenant(tmp_path, f"t{i}", "metrics: {sink: none}\n")

        assert list(stream)
        del stream
        gc.collect()
        tenant(tmp_path, "last", "metrics: {sink: none}\n")
        assert until(lambda: aws.metrics.sum("t/Models", "ModelInvocations") == 2)


def test_the_sinks_that_a_user_gave_stay_his_to_close(configured: Configure) -> None:
    class Sink:
        closed = 0

        def record(self, usage: object) -> None: ...

        def flush(self, timeout: float | None = None) -> None: ...

        def close(self) -> None:
            self.closed += 1

    sink = Sink()
    config = configured(f"a: {{model: '{SONNET}'}}")

    ModelManager(config, sinks=[sink]).chat_model("a").invoke("x")
    gc.collect()
    ManagedBedrockChat(agent_name="a", config=config)

    assert not until(lambda: sink.closed > 0, seconds=0.3)
