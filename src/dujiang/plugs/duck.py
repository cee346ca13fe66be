"""The engine plug on DuckDB: inspect an uploaded table, register it, compute over it, export answers.

1. A file from outside and every question are read in a locked child process (`cage`, `worker`).
2. What is written appears whole under its final name, read-only, or not at all.
3. A failure is `Refused` where the table is at fault and `Unavailable` where the engine is.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from dujiang.kernel.errors import Refused, Unavailable
from dujiang.plugs import guarded as form_of
from dujiang.plugs import profile as measuring
from dujiang.plugs import sketch as look
from dujiang.plugs import tabular, verdict, workbook
from dujiang.plugs.cage import ENGINE_FAILED, Failure, Limits, Standby, Worker, lend, take_back
from dujiang.plugs.folder import sync_folder
from dujiang.plugs.sketch import Sketch, quoted
from dujiang.plugs.worker import path_of
from dujiang.quality.model import RULES_WRONG, Demand, Evidence, Profile
from dujiang.registry.model import Table, Use

INGEST = Limits(
    seconds=600.0,
    memory_bytes=768 << 20,
    rows_max=10_000,
    bytes_max=32 << 20,
    scratch_bytes=16 << 30,
)
QUESTION = Limits()
FILE_BYTES_MAX = 4 << 30
NOT_THE_FILE = ("OutOfMemoryException", "MemoryError", "Limit")
"""Classes of engine errors that do not mean, while an outside file is read, that it is broken."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration wrote; hashes are SHA-256 in hexadecimal."""

    rows_plain: int
    rows_guarded: int
    entities: int
    dropped_null_entity: int
    """Rows left out because their entity key is empty."""
    dropped_beyond: int
    """Rows left out because their entity has more than the declared rows."""
    rows_per_entity_max: int
    sha256_plain: str
    sha256_guarded: str
    sha256_source: str


