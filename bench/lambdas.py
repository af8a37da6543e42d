"""How long a function takes to begin, beside one that does nothing, and how much memory it takes.

    python -m bench.lambdas

Both run under AWS's emulator, in turns, so that the load of the machine is on both.
"""

import json
import re
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.backends import prepared
from support.lambda_emulator import Function, build, emulated
from support.moto_server import aws
from support.postgres_server import server
from support.postgrest import create_roles, postgrest
from support.processes import children

TURNS = 9
REQUESTS = 2000
BARE = """
def handler(event, context):
    return {"statusCode": 200, "headers": {}, "body": "", "isBase64Encoded": False}
"""


def begun(function: Function) -> float:
    """Milliseconds of the init phase, as the emulator reports them."""
    function.ask("GET", "/health")
    found = re.search(r"INIT REPORT\(durationMs: ([\d.]+)\)", function.log())
    assert found, function.log()
    return float(found[1])


def spent(function: Function) -> float:
    """Milliseconds on a processor so far, which others on the machine hardly change."""
    (runtime,) = children(function.pid)
    threads = Path(f"/proc/{runtime}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e6


def peak(function: Function) -> int:
    """KiB of memory that the process of the function has had at most."""
    (runtime,) = children(function.pid)
    status = Path(f"/proc/{runtime}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def main() -> None:
    """Print a row for each way to run it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(stack.enter_context(server()).fresh_database())
        create_roles(url)
        prepared(url)
        played = stack.enter_context(aws())
        api = stack.enter_context(postgrest(url))
        package = build(folder / "package")
        (package / "bare.py").write_text(BARE)
        secret = played.secret("bench", json.dumps({"DATABASE_URL": url}))
        place = {"AWS_ENDPOINT_URL": played.environ["AWS_ENDPOINT_URL"]}
        ways = {
            "bare": {"handler": "bare.handler"},
            "PostgreSQL": {"DATABASE_URL": url},
            "PostgreSQL, settings from a secret": place | {"BITESPEED_SETTINGS_ARN": secret},
            "Data API": {"SUPABASE_URL": api.url, "SUPABASE_KEY": api.service_key},
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        worked: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(TURNS):
            for way, settings in ways.items():
                with emulated(package, folder, **settings) as function:
                    taken[way].append(begun(function))
                    worked[way].append(spent(function))
        for way in ways:
            figures = [
                f"{what} {statistics.median(of[way]):6.1f} ms,"
                f" {statistics.median(of[way]) / statistics.median(of['bare']):.1f} times"
                for what, of in (("init", taken), ("processor", worked))
            ]
            print(f"{way:36} {'; '.join(figures)}; least {min(taken[way]):.1f} ms")
        with emulated(package, folder, **ways["PostgreSQL, settings from a secret"]) as function:
            for n in range(REQUESTS):
                function.identify(f"m{n}@hillvalley.edu", f"{n % 700}")
            print(f"peak memory after {REQUESTS} requests: {peak(function) / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
