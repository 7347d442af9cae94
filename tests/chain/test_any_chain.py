"""Any chain, any failures, any durations, on a clock of its own: the promises hold."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import groupby
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langgraph.errors import GraphInterrupt

from langchain_modelmgr.bedrock import time_budget
from langchain_modelmgr.chain import call, fallback
from langchain_modelmgr.chain.call_input import ChainInput, ChainRules
from langchain_modelmgr.chain.compatibility import Needs
from langchain_modelmgr.chain.cooldown import Caller, Cooldowns
from langchain_modelmgr.chain.fallback import CandidateChain
from langchain_modelmgr.chain.policy import BACKOFF_CAP_SECONDS, HealthEffect
from langchain_modelmgr.chain.request import AttemptRequest, ChatRequest
from langchain_modelmgr.errors import (
    BedrockAPIError,
    BedrockAuthenticationError,
    BedrockConnectionError,
    BedrockContextOverflowError,
    BedrockError,
    BedrockInvalidRequestError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
    BedrockTimeoutError,
    ModelManagerError,
)
from langchain_modelmgr.runtime.watchdog import Watchdog
from langchain_modelmgr.usage import meter

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS: list[type[BedrockError]] = [
    BedrockAPIError,
    BedrockAuthenticationError,
    BedrockConnectionError,
    BedrockContextOverflowError,
    BedrockInvalidRequestError,
    BedrockNotFoundError,
    BedrockPermissionDeniedError,
    BedrockRateLimitError,
    BedrockTimeoutError,
]
TIMEOUT = 7.0


class World:
    """A clock that only sleeps and attempts move, and a log of what was done."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.calls: list[str] = []
        self.pauses: list[int] = []

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds <= BACKOFF_CAP_SECONDS
        self.now += seconds
        if seconds:
            self.pauses.append(len(self.calls))

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


class Step(SimpleNamespace):
    """One attempt's fate: how long it takes, what it says first, how it fails or that it does not."""

    seconds: float
    failure: Any
    said: int


failures = st.one_of(
    st.none(),
    st.builds(
        lambda kind, code, retry_after, lasting: (kind, code, retry_after, lasting),
        st.sampled_from(KINDS),
        st.sampled_from(["", "ConnectionClosedError"]),
        st.sampled_from([None, 0.5, 3.0, 900.0]),
        st.booleans(),
    ),
)
steps = st.builds(
    Step,
    seconds=st.floats(0, 2 * TIMEOUT),
    failure=failures,
    said=st.integers(0, 3),
)


class Fake(Runnable[AttemptRequest, Any]):
    """A candidate that does what its script says, and then answers."""

    def __init__(self, world: World, name: str, script: list[Step]) -> None:
        self.world, self.called, self.script = world, name, list(script)
        self.model_id = self.public_id = name
        model = SimpleNamespace(model_id=name, context_window=len(name), price_unknown=None)
        self.settings = SimpleNamespace(model=model, label=name, health_key=lambda _: name)
        self.is_unresolved = False
        self.region = None

    def unsuited_because(self, request: ChatRequest) -> str | None:
        return None

    def _fate(self, attempt: AttemptRequest) -> tuple[int, BedrockError | None]:
        step = self.script.pop(0) if self.script else Step(seconds=0.1, failure=None, said=1)
        self.world.calls.append(self.called)
        attempt.meter.sent = True
        allowed = attempt.time_budget.begun_with
        self.world.now += min(step.seconds, allowed)
        failure: BedrockError | None = None
        if step.seconds > allowed:
            failure = BedrockTimeoutError("too slow")
        elif step.failure is not None:
            kind, code, retry_after, lasting = step.failure
            failure = kind("x", code=code, retry_after=retry_after)
            failure.is_lasting = lasting
        return step.said, failure

    def invoke(self, input: AttemptRequest, config: Any = None, **_: Any) -> ChatResult:
        _said, failure = self._fate(input)
        self._end(input, failure)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.called))])

    async def ainvoke(self, input: AttemptRequest, config: Any = None, **_: Any) -> ChatResult:
        return self.invoke(input)

    def stream(self, input: AttemptRequest, config: Any = None, **_: Any) -> Iterator[Any]:
        said, failure = self._fate(input)
        for _i in range(said):
            yield ChatGenerationChunk(message=AIMessageChunk(content=self.called))
        self._end(input, failure)

    async def astream(self, input: AttemptRequest, config: Any = None, **_: Any) -> Any:
        for chunk in self.stream(input):
            yield chunk

    @staticmethod
    def _end(attempt: AttemptRequest, failure: BedrockError | None) -> None:
        if failure is None:
            attempt.meter.finish("answered")
            return
        attempt.meter.finish("failed", type(failure).__name__)
        raise failure


class Account:
    """Counts what a call enters."""

    def __init__(self) -> None:
        self.attempts = 0
        self.calls: list[Any] = []

    def attempt_ended(self, meter: Any, model: Any, **_: Any) -> Any:
        self.attempts += 1
        return SimpleNamespace(cost_usd=None, estimated_wasted_cost_usd=None)

    def call_ended(self, *, answered: bool | None, **_: Any) -> None:
        self.calls.append(answered)


def _chain(
    world: World, scripts: list[list[Step]], retries: int, deadline: float, cooldown: float
) -> CandidateChain:
    first, *rest = (Fake(world, "abcdefg"[: i + 1], s) for i, s in enumerate(scripts))
    rules = ChainRules(
        agent_name="a",
        environment="dev",
        max_retries=retries,
        deadline_seconds=deadline,
        cooldown_seconds=cooldown,
        cooldowns=Cooldowns(world.perf_counter),
        watchdog=Watchdog(),
        alternatives=lambda _: [],
    )
    return CandidateChain(runnable=first, fallbacks=rest, rules=rules)