class Duck:
    """The engine: each method may be called from any thread; `close` ends what stands by."""

    def __init__(
        self, *, file_bytes_max: int = FILE_BYTES_MAX, ingest: Limits = INGEST, question: Limits = QUESTION
    ) -> None:
        self._file_bytes_max = file_bytes_max
        self._ingest = ingest
        self._question = question
        self._standby = Standby()

    def warm(self) -> None:
        """Start the worker that the next question will find ready."""
        self._standby.warm()

    def close(self) -> None:
        """End the worker that stands by."""
        self._standby.close()

    def inspect(
        self, source: Path, name: str, entity: str | None = None, joins: Sequence[str] = ()
    ) -> Sketch:
        """What the table in the file `source` holds; `name`, its original name, decides nothing.

        `joins`: columns it is to be joined on; those it does not have are left to whoever asks.

        Raises:
            Refused: empty_file, file_too_large, unreadable_table, wrong_encoding, duplicate_columns,
                too_many_columns, no_rows, column_missing (the entity), header_missing, workbook_locked,
                workbook_too_large.
            Unavailable: engine_failed, engine_deadline.
        """
        with _disk(), contextlib.ExitStack() as stack:
            form = tabular.recognise(source, self._file_bytes_max)
            form, readable = stack.enter_context(self._readable(source, form))
            staging = stack.enter_context(_lent())
            scratch = stack.enter_context(_scratch(None))
            with Worker() as worker:
                files = [readable.fileno(), staging.fileno(), scratch]
                worker.begin(self._ingest, files, [], question=False)
                return _inspected(worker, form, entity, joins)

    def register(
        self, source: Path, sketch: Sketch, table: Table, salt: bytes, plain: Path, guarded: Path
    ) -> Registered:
        """Write the normalised copy `plain` and the registered form `guarded` of an inspected file.

        Raises:
            Refused: column_missing, too_many_entities, rows_over_declared, null_in_column,
                too_many_values, rows_over_key, no_rows, unreadable_table (the file has changed since).
            Unavailable: engine_failed, engine_deadline.
        """
        form, types = sketch.form, [(column.name, column.type) for column in sketch.columns]
        _check_columns(table, [column.name for column in sketch.columns])
        with _disk(), contextlib.ExitStack() as stack:
            now, readable = stack.enter_context(self._readable(source, form))
            if now != form:
                raise Refused(tabular.UNREADABLE_TABLE, line=tabular.UNKNOWN_LINE)
            plain_file = stack.enter_context(_Draft(plain))
            guarded_file = stack.enter_context(_Draft(guarded))
            scratch = stack.enter_context(_scratch(guarded.parent))
            if look.is_plain(form, types):
                readable.seek(0)
                shutil.copyfileobj(readable, plain_file.file, 1 << 20)
                plain_file.file.flush()
            with Worker() as worker:
                files = [readable.fileno(), plain_file.descriptor, guarded_file.descriptor, scratch]
                worker.begin(self._ingest, files, [], question=False)
                counts = _registered(worker, sketch, table, salt)
            told = replace(
                counts,
                sha256_plain=plain_file.seal(),
                sha256_guarded=guarded_file.seal(),
                sha256_source=_sha256(source),
            )
            plain_file.publish()
            try:
                guarded_file.publish()
            except OSError:
                plain.unlink(missing_ok=True)  # both or neither
                raise
            return told

    def compute(
        self,
        sql: str,
        *guarded: Path,
        stopped: Callable[[], bool] | None = None,
        limits: Limits | None = None,
    ) -> list[list[Any]]:
        """The rows of regenerated SQL over the views `t0`, `t1`, … of registered files, within the limits.

        `stopped` is asked every quarter of a second while it runs; once it says so the worker is killed.
        Values are int (of any size), float, str, bool or None; dates and timestamps are ISO text.

        Raises:
            Unavailable: engine_failed (whatever the reason, memory and size of the answer included),
                engine_deadline, engine_stopped.
        """
        views = [
            f"create view t{place} as select * from read_parquet('{path_of(place)}')"
            for place in range(len(guarded))
        ]
        with contextlib.ExitStack() as stack:
            try:
                files = [stack.enter_context(path.open("rb")).fileno() for path in guarded]
            except OSError:
                raise Unavailable(ENGINE_FAILED) from None
            worker = stack.enter_context(self._standby.take())
            within = replace(limits or self._question, scratch_bytes=0)
            worker.begin(within, files, views, question=True)
            worker.stopped = stopped
            return worker.ask(sql)

    def profile(self, path: Path, columns: Sequence[str], day: str) -> Profile:
        """What the columns of a registered table's normalised copy hold; for its provider alone.

        Raises:
            Unavailable: engine_failed, engine_deadline.
        """
        with _disk(), contextlib.ExitStack() as stack:
            _, readable = stack.enter_context(self._readable(path, tabular.Form("parquet")))
            scratch = stack.enter_context(_scratch(None))
            with Worker() as worker:
                worker.begin(self._ingest, [readable.fileno(), scratch], [], question=False)
                return measuring.measure(worker.ask, f"read_parquet('{path_of(0)}')", columns, day)

    def judge(
        self, path: Path, demands: Sequence[Demand], others: Mapping[str, Path], day: str
    ) -> tuple[Evidence, ...]:
        """What declared rules find in a normalised copy; `others`: the copies of the versions they name.

        Raises:
            Refused: rules_wrong (a pattern the engine does not read).
            Unavailable: engine_failed, engine_deadline.
        """
        parquet = tabular.Form("parquet")
        with _disk(), contextlib.ExitStack() as stack:
            files = [
                stack.enter_context(self._readable(each, parquet))[1] for each in (path, *others.values())
            ]
            scratch = stack.enter_context(_scratch(None))
            with Worker() as worker:
                handles = [*(file.fileno() for file in files), scratch]
                worker.begin(self._ingest, handles, [], question=False)
                for place, demand in enumerate(demands):
                    statement = verdict.probe(demand)
                    if statement is not None and isinstance(worker.attempt(statement), Failure):
                        raise Refused(RULES_WRONG, problems=f"quality[{place}].arguments.pattern: RE2")
                cells, *rest = (
                    verdict.Cells.of(worker.ask, f"read_parquet('{path_of(index)}')")
                    for index in range(len(files))
                )
                named = dict(zip(others, rest, strict=True))
                return verdict.count(worker.ask, cells, named, demands, day)

    def export(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        path: Path,
        format: str,
    ) -> None:
        """Write a released answer to `path` as `csv` (UTF-8), `json` (a list of objects) or `parquet`.

        Raises:
            Unavailable: engine_failed (the file cannot be written).
        """
        with _disk(), _Draft(path, mode=0o644) as draft:
            EXPORTS[format](columns, rows, draft.path)
            draft.seal()
            draft.publish()

    @contextlib.contextmanager
    def _readable(
        self, source: Path, form: tabular.Form
    ) -> Generator[tuple[tabular.Form, BinaryIO], None, None]:
        """The source as the worker can read it, and its form, which for a workbook is known only now."""
        with source.open("rb") as file, contextlib.ExitStack() as stack:
            if form.is_workbook:
                text = stack.enter_context(_lent())
                yield workbook.convert(file, text, form, self._ingest, self._file_bytes_max), text
            else:
                yield form, stack.enter_context(_as_text(file, form))


