"""Names of OpenTelemetry's conventions: those of the version that the module states."""

from __future__ import annotations

from opentelemetry.semconv._incubating.attributes import aws_attributes, gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.semconv.schemas import Schemas

from langchain_modelmgr.tracing import names


def _values(module: object) -> set[str]:
    return {value for value in vars(module).values() if isinstance(value, str)}


def test_every_standard_name_is_one_of_the_convention() -> None:
    standard = {v for v in _values(names) if v.startswith(("gen_ai.", "error.", "aws.r"))}
    known = set[str]().union(
        *map(_values, (gen_ai_attributes, gen_ai_metrics, error_attributes, aws_attributes))
    )

    assert len(standard) > 20
    assert standard <= known


def test_the_values_are_those_of_the_convention() -> None:
    providers = vars(gen_ai_attributes)["GenAiProviderNameValues"]

    assert providers.AWS_BEDROCK.value == names.BEDROCK
    assert names.SCHEMA_URL in {schema.value for schema in Schemas}


def test_the_packages_own_names_are_its_own() -> None:
    own = {v for v in _values(names) if v.startswith("modelmgr")}

    assert len(own) > 15
    assert all(value.startswith("modelmgr.") for value in own)
