"""What a notebook shows of models, answers, summaries and checks: tables, escaped, without colours."""

from __future__ import annotations

import copy
import json
import pickle
import re
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain_core.caches import InMemoryCache

from langchain_modelmgr import ManagedBedrockChat, ModelManager
from langchain_modelmgr.runtime.html_table import html_table
from langchain_modelmgr.usage.summary import UsageSummary
from tests.models import HAIKU, SONNET

if TYPE_CHECKING:
    from langchain_modelmgr.local import LocalAWS
    from tests.agents import Configure
    from tests.usage_records import MakeUsage

AGENT = f"sql_agent: {{model: '{SONNET}', fallbacks: ['{HAIKU}']}}"


class _Cells(HTMLParser):
    """Collects the texts of a table's cells; an unknown tag or a colour is an error."""

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.caption, self._tag = "", ""
        self.rows: list[list[str]] = []
        self.feed(shown)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
        assert dict(attrs) in ({}, {"style": "text-align: left"})
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        self._tag = tag

    def handle_data(self, data: str) -> None:
        if self._tag == "caption":
            self.caption += data
        else:
            self.rows[-1][-1] += data


def cells(thing: Any) -> _Cells:
    return _Cells(thing._repr_html_())


def test_a_model_shows_its_chain_and_prices_and_sends_nothing(
    configured: Configure, local_aws: LocalAWS
) -> None:
    llm = ManagedBedrockChat("sql_agent", config=configured(AGENT))

    table = cells(llm)

    assert table.caption == "agent sql_agent, test"
    assert table.rows == [
        ["position", "model", "region", "input, per 1M tokens", "output, per 1M tokens"],
        ["0", SONNET, "us-east-1", "$3.00", "$15.00"],
        ["1", HAIKU, "us-east-1", "$1.00", "$5.00"],
    ]
    assert local_aws.calls() == []


def test_a_model_without_a_known_price_shows_none(configured: Configure) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    llm = ManagedBedrockChat("a", config=configured(f"a: {{model: '{arn}', fallbacks: []}}"))

    (_, row) = cells(llm).rows

    assert row[-2:] == ["-", "-"]
    assert "123456789012" not in llm._repr_html_()


def test_an_answer_shows_its_attempts(configured: Configure, local_aws: LocalAWS) -> None:
    local_aws.fail(SONNET, "ThrottlingException")
    llm = ManagedBedrockChat("sql_agent", config=configured(AGENT))

    report = llm.invoke("ready?").response_metadata["model_manager"]

    table = cells(report)
    assert table.caption.startswith(f"agent sql_agent: {HAIKU} answered, ")
    assert "$0.0000" in table.caption
    assert [row[:3] for row in table.rows] == [
        ["attempt", "model", "result"],
        ["1", SONNET, "BedrockRateLimitError"],
        ["2", HAIKU, "answered"],
    ]
    frame = report.to_pandas()
    assert list(frame["result"]) == ["BedrockRateLimitError", "answered"]
    assert (frame["latency_ms"] > 0).all()


def test_a_streamed_answer_shows_its_attempts(configured: Configure) -> None:
    llm = ManagedBedrockChat("sql_agent", config=configured(AGENT))

    first, *others = llm.stream("ready?")
    for chunk in others:
        first += chunk

    assert cells(first.response_metadata["model_manager"]).rows[1][1:3] == [SONNET, "answered"]


def test_an_answer_from_the_response_cache_shows_that_it_is_one(configured: Configure) -> None:
    cache = InMemoryCache()
    llm = ManagedBedrockChat("sql_agent", config=configured(AGENT), cache=cache)

    llm.invoke("hello")
    table = cells(llm.invoke("hello").response_metadata["model_manager"])

    assert "answered before, now from the response cache" in table.caption
    assert table.caption.endswith("$0.0000")


def test_a_skipped_model_shows_its_reason(configured: Configure) -> None:
    titan = "amazon.titan-text-premier-v1:0"
    llm = ManagedBedrockChat(
        "a", config=configured(f"a: {{model: '{SONNET}', fallbacks: ['{titan}', '{HAIKU}']}}")
    )
    report = dict(llm.invoke("ready?").response_metadata["model_manager"])
    report["skipped"] = [{"model_id": titan, "reason": "<b>no</b> tools"}]

    shown = cells(type(llm.invoke("x").response_metadata["model_manager"])(report))

    assert shown.rows[-1][:3] == ["-", titan, "skipped: <b>no</b> tools"]


