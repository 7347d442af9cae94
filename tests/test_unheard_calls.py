"""Calls without a handler that need the listener all the same, or that get one after all."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_debug
from langchain_core.messages import HumanMessage
from langchain_core.tracers import context
from langchain_core.tracers.context import register_configure_hook

from langchain_modelmgr import ManagedBedrockChat, langsmith_cost
from tests.models import HAIKU, SONNET
from tests.test_unheard_runs import MODES, ids_of, model, record_of

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

CALLS = pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
TENANT: Any = {"metadata": {"tenant": "t1"}, "tags": ["nightly"], "run_id": UUID(int=7)}


def has_the_tenants_run(llm: ManagedBedrockChat) -> bool:
    record = record_of(llm)
    return (record.metadata["tenant"], *record.tags, record.run_id) == (
        "t1",
        "nightly",
        str(UUID(int=7)),
    )


@CALLS
@pytest.mark.parametrize("switch", ["the field", "the keyword"])
async def test_an_answer_that_is_streamed_has_its_run(
    configured: Configure, local_aws: LocalAWS, mode: str, switch: str
) -> None:
    llm: Any = model(configured, streaming=True) if switch == "the field" else model(configured)
    streamed = llm if switch == "the field" else llm.bind(stream=True)
    await ids_of(llm, mode, {"metadata": {"tenant": "another"}})

    await ids_of(streamed, mode, TENANT)

    assert has_the_tenants_run(llm)


class SizedCache(InMemoryCache):
    """A cache that is false for ``bool``."""

    def __len__(self) -> int:
        return 0


@CALLS
async def test_an_answer_of_the_response_cache_has_its_run(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    llm = model(configured, cache=SizedCache())
    await ids_of(llm, mode, {"metadata": {"tenant": "another"}})

    await ids_of(llm, mode, TENANT)

    assert record_of(llm).outcome == "cached"
    assert has_the_tenants_run(llm)


class KeepsItsRun(ManagedBedrockChat):
    """Passes no run manager on."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        return super()._generate(messages, stop)

    async def _agenerate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> Any:
        return await super()._agenerate(messages, stop)


@CALLS
async def test_a_subclass_that_keeps_the_run_manager_has_its_run(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    llm = KeepsItsRun(agent_name="a", config=configured(f"a: {{model: '{SONNET}', fallbacks: []}}"))

    await ids_of(llm, mode, TENANT)

    assert has_the_tenants_run(llm)


@CALLS
async def test_a_call_without_its_run_has_not_that_of_an_earlier_one(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    llm = model(configured)
    await ids_of(llm, "stream", {"metadata": {"tenant": "another"}})
    await ids_of(llm, mode, None)

    llm._generate([HumanMessage("how many?")])

    record = record_of(llm)
    assert (record.run_id, record.metadata) == (None, {})


@MODES
async def test_the_debug_mode_hears_the_model_that_served(
    configured: Configure, local_aws: LocalAWS, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    llm = model(configured)
    local_aws.fail(SONNET, "ThrottlingException")
    set_debug(True)
    try:
        await ids_of(llm, mode, None)
    finally:
        set_debug(False)

    printed = capsys.readouterr().out
    assert f'"model_name": "{HAIKU}"' in printed


@MODES
@pytest.mark.parametrize("known", [True, False])
async def test_a_registered_handler_hears_the_model_that_served(
    configured: Configure,
    local_aws: LocalAWS,
    mode: str,
    known: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hook's class is created for each run while its environment variable is set."""
    heard: list[str] = []

    class Registered(BaseCallbackHandler):
        def on_llm_end(self, response: Any, **_: Any) -> None:
            heard.append(response.llm_output["model_name"])

    variable: ContextVar[Any] = ContextVar("registered", default=None)
    monkeypatch.setattr(context, "_configure_hooks", list(context._configure_hooks))
    register_configure_hook(
        variable, inheritable=True, handle_class=Registered, env_var="MODELMGR_TEST_HOOK"
    )
    if not known:  # as in a version of langchain-core without the private name
        monkeypatch.setattr(langsmith_cost, "_contexts", object)
    llm = model(configured)
    local_aws.fail(SONNET, "ThrottlingException", times=2)

    await ids_of(llm, mode, None)
    assert heard == []
    monkeypatch.setenv("MODELMGR_TEST_HOOK", "true")
    await ids_of(llm, mode, None)

    assert heard == [HAIKU]
