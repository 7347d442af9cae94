"""The guide's five models."""

from __future__ import annotations

SONNET = "anthropic.claude-3-5-sonnet-20241022-v2:0"
HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"
OPUS = "anthropic.claude-3-opus-20240229-v1:0"
TITAN = "amazon.titan-text-premier-v1:0"
LLAMA = "meta.llama3-70b-instruct-v1:0"
