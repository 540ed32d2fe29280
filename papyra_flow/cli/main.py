"""The `papyra-flow` command: its verbs, and the last word on every error.

A verb raises; here the error becomes one sentence on stderr and an exit code. No traceback is shown without
`--debug`.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated, NoReturn

import typer

from papyra_flow.cli.console import Verbosity, print_error
from papyra_flow.cli.verbs.act import claim, dead, drop, records, reset, trim
from papyra_flow.cli.verbs.deploy import acl, doctor, plan, run
from papyra_flow.cli.verbs.develop import bench, init, test, validate
from papyra_flow.cli.verbs.look import graph, groups, render, serve, state, status, top
from papyra_flow.errors import EXIT_FAILED, OpenFilesError, PapyraFlowError
from papyra_flow.escapes import visible
from papyra_flow.leaving import leave, leave_at_once
from papyra_flow.stdout import forget_stdout, mend_stdout, why_unwritable

app = typer.Typer(
    name="papyra-flow",
    help="Declarative stream pipelines on Redis Streams: forward and acknowledge in one atomic step.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from papyra_flow import __version__

        print(f"papyra-flow {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only; works after every verb.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens; works after every verb.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; works after every verb.")] = False,
) -> None:
    pass  # these are taken out of the arguments before typer sees them; here they are for --help


for verbs in (
    run,
    validate,
    doctor,
    plan,
    graph,
    status,
    state,
    top,
    groups,
    claim,
    trim,
    reset,
    drop,
    records,
    acl,
    test,
    serve,
    bench,
    init,
):
    verbs.register(app)
app.add_typer(render.app, name="render", help="For monitoring: a Grafana dashboard, alert rules.")
app.add_typer(dead.app, name="dead", help="Dead letters: list, show, replay, drop.")


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    mend_stdout()
    verbosity, arguments = _take_out(sys.argv[1:])
    verbosity.set_up_logging()
    try:
        app(args=arguments)
        code: object = 0
    except SystemExit as exc:
        code = exc.code
    except PapyraFlowError as exc:
        if verbosity.debug:
            raise
        print_error(exc)
        code = exc.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        forget_stdout()
        code = EXIT_FAILED
    except Exception as exc:
        if verbosity.debug:
            raise
        if isinstance(exc, OSError) and exc.errno in {errno.EMFILE, errno.ENFILE}:
            print_error(OpenFilesError())
            sys.exit(EXIT_FAILED)
        if not (isinstance(exc, OSError) and _stdout_failed()):
            print(
                f"papyra-flow: internal error: {type(exc).__name__}: {visible(str(exc)[:1000])} "
                "(rerun with --debug for the traceback)",
                file=sys.stderr,
            )
        code = EXIT_FAILED
    except BaseException as exc:
        code = getattr(exc, "exit_code", None)
        if code is None:
            raise
        leave_at_once(code)  # a second signal, which sees to it that the process ends soon
    status = code if isinstance(code, int) else EXIT_FAILED if code else 0
    leave((status or EXIT_FAILED) if _stdout_failed() else status)


def _stdout_failed() -> bool:
    """Whether the output cannot be written; then says so."""
    try:
        why = why_unwritable()
    except BrokenPipeError:
        forget_stdout()
        return True
    if why is not None:
        print(f"papyra-flow: cannot write to standard output: {why}", file=sys.stderr)
    return why is not None


def _take_out(arguments: list[str]) -> tuple[Verbosity, list[str]]:
    """`-q`, `-v` and `--debug` wherever they stand, and the other arguments."""
    verbosity = Verbosity()
    rest: list[str] = []
    for index, argument in enumerate(arguments):
        if argument == "--":
            return verbosity, rest + arguments[index:]
        if argument in {"-q", "--quiet"}:
            verbosity.quiet = True
        elif argument in {"-v", "--verbose"}:
            verbosity.verbose = True
        elif argument == "--debug":
            verbosity.debug = True
        else:
            rest.append(argument)
    return verbosity, rest
