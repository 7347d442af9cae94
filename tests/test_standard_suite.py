"""langchain-tests' own suites, against the local AWS: with a healthy primary, and a throttled one.

Skipped, with the reason:

- ``test_json_mode``: the Converse API has no JSON mode.
- ``test_audio_inputs``: ChatBedrockConverse takes no audio.
- ``test_stream_time``: it replays cassettes recorded against a real service.
- ``test_serdes``: a managed model is rebuilt from its YAML, not from LangChain's serialization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_modelmgr import ManagedBedrockChat
from langchain_modelmgr.chain.cooldown import FAILURES_IN_A_ROW
from tests.models import HAIKU, OPUS, SONNET
from tests.support import serve_local_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_modelmgr.local import LocalAWS


@pytest.fixture
def agents(local_aws: LocalAWS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both models support all that is tested, so that no test depends on the model that is called.
    local_aws.facts(HAIKU, supports_images=True)
    (tmp_path / "suite.yaml").write_text(
        f"aws: {{region: us-east-1, endpoint_url: '{local_aws.url}'}}\n"
        "metrics: {sink: none}\n"
        f"models:\n"
        f"  {SONNET}: {{supports_structured_output: true}}\n"
        f"  {HAIKU}: {{supports_structured_output: true, supports_images: true}}\n"
        f"agents: {{suite: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}}}\n"
    )
    monkeypatch.setenv("MODELMGR_CONFIG_DIR", str(tmp_path))


class _Suite:
    chat_model_class: ClassVar[Any] = ManagedBedrockChat
    chat_model_params: ClassVar[dict[str, Any]] = {
        "agent_name": "suite",
        "environment": "suite",
        "temperature": 0,
    }
    standard_chat_model_params: ClassVar[dict[str, Any]] = {}


@pytest.mark.usefixtures("agents")
class TestUnit(_Suite, ChatModelUnitTests):
    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"MODELMGR_ENV": "suite"}, {"agent_name": "suite"}, {"agent_name": "suite"}


@pytest.mark.usefixtures("agents")
@pytest.mark.filterwarnings("ignore:Bedrock Converse may require a filename:UserWarning")
class TestHealthy(_Suite, ChatModelIntegrationTests):
    supports_image_inputs = True
    supports_image_urls = False
    supports_pdf_inputs = True
    supports_image_tool_message = True
    supports_pdf_tool_message = True
    supports_anthropic_inputs = True
    supports_model_override = True
    model_override_value = OPUS

    @pytest.fixture(autouse=True)
    def local_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        serve_local_files(monkeypatch)


class TestThrottled(TestHealthy):
    @pytest.fixture(autouse=True)
    def throttled(self, local_aws: LocalAWS) -> None:
        local_aws.fail(SONNET, "ThrottlingException", times=None)

    @pytest.fixture(autouse=True)
    def only_the_fallback_answered(self, local_aws: LocalAWS) -> Iterator[None]:
        yield
        sent = local_aws.requests(SONNET), local_aws.requests(HAIKU)
        assert sent[0] == min(sent[1], FAILURES_IN_A_ROW)  # then it cools down
