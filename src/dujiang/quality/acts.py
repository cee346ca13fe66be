"""Acts of quality (质量): grade a version, show its grade, export its card and its data contract.

1. The table is measured in `prepare`, from the normalised copy whose hash the certificate names.
2. Findings, bounds and values are shown to the providers of the version's own organisation alone; the grade
   to everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from dujiang.identity import acts as identity
from dujiang.kernel.act import Caller, Node, Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.runner import NOT_FOUND
from dujiang.kernel.tables import Session
from dujiang.quality import odcs, rules, store, wire
from dujiang.quality.model import NOT_GRADED, RULES_WRONG, Demands, Evidence, Graded, Mark, Profile, Public
from dujiang.registry import acts as registry
from dujiang.registry import wire as registry_wire
from dujiang.registry.model import Kind, Version

_PROBLEMS_MAX = 20


@dataclass(frozen=True, slots=True)
class Grade:
    """The registered version to grade, of the caller's organisation."""

    version: str
    rules: Demands | None = None
    """Rules you declare beside those the table proposes: a file with `[[quality]]` as in ODCS 3.1."""


@dataclass(frozen=True, slots=True)
class Show:
    """A registered version."""

    version: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The grade of a version: what everybody may see, and for its provider the findings behind it."""

    public: Public
    card: dict[str, Any] | None = None
    """The dataset card (Croissant 1.1); its provider may publish it."""
    graded: Graded | None = None
    """For a provider of the version's own organisation alone."""


class Form(StrEnum):
    """A form a graded version can be described in."""

    croissant = "croissant"
    odcs = "odcs"


@dataclass(frozen=True, slots=True)
class Export:
    """A graded version of the caller's organisation."""

    version: str
    form: Form = Form.croissant
    """croissant: the dataset card; odcs: the data contract with the declared rules."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The document: Croissant 1.1 JSON-LD, or an ODCS 3.1 data contract; without a value of the table."""

    version: str
    form: Form
    document: dict[str, Any]


def prepare_grade(node: Node, caller: Caller, ask: Grade) -> Graded:
    """The grading of a version's normalised copy, by the rules it proposes and those that are declared.

    Raises: Refused not_found, rules_wrong; Unavailable engine_failed, engine_deadline.
    """
    demands = ask.rules.quality if ask.rules else ()
    with node.database.reading() as db:
        version = _own(db, caller, ask.version)
        others = {each: _own(db, caller, each) for each in odcs.named(demands)[: odcs.OTHERS_MAX]}
    if ask.rules is not None:
        columns = {name: _kinds(other) for name, other in others.items()}
        if wrong := odcs.problems(demands, _kinds(version), columns):
            raise Refused(RULES_WRONG, problems="; ".join(wrong[:_PROBLEMS_MAX]))
    names = [column.name for column in version.table.columns]
    if version.table.entity is not None and version.table.entity not in names:
        names.append(version.table.entity)
    day = registry_wire.instant(node.clock.now_ms())[:10]
    path = node.blobs.path(version.plain_key)
    judged: tuple[Evidence, ...] = ()
    if demands:
        copies = {name: node.blobs.path(other.plain_key) for name, other in others.items()}
        judged = cast("tuple[Evidence, ...]", node.profiler.judge(path, demands, copies, day))
    profile = cast("Profile", node.profiler.profile(path, names, day))
    return rules.graded(profile, version.table.entity, list(zip(demands, judged, strict=True)))


def grade(tx: Tx, caller: Caller, ask: Grade, graded: Graded) -> Shown:
    """Keeps the grade of a version, with its evidence.

    Raises: Refused not_found.
    """
    version = _own(tx.db, caller, ask.version)
    store.keep(tx.db, caller.org, version.id, graded, tx.now_ms)
    tx.tell(
        resource=version.resource,
        version=version.id,
        sha256_plain=version.sha256_plain,
        grade=graded.grade,
        formula=graded.formula,
        rules=len(graded.rules),
        rules_failed=sum(1 for rule in graded.rules if rule.broken),
        rules_declared=len(graded.demands),
    )
    public = rules.public(version.id, graded, tx.now_ms)
    return Shown(public, _card(tx.db, version, graded, public), graded)


def show(tx: Tx, caller: Caller, ask: Show) -> Shown:
    """The grade of a version: to its own organisation's providers with the findings, to others without.

    Raises: Refused not_found, not_graded.
    """
    version = registry.version(tx.db, ask.version)
    graded, public = _latest(tx.db, version)
    if caller.org != version.org or "provider" not in caller.roles:
        return Shown(public)
    return Shown(public, _card(tx.db, version, graded, public), graded)


def export(tx: Tx, caller: Caller, ask: Export) -> Exported:
    """The dataset card or the data contract of a graded version, for its provider to publish.

    Raises: Refused not_found, not_graded.
    """
    version = _own(tx.db, caller, ask.version)
    graded, public = _latest(tx.db, version)
    if ask.form is Form.odcs:
        return Exported(version.id, ask.form, wire.contract(version, graded, public))
    return Exported(version.id, ask.form, _card(tx.db, version, graded, public))


def mark(db: Session, version_id: str) -> Mark | None:
    """The grade of a version as it stands beside a product in a list; None while it has none."""
    return store.mark(db, version_id)


def public(db: Session, version_id: str) -> Public | None:
    """What everybody may know of a version's grade, for the packages that show it; None while it has none."""
    found = store.latest(db, version_id)
    return None if found is None else rules.public(version_id, *found)


def _card(db: Session, version: Version, graded: Graded, public: Public) -> dict[str, Any]:
    return wire.card(version, identity.organisation(db, version.org), graded, public)


def _latest(db: Session, version: Version) -> tuple[Graded, Public]:
    found = store.latest(db, version.id)
    if found is None:
        raise Refused(NOT_GRADED)
    graded, graded_ms = found
    return graded, rules.public(version.id, graded, graded_ms)


def _kinds(version: Version) -> dict[str, Kind]:
    return {column.name: column.kind for column in version.table.columns}


def _own(db: Session, caller: Caller, version_id: str) -> Version:
    version = registry.version(db, version_id)
    if version.org != caller.org:
        raise Refused(NOT_FOUND)
    return version
