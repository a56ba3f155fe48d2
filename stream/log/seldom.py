"""What libraries say with every try, said once a minute: while Kafka is away they try a hundred times a second."""

from __future__ import annotations

import logging
from typing import Final

EVERY_S: Final = 60.0


class Seldom(logging.Filter):
    """Lets each message of some libraries pass once in `EVERY_S`, whatever stands in its blanks.

    Args:
        libraries: top-level names of their loggers.
    """

    def __init__(self, *libraries: str) -> None:
        super().__init__()
        self._libraries = frozenset(libraries)
        self._passed_s: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is of another library, or the first of its kind for a while."""
        if record.name.partition(".")[0] not in self._libraries:
            return True
        key = (record.name, record.levelno, str(record.msg))
        if record.created - self._passed_s.get(key, -EVERY_S) < EVERY_S:
            return False
        self._passed_s[key] = record.created
        return True


def hush(*libraries: str) -> None:
    """Let the handlers of this process pass what these libraries warn of, each once a minute."""
    seldom = Seldom(*libraries)
    for handler in logging.getLogger().handlers:
        handler.addFilter(seldom)
    for library in libraries:
        logging.getLogger(library).setLevel(logging.WARNING)
