"""The Python client: the same answers in this process and through a node, and objects that draw themselves."""

from __future__ import annotations

import csv
import html.parser
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dujiang
from dujiang import Refusal, Space
from dujiang.doors import calls, connect, markup, objects, products
from tests.doors.shell import HOSPITAL, INSURER, QUESTION, TERMS, process
from tests.house.source import SRC

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">'
WAYS = ("in this process", "through a node")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of people and its terms."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [(f"患者{n:05d}", "女男"[n % 2], 150 + n % 40) for n in range(2000)]
    with (folder / "体检.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("编号", "性别", "身高"), *rows])
    (folder / "terms.toml").write_text(TERMS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=WAYS)
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home; served by a node of its own, or held by nobody."""
    path = tmp_path_factory.mktemp("client") / "home"
    made = process("init", HOSPITAL, f"{INSURER}=consumer", "--home", str(path), "--json")
    assert made.wait(60) == 0
    path.with_name("vkey").write_text(json.loads(made.communicate()[0])["vkey"], encoding="utf-8")
    if request.param == WAYS[0]:
        yield path
        return
    node = process("up", "--port", "0", "--home", str(path), "--json")
    try:
        assert node.stdout is not None
        assert json.loads(node.stdout.readline())["url"]
        yield path
    finally:
        node.send_signal(signal.SIGTERM)
        node.communicate(timeout=30)


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own settings are none of ours."""
    for name in [name for name in os.environ if name.startswith("DUJIANG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def provider(home: Path) -> Space:
    """The hospital."""
    return dujiang.connect(home=home, as_=HOSPITAL)


def consumer(home: Path, **more: Any) -> Space:
    """The insurer."""
    return dujiang.connect(home=home, as_=INSURER, **more)


@pytest.fixture(scope="module")
def contract(home: Path, files: Path) -> products.Contract:
    """A contract of the insurer on a table of the hospital."""
    product = provider(home).offer(files / "体检.csv", entity="编号", terms=files / "terms.toml")
    found = consumer(home, vkey=str(home.with_name("vkey"))).find("体检")
    assert [each.id for each in found] == [product.id]
    made = found[0].agree(purpose="analyse")
    assert (made.done, made.status, made.product) == (True, "active", product.id)
    return made


def test_one_life_in_a_few_lines(contract: products.Contract) -> None:
    quote = contract.quote(QUESTION)
    answer = contract.ask(QUESTION)
    assert answer.columns == quote.columns == ["性别", "人数", "平均"]
    assert [row[0] for row in answer.rows] == ["女", "男"]
    assert answer.statistics == quote.statistics
    assert answer.statistics_left == (quote.statistics_left or 0) - quote.statistics
    for got in answer.dicts():
        near = dict(zip(answer.columns, answer.plus_minus, strict=True))
        assert abs(got["人数"] - 1000) <= 3 * (near["人数"] or 0)
    verdict = answer.receipt.verify()
    assert verdict.ok and verdict.trusted and (verdict.facts or {})["job"] == answer.job
    assert contract.ask(QUESTION).rows == answer.rows


def test_a_receipt_is_only_trusted_where_its_key_is_pinned(
    contract: products.Contract, home: Path, tmp_path: Path
) -> None:
    vkey = home.with_name("vkey").read_text("utf-8")
    receipt = consumer(home).answer(contract.ask(QUESTION).job).receipt
    assert receipt.verify().ok and not receipt.verify().trusted
    assert receipt.verify(vkey).trusted
    assert 'data-mark="unknown"' in receipt._repr_html_()
    assert 'data-mark="good"' in contract.ask(QUESTION)._repr_html_()
    receipt.json["opened"]["job"]["value"] = "job_other"
    assert not receipt.verify(vkey).ok
    assert 'data-mark="bad"' in receipt._repr_html_() and "job_other" not in receipt._repr_html_()
    kept = contract.ask(QUESTION).receipt.save(tmp_path / "receipt.json")
    checked = process("verify", str(kept), "--vkey", vkey, "--json")
    assert json.loads(checked.communicate(timeout=60)[0])["trusted"] is True


def test_a_refusal_is_raised_with_code_why_fix_and_the_place(contract: products.Contract, home: Path) -> None:
    with pytest.raises(Refusal) as declined:
        contract.ask("select * from 体检")
    no = declined.value
    assert (no.code, no.where) == ("only_aggregates", {"start": 7, "length": 1})
    assert no.why and no.fix and no.offer and not no.again
    assert no.receipt is not None and no.receipt["type"] == "dujiang-receipt"
    assert (no.marked() or "").splitlines()[1].index("^") == 2 + 7
    assert [line for line in no._render_traceback_() if "only_aggregates" in line]
    with pytest.raises(Refusal) as chinese:
        consumer(home, language="zh").product("prd_none")
    assert chinese.value.code == "not_found" and "编号" in chinese.value.fix
    with pytest.raises(Refusal) as unknown:
        consumer(home).call("contract.show", contract=contract.id, colour="red")
    assert unknown.value.code == "unknown_field"
    with pytest.raises(Refusal) as none:
        consumer(home).call("no.such")
    assert none.value.code == "unknown_act"
    with pytest.raises(Refusal) as purpose:
        consumer(home).offer("/nowhere/table.csv")
    assert purpose.value.code in ("file_missing", "forbidden")


def test_what_stands_in_the_way_of_connecting_is_a_refusal_too(tmp_path: Path, home: Path) -> None:
    with pytest.raises(Refusal) as missing:
        dujiang.connect(home=tmp_path).find()
    assert missing.value.code == "home_missing"
    with pytest.raises(Refusal) as stranger:
        dujiang.connect(home=home, as_="Nobody").find()
    assert stranger.value.code == "profile_unknown"
    with pytest.raises(Refusal) as far:
        dujiang.connect("http://127.0.0.1:9", key="djk_none").find()
    assert far.value.code == "node_unreachable" and far.value.again
    with pytest.raises(Refusal) as tongue:
        dujiang.connect(home=home, language="fr")
    assert tongue.value.code == "argument_wrong"


def test_what_is_not_given_is_read_as_the_command_line_reads_it(
    contract: products.Contract, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUJIANG_HOME", str(home))
    monkeypatch.setenv("DUJIANG_AS", INSURER)
    monkeypatch.setenv("DUJIANG_LANG", "zh")
    found = dujiang.connect().contracts()
    assert contract.id in [each.id for each in found]
    assert "用途" in found[0].terms and "use" not in found[0].terms
    monkeypatch.setenv("DUJIANG_NODE", "http://127.0.0.1:9")
    monkeypatch.setenv("DUJIANG_KEY", "djk_none")
    assert consumer(home).contracts()[0].id == found[0].id, "what is said outweighs the environment"


def test_what_a_question_cost_is_told(contract: products.Contract) -> None:
    answer = contract.ask(QUESTION)
    money = [
        {"contract": contract.id, "amount": "2.00", "amount_minor": 200, "currency": "CNY", "ended": True}
    ]
    priced = products.Answer(contract._calls, {**answer.json, "cost": money})
    assert "2.00 CNY" in repr(priced) and "2.00 CNY" in priced._repr_html_() and priced.cost == money
    assert "CNY" not in repr(answer) + answer._repr_html_() and answer.cost == []


def test_a_table_in_memory_is_offered_and_its_title_is_inert(home: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    people = pandas.DataFrame({"who": range(400), "kind": ["a", "b"] * 200, "n": [1, 2, 3, 4] * 100})
    product = provider(home).offer(people[people.n > 0], entity="who", name="people", title=EVIL)
    card = consumer(home).product(product.id)
    assert {column["name"] for column in card.card["columns"]} == {"who", "kind", "n"}
    found = consumer(home).find("alert")
    for drawn in (product, card, found, consumer(home).call("catalogue.search", words="alert")):
        assert "alert" in drawn._repr_html_() and "alert" in repr(drawn)
        assert tags(drawn._repr_html_()) <= {"div", "table", "thead", "tbody", "tr", "th", "td", "br"}
    turned = products.Product(product._calls, {**found[0].json, "title": f"{EVIL}\u202e\x1b[31m"})
    for text in (
        repr(turned),
        repr(objects.Listed([turned], "en")),
        objects.Listed([turned], "en")._repr_html_(),
    ):
        assert not {"\u202e", "\x1b"} & set(text), "a node far away may send what ours would refuse"
    for drawn in (
        markup.block(f"{EVIL}\u202e"),
        markup.line(f"{EVIL}\u202e"),
        markup.refused([f"{EVIL}\u202e"]),
    ):
        assert "\u202e" not in drawn and tags(drawn) <= {"div", "pre"}
    with pytest.raises(Refusal) as wrong:
        provider(home).offer(42)
    assert wrong.value.code == "not_a_table"


def test_answers_become_tables_of_other_libraries(contract: products.Contract) -> None:
    answer = contract.ask(QUESTION)
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = answer.df()
    assert list(frame.columns) == answer.columns and len(frame) == len(answer) == 2
    assert frame.attrs["plus_minus"] == dict(zip(answer.columns, answer.plus_minus, strict=True))
    assert pandas.api.types.is_integer_dtype(frame["人数"])
    table = answer.arrow()
    assert table.to_pylist() == answer.dicts()
    assert json.loads(table.schema.metadata[b"dujiang"])["job"] == answer.job
    assert pyarrow.table(answer).equals(table), "whatever reads Arrow reads an answer"


def test_every_object_draws_itself_and_prints_in_a_line(contract: products.Contract, home: Path) -> None:
    space = consumer(home)
    answer = contract.ask(QUESTION)
    drawn = answer._repr_html_()
    assert "<tfoot>" in drawn and "± " in drawn and "女" in drawn and "回执" not in drawn
    assert "±" in repr(answer) and "女" in repr(answer)
    for thing in (contract, contract.quote(QUESTION), space.history()[0], answer.receipt, space):
        assert "\n" not in repr(thing) and repr(thing).startswith("<")
    for listed in (
        space.contracts(),
        space.history(),
        space.answers(),
        space.find("none such"),
        space.find(),
    ):
        assert "<" in listed._repr_html_() or not listed
        assert repr(listed) is not None
    assert contract.id in repr(space.contracts()) and answer.job in space.answers()._repr_html_()
    zh = consumer(home, language="zh").answer(answer.job)
    assert "统计量" in repr(zh)
    shown = space.call("contract.show", contract=contract.id)
    assert (
        shown["contract"] == contract.id and contract.id in shown._repr_html_() and contract.id in repr(shown)
    )
    entry = space.history(about=contract.product)[0]
    assert entry.receipt.index == entry.index


def test_a_question_over_two_tables_says_what_each_account_is_charged(
    contract: products.Contract, home: Path, files: Path
) -> None:
    rows = "\n".join(f"患者{n:05d},{'甲乙'[n % 2]}" for n in range(2000))
    for name in ("抽烟", "饮酒"):
        (files / f"{name}.csv").write_text(f"编号,{name}\n{rows}\n", encoding="utf-8")
    terms = {"join_keys": ["编号"]}
    offered = [
        provider(home).offer(files / f"{name}.csv", entity="编号", terms=terms) for name in ("抽烟", "饮酒")
    ]
    both = [consumer(home).product(each.id).agree("analyse") for each in offered]
    sql = "select 抽烟, count(*) as 人数 from 抽烟 join 饮酒 using (编号) group by 抽烟"
    quote, answer = consumer(home).quote(both, sql), consumer(home).ask(both, sql)
    assert [part["contract"] for part in answer.parts] == [each.id for each in both]
    assert (
        [part["statistics"] for part in answer.parts]
        == [part["statistics"] for part in quote.parts]
        == [1, 1]
    )
    assert len(answer) == 2 and both[0].id in quote._repr_html_()


def test_a_block_keeps_the_home_open_and_lets_it_go(contract: products.Contract, home: Path) -> None:
    with consumer(home) as space:
        assert space.find("体检")[0].id == contract.product
        assert space.ask([contract.id], QUESTION).rows == space.ask([contract], QUESTION).rows
        assert space.quote([contract], QUESTION).statistics == 0
    assert provider(home).products()[0].id


def test_an_answer_that_is_not_there_says_so(contract: products.Contract) -> None:
    pending = products.Answer(contract._calls, {**contract.ask(QUESTION).json, "done": False})
    with pytest.raises(Refusal) as early:
        _ = pending.rows
    assert early.value.code == "not_done"
    assert "wait" in repr(pending) and "wait" in pending._repr_html_()
    assert pending.wait().rows == contract.ask(QUESTION).rows


def test_the_key_never_shows(contract: products.Contract, home: Path) -> None:
    keys = [json.loads(path.read_text("utf-8"))["api_key"] for path in (home / "profiles").glob("*.json")]
    space = dujiang.connect(home=home, key=keys[0])
    for thing in (space, contract, space.find()):
        assert not any(key in repr(thing) + str(vars(type(thing))) for key in keys)


def test_importing_it_costs_a_command_nothing() -> None:
    code = (
        "import sys, dujiang; print([m for m in sys.modules if m.startswith(('dujiang.', 'pandas', 'mcp'))])"
    )
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_client_says_its_types() -> None:
    for module in (connect, objects, products, calls):
        for _, function in inspect.getmembers(module, inspect.isfunction):
            assert "return" in function.__annotations__ or function.__module__ != module.__name__
    assert (SRC / "dujiang" / "py.typed").is_file()
    assert not hasattr(dujiang, "nothing")


class Tags(html.parser.HTMLParser):
    """The names of the tags of a page, and its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes one tag."""
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}


def tags(text: str) -> set[str]:
    """The tags a browser would see; attributes other than style, class and data are refused."""
    reader = Tags()
    reader.feed(text)
    assert reader.attributes <= {"style", "class", "data-mark"}
    return reader.found
