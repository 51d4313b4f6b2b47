"""The consoles that all commands print to, and the options that they share: --quiet, --verbose, --log-file."""

from __future__ import annotations

import functools
import inspect
import io
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TextIO, get_type_hints, override

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from dcrflow.base.addresses import redacted_text
from dcrflow.base.errors import ConfigError, DcrflowError
from dcrflow.base.texts import one_line

_OURS = logging.getLogger("dcrflow")
_LOG = logging.getLogger("dcrflow.cli")  # of what is printed
_LOG_WIDTH = 200  # columns of tables in a log file
PANEL = "Output"
EXAMPLES = "Examples:"  #: begins the examples in a command's epilog

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only errors and what --json asks for.", rich_help_panel=PANEL)
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Print log messages, and tracebacks of errors.", rich_help_panel=PANEL),
]
LogFile = Annotated[
    Path | None,
    typer.Option("--log-file", help="Append all messages to this file, with times.", rich_help_panel=PANEL),
]


class LoggedConsole(Console):
    """A console whose lines also go to the log file, if there is one. ``:x:`` in a text stays as it is: no emoji."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, and log the same lines without colours."""
        super().print(*objects, **options)
        if _LOG.isEnabledFor(logging.INFO):
            plain = Console(file=io.StringIO(), width=_LOG_WIDTH, highlight=False, emoji=False, no_color=True)
            plain.print(*objects, **options)
            for line in plain.file.getvalue().splitlines():  # type: ignore[attr-defined]
                if line.strip():
                    _LOG.info("%s", line.rstrip())


console = LoggedConsole(stderr=True)  #: progress and hints
output = LoggedConsole()  #: results
errors = LoggedConsole(stderr=True)  #: what --quiet prints, too


def begin(words: str) -> None:
    """Say what a command starts with, before its imports: they take seconds."""
    console.print(f"{redacted_text(words)} ...", soft_wrap=True, markup=False)


def since_start() -> float:
    """Seconds since this process started, imports included."""
    import psutil

    started: float = psutil.Process().create_time()
    return max(0.0, time.time() - started)


def with_output_options[**P, R](command: Callable[P, R]) -> Callable[..., R]:
    """Give a command the options --quiet, --verbose and --log-file.

    The new function has the command's signature and these options; Typer reads them from it.
    """

    @functools.wraps(command)
    def called(
        *args: Any, quiet: bool = False, verbose: bool = False, log_file: Path | None = None, **values: Any
    ) -> R:
        with _chosen(quiet, verbose, log_file):
            return command(*args, **values)

    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    parameters = [p.replace(annotation=hints[name]) for name, p in signature.parameters.items()]
    for name, kind, default in (("quiet", Quiet, False), ("verbose", Verbose, False), ("log_file", LogFile, None)):
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
        hints[name] = kind
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = hints
    del called.__wrapped__
    return called


_UsageError: Any = typer.BadParameter.__mro__[1]  # click's, or that of the copy of it which newer versions have


class _Group(TyperGroup):
    """Commands whose errors of usage quote no secrets."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            error.message = redacted_text(error.message)
            raise


class Commands(typer.Typer):
    """A Typer application whose commands have the options --quiet, --verbose and --log-file, and examples."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=_Group, **options)

    def command(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> Callable[[Any], Any]:
        """Register a command, as `typer.Typer.command`; its help ends with the examples."""
        if examples:
            options["epilog"] = "\n\n".join([EXAMPLES, *(escape(example) for example in examples)])
        register = super().command(*args, **options)

        def registered(function: Any) -> Any:
            register(with_output_options(function))
            return function

        return registered


@contextmanager
def _chosen(quiet: bool, verbose: bool, log_file: Path | None) -> Iterator[None]:
    """Print and log as the options say, while a command runs."""
    if quiet and verbose:
        raise ConfigError("give --quiet or --verbose, not both")
    handlers: list[logging.Handler] = [_OnTerminal(verbose)]
    if log_file is not None:
        handlers.append(_in_file(log_file))
    before = console.quiet, output.quiet, _OURS.level, warnings.showwarning
    console.quiet = output.quiet = quiet
    warnings.showwarning = _show_warning
    for handler in handlers:
        _OURS.addHandler(handler)
    _OURS.setLevel(min(handler.level for handler in handlers))
    _LOG.info("dcrflow %s", " ".join(sys.argv[1:]))
    try:
        yield
    except DcrflowError as error:
        if verbose:
            print(redacted_text(traceback.format_exc()), file=sys.stderr, end="")
        _LOG.error("%s", one_line(error), exc_info=True)
        raise
    finally:
        console.quiet, output.quiet, level, warnings.showwarning = before
        _OURS.setLevel(level)
        for handler in handlers:
            _OURS.removeHandler(handler)
            handler.close()


class _OnTerminal(logging.Handler):
    """Prints log messages of dcrflow, each once; what the console itself logs is there already."""

    def __init__(self, verbose: bool) -> None:
        super().__init__(logging.INFO if verbose else logging.WARNING)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        words = one_line(redacted_text(record.getMessage()))
        if record.name == _LOG.name or words in self._printed:
            return
        self._printed.add(words)
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        Console.print(console, f"[{style}]{record.levelname.lower()}:[/] {escape(words)}", soft_wrap=True)


class _InFile(logging.FileHandler):
    """Writes to a file. If that fails (a full disk), it is said once, and the command goes on without the log."""

    _failed = False

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if not self._failed:
            self._failed = True
            words = escape(one_line(f"cannot write {self.baseFilename}: {type(error).__name__}: {error}"))
            Console.print(console, f"[yellow]warning:[/] {words}; the log is not complete", soft_wrap=True)

    def close(self) -> None:
        with suppress(OSError):  # of lines that still wait: it was said
            super().close()


def _in_file(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _InFile(path, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--log-file: cannot write {path}: {error.strerror}; give a file that can be written"
        ) from None
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(_WithoutSecrets("%(asctime)s %(levelname)s %(message)s"))
    return handler


class _WithoutSecrets(logging.Formatter):
    """Lines of a log file, tracebacks included: libraries' errors quote the addresses that they asked."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted_text(super().format(record))


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    """A warning of Python's, as a log message: without the line of code that gave it."""
    _OURS.warning("%s", message)
