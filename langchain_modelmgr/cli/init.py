"""``modelmgr init``: writes a commented configuration with today's models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from langchain_modelmgr.cli.options import AsJson, ConfigDir, Environment
from langchain_modelmgr.cli.output import note, print_json, say
from langchain_modelmgr.cli.places import relative
from langchain_modelmgr.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = "Example: `modelmgr init --region eu-central-1`"

_TEMPLATE = """\
# The models of your agents. All keys: docs/configuration.md of langchain-modelmgr.
# modelmgr show says what is resolved, and modelmgr models lists all models with prices.

# CloudWatch namespace: my-project/Models.
project_prefix: my-project

aws:
  region: {region}

agents:
  # {where}
  default_model: {sonnet}

  # One entry for each agent: ManagedBedrockChat("assistant").
  assistant:
    # Tried in order if the model is throttled, down or slow.
    fallbacks: [{haiku}]
    # Checked when the model is made: tools, streaming, images, documents, video, audio,
    # structured_output.
    requires: [tools]
    # max_tokens: 2000
    # temperature: 0.2
    # timeout_seconds: 60
    # prompt_caching: true

  # A cheaper model for short, frequent questions.
  router:
    model: {haiku}
    fallbacks: [{sonnet}]
"""


class _Choice(NamedTuple):
    sonnet: str
    haiku: str
    where: str


def init(
    region: Annotated[
        str | None,
        typer.Option(help="The region of Bedrock. Default: that of your AWS settings."),
    ] = None,
    environment: Environment = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Write a commented configuration with today's models for your region.

    The file is `config/dev.yaml`, or what `--config-dir` and `--environment` say. A file that
    exists is never overwritten.
    """
    from langchain_modelmgr.config import ConfigurationManager

    path = _path(environment, config_dir)
    chosen_region = _region(region)
    chosen = _choose(chosen_region)
    text = _TEMPLATE.format(region=chosen_region, **chosen._asdict())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(
            f"{relative(str(path))} exists, and init never overwrites a file: use -e OTHER_NAME"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{relative(str(path))} can't be written: {error.strerror}"
        ) from None
    config = ConfigurationManager(path.stem, path.parent)
    if as_json:
        models = [chosen.sonnet, chosen.haiku]
        print_json({"file": str(path), "region": chosen_region, "models": models})
        return
    say(relative(str(path)))
    note(f"agents {', '.join(config.agent_names)} with {chosen.sonnet} and {chosen.haiku}")
    note("next: modelmgr doctor")


def _path(environment: str | None, config_dir: str | None) -> Path:
    """Return the file that ``ConfigurationManager`` would read."""
    from langchain_modelmgr.config import manager

    name = environment or os.environ.get(manager.ENVIRONMENT_VARIABLE)
    name = name or manager.DEFAULT_ENVIRONMENT
    if not manager.is_environment(name):
        raise typer.BadParameter(
            f"{name!r} is not a valid name: use letters, digits, _ or -",
            param_hint="--environment",
        )
    folder = config_dir or os.environ.get(manager.FOLDER_VARIABLE) or manager.DEFAULT_FOLDER
    return Path(folder).expanduser().resolve() / f"{name}.yaml"


def _region(given: str | None) -> str:
    from langchain_modelmgr.runtime.aws_regions import known_regions, nearest_region
    from langchain_modelmgr.runtime.aws_settings import AwsSettings

    region = given or AwsSettings.now().region
    if region is None:
        raise typer.BadParameter(
            "no region is set: write --region eu-central-1, or set AWS_DEFAULT_REGION",
            param_hint="--region",
        )
    if region not in known_regions():
        near = nearest_region(region)
        hint = f"; did you mean {near!r}?" if near else ""
        raise typer.BadParameter(f"unknown AWS region {region!r}{hint}", param_hint="--region")
    return region


def _choose(region: str) -> _Choice:
    """Return today's models in the narrowest geography of a region that has both tiers."""
    from langchain_modelmgr.catalog.families import newest

    for prefix in _geographies(region):
        sonnet, haiku = newest("sonnet", prefix), newest("haiku", prefix)
        if sonnet and haiku:
            name = f"{prefix}." if prefix else ""
            where = (
                "Inference profiles of all regions: requests may leave your geography."
                if prefix == "global"
                else f"Requests stay in the geography {prefix}."
                if prefix
                else f"Requests stay in {region}."
            )
            return _Choice(f"{name}{sonnet}", f"{name}{haiku}", where)
    raise AssertionError("the catalog has global profiles of both tiers")


def _geographies(region: str) -> Iterator[str | None]:
    from langchain_modelmgr.catalog.geography import geography_of_region
    from langchain_modelmgr.catalog.ids import ASIA_PACIFIC, PREFIXES

    yield from (name for name, regions in ASIA_PACIFIC if region in regions)
    if (continent := geography_of_region(region)) in PREFIXES:
        yield continent
    if continent.startswith("us-"):
        yield None  # AWS GovCloud: never outside of it
    yield "global"
