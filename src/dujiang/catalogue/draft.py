"""What a version of a product is drafted from: checked terms, a declaration, and the registered table under it."""

from __future__ import annotations

from dataclasses import replace

from dujiang.catalogue.model import Product
from dujiang.kernel.act import Caller, Node
from dujiang.kernel.errors import Refused
from dujiang.kernel.tables import Session
from dujiang.policy import rules as policy
from dujiang.policy.model import TERMS_WRONG, Problem, Terms, TermsFile
from dujiang.registry import acts as registry
from dujiang.registry.model import Declared, Table, Version


def declared(
    upload: str, entity: str | None, file: TermsFile, name: str | None, title: str | None
) -> Declared:
    """What is declared of an upload, from the ask and its terms file."""
    return Declared(
        upload=upload,
        entity=entity,
        name=name,
        title=title or file.title,
        fields=file.fields,
        rows_per_entity=file.rows_per_entity,
        entities_max=file.entities_max,
        join_keys=file.join_keys or (),
    )


def check_file(file: TermsFile, title: str | None) -> None:
    """Nothing, where a terms file may be published under.

    Raises: Refused terms_wrong.
    """
    _refuse(policy.check_file(file if title is None else replace(file, title=title)))


def check_columns(terms: Terms, table: Table) -> None:
    """Nothing, where terms name only columns of the table, and to join on only those kept for it.

    Raises: Refused terms_wrong.
    """
    _refuse(policy.check_columns(terms, table.names, table.joinable))


def fitting(node: Node, prepared: registry.Prepared, terms: Terms) -> registry.Prepared:
    """The prepared files, if the terms name only their columns.

    Raises: Refused terms_wrong.
    """
    with registry.kept_or_dropped(node, prepared):
        check_columns(terms, prepared.table)
    return prepared


def newest(db: Session, caller: Caller, before: Product | None, resource: str) -> Version:
    """The registered version to publish without a file: of one's own resource the one before, else the newest."""
    if before is not None:
        version = registry.version(db, before.registered)
        if version.org == caller.org:
            return version
    return registry.newest_version(db, before.resource if before else resource)


def _refuse(problems: tuple[Problem, ...]) -> None:
    if problems:
        raise Refused(TERMS_WRONG, problems="; ".join(map(str, problems)))
