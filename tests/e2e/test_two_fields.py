"""Joint questions on the real tables of both fields: of three owners by person, and of delays by hour and aircraft.

The truth is plain DuckDB on the files themselves, clamped as the terms say; an answer lies within six standard
deviations of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dujiang.doors.story import Story

SAMPLES = Path(__file__).parents[2] / "src/dujiang/samples"
SIGMAS = 3  # of the ± an answer states, which is two standard deviations
SLEEP = (
    "select sleep_hours >= 7 as rested, count(*) as people, avg(hba1c) as hba1c, avg(systolic_1) as systolic"
    " from clinic join laboratory using (seqn) join household using (seqn) where age >= 18"
    " group by sleep_hours >= 7"
)
AGE = (
    "select (2013 - year) // 10 as decades, count(*) as flights, avg(dep_delay) as delay"
    " from flights join planes using (tailnum) group by (2013 - year) // 10"
)
RAIN = (
    "select precip > 0 as rain, count(*) as flights, avg(dep_delay) as delay"
    " from flights join weather using (origin, time_hour) group by precip > 0"
)
CASES = {
    "three owners, by person": ("transport", SLEEP, ("clinic", "laboratory", "household")),
    "delay by the aircraft's age": ("hospital", AGE, ("flights", "planes")),
    "delay by the hour's rain": ("insurer", RAIN, ("flights", "weather")),
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The parties of the demonstration, their six tables offered."""
    begun = Story.begun(tmp_path_factory.mktemp("fields") / "home", "en")
    begun.offer()
    yield begun
    begun.home.close()


def truth(story: Story, sql: str, tables: tuple[str, ...]) -> dict[Any, tuple[Any, ...]]:
    """The rows of plain DuckDB by their group, every measured column clamped to its registered bounds."""
    with duckdb.connect() as db:
        for table in tables:
            card = story._do("auditor", "catalogue.show", id=story.product[table])
            lost = {each["name"]: each for each in card["columns"] if "aggregate" in each["uses"]}
            names = db.sql(f"select * from '{SAMPLES / table}.parquet'").columns
            told = ", ".join(
                f'case when "{n}" < {lost[n]["lo"]} then {lost[n]["lo"]} when "{n}" > {lost[n]["hi"]}'
                f' then {lost[n]["hi"]} else "{n}" end as "{n}"' if n in lost else f'"{n}"'
                for n in names
            )  # fmt: skip
            db.execute(f"create view {table} as select {told} from '{SAMPLES / table}.parquet'")
        return {row[0]: row[1:] for row in db.sql(sql).fetchall()}


@pytest.mark.parametrize("what", CASES)
def test_a_joint_answer_is_the_truth_within_its_noise(story: Story, what: str) -> None:
    who, sql, tables = CASES[what]
    contracts = tuple(story._agreed(who, table)["contract"] for table in tables)
    if "clinic" in tables:  # the hospital's table has its price
        paid = {"org": story.say(who), "amount": "200", "currency": "CNY", "reference": "BANK-1"}
        story._do("operator", "market.deposit", **paid)
        story._do(who, "market.order", contract=contracts[0], amount="200")
    answer = story._answer(who, contracts, sql)
    true = truth(story, sql, tables)
    assert len(answer["rows"]) >= 2 and {part["contract"] for part in answer["parts"]} == set(contracts)
    quoted = dict(zip(answer["columns"], answer["plus_minus"], strict=True))
    people = answer["columns"][1]
    for group, *cells in answer["rows"]:
        for name, said, right in zip(answer["columns"][1:], cells, true[group], strict=True):
            # The ± of a mean is stated for a group of 1,000.
            size = 1.0 if name == people else max(1.0, 1000 / true[group][0])
            assert abs(said - right) <= SIGMAS * float(quoted[name] or 0) * size + 0.51, (
                group,
                name,
                said,
                right,
            )
