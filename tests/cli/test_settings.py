"""Settings that cannot work are refused before anything starts, in words that say what would."""

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
def test_a_number_that_means_nothing_is_refused(variable: str, text: str) -> None:
    if text == "":
        assert load_settings(environ={variable: text}) == Settings()  # as if it were not set
    else:
        assert refused(**{variable: text}).startswith(f"{variable} must be ")


@pytest.mark.parametrize("variable", [v for v in NUMBERS.values() if v != "BITESPEED_PORT"])
def test_nothing_may_be_none_at_all(variable: str) -> None:
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
def test_what_would_do_is_said_and_what_was_given_is_not(variable: str, words: str) -> None:
    assert refused(**{variable: "sesame"}) == f"{variable} must be {words}"


@pytest.mark.parametrize(
    ("host", "url"),
    {"::1": "http://[::1]:8000", "127.0.0.1": "http://127.0.0.1:8000"}.items(),
)
def test_the_address_is_one_that_callers_can_use(host: str, url: str) -> None:
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
def test_only_what_is_certainly_this_machine_needs_no_key(host: str, is_loopback: bool) -> None:
    assert load_settings({"host": host}, {}).is_loopback == is_loopback


@pytest.mark.parametrize(
    ("variable", "text"),
    {
        "SENTRY_DSN": "sesame",
        "BITESPEED_SQS_URL": "https://sesame",
        "REDIS_URL": "redis://sesame",
    }.items(),
)
def test_serve_ends_rather_than_start_workers_that_cannot(
    tmp_path: Path, variable: str, text: str
) -> None:
    command = [sys.executable, "-m", "bitespeed", "serve", "--port", "0", "--workers", "2"]
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/contacts.db", variable: text}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert variable in done.stderr
    assert "sesame" not in done.stderr
