"""A made table of five million orders, one value in a few hundred wrong, and ten rules on it in two forms."""

from __future__ import annotations

from pathlib import Path

from dujiang.quality.model import Arguments, Demand, Metric

ROWS = 5_000_000
CATEGORIES = tuple(f"c{number:02}" for number in range(24))
_CODE = "^[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}$"
_PHONE = "^1[3-9][0-9]{9}$"
_EMAIL = "^[a-z0-9]+@[a-z.]+$"

DEMANDS = (
    Demand(Metric.duplicateValues, "id"),
    Demand(Metric.nullValues, "uscc"),
    Demand(Metric.nullValues, "amount"),
    Demand(Metric.nullValues, "phone"),
    Demand(Metric.invalidValues, "uscc", Arguments(pattern=_CODE)),
    Demand(Metric.invalidValues, "phone", Arguments(pattern=_PHONE)),
    Demand(Metric.invalidValues, "email", Arguments(pattern=_EMAIL)),
    Demand(Metric.invalidValues, "amount", Arguments(minimum=0, maximum=10_000)),
    Demand(Metric.invalidValues, "age", Arguments(minimum=0, maximum=100)),
    Demand(Metric.invalidValues, "category", Arguments(validValues=CATEGORIES)),
)
"""Ten rules: unique, not null three times, three patterns, two ranges, a set."""


def made(target: Path) -> str:
    """SQL that writes the table: twelve columns of text, numbers and times."""
    return (
        "copy (select i as id, 'O' || lpad(cast(i * 7919 % 100000007 as varchar), 10, '0') as number,"
        " case when hash(i, 1) % 100 = 0 then null else '91' || lpad(cast(hash(i, 2) % 1000000 as varchar), 6, '0')"
        " || lpad(cast(hash(i, 3) % 10000000000 as varchar), 10, '0') end as uscc,"
        " case when hash(i, 4) % 50 = 0 then 'unknown' else"
        " '13' || lpad(cast(hash(i, 5) % 1000000000 as varchar), 9, '0') end as phone,"
        " 'u' || hash(i, 6) % 900000 || '@mail.example.cn' as email,"
        " 'c' || lpad(cast(hash(i, 7) % 30 as varchar), 2, '0') as category,"
        " case when hash(i, 8) % 200 = 0 then null else"
        " cast(pow(hash(i, 9) % 100000 / 100000.0, 4) * 5000 - 10 as decimal(12, 2)) end as amount,"
        " cast(hash(i, 10) % 101 as integer) as age, cast(hash(i, 11) % 1000 / 7.0 as double) as weight,"
        " date '2023-01-01' + cast(hash(i, 12) % 731 as integer) as day,"
        " timestamp '2023-01-01' + to_seconds(cast(hash(i, 13) % 63072000 as bigint)) as moment,"
        f" hash(i, 14) % 3 = 0 as member from range({ROWS}) t(i)) to '{target}' (format parquet, compression zstd)"
    )


def by_hand(target: Path) -> str:
    """The ten counts as somebody writes them who knows the table: one statement."""
    members = ", ".join(f"'{each}'" for each in CATEGORIES)
    return (
        "select count(id) - count(distinct id), count(*) - count(uscc), count(*) - count(amount),"
        f" count(*) - count(phone), count(*) filter (not regexp_matches(uscc, '{_CODE}')),"
        f" count(*) filter (not regexp_matches(phone, '{_PHONE}')),"
        f" count(*) filter (not regexp_matches(email, '{_EMAIL}')),"
        " count(*) filter (amount not between 0 and 10000), count(*) filter (age not between 0 and 100),"
        f" count(*) filter (category not in ({members})) from read_parquet('{target}')"
    )
