"""Help of a command with many options: in sections, with a command line to begin with at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

import click


class SectionedCommand(click.Command):
    """A command whose help lists its options under headings.

    Args:
        sections: heading -> names of parameters, in the order in which they are shown; what is in none stands last.
        example: a command line.
        **settings: as of `click.Command`.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], example: str, **settings: Any):
        super().__init__(*args, **settings)
        self.sections, self.example = sections, example

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {str(each.name): record for each in self.get_params(ctx) if (record := each.get_help_record(ctx))}
        for heading, names in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section("Other options"):
            formatter.write_dl(list(records.values()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            formatter.write_text(self.example)