def _given(account: Account) -> ChainInput:
    request = ChatRequest([], None, {}, Needs(), TIMEOUT)
    return ChainInput(request, cast("Any", account))


def _clocks(world: World) -> ExitStack:
    stack = ExitStack()
    for module in (call, fallback, time_budget, meter):
        stack.enter_context(patch.object(module, "time", world))
    stack.enter_context(patch.object(fallback, "asyncio", SimpleNamespace(sleep=world.asleep)))
    return stack


@settings(max_examples=300)
@given(
    scripts=st.lists(st.lists(steps, max_size=8), min_size=1, max_size=4),
    retries=st.integers(0, 4),
    deadline=st.floats(0.5, 60),
    cooldown=st.sampled_from([0.0, 30.0]),
    cooling=st.lists(st.integers(0, 3), unique=True, max_size=4),
    mode=st.sampled_from(["invoke", "ainvoke", "stream", "astream"]),
)
def test_no_failures_break_the_promises(
    scripts: list[list[Step]],
    retries: int,
    deadline: float,
    cooldown: float,
    cooling: list[int],
    mode: str,
) -> None:
    world, account = World(), Account()
    handed_on: list[str] = []
    with _clocks(world):
        chain = _chain(world, scripts, retries, deadline, cooldown)
        resting = _trip(chain, world, cooling)
        begun = world.now
        error = _run(chain, account, mode, handed_on)

    names = [candidate.model_id for candidate in chain.candidates]
    order = [name for name in names if name not in resting] + resting
    # An end, with exactly one call and one entry an attempt.
    assert account.calls == [error is None]
    assert account.attempts == len(world.calls)
    # Never beyond the deadline: an attempt has what is left, a sleep too.
    assert world.now - begun <= deadline + 0.01
    # Never more requests than promised: one a model, one for a dead connection, the last's retries.
    assert len(world.calls) <= 2 * len(names) + retries
    # In order, then who cools down, the first to end first; and back to the last in order alone.
    runs = [name for name, _ in groupby(world.calls)]
    positions = [order.index(name) for name in runs]
    last_in_order = [name for name in runs if name not in resting][-1:]
    if positions != sorted(positions):
        assert runs[-1:] == last_in_order
        assert positions[:-1] == sorted(positions[:-1])
    # No pause is for another model: one that is called after a pause was called before it.
    for done in world.pauses:
        assert set(world.calls[done : done + 1]) <= set(world.calls[:done])
    # Never two models' text, nothing twice.
    assert len(set(handed_on)) <= 1
    if error is not None:
        assert isinstance(error, ModelManagerError)
        assert len(error.attempts) == len(world.calls)
        if handed_on and isinstance(error, BedrockError):
            assert error.partial_text == "".join(handed_on)
        # No model is missing: every one is named, as tried or as skipped.
        if not handed_on and _could_go_on(error):
            assert all(f"{name}: " in str(error) for name in names)


def _could_go_on(error: ModelManagerError) -> bool:
    stops = {"BedrockAuthenticationError", "BedrockInvalidRequestError"}
    return not stops & {attempt.error for attempt in error.attempts}


def _trip(chain: CandidateChain, world: World, cooling: list[int]) -> list[str]:
    """Let some models cool down, and return them, the first whose cooldown ends first."""
    if not chain.rules.cooldown_seconds:
        return []
    caller = Caller("a", chain.rules.cooldown_seconds, TIMEOUT, lambda: "x")
    tripped = [chain.candidates[i] for i in cooling if i < len(chain.candidates)]
    for candidate in tripped:
        chain.rules.cooldowns.failed(candidate.model_id, caller, HealthEffect("opens"), world.now)
        world.now += 0.1
    return [candidate.model_id for candidate in tripped]


def _run(
    chain: CandidateChain, account: Account, mode: str, handed_on: list[str]
) -> Exception | None:
    async def astreamed() -> None:
        async for chunk in chain.astream(_given(account)):
            _take(chunk, handed_on)

    try:
        if mode == "invoke":
            chain.invoke(_given(account))
        elif mode == "ainvoke":
            asyncio.run(chain.ainvoke(_given(account)))
        elif mode == "stream":
            for chunk in chain.stream(_given(account)):
                _take(chunk, handed_on)
        else:
            asyncio.run(astreamed())
    except ModelManagerError as error:
        return error
    return None


def _take(chunk: ChatGenerationChunk, handed_on: list[str]) -> None:
    if chunk.text:
        handed_on.append(chunk.text)


@pytest.mark.parametrize(
    "error",
    [
        TypeError("a bug"),
        KeyError("a bug"),
        RuntimeError("a bug"),
        GraphInterrupt(),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_bugs_interrupts_and_cancellation_are_never_hidden(error: BaseException) -> None:
    world, account = World(), Account()
    chain = _chain(world, [[], []], 2, 60, 30)
    first = chain.candidates[0]

    def broken(*_: Any, **__: Any) -> Any:
        raise error

    with patch.object(first, "invoke", broken), pytest.raises(type(error)) as caught:
        chain.invoke(_given(account))

    assert caught.value is error
    assert world.calls == []
    assert account.calls == [False if isinstance(error, Exception) else None]
