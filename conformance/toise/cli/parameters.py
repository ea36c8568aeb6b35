"""What the options of the command take."""

from __future__ import annotations

import datetime as dt
import os
import re
import secrets
from typing import Any

import click

RANDOM = "random"


class Names(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Names joined by commas."""

    name = "a,b"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split at the commas; no name is not all of them."""
        names = tuple(name for name in value.split(",") if name) if isinstance(value, str) else value
        return names if names or not isinstance(value, str) else self.fail(f"{value!r} names none", param, ctx)


class Seed(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A whole number, or the word random."""

    name = "N|random"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or one that nobody chose."""
        if isinstance(value, int):
            return value
        if value == RANDOM:
            return secrets.randbelow(2**31)
        if not value.isdecimal():
            self.fail(f"{value!r} is neither a whole number nor the word random", param, ctx)
        return int(value)


class Workers(click.IntRange):
    """How many processes: a whole number, or one for each processor that this process may use."""

    name = "N|auto"

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Count the processors where that is asked for."""
        if value == "auto":
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return super().convert(value, param, ctx)


class Shard(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Which part of how many, such as 2/5."""

    name = "K/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no part."""
        found = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", value)
        if value and not (found and int(found[1]) <= int(found[2])):
            self.fail(f"{value!r} is no part of a whole; write for example 2/5", param, ctx)
        return value


class Day(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A day, such as 2026-12-31."""

    name = "DATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no day."""
        try:
            return dt.date.fromisoformat(value).isoformat() if value else ""
        except ValueError:
            return self.fail(f"{value!r} is no day; write for example 2026-12-31", param, ctx)


class Amount(click.FloatRange):
    """A number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no number: it stands in no range, and is below no bound."""
        number = super().convert(value, param, ctx)
        return number if number == number else self.fail(f"{value!r} is no number", param, ctx)  # noqa: PLR0124 - NaN is not


class WithProgram(click.Command):
    """A subcommand that takes a program and its arguments after `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows `--` as it is."""
        at = args.index("--") if "--" in args else len(args)
        ctx.params["program"] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show where the program stands."""
        pieces = [*self.collect_usage_pieces(ctx), "[-- PROGRAM [ARG]...]"]
        formatter.write_usage(ctx.command_path, " ".join(pieces))
