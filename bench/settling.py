"""Money: 10⁵ metered uses of one contract are billed and settled, by two acts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from bench.figure import Figure
from bench.measure import spent
from bench.space import Space, folder, opened
from dujiang.contract import performance
from dujiang.kernel.act import Tx
from dujiang.market import acts as market

USES = 100_000
_BATCH = 1_000
_PRICE = """
[price]
currency = "CNY"
agreement_minor = 10000
question_minor = 200
row_minor = 5
shares = [{recipient = "Hospital", weight = 2}, {recipient = "Operator", weight = 1}]
"""


def figures() -> Iterator[Figure]:
    """The time to settle, beside the longest another act had to wait, and the time a use takes to be metered."""
    with folder() as place, opened(place, terms=_PRICE) as space:
        contract = space.agreed()
        _paid(space, contract)
        with spent() as metering:
            for batch in range(USES // _BATCH):
                space.home.writer.submit(lambda tx, batch=batch: _used(tx, contract, batch)).result()
        with _Waits(space) as waits, spent() as settling:
            bill = space.home.run("market.bill", space.hospital, market.MakeBill(contract)).reply
            space.home.run("market.settle", space.operator, market.Settle(bill.bill))
        assert bill.lines[1].quantity == USES
        assert space.home.run("market.check", space.operator, market.Check()).reply.right
    beside = {"cpu_s": settling.cpu_s, "longest_wait_of_another_act_ms": waits.longest_s * 1000, "uses": USES}
    yield Figure("settling 10⁵ metered uses", settling.wall_s, "s", "≤ 5", beside)
    yield Figure("a use held and ended, CPU", metering.cpu_s * 1000 / USES, "ms", None, {"uses": USES})


def _paid(space: Space, contract: str) -> None:
    """Puts enough money for every use on a contract."""
    run = space.home.run
    run("market.deposit", space.operator, market.Deposit("Insurer", "10000000", "CNY", "bench"))
    run("market.order", space.insurer, market.Order(contract, "10000000"))


def _used(tx: Tx, contract: str, batch: int) -> None:
    """Questions that were asked and answered, as the clean room counts them."""
    held = performance.provided(tx.db, contract)
    assert held is not None
    for number in range(batch * _BATCH, (batch + 1) * _BATCH):
        assert performance.hold_uses(tx, (held,), f"use-{number}", f"what-{number}", 10) is None
        performance.end_use(tx, f"use-{number}", 7, done=True)


class _Waits:
    """The longest an empty act waited for the writer while the block ran."""

    def __init__(self, space: Space) -> None:
        self.longest_s = 0.0
        self._space = space
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> _Waits:
        """Starts asking."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            begun = time.perf_counter()
            self._space.home.writer.submit(lambda tx: None).result()
            self.longest_s = max(self.longest_s, time.perf_counter() - begun)
