"""``dgmm runs``: what ran, and how it went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from dgmm.jobs.exits import DONE, ENDINGS, INTERRUPTED
from dgmm.jobs.runs.records import LOST, RUNNING
from dgmm.jobs.runs.telling import Line, Story, as_json, find_run, find_runs, line_of, story_of

_WIDE = 110
_COLOURS = {RUNNING: "cyan", LOST: "yellow", ENDINGS[DONE].state: "green", ENDINGS[INTERRUPTED].state: "yellow"}


class _ListUnlessNamed(TyperGroup):
    """A group whose first command is meant where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


runs = typer.Typer(
    cls=_ListUnlessNamed,
    help="List the runs of jobs, or tell the story of one: dgmm runs [PLACE], dgmm runs show ID.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PlaceArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PLACE]",
        help="A job file, a folder of runs, or a folder in and below which those named runs are looked for, two "
        "folders deep; the current one if left out.",
    ),
]
_JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


@runs.command("list")
def list_runs(
    place: _PlaceArgument = None,
    most: Annotated[int, typer.Option("--most", "-n", min=1, metavar="N", help="The most runs that are shown.")] = 20,
    as_values: _JsonOption = False,
) -> None:
    """List runs, the newest first: when, which job, how it ended, and what it says. This is what dgmm runs does."""
    found = find_runs(place)
    if as_values:
        typer.echo(json.dumps([as_json(run) for run in found[:most]], indent=2))
        return
    console = Console()
    if not found:
        console.print(f"no runs in {place or 'this folder'}: dgmm run JOB.yaml leaves one", markup=False)
        return
    lines = [line_of(run.record) for run in found[:most]]
    if console.width >= _WIDE:
        console.print(_table(lines))
    else:
        for line in lines:
            _print_block(console, line)
    if len(found) > most:
        console.print(f"and {len(found) - most:,} more: --most {len(found)}", style="dim")


@runs.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="The first digits of a run's number, or last.")],
    place: _PlaceArgument = None,
    as_values: _JsonOption = False,
) -> None:
    """Tell the story of a run: what was asked, what it read and did, what it warned of, how it ended, what to do."""
    run = find_run(name, place)
    if as_values:
        typer.echo(json.dumps(as_json(run, whole=True), indent=2))
    else:
        _print_story(Console(), story_of(run))


def _style(state: str) -> str:
    return _COLOURS.get(state, "red")


def _table(lines: list[Line]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    for name in ("run", "begun (UTC)", "job", "state", "took", "rows", "log-likelihood"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("took", "rows", "log-likelihood") else "left")
    table.add_column("it says", overflow="fold")
    for line in lines:
        cells = [line.id, line.begun, line.job, line.state, line.took, line.rows, line.log_likelihood, line.says]
        table.add_row(*(Text(cell, style=_style(line.state) if cell is line.state else "") for cell in cells))
    return table


def _print_block(console: Console, line: Line) -> None:
    """A run in two lines or three, where there is no room for a table."""
    head = Text.assemble(
        (line.id, "bold"), "  ", line.begun, "  ", (line.state, _style(line.state)), "  ", line.job, "  ", line.took
    )
    console.print(head, no_wrap=True, overflow="ellipsis")
    if line.says:
        console.print(Padding(Text(line.says, style="dim"), (0, 0, 0, 8)))


def _print_story(console: Console, story: Story) -> None:
    console.print(Text(story.heading, style="bold"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for key, value in story.facts:
        facts.add_row(Text(key, style="cyan"), Text(value))
    console.print(facts)
    if story.passes:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
        names = ("passes", "", "rows", "read", "in all", "log-likelihood", "memory")
        # What is least told by the rest goes first where there is no room.
        shown = names if console.width >= _WIDE - 30 else names[:3] + names[4:6]
        for heading in shown:
            table.add_column(heading, justify="left" if heading == "passes" else "right")
        for one in story.passes:
            cells = dict(
                zip(
                    names,
                    (one.name, one.count, one.rows, one.read, one.seconds, one.log_likelihood, one.memory),
                    strict=True,
                )
            )
            table.add_row(*(Text(cells[name]) for name in shown))
        console.print("", table, sep="\n")
    for text in story.warnings:
        console.print(Text.assemble(("warned  ", "yellow"), text))
    files = Table.grid(padding=(0, 2))
    for name, what in story.files:
        files.add_row(Text(name, style="cyan"), Text(what))
    console.print("", files, sep="\n")
