"""What `template.yaml` creates, and that it can be built anywhere."""

import json
import os
import re
import runpy
import subprocess
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from bitespeed import __version__
from bitespeed.api.operations import OPERATIONS
from support import server_programs

ROOT = Path(__file__).parents[2]
SPEC = yaml.safe_load(files("bitespeed.api").joinpath("openapi.yaml").read_text())
TEMPLATE = (ROOT / "template.yaml").read_text()
QUIET = {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-west-1"}
MAX_ZIPPED = 15_000_000  # bytes
METHODS = {"get", "post", "put", "patch", "delete"}
ELF_MACHINE = slice(18, 20)
ARM64 = b"\xb7\x00"
BUILD_TIMEOUT = 300.0  # seconds for a build, which may have to download


def sam(*arguments: str, **environ: str) -> str:
    done = subprocess.run(
        [server_programs.sam().path, *arguments],
        cwd=ROOT,
        env=os.environ | QUIET | environ,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_template_is_valid() -> None:
    assert "is a valid SAM Template" in sam("validate", "--lint")


def test_mistake_in_a_template_is_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "template.yaml"
    broken.write_text(TEMPLATE.replace("VisibilityTimeout", "VisibleTimeout"))
    with pytest.raises(AssertionError, match="VisibleTimeout"):
        sam("validate", "--lint", "--template", str(broken))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sam build` makes by default."""
    folder = tmp_path_factory.mktemp("built")
    sam("build", "--build-dir", str(folder), "--cache-dir", str(folder / "cache"))
    return folder


def test_each_function_package_is_small_and_for_its_architecture(built: Path) -> None:
    for function in ("ApiFunction", "QueueFunction"):
        package = built / function
        zipped = built / f"{function}.zip"
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in package.rglob("*"):
                archive.write(path, path.relative_to(package))
        print(f"{function}: {zipped.stat().st_size:,} bytes zipped")
        assert zipped.stat().st_size <= MAX_ZIPPED
        libraries = [path for path in package.rglob("*.so*") if path.is_file()]
        assert len(libraries) > 5
        for library in libraries:
            assert library.read_bytes()[ELF_MACHINE] == ARM64, library.name


def test_build_stops_when_a_text_to_change_is_missing(tmp_path: Path) -> None:
    slim = runpy.run_path(str(ROOT / "deploy" / "slim.py"))
    file = tmp_path / "file.py"
    file.write_text("import a\nimport b\n")
    slim["_change"](file, {r"import a\n": ""})
    assert file.read_text() == "import b\n"
    with pytest.raises(SystemExit, match="0 times"):
        slim["_change"](file, {r"import a\n": ""})


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    """What CloudFormation would get, by name."""
    python = server_programs.sam().path.with_name("python")
    command = [python, ROOT / "deploy" / "check.py", "--translated"]
    translated = subprocess.run(command, capture_output=True, check=True, timeout=BUILD_TIMEOUT)
    return json.loads(translated.stdout)["Resources"]


def of_type(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: r["Properties"] for name, r in resources.items() if r["Type"] == kind}


def test_roles_have_only_named_permissions(resources: dict[str, Any]) -> None:
    roles = of_type(resources, "AWS::IAM::Role")
    assert roles.keys() == {"ApiRole", "QueueRole"}
    for role in roles.values():
        assert "*" not in json.dumps(role)
        assert "ManagedPolicyArns" not in role
    for function in of_type(resources, "AWS::Lambda::Function").values():
        assert function["Role"]["Fn::GetAtt"][0] in roles


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("SettingsArn", "secretsmanager:here:1:secret:b-x1", "secretsmanager:here:1:secret:*"),
        ("SettingsArn", "ssm:here:1:parameter/shop/b", "ssm:here:1:parameter/b?"),
        ("SettingsKeyArn", "kms:here:1:key/1-2", "kms:here:1:key/*"),
    ],
)
def test_parameters_cannot_widen_a_role(parameter: str, good: str, bad: str) -> None:
    rest = TEMPLATE[TEMPLATE.index(f"\n  {parameter}:\n") :]
    pattern = re.findall(r'AllowedPattern: "(.*)"', rest)[0]
    assert re.fullmatch(pattern, f"arn:aws:{good}")
    assert not re.fullmatch(pattern, f"arn:aws:{bad}")


def test_dead_letter_queue_keeps_messages_longer_than_others(resources: dict[str, Any]) -> None:
    queues = of_type(resources, "AWS::SQS::Queue")
    dead = queues.pop("DeadLetters")
    assert dead["MessageRetentionPeriod"] == 14 * 24 * 60 * 60
    for queue in queues.values():
        assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {
            "Fn::GetAtt": ["DeadLetters", "Arn"]
        }
    (mapping,) = of_type(resources, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_message_stays_hidden_longer_than_its_function_runs(
    resources: dict[str, Any],
) -> None:
    function = of_type(resources, "AWS::Lambda::Function")["QueueFunction"]
    queue = of_type(resources, "AWS::SQS::Queue")["Observations"]
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]


def test_every_function_logs_to_a_group_with_retention(resources: dict[str, Any]) -> None:
    groups = of_type(resources, "AWS::Logs::LogGroup")
    for function in of_type(resources, "AWS::Lambda::Function").values():
        logging = function["LoggingConfig"]
        assert logging["LogFormat"] == "JSON"
        assert "RetentionInDays" in groups[logging["LogGroup"]["Ref"]]


def test_functions_are_small_and_on_arm64_by_default(resources: dict[str, Any]) -> None:
    for function in of_type(resources, "AWS::Lambda::Function").values():
        assert (function["MemorySize"], function["Architectures"]) == (
            256,
            [{"Ref": "Architecture"}],
        )
    assert re.search(r"Architecture:\n    Type: String\n    Default: arm64", TEMPLATE)


def test_no_secret_is_in_a_parameter_or_variable(resources: dict[str, Any]) -> None:
    secret = {"DATABASE_URL", "SUPABASE_KEY", "REDIS_URL", "UPSTASH_REDIS_REST_TOKEN"}
    for function in of_type(resources, "AWS::Lambda::Function").values():
        assert not secret & function["Environment"]["Variables"].keys()
    parameters = TEMPLATE[: TEMPLATE.index("Conditions:")]
    assert not re.search(r"^  (Database|Supabase|Redis|Upstash)", parameters, re.MULTILINE)


def test_gateway_has_the_operations_served_on_lambda(resources: dict[str, Any]) -> None:
    (api,) = of_type(resources, "AWS::ApiGatewayV2::Api").values()
    served = [o for o in OPERATIONS if o.served_by != "server"]
    described = {o.path: {p.method.lower() for p in served if p.path == o.path} for o in served}
    assert {path: METHODS & item.keys() for path, item in api["Body"]["paths"].items()} == described
    assert api["Body"]["info"]["version"] == __version__


@pytest.mark.parametrize(
    ("metric", "alarms"),
    {"Errors": 3, "Throttles": 2, "Duration": 1, "ApproximateAgeOfOldestMessage": 1}.items(),
)
def test_every_metric_has_its_alarms(resources: dict[str, Any], metric: str, alarms: int) -> None:
    found = of_type(resources, "AWS::CloudWatch::Alarm").values()
    assert sum(alarm["MetricName"] == metric for alarm in found) == alarms


def test_every_alarm_is_documented(resources: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "deploy-aws.md").read_text()
    table = page.partition("## Alarms")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(documented) == sorted(of_type(resources, "AWS::CloudWatch::Alarm"))


def test_dead_letters_raise_an_alarm(resources: dict[str, Any]) -> None:
    alarm = of_type(resources, "AWS::CloudWatch::Alarm")["SomeAreDead"]
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")


def test_dashboard_is_json(resources: dict[str, Any]) -> None:
    (dashboard,) = of_type(resources, "AWS::CloudWatch::Dashboard").values()
    body = re.sub(r"\$\{[^}]*\}", "x", dashboard["DashboardBody"]["Fn::Sub"])
    assert len(json.loads(body)["widgets"]) == 4
