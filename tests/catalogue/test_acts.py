"""The catalogue on a real home: offer, new versions, search, withdrawal, and who sees what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dujiang.catalogue import acts, rules, store
from dujiang.catalogue.model import RANKED_MAX, Offered, Product, State
from dujiang.kernel.act import Tx
from dujiang.kernel.errors import Refused
from dujiang.kernel.shape import plain
from dujiang.policy import wire
from dujiang.policy.model import Noise, Terms, TermsFile
from dujiang.policy.rules import sentence, terms_sha256
from dujiang.quality import acts as quality
from dujiang.registry.model import Field
from tests.registry.space import Space, opened, patients


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """One home for the tests of this file; each brings content of its own."""
    with opened(tmp_path_factory.mktemp("catalogue")) as made:
        yield made


def offer(space: Space, salt: int, terms: TermsFile | None = None, **said: Any) -> acts.Published:
    """A product of its own content of the hospital."""
    upload = space.upload(space.hospital, patients("gb18030", salt=salt), "就诊.csv")
    return space.run("catalogue.offer", space.hospital, acts.Offer(upload, "编号", terms, **said))


def offered(space: Space, product: str) -> Offered:
    """What a contract would be agreed on."""
    with space.home.node.database.reading() as db:
        return acts.offered(db, product, space.home.node.clock.now_ms())


def find(space: Space, words: str, **page: Any) -> list[str]:
    """The products a search finds."""
    found = space.run("catalogue.search", space.insurer, acts.Search(words, **page))
    return [item.product for item in found.items]


def test_one_act_registers_and_publishes_with_one_entry(space: Space) -> None:
    terms = TermsFile(
        purposes=("分析",), questions=9, title="Visits", title_zh="就诊记录", fields={"体重": Field(hi=200)}
    )
    before = space.entries()
    made = offer(space, 1, terms)
    facts = space.facts()[0]
    assert space.entries() == before + 1
    assert {"product", "resource", "version", "product_version", "terms_sha256", "registration"} <= set(facts)
    assert (facts["product"], facts["resource"]) == (made.product, made.resource)
    assert (made.version, made.title, made.certificate) == (1, "Visits", facts["registration"])
    assert made.sentence == sentence(Terms(purposes=("分析",), questions=9), "en")
    assert made.proposal is not None and made.proposal.noise
    assert made.proposal.table.columns[2].hi == "200"


def test_what_is_offered_is_what_a_contract_pins(space: Space) -> None:
    made = offer(space, 2, TermsFile(columns=("体重", "性别"), days=30))
    given = offered(space, made.product)
    assert (given.version, given.provider_org, given.resource) == (1, space.hospital.org, made.resource)
    assert given.terms == Terms(columns=("体重", "性别"), days=30)
    assert given.terms_sha256 == terms_sha256(given.terms)
    assert given.title
    card = space.run("catalogue.show", space.insurer, acts.Show(made.product))
    assert wire.terms_of_odrl(card.odrl) == given.terms


def test_a_card_tells_no_count_and_is_the_same_for_everybody(space: Space) -> None:
    made = offer(space, 3)
    cards = [
        space.run("catalogue.show", caller, acts.Show(made.product))
        for caller in (space.hospital, space.clinic, space.insurer, space.operator)
    ]
    assert all(card == cards[0] for card in cards)
    said = json.dumps(plain(cards[0]), ensure_ascii=False)
    for hidden in ("distinct", "rows_max", "150", "机密", "2024-01", "sha256_plain"):
        assert hidden not in said
    columns = {column.name: column for column in cards[0].columns}
    assert columns["备注"].uses == () and columns["体重"].lo == "40"


def test_a_product_carries_the_grade_of_its_table(space: Space) -> None:
    made = offer(space, 77, TermsFile(title="graded wares"))
    shown = space.run("catalogue.show", space.insurer, acts.Show(made.product))
    (item,) = space.run("catalogue.search", space.insurer, acts.Search("graded wares")).items
    assert (shown.quality, item.grade, item.formula, item.graded_ms) == (None, None, None, None)
    told = space.run("quality.grade", space.hospital, quality.Grade(made.registered)).public
    shown = space.run("catalogue.show", space.insurer, acts.Show(made.product))
    (item,) = space.run("catalogue.search", space.insurer, acts.Search("graded wares")).items
    assert shown.quality == told
    assert (item.grade, item.formula, item.graded_ms) == (told.grade, told.formula, told.graded_ms)


def test_a_column_without_a_use_shows_no_bounds(space: Space) -> None:
    made = offer(space, 18, TermsFile(fields={"体重": Field(uses=(), lo=30, hi=1770177)}))
    card = space.run("catalogue.show", space.insurer, acts.Show(made.product))
    assert "1770177" not in json.dumps(plain(card), ensure_ascii=False)


def test_new_terms_make_a_version_over_the_same_resource(space: Space) -> None:
    first = offer(space, 4, TermsFile(days=30, title="A"))
    ask = acts.Publish(first.product, terms=TermsFile(days=60))
    second = space.run("catalogue.publish", space.hospital, ask)
    assert (second.version, second.resource, second.registered) == (2, first.resource, first.registered)
    assert (second.title, second.offer != first.offer) == ("A", True)
    assert offered(space, first.product).terms.days == 60
    old = space.run("catalogue.show", space.insurer, acts.Show(first.product, 1))
    assert old.terms.days == 30
    with space.home.node.database.reading() as db:
        assert acts.offered_version(db, first.product, 1).terms.days == 30


def test_a_new_file_keeps_resource_terms_and_table_name(space: Space) -> None:
    first = offer(space, 5, TermsFile(days=30))
    upload = space.upload(space.hospital, patients(salt=6), "next month.csv")
    ask = acts.Publish(first.product, upload, "编号")
    second = space.run("catalogue.publish", space.hospital, ask)
    assert (second.version, second.resource) == (2, first.resource)
    assert second.registered != first.registered
    given = offered(space, first.product)
    assert (given.registered, given.terms.days) == (second.registered, 30)


def test_the_same_content_offered_twice_shares_its_resource(space: Space) -> None:
    first = offer(space, 7)
    again = offer(space, 7, TermsFile(title="another face"))
    assert again.product != first.product
    assert (again.resource, again.registered) == (first.resource, first.registered)


def test_a_table_offered_again_with_other_content_is_warned_of(space: Space) -> None:
    """One row more makes another resource, and with it a second account over the same people."""
    first = offer(space, 70)
    second = offer(space, 71)
    assert second.resource != first.resource
    assert any("already" in note.text and "上架" in note.text_zh for note in second.notes)
    upload = space.upload(space.hospital, patients("gb18030", salt=72), "另一张.csv")
    other = space.run("catalogue.offer", space.hospital, acts.Offer(upload, "编号", None))
    assert not any("already" in note.text for note in other.notes)


def test_content_of_another_resource_cannot_become_a_version(space: Space) -> None:
    first, _ = offer(space, 8), offer(space, 9)
    upload = space.upload(space.hospital, patients("gb18030", salt=9), "x.csv")
    ask = acts.Publish(first.product, upload, "编号")
    assert space.refused("catalogue.publish", space.hospital, ask).code.name == "content_elsewhere"


def test_exact_answers_never_share_a_resource_with_noise(space: Space) -> None:
    exact, noised = TermsFile(noise=Noise.exact), TermsFile(noise=Noise.laplace)
    first = offer(space, 10, exact)
    assert first.proposal is not None and first.proposal.noise == ()
    upload = space.upload(space.hospital, patients("gb18030", salt=10), "就诊.csv")
    for name, ask in (
        ("catalogue.offer", acts.Offer(upload, "编号", noised)),
        ("catalogue.publish", acts.Publish(first.product, terms=noised)),
    ):
        assert space.refused(name, space.hospital, ask).code.name == "exact_and_noised"
    second = offer(space, 11, noised)
    ask = acts.Publish(second.product, terms=exact)
    assert space.refused("catalogue.publish", space.hospital, ask).code.name == "exact_and_noised"
    space.run("catalogue.withdraw", space.hospital, acts.Withdraw(first.product))
    again = acts.Offer(upload, "编号", noised)
    assert space.refused("catalogue.offer", space.hospital, again).code.name == "exact_and_noised"


def test_a_withdrawn_product_is_not_found_but_can_be_read(space: Space) -> None:
    made = offer(space, 12, TermsFile(title="独一无二"))
    assert find(space, "独一无二") == [made.product]
    before = space.entries()
    space.run("catalogue.withdraw", space.hospital, acts.Withdraw(made.product))
    assert space.entries() == before + 1
    assert find(space, "独一无二") == []
    assert made.product not in find(space, "", limit=1000)
    assert space.run("catalogue.show", space.insurer, acts.Show(made.product)).state == "withdrawn"
    with pytest.raises(Refused) as refused:
        offered(space, made.product)
    assert refused.value.code.name == "product_withdrawn"
    for name, ask in (
        ("catalogue.withdraw", acts.Withdraw(made.product)),
        ("catalogue.publish", acts.Publish(made.product)),
    ):
        assert space.refused(name, space.hospital, ask).code.name == "product_withdrawn"
    mine = space.run("catalogue.list", space.hospital, acts.List(1000)).items
    assert ("withdrawn", made.product) in {(item.state, item.product) for item in mine}


def test_what_belongs_to_others_is_not_found(space: Space) -> None:
    made = offer(space, 13)
    for ask_of in (made.product, "prd_x", ""):
        for name, ask in (
            ("catalogue.publish", acts.Publish(ask_of, terms=TermsFile())),
            ("catalogue.withdraw", acts.Withdraw(ask_of)),
        ):
            assert space.refused(name, space.clinic, ask).code.name == "not_found"
    assert space.refused("catalogue.show", space.insurer, acts.Show("prd_x")).code.name == "not_found"
    assert space.refused("catalogue.show", space.insurer, acts.Show(made.product, 2)).code.name == "not_found"
    assert space.run("catalogue.list", space.clinic, acts.List()).items == ()
    upload = space.upload(space.insurer, patients(), "a.csv")
    assert space.refused("catalogue.offer", space.insurer, acts.Offer(upload)).code.name == "forbidden"


@pytest.mark.parametrize(
    ("terms", "said", "code"),
    [
        (TermsFile(days=0), {}, "terms_wrong"),
        (TermsFile(columns=("nobody",)), {}, "terms_wrong"),
        (TermsFile(title=" "), {}, "terms_wrong"),
        (TermsFile(), {"title": "x" * 201}, "terms_wrong"),
        (TermsFile(fields={"体重": Field(lo=9, hi=1)}), {}, "declaration_wrong"),
        (TermsFile(rows_per_entity=0), {}, "declaration_wrong"),
        (TermsFile(), {"entity": "nobody"}, "column_missing"),
        (TermsFile(), {"upload": "upl_00000000000000000000000000"}, "upload_unknown"),
    ],
)
def test_a_wrong_offer_leaves_nothing(
    space: Space, terms: TermsFile, said: dict[str, Any], code: str
) -> None:
    upload = space.upload(space.hospital, patients(salt=14), "a.csv")
    ask = acts.Offer(**{"upload": upload, "entity": "编号", "terms": terms, **said})
    assert space.refused("catalogue.offer", space.hospital, ask).code.name == code


def test_columns_are_declared_anew_only_with_the_file(space: Space) -> None:
    made = offer(space, 15)
    for said in ({"entity": "性别"}, {"terms": TermsFile(fields={"体重": Field()})}, {"name": "t"}):
        ask = acts.Publish(made.product, **said)  # type: ignore[arg-type]
        refused = space.refused("catalogue.publish", space.hospital, ask)
        assert refused.code.name == "declaration_needs_file"
    ask = acts.Publish(made.product, terms=TermsFile(columns=("nobody",)))
    assert space.refused("catalogue.publish", space.hospital, ask).code.name == "terms_wrong"


def test_a_search_finds_titles_descriptions_tables_columns_and_providers(space: Space) -> None:
    terms = TermsFile(
        title="Hypertension cohort", title_zh="高血压队列", description="Followed since 2011, 每年随访"
    )
    made = offer(space, 16, terms)
    for words in (
        "hyper",
        "COHORT",
        "高血压",
        "血压",
        "压",
        "2011",
        "随访 每年",
        "就诊",
        "体重",
        "市立医院",
        "hyper 体重",
    ):
        assert made.product in find(space, words, limit=1000), words
    for words in ("压血", "tension", "高血压 nothing", "二零"):
        assert made.product not in find(space, words, limit=1000), words
    assert find(space, "!?") == []


def test_a_new_version_is_found_by_its_new_words_alone(space: Space) -> None:
    made = offer(space, 17, TermsFile(title="旧标题甲"))
    space.run("catalogue.publish", space.hospital, acts.Publish(made.product, title="新标题乙"))
    assert find(space, "标题乙") == [made.product]
    assert find(space, "标题甲") == []


def test_pages_join_to_the_whole(space: Space) -> None:
    for words in ("就诊", ""):
        whole = find(space, words, limit=1000)
        pages: list[str] = []
        after: str | None = None
        while True:
            page = space.run("catalogue.search", space.insurer, acts.Search(words, 3, after))
            pages += [item.product for item in page.items]
            after = page.after
            if after is None:
                break
        assert pages == whole and len(set(whole)) == len(whole) > 3


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (acts.Search("x" * 201), "search_long"),
        (acts.Search("x", limit=0), "page_wrong"),
        (acts.Search("x", limit=1001), "page_wrong"),
    ],
)
def test_a_search_has_limits(space: Space, ask: acts.Search, code: str) -> None:
    assert space.refused("catalogue.search", space.insurer, ask).code.name == code


def test_many_hits_come_newest_first_and_few_by_title(tmp_path: Path) -> None:
    """Straight into the store: more products than are ranked, one of them rare."""
    with opened(tmp_path) as made:
        count = RANKED_MAX + 50
        base = Product(
            "", made.hospital.org, "res_x", State.published, 1, "ver_x", "ofr_x", "t", "", "", Terms(), "0", 0
        )

        def fill(tx: Tx) -> None:
            for number in range(count):
                product = replace(base, id=f"prd_{number:05d}")
                store.add_product(tx.db, product.org, product)
                titles = ["稀有 common"] if number == 7 else ["common"]
                others = ["稀有的"] if number in (9, 2000) else ["孤品"] if number == 11 else []
                store.index(tx.db, product.id, rules.weighted_terms(titles, others))

        made.home.writer.submit(fill).result()

        def ids(words: str, after: str | None = None) -> list[str]:
            with made.home.node.database.reading() as db:
                return store.search(db, rules.search_ranges(words), 5, after)

        last = count - 1
        assert ids("common") == [f"prd_{last - back:05d}" for back in range(5)]
        assert ids("comm", "prd_00003") == ["prd_00002", "prd_00001", "prd_00000"]
        assert ids("稀有 common") == ["prd_00007", "prd_02000", "prd_00009"]
        assert ids("common 稀有", "prd_02000") == ["prd_00009"]
        assert ids("孤品 common") == ["prd_00011"]
        assert ids("孤品 稀有") == []
