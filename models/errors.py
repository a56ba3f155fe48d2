"""Every error that Gridwarden raises on purpose.

::

    GridwardenError
    ├── ConfigError        exit code 2; names the file, the path in it and the remedy
    ├── MessageError       dead-lettered and counted; processing goes on
    ├── SourceError        a camera, clip or sensor file that cannot be read
    ├── StorageError       a log, ledger or outbox that cannot keep what it was given
    └── DeliveryError
        ├── TransientError worth another try after `retry_after_s`
        └── PermanentError the next channel, or the next person

Third-party errors are translated at the door that imports the third party, with ``from exc``.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class GridwardenError(Exception):
    """The root: catch it in a shell's outermost loop, nowhere else."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a config folder.

    Attributes:
        file: the file that holds it.
        path: where in the file, such as ``thresholds.fire.score`` or ``features[3].geometry``.
        what: what is wrong, as a sentence without a full stop.
        remedy: what to do about it.
    """

    file: Path | str
    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path}: {self.what}; {self.remedy}"


class ConfigError(GridwardenError):
    """A config folder that may not be used. Carries every mistake found, not just the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Reason(enum.StrEnum):
    """Why a message was not taken, machine-readable: the key of a dead letter and of its counter."""

    NOT_UTF8_JSON = "not_utf8_json"
    TOO_LARGE = "too_large"
    UNKNOWN_VERSION = "unknown_version"
    WRONG_SHAPE = "wrong_shape"
    NO_SEAL = "no_seal"
    WRONG_SEAL = "wrong_seal"
    UNKNOWN_SENDER = "unknown_sender"
    FOREIGN_DEVICE = "foreign_device"
    FOREIGN_TENANT = "foreign_tenant"
    UNKNOWN_DEVICE = "unknown_device"
    RETIRED_OUTBOX = "retired_outbox"
    UNKNOWN_LABEL = "unknown_label"
    RULE_FAILED = "rule_failed"


class MessageError(GridwardenError):
    """A message that cannot be taken. The sender of it is told nothing; the dead letter says why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class SourceError(GridwardenError):
    """A picture source that cannot be opened or read."""

    exit_code = 2


class StorageError(GridwardenError):
    """A file that should keep something and cannot."""


class DeliveryError(GridwardenError):
    """A notification that did not reach its channel."""


class TransientError(DeliveryError):
    """Worth another try after `retry_after_s` seconds."""

    def __init__(self, what: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what)


class PermanentError(DeliveryError):
    """No second try on this channel will help."""
