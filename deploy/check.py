"""Validate and build what runs on AWS, and list what would be created. Runs in .venv/sam."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "template.yaml"


def sam(*arguments: str) -> None:
    """Run the SAM CLI; leave when it complains."""
    program = Path(sys.executable).with_name("sam")
    quiet = {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-west-1"}
    done = subprocess.run([program, *arguments], cwd=ROOT, env=quiet | os.environ, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)


def translated() -> dict[str, Any]:
    """The template as CloudFormation would get it."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
    template = yaml_parse(TEMPLATE.read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"  # where deploying puts it
    template["Globals"]["Function"].pop("CodeUri")
    parameters = {"SettingsArn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:bitespeed"}
    return Translator({}, Parser()).translate(template, parameters)


def listing(template: dict[str, Any]) -> Iterator[str]:
    """A line for each resource."""
    for name, resource in sorted(template["Resources"].items(), key=lambda item: item[1]["Type"]):
        condition = f"  if {resource['Condition']}" if "Condition" in resource else ""
        yield f"{resource['Type']:32} {name}{condition}"


def main() -> None:
    """Everything, or with --translated nothing but the translated template as JSON."""
    if "--translated" in sys.argv:
        print(json.dumps(translated(), default=str))
        return
    sam("validate", "--lint")
    sam("build")
    print("\nThis would be created:\n", *listing(translated()), sep="\n")


if __name__ == "__main__":
    main()
