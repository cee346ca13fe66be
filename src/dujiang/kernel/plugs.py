"""The plugs (接口): what the world must provide, as Protocols of at most five methods.

An implementation never lets a foreign exception out: it raises `Unavailable` with a code of its own.
Each Protocol has one abstract contract test that runs against every implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dujiang.kernel.tables import Session


class Clock(Protocol):
    """Two times apart: the legal time and the time that only moves forward."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC; may jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back; for deadlines, meaningless outside this process."""
        ...


class Writing(Protocol):
    """The one writing connection of a home; used by the writer's thread alone."""

    def begin(self) -> Session:
        """A session in a new transaction."""
        ...

    def savepoint(self) -> None:
        """Marks the place `undo` goes back to."""

    def undo(self) -> None:
        """Takes back everything since the last savepoint; the transaction goes on."""

    def commit(self) -> None:
        """When this returns, everything since `begin` is on the disk, durably."""

    def rollback(self) -> None:
        """Takes back everything since `begin`; never raises."""


class Database(Protocol):
    """Where a home's state lives; the only way to it."""

    def writing(self) -> Writing:
        """The writing connection; a second call returns the same one."""
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """A session that sees one committed state, whatever is written meanwhile."""
        ...

    def close(self) -> None:
        """Ends every connection; nothing acknowledged is lost."""


class Vault(Protocol):
    """Where secrets are sealed under the home's master key, which never leaves it."""

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """The secret encrypted and bound to `purpose`; authenticated (AES-256-GCM)."""
        ...

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """The secret back.

        Raises: Unavailable("key_unreadable") when the master key or the purpose does not fit.
        """
        ...

    def sign(self, sealed: bytes, purpose: str, message: bytes) -> bytes:
        """An Ed25519 signature (64 bytes) of `message` by the private key sealed in `sealed`."""
        ...


class Blobs(Protocol):
    """Files of a home (uploads, registered tables) by key; written whole or not at all."""

    def path(self, key: str) -> Path:
        """Where the file of `key` lies (it may not exist)."""
        ...

    def room(self, key: str) -> Path:
        """A place for a new file of `key`: its folder exists."""
        ...

    def drop(self, key: str) -> None:
        """Removes the file, or the folder with all in it, of `key` if there is one."""

    def below(self, key: str) -> list[str]:
        """The keys one step below a key, files and folders."""
        ...

    def free_bytes(self) -> int:
        """Bytes left on the disk for this home."""
        ...


class Uniform(Protocol):
    """Where noise comes from: uniform integers that nobody can foresee."""

    def below(self, n: int) -> int:
        """A uniform integer of 0..n-1."""
        ...


class Engine(Protocol):
    """What reads tables and computes on them, in processes of its own."""

    def inspect(self, source: Path, name: str, entity: str | None = None, joins: Sequence[str] = ()) -> Any:
        """A sketch of an uploaded table and of the columns it may be joined on."""
        ...

    def register(self, source: Path, sketch: Any, table: Any, salt: bytes, plain: Path, guarded: Path) -> Any:
        """Writes the normalised and the registered file of a table, durably, or neither."""
        ...

    def compute(
        self, sql: str, *guarded: Path, stopped: Callable[[], bool] | None = None
    ) -> list[list[object]]:
        """The rows of `sql` over the views `t0`, `t1`, … of registered files, in a locked process.

        `stopped` is asked again and again while it runs; once it says so the process is killed.
        Raises: Unavailable with one constant code, whatever went wrong.
        """
        ...

    def export(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], path: Path, format: str
    ) -> None:
        """Writes a released answer as csv, json or parquet."""

    def close(self) -> None:
        """Ends every process it started."""


class Profiler(Protocol):
    """What measures a registered table for its provider, in a process of its own."""

    def profile(self, path: Path, columns: Sequence[str], day: str) -> Any:
        """The profile of a normalised copy's columns; `day` (ISO) is the last that is not the future.

        Raises: Unavailable with one constant code, whatever went wrong.
        """
        ...

    def judge(self, path: Path, demands: Any, others: Mapping[str, Path], day: str) -> Any:
        """The evidence of each declared rule in a normalised copy; `others`: the copies of named versions."""
        ...