def _inspected(worker: Worker, form: tabular.Form, entity: str | None, joins: Sequence[str]) -> Sketch:
    source, staging = path_of(0), path_of(1)
    if form.is_text:
        reader = look.text_reader(form, source)
        written = f"copy (from {reader}) to '{staging}' (format parquet, use_tmp_file false)"
        if _from_file(worker, written, writes=True)[0][0] == 0:
            raise Refused(tabular.NO_ROWS)
        relation = f"read_parquet('{staging}')"
        told = {name: known for name, known in zip(form.names, form.types, strict=False) if known}
        told |= look.text_types(worker.ask, relation, [name for name in form.names if name not in told])
        types = [(name, told[name]) for name in form.names]
    else:
        relation = f"read_parquet('{source}')"
        tabular.check_names(_parquet_names(worker, source))
        types = [(str(row[0]), str(row[1])) for row in _from_file(worker, f"describe from {relation}")]
        if _from_file(worker, f"select count(*) from {relation}")[0][0] == 0:
            raise Refused(tabular.NO_ROWS)
    if entity is not None and entity not in [name for name, _ in types]:
        raise Refused(tabular.COLUMN_MISSING, column=entity)
    return look.describe(lambda sql: _from_file(worker, sql), relation, form, types, entity, joins)


def _parquet_names(worker: Worker, path: str) -> list[str]:
    """Top-level names as written: the reader itself would rename the second of two equal ones."""
    fields = iter(_from_file(worker, f"select name, num_children from parquet_schema('{path}')"))

    def skip(children: int) -> None:
        for _ in range(children):
            skip(int(next(fields)[1] or 0))

    names: list[str] = []
    try:
        for _ in range(int(next(fields)[1] or 0)):
            name, children = next(fields)
            names.append(str(name))
            skip(int(children or 0))
    except (StopIteration, RecursionError):
        raise Refused(tabular.UNREADABLE_TABLE, line=tabular.UNKNOWN_LINE) from None
    return names


