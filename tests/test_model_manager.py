"""The design guide's unit tests: ``python -m unittest tests.test_model_manager -v``."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from langchain_modelmgr import ConfigurationManager, ModelManager, ModelManagerError
from langchain_modelmgr.local import LocalAWS
from tests.support import ROOT

SONNET = "anthropic.claude-3-5-sonnet-20241022-v2:0"
HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"
OPUS = "anthropic.claude-3-opus-20240229-v1:0"
TITAN = "amazon.titan-text-premier-v1:0"
LLAMA = "meta.llama3-70b-instruct-v1:0"
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]


class ModelManagerTest(unittest.TestCase):
    """The guide's promises, against a local AWS of the test's own."""

    def setUp(self) -> None:
        self.aws = self.enterContext(LocalAWS())
        self.enterContext(self.aws.environment())
        self.manager = self.enterContext(ModelManager(ConfigurationManager("dev", ROOT / "config")))

    def test_an_agent_has_the_model_of_its_yaml(self) -> None:
        self.assertEqual(self.manager.get_model_for_agent("sql_agent"), SONNET)
        self.assertEqual(self.manager.get_model_for_agent("inventory_optimizer"), HAIKU)

    def test_sonnet_falls_to_haiku_and_all_others_to_sonnet(self) -> None:
        models = (SONNET, HAIKU, OPUS, TITAN, LLAMA)
        listed = [row["model_id"] for row in self.manager.list_available_models()]
        fallbacks = {model_id: self.manager.get_fallback_model(model_id) for model_id in models}

        self.assertEqual(listed[:5], list(models))
        self.assertEqual(fallbacks.pop(SONNET), HAIKU)
        self.assertEqual(set(fallbacks.values()), {SONNET})

    def test_titan_takes_no_tools(self) -> None:
        answer = self.manager.validate_model_compatibility(TITAN, requires_tools=True)

        self.assertEqual(answer, (False, "Model does not support tools"))

    def test_a_call_answers_and_is_counted(self) -> None:
        response = self.manager.invoke_model("sql_agent", HELLO, system_prompt="Be brief")

        self.assertTrue(response["success"])
        self.assertEqual(response["model_id"], SONNET)
        self.assertEqual(self.manager.get_usage_summary()["total_invocations"], 1)

    def test_a_throttled_model_falls_back(self) -> None:
        self.aws.fail(SONNET, "ThrottlingException", times=1)

        response = self.manager.invoke_model("sql_agent", HELLO, use_fallback=True)

        self.assertTrue(response["fallback_used"])
        self.assertEqual(response["model_id"], HAIKU)

    def test_without_a_fallback_the_error_is_raised(self) -> None:
        self.aws.fail(SONNET, "AccessDeniedException", times=9)

        with self.assertRaises(ModelManagerError):
            self.manager.invoke_model("sql_agent", HELLO, use_fallback=False)

    def test_metrics_reach_cloudwatch_when_they_are_flushed(self) -> None:
        self.manager.invoke_model("sql_agent", HELLO)
        self.manager.flush_metrics()

        published = self.aws.metrics.sum("supply-chain-dev/Models", "ModelInvocations")
        self.assertEqual(published, 1)

    def test_an_unreadable_configuration_says_what_is_wrong(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "dev.yaml").write_text("agents: {a: {modle: x}}", "utf-8")

            with self.assertRaisesRegex(ModelManagerError, "did you mean 'model'"):
                ConfigurationManager("dev", folder)


if __name__ == "__main__":
    unittest.main()
