"""How far long work is, and how long it will take, in a line on standard error."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

VERBOSE = ("auto", True, False)
_TERMINAL_SECONDS = 0.1  # between two writings of the line
_FILE_SECONDS = 10.0  # between two lines where none can be written over


class ProgressLine:
    """Says how much is done of how much, how fast, and how long the rest will take."""

    def __init__(
        self, what: str, verbose: bool | str = "auto", unit: str = "images"
    ) -> None:
        if verbose not in VERBOSE:
            raise ValueError(
                f'`verbose` must be True, False or "auto". Received: {verbose=}.'
            )
        self._what = what
        self._unit = unit
        self._over = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._shown = self._over if verbose == "auto" else bool(verbose)
        self._began: tuple[float, int] | None = None
        self._written_at = float("-inf")
        self._width = 0

    def __call__(self, done: int, total: int | None = None) -> None:
        if not self._shown:
            return
        now = time.monotonic()
        if self._began is None:
            self._began = now, done  # work that goes on begins above 0
        ends = total is not None and done >= total
        wait = _TERMINAL_SECONDS if self._over else _FILE_SECONDS
        if ends or now - self._written_at >= wait:
            self._written_at = now
            self._write(self._text(done, total, now), ends)

    def _text(self, done: int, total: int | None, now: float) -> str:
        of = "" if total is None else f" of {total}"
        text = f"{self._what}: {done}{of} {self._unit}"
        began, done_before = self._began
        seconds, count = now - began, done - done_before
        if total is not None and done >= total:
            return text
        if not count or seconds <= 0:
            return text
        text += f", {count / seconds:.3g} a second"
        if total is not None:
            text += f", {duration((total - done) * seconds / count)} left"
        return text

    def _write(self, text: str, ends: bool) -> None:
        if self._over:
            # Blanks over what the line before had more.
            text = "\r" + text + " " * (self._width - len(text))
            self._width = len(text.rstrip()) - 1
        sys.stderr.write(text + ("\n" if ends or not self._over else ""))
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Returns a time in words, as exact as one wants to know how long to wait."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def tracked(
    items: Iterable[Any],
    line: ProgressLine,
    total: int | None = None,
    count: Callable[[Any], int] = lambda item: 1,
) -> Iterator[Any]:
    """Gives items on, and says how many are done."""
    done = 0
    for item in items:
        line(done, total)
        yield item
        done += count(item)
    line(done, done)
