"""Options and arguments that many verbs share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="The pipeline's YAML file, or one in Python: MODULE:PIPELINE or FILE.py:PIPELINE.",
        show_default=False,
    ),
]
Redis = Annotated[
    str | None,
    typer.Option("--redis", metavar="URL", help="Server address, instead of the file's own.", show_default=False),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a value of the file; may be repeated.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Force = Annotated[bool, typer.Option("--force", help="Proceed even if records would be lost.")]
AnyStream = Annotated[
    str | None, typer.Option("--stream", metavar="KEY", help="A stream, by name or key.", show_default=False)
]
AnyGroup = Annotated[
    str | None, typer.Option("--group", metavar="NAME", help="Any group, with --stream.", show_default=False)
]
StreamName = Annotated[str, typer.Argument(metavar="STREAM", help="A stream of the pipeline, or a key.")]
OptionalStage = Annotated[str | None, typer.Argument(metavar="[STAGE]", help="Only this stage.", show_default=False)]
