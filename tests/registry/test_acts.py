"""Registration on a real home: what is kept, what is proved, what is left of a failure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dujiang.identity import acts as identity
from dujiang.identity import rules as identity_rules
from dujiang.kernel.errors import Refused
from dujiang.registry import acts
from dujiang.registry.model import Declared, Field, Use
from tests.registry.space import SAMPLES, Space, opened, patients


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """One home for the tests of this file; each brings content of its own."""
    with opened(tmp_path_factory.mktemp("registry")) as made:
        yield made


def register(space: Space, salt: int, encoding: str = "gb18030", **said: object) -> acts.Registration:
    """A registration of its own content by the hospital."""
    upload = space.upload(space.hospital, patients(encoding, salt=salt), "就诊.csv")
    ask = acts.Register(upload, **{"entity": "编号", **said})  # type: ignore[arg-type]
    return space.run("registry.register", space.hospital, ask)


def test_a_proposal_shows_uses_bounds_and_noise(space: Space) -> None:
    upload = space.upload(space.hospital, patients(), "就诊.csv")
    before = space.entries()
    made = space.run("registry.check", space.hospital, acts.Check(upload, "编号"))
    table = made.table
    assert (table.name, made.encoding, made.rows, made.entities) == ("就诊", "utf-8", 150, 60)
    uses = {column.name: {use.value for use in column.uses} for column in table.columns}
    assert uses["编号"] == uses["备注"] == set()
    assert uses["性别"] == {"group", "filter"}
    assert uses["体重"] == {"filter", "aggregate"}
    assert uses["就诊日期"] == {"group", "filter"}
    kg = table.columns[2]
    assert (kg.lo, kg.hi, kg.scale) == ("40", "100", 1)
    assert [row.basis for row in made.noise] == ["chosen", "max", "p99", "p95"]
    assert space.entries() == before


def test_a_registration_leaves_files_an_entry_and_a_certificate(space: Space) -> None:
    content = patients("gb18030", salt=2)
    upload = space.upload(space.hospital, content, "就诊.csv")
    before = space.entries()
    made = space.run("registry.register", space.hospital, acts.Register(upload, "编号", title="就诊记录"))
    facts = space.facts()[0]
    assert space.entries() == before + 1
    assert (facts["resource"], facts["version"]) == (made.resource, made.version)
    shown = space.run("registry.show", space.hospital, acts.Show(made.resource))
    version = shown.versions[0].version
    assert shown.title == "就诊记录"
    assert version.sha256_source == hashlib.sha256(content).hexdigest() == facts["sha256_source"]
    for key, digest in (
        (version.plain_key, version.sha256_plain),
        (version.guarded_key, version.sha256_guarded),
    ):
        assert hashlib.sha256(space.home.node.blobs.path(key).read_bytes()).hexdigest() == digest
    assert "机密" not in json.dumps(facts, ensure_ascii=False)
    assert space.run("registry.show", space.hospital, acts.Show(made.version)) == shown


def test_the_certificate_is_the_operators_and_binds_holder_hashes_and_schema(space: Space) -> None:
    made = register(space, 3)
    exported = space.run("registry.export", space.hospital, acts.Export(made.version))
    header, claims, _ = exported.certificate.split(".")
    with space.home.node.database.reading() as db:
        operator = identity.operator(db)
        holder = identity.organisation(db, space.hospital.org)
        version = acts.version(db, made.version)
    said = json.loads(identity_rules.decode(claims))
    assert json.loads(identity_rules.decode(header))["typ"] == "vc+jwt"
    assert identity_rules.verified(exported.certificate, operator.public)
    assert not identity_rules.verified(exported.certificate, holder.public)
    subject = said["credentialSubject"]
    assert (said["issuer"], subject["id"]) == (operator.did, holder.did)
    assert subject["registration"] == exported.registration == made.registration
    assert (subject["sha256Original"], subject["sha256Normalised"]) == (
        version.sha256_source,
        version.sha256_plain,
    )
    assert [column["name"] for column in subject["schema"]] == ["编号", "性别", "体重", "就诊日期", "备注"]
    assert "40" not in json.dumps(subject["schema"])


def test_the_same_content_is_the_same_resource_however_it_is_written(space: Space) -> None:
    first = register(space, 4, "gb18030")
    files = space.tables()
    again = register(space, 4, "gb18030")
    assert space.tables() == files
    other = register(space, 4, "utf-8-sig", name="另一个名字")
    assert (again.version, again.registration) == (first.version, first.registration)
    assert other.resource == first.resource
    assert other.number == first.number + 1
    assert len(space.tables()) == len(files) + 2


def test_a_new_content_can_be_a_new_version_of_a_resource(space: Space) -> None:
    first = register(space, 5)
    second = register(space, 6, resource=first.resource)
    assert (second.resource, second.number) == (first.resource, 2)
    assert second.registration > first.registration
    shown = space.run("registry.show", space.hospital, acts.Show(first.resource))
    assert [each.version.number for each in shown.versions] == [2, 1]


def test_content_of_another_resource_is_refused(space: Space) -> None:
    first = register(space, 7)
    register(space, 8)
    upload = space.upload(space.hospital, patients("utf-8", salt=8), "b.csv")
    ask = acts.Register(upload, "编号", resource=first.resource)
    assert space.refused("registry.register", space.hospital, ask).code.name == "content_elsewhere"


def test_rows_left_out_are_told_to_the_provider(space: Space) -> None:
    content = patients(salt=9) + ",男,60.5,2024-01-11,x\n".encode()
    upload = space.upload(space.hospital, content, "c.csv")
    made = space.run("registry.register", space.hospital, acts.Register(upload, "编号", rows_per_entity=2))
    assert (made.loss.rows_without_entity, made.loss.rows_beyond) == (1, 45)


def test_what_is_declared_is_registered(space: Space) -> None:
    fields = {"体重": Field(lo=30, hi=200), "性别": Field(keys=("男", "女"))}
    made = register(space, 10, fields=fields)
    columns = {column.name: column for column in made.proposal.table.columns}
    assert (columns["体重"].lo, columns["体重"].hi) == ("30", "200")
    assert columns["性别"].keys == ("男", "女")
    assert columns["性别"].uses == (Use.group, Use.filter)


def test_others_see_nothing(space: Space) -> None:
    made = register(space, 11)
    for caller in (space.clinic, space.insurer, space.operator):
        for name, ask in (
            ("registry.show", acts.Show(made.resource)),
            ("registry.show", acts.Show(made.version)),
            ("registry.show", acts.Show("res_x")),
        ):
            assert space.refused(name, caller, ask).code.name == "not_found"
    export = acts.Export(made.version)
    assert space.refused("registry.export", space.clinic, export).code.name == "not_found"
    upload = space.upload(space.clinic, patients(salt=12), "d.csv")
    ask = acts.Register(upload, "编号", resource=made.resource)
    assert space.refused("registry.register", space.clinic, ask).code.name == "not_found"


def test_the_same_content_of_two_organisations_is_two_resources(space: Space) -> None:
    mine = register(space, 13, "utf-8")
    upload = space.upload(space.clinic, patients("utf-8", salt=13), "就诊.csv")
    theirs = space.run("registry.register", space.clinic, acts.Register(upload, "编号"))
    assert theirs.resource != mine.resource


@pytest.mark.parametrize(
    ("content", "ask", "code"),
    [
        (b"", {}, "empty_file"),
        (b"a,a\n1,2\n", {}, "duplicate_columns"),
        (b"secret,b\n", {}, "no_rows"),
        (b"a,b\n\xff\xff\xff\xff,2\n", {}, "wrong_encoding"),
        (b"PAR1secret", {}, "unreadable_table"),
        (b"a,b\n1,2\n", {"entity": "x"}, "column_missing"),
        (b"a,b\n1,2\n", {"fields": {"c": Field()}}, "declaration_wrong"),
        (b"a,b\n1,2\n3,4\n", {"entities_max": 1}, "declaration_wrong"),
        (
            b"a\n" + b"\n".join(b"x%d" % n for n in range(9)),
            {"fields": {"a": Field(lo=1)}},
            "declaration_wrong",
        ),
    ],
)
def test_a_bad_file_or_declaration_leaves_nothing(
    space: Space, content: bytes, ask: dict[str, object], code: str
) -> None:
    for name, form in (("registry.register", acts.Register), ("registry.check", acts.Check)):
        upload = space.upload(space.hospital, content, "bad.csv")
        refused = space.refused(name, space.hospital, form(upload, **ask))  # type: ignore[arg-type]
        assert refused.code.name == code
        assert "secret" not in str(refused.names)


@pytest.mark.parametrize(
    "upload", ["upl_00000000000000000000000000", "../../etc/passwd", "", "res_x", "upl_"]
)
def test_an_unknown_upload_is_refused(space: Space, upload: str) -> None:
    refused = space.refused("registry.check", space.hospital, acts.Check(upload))
    assert refused.code.name == "upload_unknown"


def test_an_upload_of_others_is_unknown(space: Space) -> None:
    upload = space.upload(space.hospital, patients(), "a.csv")
    assert space.refused("registry.check", space.clinic, acts.Check(upload)).code.name == "upload_unknown"


def test_one_salt_an_organisation_and_the_loser_of_a_race_sends_again(tmp_path: Path) -> None:
    """Two first registrations prepared side by side: the second would rank by a salt nobody keeps."""
    with opened(tmp_path) as made:
        node = made.home.node
        asks = [Declared(made.upload(made.hospital, patients(salt=salt), "a.csv"), "编号") for salt in (1, 2)]
        prepared = [acts.prepare_version(node, made.hospital, ask) for ask in asks]

        def finish(each: acts.Prepared) -> object:
            def work(tx: object) -> object:
                with acts.kept_or_dropped(node, each):
                    return acts.add_version(tx, made.hospital, each)  # type: ignore[arg-type]

            return made.home.writer.submit(work).result()

        assert len(made.tables()) == 4
        finish(prepared[0])
        with pytest.raises(Refused) as refused:
            finish(prepared[1])
        assert refused.value.code.name == "registration_raced"
        assert len(made.tables()) == 2
        finish(acts.prepare_version(node, made.hospital, asks[1]))
        assert len(made.tables()) == 4


def test_a_real_table_is_registered(space: Space) -> None:
    upload = space.upload(space.hospital, SAMPLES / "clinic.parquet", "clinic.parquet")
    made = space.run("registry.register", space.hospital, acts.Register(upload, "seqn"))
    table = made.proposal.table
    assert (table.name, table.rows_per_entity, table.entities) == ("clinic", 1, 8400)
    by_name = {column.name: column for column in table.columns}
    assert by_name["seqn"].uses == ()
    assert Use.aggregate in by_name["weight_kg"].uses
    # The engine estimates percentiles: the last step may fall on either side.
    assert by_name["weight_kg"].lo == "0" and by_name["weight_kg"].hi in ("140", "160")
