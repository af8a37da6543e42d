"""The parts of documents that come from code and from measurements.

make tables     writes them anew
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import bitespeed.settings
from bitespeed.api.operations import IDENTIFY, OPERATIONS, Operation
from bitespeed.cli.serve import serve
from bitespeed.settings import VARIABLES, Settings

ROOT = Path(__file__).parent.parent.parent
MILLION = 1_000_000


def settings() -> Iterator[str]:
    """A row for each setting: its variable, its flag, its default, what it says in the code."""
    yield "| variable | flag of `serve` | default | |"
    yield "|---|---|---|---|"
    flags = {parameter.name: parameter.opts[0] for parameter in serve.params}
    defaults, says = Settings(), _docstrings()
    for name, variable in VARIABLES.items():
        default = getattr(defaults, name)
        shown = "none" if default is None else f"`{str(default).lower()}`"
        flag = f"`{flags[name]}`" if name in flags else ""
        yield f"| `{variable}` | {flag} | {shown} | {says[name]} |"


def _docstrings() -> dict[str, str]:
    """What stands below each field of `Settings`."""
    source = Path(bitespeed.settings.__file__).read_text()
    (fields,) = (
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    return {
        field.target.id: " ".join(says.value.value.replace("``", "`").split())
        for field, says in pairwise(fields)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(says, ast.Expr)
        and isinstance(says.value, ast.Constant)
        and isinstance(says.value.value, str)
    }


def capacity() -> Iterator[str]:
    """What one worker did on two cores, its database and the clients beside it."""
    sqlite, postgres = (_figures(name) for name in ("sqlite", "postgres"))
    yield "| one worker on two cores, with its database and its clients | SQLite | PostgreSQL |"
    yield "|---|---|---|"
    for kind, what in (
        ("repeats", "repeats a second"),
        ("new", "new customers a second"),
        ("mix", "90 % repeats and 10 % new, a second"),
    ):
        rates = _rate(sqlite, kind, "service_rate"), _rate(postgres, kind, "rate")
        yield f"| {what} | {rates[0]:,.0f} | {rates[1]:,.0f} |"
    bytes_ = [f["size"]["big_bytes"] / f["size"]["big_contacts"] for f in (sqlite, postgres)]
    yield f"| bytes of disk for each contact, with indexes | {bytes_[0]:,.0f} | {bytes_[1]:,.0f} |"
    rows = sqlite["imports"]["rows"] / sqlite["imports"]["imported"]["median"]
    yield f"| rows a second of an import | {rows:,.0f} | |"
    soak = sqlite["soak"]
    yield f"| MiB of memory after {soak['minutes']:.0f} minutes of load | {soak['most']:,.0f} | |"


def _figures(name: str) -> dict[str, Any]:
    measured = json.loads((ROOT / "docs" / "benchmarks" / f"{name}.json").read_text())
    return {part: found["figures"] for part, found in measured.items()}


def _rate(figures: dict[str, Any], kind: str, name: str) -> float:
    return figures["ceilings"][kind][name]["median"]


def scopes() -> Iterator[str]:
    """A row for each scope: the operations that need it."""
    yield "| scope | opens |"
    yield "|---|---|"
    for scope in dict.fromkeys(o.scope for o in OPERATIONS if o.scope):
        opened = [f"`{o.method} {o.path}`" for o in OPERATIONS if o.scope == scope]
        flagged = [
            f"`{o.method} {o.path}?{flag}=true`"
            for o in OPERATIONS
            for flag, needed in o.flag_scopes.items()
            if needed == scope
        ]
        yield f"| `{scope}` | {', '.join(opened + flagged)} |"


def routes() -> Iterator[str]:
    """A line for each path of the API on AWS but the first, whose line has the integration."""
    paths: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        if operation.served_by != "server" and operation is not IDENTIFY:
            paths.setdefault(operation.path, []).append(operation)
    for path, served in paths.items():
        methods = ", ".join(f"{operation.method.lower()}: *operation" for operation in served)
        yield f"          {path}: {{{methods}}}"


Rows = Callable[[], Iterator[str]]

DERIVED: dict[Path, dict[str, Rows]] = {
    ROOT / "docs" / "operations.md": {"settings": settings, "capacity": capacity},
    ROOT / "docs" / "security.md": {"scopes": scopes},
    ROOT / "template.yaml": {"routes": routes},
}
"""By document, what stands between the comments `<!-- name -->` or `# name` and `/`."""


def derive(document: Path) -> str:
    """The document as it should be."""
    text = document.read_text()
    for name, rows in DERIVED[document].items():
        marks = re.compile(
            rf"((?:<!--|#) {name}(?: -->)?\n).*?(?=(?:<!--| *#) /(?: -->)?\n)", re.DOTALL
        )
        table = "\n".join(rows()) + "\n"
        text, count = marks.subn(lambda match, table=table: match[1] + table, text)
        assert count == 1, f"{name} of {document}"
    return text


if __name__ == "__main__":
    for document in DERIVED:
        document.write_text(derive(document))
