"""The report's file: everything it needs is inside, and it may ask the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files
from itertools import chain, islice
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from zoneinfo import ZoneInfo

from openbell._version import __version__
from openbell.errors import ArgumentError, DumpError, IntervalError, MissingLibraryError
from openbell.export.files import replacing
from openbell.intervals import interval
from openbell.report.origins import BROKEN, Origin, Tree, problem
from openbell.report.symbols import Scope, chart_of
from openbell.schema import GAP_REASONS, NS_PER_SECOND, to_datetime, to_ns

if TYPE_CHECKING:
    from openbell.session import SessionData

__all__ = ["plotly_script", "write_report"]

#: So many symbols come with all their intervals, unless some are asked for.
_FEW_SYMBOLS: Final = 8
_SCRIPTS: Final = ("data.js", "figures.js", "tables.js", "main.js")
_PLACE: Final = re.compile(r"<!--([A-Z]+)-->")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:"


def write_report(
    source: SessionData | Mapping[str, Any] | str | PathLike[str],
    path: str | PathLike[str],
    *,
    intervals: Collection[str] | None = None,
    symbols: Collection[str] | None = None,
) -> None:
    """Write a session as one HTML file that opens offline.

    Parameters
    ----------
    source : SessionData, path or mapping
        A session with its day (a coordinator's root is taken), the JSON dump of one, or such a
        dump's tree. Symbols are taken one by one: memory holds the dump's text and the rows of
        a few symbols.
    path : str or os.PathLike
        The file; replaced when it exists, once the report is whole. Its folder must exist.
    intervals : collection of str, optional
        Which series have candles. Otherwise those of a minute and coarser, and all of them
        when there are at most 8 symbols. Coverage and tables tell of every series either way.
    symbols : collection of str, optional
        Which symbols, instead of all.

    Raises
    ------
    MissingLibraryError
        When plotly is not installed.
    ArgumentError
        When the source is something else, or one text stands for several names.
    DumpError
        When the source is not a dump, or its parts do not fit together.
    UnknownSymbolError, IntervalError
        When the source does not have a symbol or an interval that was asked for.
    OSError
        When the file cannot be written; an older one of that name is left as it was.
    """
    for option, names in (("intervals", intervals), ("symbols", symbols)):
        if isinstance(names, str):
            raise ArgumentError(option, names, f"several names, such as [{names!r}]")
    library = plotly_script()
    wanted = None if intervals is None else {interval(name).name for name in intervals}
    origin = Origin(source, symbols)
    picked = origin.symbols()
    first = list(islice(picked, _FEW_SYMBOLS + 1))
    scope = Scope(origin.window, wanted, has_all=len(first) <= _FEW_SYMBOLS)
    with replacing(path) as file:
        page = _Page(file, library)
        for item in chain(first, picked):
            try:
                chart, line = chart_of(item, scope)
            except BROKEN as error:
                said = f"symbols.{item.name}: {problem(error)}; `openbell validate` tells more"
                raise DumpError(origin.where, [said]) from error
            page.add(chart, line)
        for name in sorted(wanted or ()):
            if name not in scope.seen:
                had = ", ".join(sorted(scope.seen, key=interval)) or "no bars at all"
                raise IntervalError(name, f"no symbol of the report has it; there is {had}")
        page.finish(_session_tree(origin, scope))


class _Page:
    """Writes the page from its top to its end, a symbol at a time."""

    def __init__(self, file: BinaryIO, library: str) -> None:
        self._file = file
        self._lines: list[Tree] = []
        script = "".join(_asset(name) for name in _SCRIPTS)
        parts = {
            "STYLE": _asset("style.css"),
            "LIBRARY": _inline(library),
            "SCRIPT": _inline(script),
        }
        policy = f"script-src {_hashed(parts['LIBRARY'])} {_hashed(parts['SCRIPT'])}"
        parts["POLICY"] = f"{_POLICY}; {policy}"
        head, tail = _asset("page.html").split("<!--DATA-->")
        head, self._tail = (_PLACE.sub(lambda at: parts[at[1]], text) for text in (head, tail))
        file.write(head.encode())

    def add(self, chart: Tree, line: Tree) -> None:
        self._write_block(f"symbol-{len(self._lines)}", chart)
        self._lines.append(line)

    def finish(self, session: Tree) -> None:
        self._write_block("session", session | {"symbols": self._lines})
        self._file.write(self._tail.encode())

    def _write_block(self, name: str, content: Tree) -> None:
        # In base64, no text of the session can end the element it stands in.
        import msgspec

        packed = base64.b64encode(zlib.compress(msgspec.json.encode(content)))
        self._file.write(b'<script type="text/plain" id="%s">' % name.encode())
        self._file.write(packed + b"</script>\n")


def plotly_script() -> str:
    """Return the text of plotly.js, which a report carries with it.

    Raises
    ------
    MissingLibraryError
        When plotly is not installed. Whoever has a long way to a report asks beforehand.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MissingLibraryError("plotly", "the report", "'openbell[report]'") from None
    return str(get_plotlyjs())


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _inline(script: str) -> str:
    # Within a script, this escape is the same text in a string and in a regular expression.
    return "\n" + script.replace("</script", "<\\/script").replace("<!--", "<\\!--") + "\n"


def _hashed(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _session_tree(origin: Origin, scope: Scope) -> Tree:
    tree: Tree = {
        "openbell": __version__,
        "reasons": GAP_REASONS,
        "intervals": sorted(scope.seen, key=interval),
        "left_out": scope.left_out,
        "n_symbols": origin.n_symbols,
        "date": None,
    }
    window, bins = scope.window, scope.bins
    if window is None or bins is None:
        return tree
    # A session is shown in one offset, also where the clocks change within it.
    offset = to_datetime(window.open_ns).astimezone(ZoneInfo(window.timezone)).utcoffset()
    now = origin.session.get("now")
    return tree | {
        "date": window.date.isoformat(),
        "calendar": window.calendar,
        "timezone": window.timezone,
        "offset_s": 0 if offset is None else int(offset.total_seconds()),
        "segments_s": [[_seconds(o), _seconds(c)] for o, c in window.segments],
        "now_s": None if now is None else _seconds(to_ns(now)),
        "bins": {
            "step_s": bins.step_s,
            "starts_s": [_seconds(ts_ns) for ts_ns in bins.starts_ns.tolist()],
        },
    }


def _seconds(ts_ns: int) -> int:
    return ts_ns // NS_PER_SECOND
