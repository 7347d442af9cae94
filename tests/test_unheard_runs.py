"""Calls and streams that no callback handler hears: the same records, runs and ids as heard ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import (
    AsyncCallbackManager,
    BaseCallbackHandler,
    CallbackManager,
    get_usage_metadata_callback,
)
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import collect_runs

from langchain_modelmgr import ManagedBedrockChat
from langchain_modelmgr.callbacks import RunListener
from langchain_modelmgr.metrics import MemorySink
from tests.chain.awaited import until
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langchain_core.runnables import Runnable, RunnableConfig

    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.held_replies import HeldReplies

STREAMS = ["stream", "astream"]
MODES = pytest.mark.parametrize("mode", ["invoke", "ainvoke", *STREAMS])
STREAM_MODES = pytest.mark.parametrize("mode", STREAMS)


class Heard(BaseCallbackHandler):
    """Counts what it hears: the starts and ends of runs, and tokens."""

    def __init__(self) -> None:
        self.runs: list[UUID] = []
        self.ends = 0
        self.tokens = 0

    def on_chat_model_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.runs.append(run_id)

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.tokens += 1

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.ends += 1


def model(configured: Configure, **fields: Any) -> ManagedBedrockChat:
    config = configured(f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}")
    return ManagedBedrockChat("a", config=config, **fields)


async def ids_of(llm: Runnable[Any, Any], mode: str, config: RunnableConfig | None) -> set[str]:
    """Return the id of the answer, or those of a stream's chunks."""
    if mode == "invoke":
        return {llm.invoke("how many?", config).id}
    if mode == "ainvoke":
        return {(await llm.ainvoke("how many?", config)).id}
    if mode == "stream":
        return {chunk.id for chunk in llm.stream("how many?", config)}
    return {chunk.id async for chunk in llm.astream("how many?", config)}


def record_of(llm: ManagedBedrockChat) -> Any:
    (sink,) = llm.model_manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    return sink.records[-1]


def given(config: dict[str, Any], *handlers: BaseCallbackHandler) -> Any:
    """Return a copy of a config in which handlers are added to its callbacks."""
    callbacks = config.get("callbacks")
    if isinstance(callbacks, CallbackManager | AsyncCallbackManager):
        callbacks = callbacks.copy()
        for handler in handlers:
            callbacks.add_handler(handler)
        return {**config, "callbacks": callbacks}
    return {**config, "callbacks": [*(callbacks or ()), *handlers]} if handlers else dict(config)


def with_metadata(manager: Any) -> Any:
    manager.add_tags(["parent"])
    manager.add_metadata({"tenant": "outer", "nested": {"a": 1}})
    return manager


@MODES
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tags": ["nightly"], "metadata": {"tenant": "t1", "ls_provider": "mine"}},
        {"run_id": UUID(int=7)},
        {"callbacks": [], "metadata": {"nested": {"b": 2}}},
        {"callbacks": with_metadata(CallbackManager([])), "metadata": {"nested": {"b": 2}}},
        {"callbacks": with_metadata(AsyncCallbackManager([])), "tags": ["nightly"]},
    ],
    ids=["nothing", "tags", "run id", "no callbacks", "manager", "async manager"],
)
async def test_records_and_ids_are_the_same_without_a_handler(
    configured: Configure, local_aws: LocalAWS, mode: str, config: dict[str, Any]
) -> None:
    fields = {"tags": ["own"], "metadata": {"team": "stock", "nested": {"c": 3}}}
    llm, handler = model(configured, **fields), Heard()

    (heard_id,) = await ids_of(llm, mode, given(config, handler))
    heard = record_of(llm)
    (quiet_id,) = await ids_of(llm, mode, given(config))
    quiet = record_of(llm)

    assert handler.ends == 1
    assert handler.tokens > 1 or mode not in STREAMS
    assert sorted(quiet.tags) == sorted(heard.tags)
    assert quiet.metadata == heard.metadata
    assert quiet.metadata["team"] == "stock"
    for made, record in ((heard_id, heard), (quiet_id, quiet)):
        assert record.run_id in made
    if "run_id" in config:
        assert quiet.run_id == str(config["run_id"])
    else:
        assert quiet.run_id != heard.run_id