def _registered(worker: Worker, sketch: Sketch, table: Table, salt: bytes) -> Registered:
    form, types = sketch.form, [(column.name, column.type) for column in sketch.columns]
    source, plain, target = (path_of(index) for index in range(3))
    if not look.is_plain(form, types):
        reader = look.text_reader(form, source) if form.is_text else f"read_parquet('{source}')"
        select = f"select {look.plain_columns(form, types)} from {reader}"
        _from_file(worker, f"copy ({select}) to '{plain}' ({form_of.WRITTEN})", writes=True)
    _check_types(worker, plain, types)
    rows = int(_from_file(worker, f"select count(*) from read_parquet('{plain}')")[0][0])
    if rows == 0:
        raise Refused(tabular.NO_ROWS)
    entities, nulls = rows, 0
    numbering = form_of.number_entities(table, plain, salt)
    if numbering is not None and table.entity is not None:
        worker.ask(numbering)
        entities = int(worker.ask("select count(*) from ids")[0][0])
        column = quoted(table.entity)
        nulls = int(worker.ask(f"select count(*) from read_parquet('{plain}') where {column} is null")[0][0])
    if entities > table.entities:
        raise Refused(tabular.TOO_MANY_ENTITIES, limit=table.entities)
    kept = int(worker.ask(form_of.write_guarded(table, dict(types), plain, target))[0][0])
    if kept > table.rows_max:
        raise Refused(tabular.ROWS_OVER_DECLARED, limit=table.rows_max)
    _check_declared(worker, table, sketch, f"read_parquet('{target}')")
    most = int(worker.ask(f"select coalesce(max(rn), 0) from read_parquet('{target}')")[0][0])
    return Registered(rows, kept, entities, nulls, rows - nulls - kept, most, "", "", "")


def _check_types(worker: Worker, plain: str, types: Sequence[tuple[str, str]]) -> None:
    """Refuse a file that is no longer the one inspected: every cast was chosen by its types."""
    found = _from_file(worker, f"describe from read_parquet('{plain}')")
    expected = [(name, "TIMESTAMP" if kind.startswith("TIMESTAMP W") else kind) for name, kind in types]
    if [(str(row[0]), str(row[1])) for row in found] != expected:
        raise Refused(tabular.UNREADABLE_TABLE, line=tabular.UNKNOWN_LINE)


def _check_columns(table: Table, names: Sequence[str]) -> None:
    wanted = [column.name for column in table.columns] + ([table.entity] if table.entity else [])
    for name in wanted:
        if name not in names:
            raise Refused(tabular.COLUMN_MISSING, column=name)


def _check_declared(worker: Worker, table: Table, sketch: Sketch, relation: str) -> None:
    """Refuse what contradicts the declared shape: questions are priced and sized by it."""
    # a stored value is a function of the source's value, so the source's count is a bound
    known = {column.name: column.distinct for column in sketch.columns if column.distinct_exact}
    checks = [(i, column, "null") for i, column in enumerate(table.columns) if not column.nullable]
    checks += [
        (i, column, "distinct")
        for i, column in enumerate(table.columns)
        if Use.group in column.uses
        and column.keys is None
        and column.distinct_max < known.get(column.name, table.rows_max)
    ]
    for key in table.joins:
        places = ", ".join(f"j{table.names.index(name)}" for name in key.columns)
        present = " and ".join(f"{place} is not null" for place in places.split(", "))
        shared = f"select count(*) n from {relation} where {present} group by {places}"
        if worker.ask(f"select coalesce(max(n), 0) from ({shared})")[0][0] > key.rows:
            raise Refused(tabular.ROWS_OVER_KEY, column=", ".join(key.columns), limit=key.rows)
    if not checks:
        return
    measures = {"null": "count(*) - count(c{i})", "distinct": "count(distinct c{i})"}
    wanted = ", ".join(measures[what].format(i=i) for i, _, what in checks)
    found = worker.ask(f"select {wanted} from {relation}")[0]
    for (_, column, what), number in zip(checks, found, strict=True):
        if what == "null" and number:
            raise Refused(tabular.NULL_IN_COLUMN, column=column.name)
        if what == "distinct" and number > column.distinct_max:
            raise Refused(tabular.TOO_MANY_VALUES, column=column.name, limit=column.distinct_max)


def _from_file(worker: Worker, sql: str, *, writes: bool = False) -> list[list[Any]]:
    """The rows of a statement over the outside file, whose faults are the file's, a full disk apart."""
    answer = worker.attempt(sql)
    if not isinstance(answer, Failure):
        return answer
    if answer.kind in NOT_THE_FILE or (writes and answer.kind == "IOException"):
        raise Unavailable(ENGINE_FAILED)
    raise Refused(tabular.UNREADABLE_TABLE, line=answer.line or tabular.UNKNOWN_LINE)


