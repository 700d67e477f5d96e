"""What every feature must be, computed by another engine (DuckDB) from the Parquet files with the SQL beside this file.
Nothing here reads Millrace's definitions."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import duckdb

SQL = Path(__file__).parent / "sql"

# view: (entity, event type that it is made of)
VIEWS = {
    "household_spend": ("household", "purchase"),
    "household_taste": ("household", "purchase"),
    "household_habits": ("household", "purchase"),
    "household_coupons": ("household", "coupon_redemption"),
    "household_profile": ("household", "demographics"),
    "product_popularity": ("product", "purchase"),
}


@dataclass
class View:
    """One view's features with the SQL type of each, and the expected row for each (key, as_of)."""

    name: str
    entity: str
    event: str
    features: dict[str, str]
    rows: dict[tuple[int, int], dict]


def load(data: Path, report: dict) -> duckdb.DuckDBPyConnection:
    """The replayed events as tables; fails where the replay was of something else than the files hold."""
    db = duckdb.connect()
    db.execute("set variable dir = ?", [str(data)])
    db.execute("set variable last = ?", [report["mappings"]["transactions"]["events"]])
    db.execute("set variable shift = ?", [report["shift_ms"]])
    db.execute("set variable finish = ?", [report["last_time"]])
    db.execute((SQL / "events.sql").read_text())
    tables = {"transactions": "purchase", "redemptions": "coupon_redemption", "demographics": "demographics"}
    for mapping, table in tables.items():
        expected = dict(zip(("events", "first_time", "last_time"), one(db, f"select count(*), min(t), max(t) from {table}")))
        actual = {name: report["mappings"][mapping][name] for name in expected}
        if actual != expected:
            raise SystemExit(f"{mapping}: the replay sent {actual}, the files hold {expected}")
    return db


def choose(db: duckdb.DuckDBPyConnection, seed: int) -> dict[str, list[int]]:
    """Keys to check: a seeded draw in which every feature has enough to say, and some keys that nothing knows."""
    draw = random.Random(seed)

    def some(query: str, count: int) -> list[int]:
        keys = sorted(key for (key,) in db.execute(query).fetchall())
        return draw.sample(keys, min(count, len(keys)))

    households = some("select distinct household_id from coupon_redemption semi join purchase using (household_id)", 150)
    households += some("select distinct household_id from demographics semi join purchase using (household_id)", 130)
    households += some("select distinct household_id from purchase", 150)
    households += some("select household_id from demographics anti join purchase using (household_id)", 8)
    products = some("select product_id from purchase group by product_id order by count(*) desc, product_id limit 120", 120)
    products += some("select distinct product_id from purchase", 220)
    unknown = [999_999_999_001, 999_999_999_002]
    chosen = {"household": list(dict.fromkeys(households + unknown)), "product": list(dict.fromkeys(products + unknown))}
    db.execute("create table chosen (entity varchar, key bigint)")
    db.executemany("insert into chosen values (?, ?)", [[e, key] for e, keys in chosen.items() for key in keys])
    db.execute((SQL / "ask.sql").read_text())
    return chosen


def views(db: duckdb.DuckDBPyConnection) -> list[View]:
    """Every view's expected values."""
    found = []
    for name, (entity, event) in VIEWS.items():
        result = db.execute((SQL / f"{name}.sql").read_text())
        columns = [(column[0], str(column[1])) for column in result.description]
        features = dict(columns[2:])
        rows = {(row[0], row[1]): dict(zip(features, row[2:])) for row in result.fetchall()}
        asked = db.execute("select key, as_of from ask where entity = ? and event = ?", [entity, event]).fetchall()
        if set(asked) != set(rows):
            raise SystemExit(f"{name}.sql answers {len(rows)} of {len(asked)} questions")
        found.append(View(name, entity, event, features, rows))
    return found


def coverage(db: duckdb.DuckDBPyConnection, found: list[View]) -> tuple[dict, dict]:
    """For each sliding feature, at how many keys it is not empty just after their last event; for each money feature,
    how many values it takes."""
    own = {tuple(row) for row in db.execute("select entity, event, key, as_of from ask where own_last").fetchall()}
    nonempty, distinct_money = {}, {}
    for view in found:
        for feature, sql_type in view.features.items():
            reference = f"{view.name}:{feature}"
            if feature.rsplit("_", 1)[-1] in ("5m", "1h", "7d", "30d", "90d"):
                rows = (row[feature] for key, row in view.rows.items() if (view.entity, view.event, *key) in own)
                nonempty[reference] = sum(1 for value in rows if value)
            if sql_type.startswith("DECIMAL"):
                distinct_money[reference] = len({row[feature] for row in view.rows.values() if row[feature] is not None})
    return nonempty, distinct_money


def one(db: duckdb.DuckDBPyConnection, query: str) -> tuple:
    """The only row of a query."""
    return db.execute(query).fetchone()


def read_report(path: Path) -> dict:
    """A report of `millrace replay`."""
    return json.loads(path.read_text())
