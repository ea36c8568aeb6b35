"""Whether data fit a JSON Schema, and where they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toise.errors import line

if TYPE_CHECKING:
    from collections.abc import Mapping


def misfit(thing: Any, schema: Mapping[str, Any]) -> str:
    """Say what is wrong with a value, and where; empty if nothing is."""
    import jsonschema

    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(thing))
    if error is None:
        return ""
    where = ".".join(map(str, error.absolute_path))
    told = line(error.message)
    return f"{where}: {told}" if where else told
