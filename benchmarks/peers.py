"""The same calls by LiteLLM's Router and pydantic-ai's FallbackModel, where they are installed."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Work = dict[str, "Callable[[int], Any]"]
"""By column: makes some calls, or returns a coroutine that does."""


def peers(url: str, primary: str, fallback: str) -> dict[str, Work]:
    """Return the work of each peer, by its name; print which are missing.

    Args:
        url: The endpoint of Bedrock Runtime.
        primary: The model that is called.
        fallback: The model that is called if the primary fails.
    """
    found = {}
    for name, module, made in (
        ("pydantic-ai FallbackModel", "pydantic_ai", of_pydantic_ai),
        ("LiteLLM Router", "litellm", of_litellm),
    ):
        if importlib.util.find_spec(module) is None:
            print(f"{name}: {module} is not installed (extra bench)")
        else:
            found[name] = made(url, primary, fallback)
    return found


def of_pydantic_ai(url: str, primary: str, fallback: str) -> Work:
    """Return the work of a FallbackModel, without an agent around it."""
    from pydantic_ai import direct
    from pydantic_ai.messages import ModelRequest
    from pydantic_ai.models.bedrock import BedrockConverseModel
    from pydantic_ai.models.fallback import FallbackModel
    from pydantic_ai.providers.bedrock import BedrockProvider

    session = boto3.Session(region_name="us-east-1")
    client: Any = session.client("bedrock-runtime", endpoint_url=url)
    provider = BedrockProvider(bedrock_client=client)
    model = FallbackModel(
        *(BedrockConverseModel(name, provider=provider) for name in (primary, fallback))
    )

    def asked(text: str) -> list[Any]:
        return [ModelRequest.user_text_prompt(text)]

    def stream() -> None:
        with direct.model_request_stream_sync(model, asked("long")) as events:
            for _ in events:
                pass

    async def astream() -> None:
        async with direct.model_request_stream(model, asked("long")) as events:
            async for _ in events:
                pass

    return _work(
        lambda: direct.model_request_sync(model, asked("x")),
        lambda: direct.model_request(model, asked("x")),
        stream,
        astream,
    )


def of_litellm(url: str, primary: str, fallback: str) -> Work:
    """Return the work of a Router with a fallback."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its own file, not one from the network
    litellm: Any = importlib.import_module("litellm")  # it does not export what it documents
    given = {"aws_bedrock_runtime_endpoint": url, "aws_region_name": "us-east-1"}
    router: Any = litellm.Router(
        [
            {"model_name": name, "litellm_params": {**given, "model": f"bedrock/converse/{model}"}}
            for name, model in (("primary", primary), ("fallback", fallback))
        ],
        fallbacks=[{"primary": ["fallback"]}],
    )

    def asked(text: str) -> dict[str, Any]:
        return {"model": "primary", "messages": [{"role": "user", "content": text}]}

    def stream() -> None:
        for _ in router.completion(**asked("long"), stream=True):
            pass

    async def astream() -> None:
        async for _ in await router.acompletion(**asked("long"), stream=True):
            pass

    return _work(
        lambda: router.completion(**asked("x")),
        lambda: router.acompletion(**asked("x")),
        stream,
        astream,
    )


def _work(
    call: Callable[[], Any],
    acall: Callable[[], Awaitable[Any]],
    stream: Callable[[], None],
    astream: Callable[[], Awaitable[None]],
) -> Work:
    """Return the work of functions that make one call or read one stream."""

    def repeated(function: Callable[[], Any], each: int = 1) -> Callable[[int], None]:
        def some(times: int) -> None:
            for _ in range(max(1, times // each)):
                function()

        return some

    def awaited(function: Callable[[], Awaitable[Any]], each: int = 1) -> Callable[[int], Any]:
        async def some(times: int) -> None:
            for _ in range(max(1, times // each)):
                await function()

        return some

    return {
        "call": repeated(call),
        "async call": awaited(acall),
        "stream": repeated(stream, 10),
        "async stream": awaited(astream, 10),
    }