def test_the_report_of_an_answer_is_a_plain_dict_in_json_copies_and_pickles(
    configured: Configure,
) -> None:
    report = (
        ManagedBedrockChat("sql_agent", config=configured(AGENT))
        .invoke("ready?")
        .response_metadata["model_manager"]
    )

    assert json.loads(json.dumps(report)) == report
    for copied in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report), copy.copy(report)):  # noqa: S301
        assert type(copied) is dict
        assert copied == report


def test_the_summary_shows_a_row_for_each_agent_and_model(
    configured: Configure, local_aws: LocalAWS
) -> None:
    local_aws.fail(SONNET, "ThrottlingException")
    agents = f"{AGENT}\nplanner: {{model: '{HAIKU}', fallbacks: []}}"
    with ModelManager(configured(agents), sinks=[]) as manager, manager.track() as track:
        manager.chat_model("sql_agent").invoke("ready?")
        manager.chat_model("planner").invoke("ready?")
        summary = manager.get_usage_summary()

    table = cells(summary)
    assert re.fullmatch(
        r"2 calls: 100\.0% answered, after [\d,.]+ ms on average; "
        r"1 answered by a fallback, 0 abandoned",
        table.caption,
    )
    assert [row[:4] for row in table.rows] == [
        ["agent", "model", "attempts", "success_rate"],
        ["planner", HAIKU, "1", "100.0%"],
        ["sql_agent", HAIKU, "1", "100.0%"],
        ["sql_agent", SONNET, "1", "0.0%"],
        ["total", "", "3", ""],
    ]
    assert cells(track).rows[1:] == table.rows[1:]
    frame = cast("Any", summary).to_pandas()  # the type is that of its keys
    assert list(frame["agent"]) == ["planner", "sql_agent", "sql_agent"]
    assert sum(frame["cost_usd"]) == Decimal(str(summary["total_cost_usd"])) > 0
    assert list(track.to_pandas()["attempts"]) == [1, 1, 1]
    assert json.loads(json.dumps(summary)) == summary


def test_agents_and_models_add_up_to_the_models(usage: MakeUsage) -> None:
    summary = UsageSummary(max_names=3)
    for number in range(20):
        summary.attempt(usage(agent_name=f"a{number % 4}", model_id=f"x.m{number % 5}"))

    found = summary.as_dict()

    pairs = found["by_agent_and_model"]
    assert len(pairs) <= 2 * (3 + 1)
    assert sum(pair["attempts"] for pair in pairs) == found["attempts"] == 20
    for model, figures in found["by_model"].items():
        of_model = [pair for pair in pairs if pair["model"] == model]
        assert sum(pair["input_tokens"] for pair in of_model) == figures["input_tokens"]
        assert sum(p["total_cost_usd"] for p in of_model) == pytest.approx(
            figures["total_cost_usd"]
        )


def test_chain_checks_show_problems_and_become_a_data_frame(configured: Configure) -> None:
    manager = ModelManager(configured(AGENT), sinks=[])

    checks = manager.check_chains()

    table = cells(checks)
    assert table.caption == "2 models checked, 0 with problems"
    assert [row[:4] for row in table.rows[1:]] == [
        ["sql_agent", "0", SONNET, "yes"],
        ["sql_agent", "1", HAIKU, "yes"],
    ]
    assert list(checks.to_pandas()["model_id"]) == [SONNET, HAIKU]
    assert list(manager.check_chains(live=True).to_pandas()["answered"]) == [True, True]


def test_every_text_of_a_table_is_escaped() -> None:
    shown = html_table("<i>", ["<b>"], [{"<b>": "<script>&"}], {"<b>": "'<u>'"})

    table = _Cells(shown)
    assert table.caption == "<i>"
    assert table.rows == [["<b>"], ["<script>&"], ["'<u>'"]]


def test_numbers_of_a_table_are_written_for_people() -> None:
    values = [None, True, 1234567, 1234.56, Decimal("0.000235"), Decimal("1234.5"), Decimal(0)]

    table = _Cells(html_table("", ["n"], [{"n": value} for value in values]))

    assert [row[0] for row in table.rows[1:]] == [
        "-", "yes", "1,234,567", "1,234.6", "$0.000235", "$1,234.5000", "$0.0000"
    ]  # fmt: skip