@MODES
async def test_the_listener_hears_nothing(
    configured: Configure, local_aws: LocalAWS, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, heard = model(configured), Heard()
    for name in ("on_chat_model_start", "on_llm_new_token", "on_llm_end"):
        monkeypatch.setattr(RunListener, name, getattr(heard, name))

    await ids_of(llm, mode, None)

    assert (heard.runs, heard.tokens, heard.ends) == ([], 0, 0)


@STREAM_MODES
async def test_two_streams_that_are_read_in_turns_keep_their_runs(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    llm = model(configured)
    first, second = ({"metadata": {"tenant": name}} for name in ("t1", "t2"))
    if mode == "stream":
        pair = [llm.stream("how many?", one) for one in (first, second)]  # type: ignore[arg-type]
        for _ in zip(*pair, strict=True):
            pass
    else:
        apair = [llm.astream("how many?", one) for one in (first, second)]  # type: ignore[arg-type]
        await in_turns(apair)

    (sink,) = llm.model_manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    assert sorted(r.metadata["tenant"] for r in sink.records) == ["t1", "t2"]
    assert len({r.run_id for r in sink.records}) == 2


async def in_turns(streams: list[AsyncIterator[Any]]) -> None:
    """Read streams to their ends, a chunk of each at a time."""
    while streams:
        for stream in list(streams):
            if await anext(stream, None) is None:
                streams.remove(stream)


@MODES
async def test_inside_a_chain_the_runs_metadata_arrives(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    llm = model(configured)
    chain: Any = RunnableLambda(lambda text: text) | llm
    run = uuid4()

    await ids_of(chain, mode, {"metadata": {"tenant": "t1"}, "tags": ["x"], "run_id": run})

    record = record_of(llm)
    assert record.metadata["tenant"] == "t1"
    assert "x" in record.tags
    assert record.run_id not in (None, str(run))  # the id is the chain's


@MODES
async def test_a_handler_of_the_context_hears_the_model_that_served(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    llm = model(configured)
    local_aws.fail(SONNET, "ThrottlingException")

    with get_usage_metadata_callback() as counted:
        await ids_of(llm, mode, None)

    assert list(counted.usage_metadata) == [HAIKU]


@STREAM_MODES
async def test_a_handler_that_joins_before_the_first_chunk_hears_the_stream(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    llm = model(configured)
    local_aws.fail(SONNET, "ThrottlingException")

    stream: Any = llm.stream("how many?") if mode == "stream" else llm.astream("how many?")
    with collect_runs() as collected:
        if mode == "stream":
            list(stream)
        else:
            [chunk async for chunk in stream]

    (run,) = collected.traced_runs
    assert run.extra["metadata"]["ls_model_name"] == HAIKU
    assert str(run.id) == record_of(llm).run_id


@MODES
async def test_a_models_own_handler_hears_the_run(
    configured: Configure, local_aws: LocalAWS, mode: str
) -> None:
    handler = Heard()
    llm = model(configured, callbacks=[handler])

    await ids_of(llm, mode, None)

    assert handler.ends == 1
    assert str(handler.runs[0]) == record_of(llm).run_id


@STREAM_MODES
async def test_a_stream_that_is_left_ends_its_attempt(
    configured: Configure, held: HeldReplies, mode: str
) -> None:
    llm = model(configured)
    held.hold(SONNET, after=2)
    if mode == "stream":
        stream: Any = llm.stream("how many?")
        next(stream)
        stream.close()
    else:
        astream: Any = llm.astream("how many?")
        await anext(astream)
        await astream.aclose()

    (sink,) = llm.model_manager.totals.sinks.sinks
    assert isinstance(sink, MemorySink)
    await until(lambda: len(sink.records) == 1)  # its thread may record it
    assert record_of(llm).outcome == "aborted"


def test_a_loop_that_ends_closes_a_stream_that_its_reader_kept(
    configured: Configure, held: HeldReplies
) -> None:
    llm, kept, problems = model(configured), list[Any](), list[Any]()
    held.hold(SONNET, after=2)

    async def left_open() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: problems.append(what))
        kept.append(llm.astream("how many?"))
        await anext(kept[0])

    asyncio.run(left_open())

    assert problems == []


def test_a_model_that_does_not_stream_has_the_id_of_its_config(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm, run = model(configured, disable_streaming=True), uuid4()

    (chunk,) = list(llm.stream("how many?", {"run_id": run}))

    assert record_of(llm).run_id == str(run)
    assert chunk.response_metadata["model_manager"]["model_id"] == SONNET
