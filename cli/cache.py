"""emopipe cache list|verify|repair|prune"""

import json
from dataclasses import asdict
from pathlib import Path

import click

from .options import cache_option, json_option, resolve_cache
from .progress import Bar, Counter
from .sections import Command


@click.group()
def cache() -> None:
    """List, verify, repair or prune a cache."""


@cache.command("list", short_help="List what the cache holds, by kind and settings.")
@cache_option
@json_option
def list_cache(cache: Path | None, as_json: bool) -> None:
    """List what the cache holds, by kind and settings. Where two sets have one name, a line says how they differ.

    A row is a frame, or a window of sound; it is valid with a face, or with sound.
    """
    from emopipe.stages.cache_care import list_sets
    from emopipe.store.cache import Cache

    sets = list_sets(Cache(resolve_cache(cache, must_exist=True)))
    if as_json:
        click.echo(json.dumps({"sets": [asdict(found) for found in sets]}))
        return
    click.echo(f"{'kind':<9}{'what':<28}{'fingerprint':<12}{'shards':>7}{'clips':>7}{'rows':>10}{'valid':>8}{'MB':>10}")
    for found in sets:
        share = 100 * found.num_valid / max(1, found.num_frames)
        click.echo(
            f"{found.kind:<9}{found.what:<28}{found.fingerprint[:10]:<12}{found.num_shards:>7}{found.num_clips:>7}"
            f"{found.num_frames:>10}{share:>6.1f} %{found.num_bytes / 1e6:>10.1f}"
        )
        if found.differs:
            click.echo(f"{'':<9}with {found.differs}")


@cache.command(short_help="Hash every shard again.")
@cache_option
@json_option
def verify(cache: Path | None, as_json: bool) -> None:
    """Hash every shard again. Exit code 1 when one is damaged; `emopipe cache repair` then mends it."""
    from emopipe.stages.cache_care import find_damage
    from emopipe.store.cache import Cache

    opened = Cache(resolve_cache(cache, must_exist=True))
    counter = Counter("shards")
    try:
        damaged = find_damage(opened, counter)
    finally:
        counter.close()
    rows = [
        {"shard": damage.record.path.name, "reason": damage.reason, "clips": [entry.clip_id for entry in damage.lost]}
        for damage in damaged
    ]
    num_shards = len(opened.records())
    if as_json:
        click.echo(json.dumps({"shards": num_shards, "damaged": rows}))
    else:
        for row in rows:
            click.echo(f"{row['shard']}: {row['reason']}")
        click.echo(f"{num_shards - len(rows)} of {num_shards} shards are sound.")
        if rows:
            click.echo("Run: emopipe cache repair", err=True)
    if rows:
        raise click.exceptions.Exit(1)


@cache.command(short_help="Make lost clips again, and only those.")
@cache_option
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=None, metavar="DIR",
              help="Folder of the corpus.  [default: where it was at extraction]")  # fmt: skip
@json_option
def repair(cache: Path | None, root: Path | None, as_json: bool) -> None:
    """Drop the clips whose bytes are damaged and make just those again from their videos."""
    from emopipe.stages.cache_care import repair as run
    from emopipe.store.cache import Cache

    counter, bar = Counter("shards"), Bar()
    try:
        reports = run(Cache(resolve_cache(cache, must_exist=True)), bar, counter, root=root)
    finally:
        counter.close()
        bar.close()
    if as_json:
        click.echo(json.dumps({"repairs": [report.to_dict() for report in reports]}))
    else:
        click.echo("\n".join(report.to_text() for report in reports) or "Every shard is sound; nothing to repair.")
    if not all(report.is_complete for report in reports):
        raise click.exceptions.Exit(1)


@cache.command(
    cls=Command,
    short_help="Delete what was made with some settings.",
    examples=("emopipe cache prune 9c4e2f --yes",),
)
@click.argument("fingerprints", nargs=-1, required=True, metavar="FINGERPRINT...")
@cache_option
@click.option("--yes", is_flag=True, help="Delete the files; without it they are only listed.")
def prune(fingerprints: tuple[str, ...], cache: Path | None, yes: bool) -> None:
    """Delete what was made with the settings of each FINGERPRINT, as `emopipe cache list` shows them.

    The beginning of one is enough.
    """
    from emopipe.stages.cache_care import prune as run
    from emopipe.store.cache import Cache

    doomed = run(Cache(resolve_cache(cache, must_exist=True)), fingerprints, delete=yes)
    for path in doomed:
        click.echo(f"{'deleted' if yes else 'would delete'}: {path}")
    if not yes:
        click.echo("Nothing was deleted. Add --yes to delete.", err=True)
