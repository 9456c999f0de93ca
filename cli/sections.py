"""Help that can be found one's way in: options and commands in sections, examples at the end."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

Rows = list[tuple[str, str]]
_OTHERS = "Other options"


class Command(click.Command):
    """A command whose ``--help`` lists its options in sections and ends with examples.

    Args:
        sections: title -> names of its options, as the function's parameters are called, with blanks between. What is
            in none of them comes last.
        examples: command lines.
        arguments, settings: as of `click.Command`.
    """

    def __init__(
        self, *arguments: Any, sections: Mapping[str, str] | None = None, examples: Iterable[str] = (), **settings: Any
    ):
        super().__init__(*arguments, **settings)
        self.sections = {title: tuple(names.split()) for title, names in (sections or {}).items()}
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        rows = {
            str(parameter.name): row
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and (row := parameter.get_help_record(ctx)) is not None
        }
        for title, names in self.sections.items():
            write_rows(formatter, title, [rows.pop(name) for name in names])
        write_rows(formatter, _OTHERS if self.sections else "Options", list(rows.values()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each on lines of its own."""
        write_examples(formatter, self.examples)


def write_rows(formatter: click.HelpFormatter, title: str, rows: Rows) -> None:
    """A section of names and what is said of them."""
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def write_examples(formatter: click.HelpFormatter, examples: Iterable[str]) -> None:
    """A section of command lines, which are never wrapped."""
    if lines := list(examples):
        with formatter.section("Examples" if len(lines) > 1 else "Example"):
            for line in lines:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
