"""What the verbs say and show while they work: notes and progress bars, on standard error."""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tqdm import tqdm

from fewshot_bn.events import Note, Progress

if TYPE_CHECKING:
    from fewshot_bn.experiment.events import Adapting, Done, Event

BYTES = "B"  # the unit that bars count in thousands


class Console:
    """Says things and draws bars, unless it is quiet; what the package logs is said as a note."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._bar: tqdm[None] | None = None
        self._drawn = ""

    def say(self, text: str) -> None:
        if text and not self.quiet:
            tqdm.write(text, file=sys.stderr)

    def note(self, text: object) -> None:
        self.say(f"note: {text}")

    def draw(self, event: Progress, more: str = "") -> None:
        """A bar, on a terminal only, so that logs of batch scripts stay short; another title makes another bar."""
        if self._bar is None or event.title != self._drawn:
            self.clear()
            self._bar = _bar(event, hidden=True if self.quiet else None)
            self._drawn = event.title
        if more:
            self._bar.set_postfix_str(more, refresh=False)
        self._bar.total = event.total
        self._bar.update(event.done - self._bar.n)

    def clear(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Within it, warnings of the package are said as notes; afterwards no bar is left."""
        logger, handler = logging.getLogger("fewshot_bn"), _Notes(self)
        logger.addHandler(handler)  # while there is one, Python prints no warnings by itself
        try:
            yield
        finally:
            logger.removeHandler(handler)
            self.clear()

    def follow(self, events: "Iterable[Event]") -> "Iterator[Done]":
        """Show what happens; yields what is done. Ctrl-C says how far the work on episodes has come."""
        from fewshot_bn.experiment.events import Adapting, Started

        adapting: Adapting | None = None
        try:
            for event in events:
                if isinstance(event, Started):
                    self.say(event.headline)
                elif isinstance(event, Note):
                    self.note(event.text)
                elif isinstance(event, Adapting):
                    adapting = event
                    self.draw(event, _accuracy(event))
                elif isinstance(event, Progress):
                    self.draw(event)
                else:
                    adapting = None
                    self.clear()
                    yield event
        except KeyboardInterrupt:
            if adapting is None:
                raise
            raise KeyboardInterrupt(_stopped(adapting)) from None


class _Notes(logging.Handler):
    """Says what is logged."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.note(record.getMessage())


def _bar(event: Progress, *, hidden: bool | None) -> "tqdm[None]":
    return tqdm(
        desc=event.title,
        unit=event.unit,
        total=event.total,
        initial=event.done,
        leave=False,
        disable=hidden,
        unit_scale=event.unit == BYTES,
        unit_divisor=1024,
    )


def _accuracy(event: "Adapting") -> str:
    from fewshot_bn.reports.text import percent

    return "" if event.accuracy is None else f"accuracy {percent(event.accuracy)}"


def _stopped(event: "Adapting") -> str:
    kept = f" and are kept in {event.kept_in}" if event.done else ""
    done_now = f"{event.done} of {event.total} episodes of {event.title} are done{kept}"
    return f"stopped: {done_now}; the same command goes on from there"
