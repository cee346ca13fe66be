"""Catalogue search: 10⁵ products in Chinese, words of two characters, a page of twenty."""

from __future__ import annotations

import bisect
import random
import time
from collections.abc import Iterator, Sequence

from bench.figure import Figure
from bench.space import Space, folder, opened
from dujiang.catalogue import rules, store
from dujiang.catalogue.acts import Search
from dujiang.catalogue.model import Product, State
from dujiang.kernel.act import Tx
from dujiang.policy.model import Terms
from dujiang.registry import store as registered
from dujiang.registry.right import Grant, Right

PRODUCTS = 100_000
_WORDS = 3000
_SEARCHES = 300
_RECALLED = 40
_CHARACTERS = (
    "数据医院体检血压健康保险交通气象企业信用公共资源环境监测能源电力农业种植渔业水利地质矿产金融"
    "贷款税务海关贸易物流仓储航空铁路公路港口船舶旅游文化教育科研人才就业社保住房建筑规划土地测绘"
    "遥感卫星通信网络安全食品药品检验质量标准专利商标法律司法公安消防应急救援民政养老儿童妇女残疾"
)


def figures() -> Iterator[Figure]:
    """The time of a search, and the share of the products with a word that paging through its hits finds."""
    chance = random.Random(7)
    words, weights = _words(chance)
    with folder() as place, opened(place) as space:
        begun = time.perf_counter()
        titles = _filled(space, chance, words, weights)
        setup = time.perf_counter() - begun
        texts = chance.choices(words, weights=weights, k=_SEARCHES)
        walls, cpus = zip(*(_searched(space, text) for text in texts), strict=True)
        recall = [_recall(space, titles, word) for word in chance.sample(words, _RECALLED)]
    order = sorted(walls)
    beside = {
        "products": PRODUCTS, "p50_ms": order[len(order) // 2] * 1000,
        "cpu_mean_ms": sum(cpus) * 1000 / len(cpus),
        "words": _WORDS, "setup_s": setup,
    }  # fmt: skip
    p95 = order[len(order) * 95 // 100] * 1000
    yield Figure("search by two Chinese characters, 10⁵ products, p95", p95, "ms", "≤ 15", beside)
    found, there = (sum(each) for each in zip(*recall, strict=True))
    beside = {"words": len(recall), "hits": there}
    yield Figure("search by two Chinese characters, recall", found / there, "", "= 1", beside)


def _words(chance: random.Random) -> tuple[list[str], list[float]]:
    """Words of two characters and how often each is used (1/rank: a few in a tenth of all titles)."""
    found: dict[str, None] = {}
    while len(found) < _WORDS:
        found[chance.choice(_CHARACTERS) + chance.choice(_CHARACTERS)] = None
    return list(found), [1 / rank for rank in range(1, _WORDS + 1)]


def _filled(
    space: Space, chance: random.Random, words: Sequence[str], weights: Sequence[float]
) -> list[tuple[str, str]]:
    """Products put straight into the catalogue's tables, in one transaction: (id, text) of each."""
    terms = Terms()
    made: list[tuple[str, str]] = []

    def work(tx: Tx) -> None:
        for _ in range(PRODUCTS):
            title = "".join(chance.choices(words, weights=weights, k=5))
            about = "".join(chance.choices(words, weights=weights, k=6))
            one = Product(
                tx.new_id("prd"), space.hospital.org, tx.new_id("res"), State.published, 1, tx.new_id("ver"),
                tx.new_id("off"), "", title, about, terms, "0" * 64, tx.now_ms,
            )  # fmt: skip
            store.add_product(tx.db, space.hospital.org, one)
            # Only what its provider has a right to operate is found; a search looks at that for each hit it shows.
            right = Grant(
                tx.new_id("rgt"), one.resource, Right.operate, one.org, one.org, None, "2000-01-01", None, True, None,
                "", None, tx.now_ms,
            )  # fmt: skip
            registered.add_grant(tx.db, right)
            store.index(tx.db, one.id, rules.weighted_terms([title], [about]))
            made.append((one.id, f"{title}\n{about}"))

    space.home.writer.submit(work).result()
    return made


def _searched(space: Space, text: str) -> tuple[float, float]:
    """Wall and CPU seconds of one search through the act."""
    begun, cpu = time.perf_counter(), time.thread_time()
    space.home.run("catalogue.search", space.insurer, Search(text))
    return time.perf_counter() - begun, time.thread_time() - cpu


def _recall(space: Space, titles: Sequence[tuple[str, str]], word: str) -> tuple[int, int]:
    """How many of the products with a word its pages hold, and how many there are."""
    wanted = sorted(product for product, text in titles if word in text)
    found: set[str] = set()
    after: str | None = None
    while True:
        page = space.home.run("catalogue.search", space.insurer, Search(word, 1000, after)).reply
        found |= {item.product for item in page.items}
        if page.after is None:
            break
        after = page.after
    extra = [
        product for product in found if wanted[bisect.bisect_left(wanted, product) % len(wanted)] != product
    ]
    assert not extra, "a product without the word was found"
    return len(found), len(wanted)
