"""emopipe doctor"""

import json

import click

from .options import json_option


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what is installed, which accelerator there is, which weights are at hand."""
    from emopipe.stages.doctor import examine, to_text

    findings = examine()
    click.echo(json.dumps(findings) if as_json else to_text(findings))
