"""The keys of a budget: by, agent, warn_at, degrade_at, unpriced, wait_seconds; bare models."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_aws import ChatBedrockConverse

from langchain_modelmgr import ModelManager, UsageCallbackHandler
from langchain_modelmgr.budgets import places
from langchain_modelmgr.budgets.places import STORES
from langchain_modelmgr.errors import BudgetExceededError, BudgetStoreError, ConfigurationError
from tests.budgets.conftest import SONNET_COST, Bills
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure

AGENT = f"a: {{model: '{SONNET}', fallbacks: [], max_tokens: 100}}"
TWO = f"{AGENT}\nb: {{model: '{SONNET}', fallbacks: [], max_tokens: 100}}"


def figures(manager: ModelManager) -> dict[tuple[str, str | None], Any]:
    return {(s.name, s.key): s.spent for s in manager.budget_status()}


def test_each_value_of_by_has_a_budget_of_its_own(configured: Configure, bills: Bills) -> None:
    manager = ModelManager(
        configured(AGENT, "budgets: {t: {by: metadata.tenant, tokens: 200, per: day}}")
    )
    llm = manager.chat_model("a")

    for tenant in ("acme", "acme", "umbra"):
        llm.invoke("x", {"metadata": {"tenant": tenant}})
    llm.invoke("x")

    assert figures(manager) == {("t", "acme"): 60, ("t", "umbra"): 30, ("t", None): 30}
    manager.reset_budget("t", "acme")
    assert figures(manager)["t", "acme"] == 0
    assert figures(manager)["t", "umbra"] == 30


def test_a_list_of_agents_shares_a_budget_and_by_agent_makes_one_each(
    configured: Configure, bills: Bills
) -> None:
    text = """budgets:
      both: {agent: [a, b], usd: 1, per: day}
      each: {by: agent, usd: 1, per: day}
      mine: {agent: a, usd: 1, per: month}"""
    manager = ModelManager(configured(TWO, text))

    for name in "ab":
        manager.chat_model(name).invoke("x")

    assert figures(manager) == {
        ("both", None): 2 * SONNET_COST, ("each", "a"): SONNET_COST, ("each", "b"): SONNET_COST,
        ("mine", None): SONNET_COST,
    }  # fmt: skip


def test_a_raised_limit_needs_no_reset(configured: Configure, bills: Bills) -> None:
    text = "budgets: {{t: {{tokens: {}, per: total}}}}"
    ModelManager(configured(AGENT, text.format(200))).chat_model("a").invoke("x" * 30)
    tight = ModelManager(configured(AGENT, text.format(160))).chat_model("a")
    with pytest.raises(BudgetExceededError):
        tight.invoke("x" * 30)

    wide = ModelManager(configured(AGENT, text.format(300)))
    wide.chat_model("a").invoke("x" * 30)

    assert figures(wide) == {("t", None): 60}


def test_warn_at_logs_once_a_window(
    configured: Configure, bills: Bills, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ModelManager(configured(AGENT, "budgets: {t: {usd: 0.01, per: month, warn_at: 0.2}}"))

    for _ in range(4):
        manager.chat_model("a").invoke("x")

    assert caplog.text.count("budget t: ") == 1


def test_degrade_at_calls_the_cheaper_candidate_first(configured: Configure, bills: Bills) -> None:
    agents = f"a: {{model: '{SONNET}', fallbacks: ['{HAIKU}'], max_tokens: 100}}"
    manager = ModelManager(
        configured(agents, "budgets: {t: {usd: 1, per: month, degrade_at: 0.0003}}")
    )
    llm = manager.chat_model("a")

    llm.invoke("x")
    report = llm.invoke("x").response_metadata["model_manager"]

    assert bills.models == [SONNET, HAIKU]
    assert report["fallback_used"] is True
    assert report["budgets"][0]["name"] == "t"


def test_degrade_to_names_the_model(configured: Configure, bills: Bills) -> None:
    text = f"budgets: {{t: {{usd: 1, per: month, degrade_at: 0.0003, degrade_to: '{HAIKU}'}}}}"
    manager = ModelManager(configured(AGENT, text))
    llm = manager.chat_model("a")

    for _ in range(2):
        llm.invoke("x")

    assert bills.models == [SONNET, HAIKU]
    (status,) = manager.budget_status()
    assert status.held == status.uncertain == 0


def test_degrade_to_never_leaves_the_geography(configured: Configure, bills: Bills) -> None:
    agents = f"a: {{model: 'eu.{SONNET}', fallbacks: [], max_tokens: 100}}"
    text = f"budgets: {{t: {{usd: 1, per: month, degrade_at: 0.0003, degrade_to: 'us.{HAIKU}'}}}}"
    llm = ModelManager(configured(agents, text, region="eu-west-1")).chat_model("a")

    for _ in range(2):
        llm.invoke("x")

    assert bills.models == [f"eu.{SONNET}"] * 2


def test_a_model_without_a_price_is_refused_or_allowed(configured: Configure, bills: Bills) -> None:
    agents = "a: {model: acme.unknown-v1:0, fallbacks: [], max_tokens: 100}"
    models = "models: {acme.unknown-v1:0: {context_window: 1000}}"

    def call(unpriced: str) -> None:
        text = f"budgets: {{t: {{usd: 1, per: day, unpriced: {unpriced}}}}}\n{models}"
        ModelManager(configured(agents, text)).chat_model("a").invoke("x")

    with pytest.raises(BudgetExceededError, match=r"its price is unknown .* set its prices"):
        call("refuse")
    call("allow")

    assert len(bills.models) == 1


def test_wait_seconds_waits_for_held_money(
    configured: Configure, bills: Bills, local_aws: LocalAWS
) -> None:
    text = "budgets: {t: {tokens: 150, per: day, wait_seconds: 60}}"
    manager = ModelManager(configured(AGENT, text))
    llm = manager.chat_model("a")
    stream = llm.stream("x")
    next(stream)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(llm.invoke("x")))
    thread.start()
    while not thread.is_alive():
        time.sleep(0.01)

    list(stream)
    thread.join(60)

    assert len(answers) == 1
    (status,) = manager.budget_status()
    assert (status.spent, status.held) == (60, 0)


def test_a_bare_model_is_added_afterwards_and_never_refused(
    configured: Configure, bills: Bills, local_aws: LocalAWS
) -> None:
    manager = ModelManager(configured(AGENT, "budgets: {t: {tokens: 20, per: day}}"))
    bare: Any = ChatBedrockConverse(
        model_id=SONNET,
        client=local_aws.client("bedrock-runtime"),
        callbacks=[UsageCallbackHandler(manager, "a")],
    )

    bare.invoke("x")

    assert figures(manager) == {("t", None): 30}
    with pytest.raises(BudgetExceededError):
        manager.chat_model("a").invoke("x")


def test_without_budgets_no_store_is_opened(configured: Configure, bills: Bills) -> None:
    config = configured(AGENT)
    manager = ModelManager(config)

    manager.chat_model("a").invoke("x")

    assert not list(Path(config.config_dir).rglob("budgets.db*"))
    assert manager.budget_status() == []


def test_a_place_that_cant_hold_a_limit_is_a_configuration_error(
    configured: Configure, bills: Bills, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = configured(AGENT, "budgets: {t: {usd: 1, per: day}}")
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setenv("MODELMGR_STATE_DIR", str(blocked))

    with pytest.raises(ConfigurationError, match=r"can't be written .* MODELMGR_STATE_DIR"):
        ModelManager(config)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    with pytest.raises(ConfigurationError, match=r"AWS Lambda .* state: memory"):
        ModelManager(config)


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nhost:/x {tmp_path}/share nfs4 rw 0 0\n")
    monkeypatch.setattr(places, "_MOUNTS", mounts)
    (tmp_path / "share").mkdir()

    assert places.unfit_because(tmp_path / "budgets.db") is None
    wrong = places.unfit_because(tmp_path / "share" / "budgets.db")

    assert wrong is not None
    assert "network file system (nfs4)" in wrong


def test_a_store_that_cant_be_used_raises_a_retryable_error_and_sends_nothing(
    configured: Configure, bills: Bills, tmp_path: Path
) -> None:
    manager = ModelManager(
        configured(AGENT, "state_required: true\nbudgets: {t: {usd: 1, per: day}}")
    )
    (path,) = (tmp_path / "state").rglob("budgets.db")
    path.write_bytes(b"this is no database" * 100)

    with pytest.raises(BudgetStoreError) as caught:
        manager.chat_model("a").invoke("x")

    assert caught.value.is_retryable
    assert bills.models == []


def test_without_a_store_calls_go_on_with_the_last_figures(
    configured: Configure, bills: Bills, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ModelManager(configured(AGENT, "budgets: {t: {tokens: 200, per: total}}"))
    llm = manager.chat_model("a")
    llm.invoke("x")
    (path,) = (tmp_path / "state").rglob("budgets.db")
    whole = {file: file.read_bytes() for file in path.parent.glob("budgets.db*")}
    STORES.get("auto", "modelmgr").close()
    whole = {file: file.read_bytes() for file in path.parent.glob("budgets.db*")}
    path.write_bytes(b"this is no database" * 100)

    (report,) = llm.invoke("x").response_metadata["model_manager"]["budgets"]
    assert report["unconfirmed"] is True
    with pytest.raises(BudgetExceededError) as caught:
        for _ in range(10):
            llm.invoke("x")

    assert caught.value.spent == len(bills.models) * 30 > 60
    assert "the store of the budgets can't be reached" in caplog.text
    for file, content in whole.items():
        file.write_bytes(content)
    with pytest.raises(BudgetExceededError):
        llm.invoke("x")
        llm.invoke("x")
    assert figures(manager) == {("t", None): len(bills.models) * 30}


def test_an_unknown_budget_cant_be_reset(configured: Configure) -> None:
    manager = ModelManager(configured(AGENT, "budgets: {daily: {usd: 1, per: day}}"))

    with pytest.raises(ConfigurationError, match="unknown budget 'dayly'; did you mean 'daily'"):
        manager.reset_budget("dayly")


def test_limits_are_decimal_usd(configured: Configure) -> None:
    manager = ModelManager(configured(AGENT, "budgets: {daily: {usd: 0.1, per: day}}"))

    (status,) = manager.budget_status()

    assert status.limit == status.remaining == Decimal("0.1")
