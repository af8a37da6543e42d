"""SQL that stands in files beside the code that runs it."""

from importlib.resources import files


def text(package: str, name: str) -> str:
    """The text of a file of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def named(script: str) -> dict[str, str]:
    """The statements of a script by the names in their ``-- name:`` lines."""
    sections = script.split("-- name: ")[1:]
    return {name: text for name, _, text in (section.partition("\n") for section in sections)}
