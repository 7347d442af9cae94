"""The names of OpenTelemetry's conventions that spans and metrics use, and this package's own.

The conventions for generative AI are not stable. These are the names of version 1.44.0, the last
one before they moved to the repository semantic-conventions-genai, whose first versions rename
some (``cache_creation`` to ``cache_write``, metrics to ``gen_ai.client.inference.*``).
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "langchain_modelmgr"
"""The instrumentation scope of all spans and metrics."""

CAPTURE_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The environment variable that asks for prompts and answers on spans."""

CHAT: Final = "chat"
BEDROCK: Final = "aws.bedrock"
INPUT: Final = "input"
OUTPUT: Final = "output"

OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
AGENT_NAME: Final = "gen_ai.agent.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - an attribute's name
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
ERROR_TYPE: Final = "error.type"
AWS_REQUEST_ID: Final = "aws.request_id"

OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - a metric's name
FIRST_CHUNK_DURATION: Final = "gen_ai.client.operation.time_to_first_chunk"

DURATION_BUCKETS: Final = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""Seconds, as the convention advises for durations."""

FIRST_CHUNK_BUCKETS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Seconds, as the convention advises for the time to the first token."""

TOKEN_BUCKETS: Final = tuple(4**power for power in range(14))
"""Tokens, as the convention advises."""

# -- this package's own names

OUTCOME: Final = "modelmgr.outcome"
"""``answered``, ``failed`` or ``aborted``; of a span also ``not_sent``."""

ENVIRONMENT: Final = "modelmgr.environment"
RUN_ID: Final = "modelmgr.run_id"
COST: Final = "modelmgr.cost_usd"
UNPRICED: Final = "modelmgr.unpriced"
WASTED_COST: Final = "modelmgr.estimated_wasted_cost_usd"
SERVICE_TIER: Final = "modelmgr.service_tier"
ERROR_CODE: Final = "modelmgr.error_code"
ADAPTED: Final = "modelmgr.adapted"
ATTEMPT_NUMBER: Final = "modelmgr.attempt.number"
ATTEMPT_WAIT: Final = "modelmgr.attempt.wait_seconds"
FALLBACK: Final = "modelmgr.fallback"
FALLBACK_REASON: Final = "modelmgr.fallback.reason"
CALL_MODEL: Final = "modelmgr.call.model"
CALL_COST: Final = "modelmgr.call.cost_usd"
CALL_WASTED_COST: Final = "modelmgr.call.estimated_wasted_cost_usd"
CALL_ATTEMPTS: Final = "modelmgr.call.attempts"
CALL_WAIT: Final = "modelmgr.call.wait_seconds"
CALL_SKIPPED: Final = "modelmgr.call.skipped"
CALL_BUDGETS: Final = "modelmgr.call.budgets"

COST_METRIC: Final = "modelmgr.client.cost"
WASTED_COST_METRIC: Final = "modelmgr.client.estimated_wasted_cost"
UNPRICED_METRIC: Final = "modelmgr.client.unpriced_attempts"
