"""The methods of a chat model that langchain-core calls or inspects in every call."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel

from langchain_modelmgr import ManagedBedrockChat
from tests.models import SONNET

if TYPE_CHECKING:
    from tests.agents import Configure


class WithFewer(ManagedBedrockChat):
    """A subclass whose methods have other parameters."""

    def _generate(self, messages: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError

    async def _agenerate(self, messages: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError


@pytest.mark.parametrize("name", ["_generate", "_agenerate"])
def test_each_class_gives_the_signature_of_its_own_method(name: str) -> None:
    ours = inspect.signature(getattr(ManagedBedrockChat, name))
    theirs = inspect.signature(getattr(WithFewer, name))
    assert list(ours.parameters) == ["self", "messages", "stop", "run_manager", "kwargs"]
    assert list(theirs.parameters) == ["self", "messages", "kwargs"]


def test_handlers_get_the_parameters_of_langchains_own_method(
    configured: Configure,
) -> None:
    seen: list[dict[str, Any]] = []

    class Handler(BaseCallbackHandler):
        def on_chat_model_start(self, *_: Any, **kwargs: Any) -> None:
            seen.append(kwargs["invocation_params"])

    llm = ManagedBedrockChat("a", config=configured(f"a: {{model: '{SONNET}', fallbacks: []}}"))
    llm.invoke("Hi", {"callbacks": [Handler()]}, stop=["END"], temperature=0.5)
    assert seen == [BaseChatModel._get_invocation_params(llm, stop=["END"], temperature=0.5)]
