"""Settings that cannot work are refused before anything starts, with what would work."""

import subprocess
import sys
from pathlib import Path

import pytest

from bitespeed.errors import InvalidInput
from bitespeed.settings import VARIABLES, Settings, load_settings

NUMBERS = {
    name: variable
    for name, variable in VARIABLES.items()
    if isinstance(getattr(Settings(), name), int | float)
    and not isinstance(getattr(Settings(), name), bool)
}


def refused(**environ: str) -> str:
    with pytest.raises(InvalidInput) as error:
        load_settings(environ=environ)
    return str(error.value)


@pytest.mark.parametrize("variable", [*NUMBERS.values(), "BITESPEED_RATE_LIMIT"])
@pytest.mark.parametrize("text", ["-1", "nan", "inf", "many", ""])
def test_number_that_cannot_work_is_refused(variable: str, text: str) -> None:
    if text == "":
        assert load_settings(environ={variable: text}) == Settings()  # as if it were not set
    else:
        assert refused(**{variable: text}).startswith(f"{variable} must be ")


@pytest.mark.parametrize("variable", [v for v in NUMBERS.values() if v != "BITESPEED_PORT"])
def test_zero_is_refused_where_it_would_stop_everything(variable: str) -> None:
    assert refused(**{variable: "0"}) == f"{variable} must be a number above 0"


@pytest.mark.parametrize(
    ("variable", "words"),
    {
        "BITESPEED_PUBLIC": "true or false",
        "BITESPEED_WORKERS": "a whole number",
        "BITESPEED_RATE_LIMIT": "a number",
        "BITESPEED_LOG_FORMAT": "one of json, text",
        "BITESPEED_LOG_LEVEL": "one of debug, info, warning, error",
    }.items(),
)
def test_refusal_names_the_form_and_not_the_value(variable: str, words: str) -> None:
    assert refused(**{variable: "sesame"}) == f"{variable} must be {words}"


@pytest.mark.parametrize(
    ("variable", "nearest"),
    {
        "BITESPEED_PROT": "BITESPEED_PORT",
        "BITESPEED_RATE": "BITESPEED_RATE_LIMIT",
        "BITESPEED_QUEUE_URL": "BITESPEED_SQS_URL",
        "BITESPEED_METRICS": "BITESPEED_METRICS_DIR",
        "BITESPEED_DATABASE_URL": "DATABASE_URL",
    }.items(),
)
def test_unknown_setting_is_refused_with_the_nearest(variable: str, nearest: str) -> None:
    sentence = f"There is no setting {variable}; the nearest is {nearest}"
    assert refused(**{variable: "sesame"}) == sentence


def test_every_known_variable_is_accepted() -> None:
    known = ("BITESPEED_METRICS_DIR", "BITESPEED_SETTINGS_ARN", *VARIABLES.values())
    assert load_settings(environ=dict.fromkeys(known, "")) == Settings()
    assert load_settings(environ={"SUPABASE_URL": "https://x", "PORT": "x", "_BITESPEED_X": "x"})


@pytest.mark.parametrize("service", ["BITESPEED", "BITESPEED_IDENTITY"])
def test_variables_of_a_kubernetes_service_are_ignored(service: str) -> None:
    injected = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "80",
        f"{service}_SERVICE_PORT_HTTP": "80",
        f"{service}_PORT_80_TCP": "tcp://10.0.0.1:80",
        f"{service}_PORT_80_TCP_PROTO": "tcp",
        f"{service}_PORT_80_TCP_PORT": "80",
        f"{service}_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    if service != "BITESPEED":
        injected[f"{service}_PORT"] = "tcp://10.0.0.1:80"
    assert load_settings(environ=injected) == Settings()


def test_kubernetes_service_address_as_port_is_explained() -> None:
    sentence = refused(BITESPEED_PORT="tcp://10.0.0.1:80")
    assert sentence.startswith("BITESPEED_PORT is the address that Kubernetes gives")
    assert "enableServiceLinks: false" in sentence


@pytest.mark.parametrize(
    ("host", "url"),
    {"::1": "http://[::1]:8000", "127.0.0.1": "http://127.0.0.1:8000"}.items(),
)
def test_url_is_one_that_callers_can_use(host: str, url: str) -> None:
    assert load_settings({"host": host}, {}).url == url


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    {
        "127.0.0.1": True,
        "127.9.9.9": True,
        "::1": True,
        "localhost": True,
        "0.0.0.0": False,
        "::": False,
        "": False,
        "0": False,
        "127.1": False,
        "10.0.0.1": False,
        "localhost.example": False,
    }.items(),
)
def test_only_loopback_addresses_need_no_key(host: str, is_loopback: bool) -> None:
    assert load_settings({"host": host}, {}).is_loopback == is_loopback


@pytest.mark.parametrize(
    ("variable", "text"),
    {
        "SENTRY_DSN": "sesame",
        "BITESPEED_SQS_URL": "https://sesame",
        "REDIS_URL": "redis://sesame",
    }.items(),
)
def test_serve_ends_when_its_workers_could_not_start(
    tmp_path: Path, variable: str, text: str
) -> None:
    command = [sys.executable, "-m", "bitespeed", "serve", "--port", "0", "--workers", "2"]
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/contacts.db", variable: text}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert variable in done.stderr
    assert "sesame" not in done.stderr