@contextlib.contextmanager
def _disk() -> Generator[None, None, None]:
    """Turns what the file system says (no file, no right, no space) into the plug's own word."""
    try:
        yield
    except OSError:
        raise Unavailable(ENGINE_FAILED) from None


@contextlib.contextmanager
def _as_text(file: BinaryIO, form: tabular.Form) -> Generator[BinaryIO, None, None]:
    """A file that is no workbook as the worker can read it: UTF-8 if text, and open to the worker's user."""
    foreign = form.format == "csv" and form.encoding not in ("utf-8", "utf-8-sig")
    hidden = os.geteuid() == 0 and not os.fstat(file.fileno()).st_mode & 0o004
    if not foreign and not hidden:
        yield file
        return
    with _lent() as copy:
        if foreign:
            try:
                tabular.transcode(file, form.encoding or "utf-8", copy)
            except UnicodeError:  # it carries the bytes; the file has changed since it was recognised
                raise Refused(tabular.WRONG_ENCODING) from None
        else:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
        yield copy


@contextlib.contextmanager
def _lent() -> Generator[BinaryIO, None, None]:
    """A file without a name that the worker may read and write; gone when closed."""
    with tempfile.TemporaryFile() as file:
        lend(file.fileno())
        yield cast(BinaryIO, file)


@contextlib.contextmanager
def _scratch(beside: Path | None) -> Generator[int, None, None]:
    """A folder for the worker to spill to; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=beside) as folder:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lend(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)


class _Draft:
    """A file written under a temporary name in its folder, until it is sealed and published."""

    def __init__(self, final: Path, mode: int = 0o444) -> None:
        self._final = final
        self._mode = mode

    def __enter__(self) -> _Draft:
        self.descriptor, name = tempfile.mkstemp(prefix=".draft-", dir=self._final.parent)
        self.file = os.fdopen(self.descriptor, "wb")
        self.path = Path(name)
        lend(self.descriptor)
        return self

    def seal(self) -> str:
        """The SHA-256 of the file, whose bytes are final and durable from here on."""
        take_back(self.descriptor, self._mode)
        os.fsync(self.descriptor)
        return _sha256(self.path)

    def publish(self) -> None:
        """Give the file its final name, durably."""
        self.path.replace(self._final)
        sync_folder(self._final.parent)

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _export_csv(columns: Sequence[str], rows: Sequence[Sequence[object]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([list(columns), *rows])


def _export_json(columns: Sequence[str], rows: Sequence[Sequence[object]], path: Path) -> None:
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _export_parquet(columns: Sequence[str], rows: Sequence[Sequence[object]], path: Path) -> None:
    """In the node itself: a released answer is small and holds nothing of the provider."""
    import duckdb  # only this door of the plug loads the engine into the node

    types = [_export_type([row[place] for row in rows]) for place in range(len(columns))]
    declared = ", ".join(f"{quoted(name)} {kind}" for name, kind in zip(columns, types, strict=True))
    try:
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"create table answer ({declared})")
            if rows:
                marks = ", ".join("?" for _ in columns)
                connection.executemany(f"insert into answer values ({marks})", [list(row) for row in rows])
            connection.execute(f"copy answer to {look.literal(str(path))} ({form_of.WRITTEN})")
    except duckdb.Error:
        raise Unavailable(ENGINE_FAILED) from None


def _export_type(values: Sequence[object]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "BOOLEAN"
    if kinds == {int}:
        size = max(abs(value) for value in values if isinstance(value, int))
        return "BIGINT" if size < 2**63 else "DECIMAL(38, 0)" if size < 10**38 else "VARCHAR"
    return "DOUBLE" if kinds and kinds <= {int, float} else "VARCHAR"


EXPORTS: Mapping[str, Callable[[Sequence[str], Sequence[Sequence[object]], Path], None]] = {
    "csv": _export_csv,
    "json": _export_json,
    "parquet": _export_parquet,
}
"""Writers of an answer by the name of the format."""
