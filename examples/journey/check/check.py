"""Compares what the feature server answers with what DuckDB computes from the files; exit 1 on any difference.

    python check.py --data DIR --report replay.json --url http://127.0.0.1:8081
"""

import argparse
import http.client
import json
import math
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit

import expected

THREADS = 4
KEYS_PER_REQUEST = 100
# A store that is briefly late costs its features a status, never a wrong value; such an answer is asked for again.
ATTEMPTS = 6


class Server:
    """The feature server over HTTP."""

    def __init__(self, url: str):
        self.url = urlsplit(url)
        self.asked_again = 0

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=60)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"content-type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise SystemExit(f"{method} {path}: {response.status} {text[:500]}")
        return json.loads(text)

    def features(self, entity: str, keys: list[int], references: list[str], as_of: int) -> list[dict]:
        body = {"entity": entity, "keys": keys, "features": references, "as_of": as_of, "metadata": True}
        for attempt in range(ATTEMPTS):
            results = self.call("POST", "/v1/features", body)["results"]
            if len(results) != len(keys):
                raise SystemExit(f"asked for {len(keys)} keys, got {len(results)} results")
            if not any("ERROR" in statuses(result) for result in results):
                break
            self.asked_again += 1
            time.sleep(0.2 * 2**attempt)
        return results


def statuses(result: dict) -> set[str]:
    """All statuses in a result."""
    return {str(entry.get("status")) for entry in (result.get("metadata") or {}).values() if isinstance(entry, dict)}


def features_in(catalog) -> set[str]:
    """`view:feature` for every feature of a catalog."""
    listed = catalog.get("views", [])
    listed = [{"name": name, **view} for name, view in listed.items()] if isinstance(listed, dict) else listed
    names = set()
    for view in listed:
        if view.get("query"):
            continue  # check_orders.py is about batch views
        features = view.get("features", [])
        names |= {f"{view['name']}:{feature if isinstance(feature, str) else feature['name']}" for feature in features}
    return names


def same(sql_type: str, wanted, actual) -> bool:
    """Whether a value is right: money to the cent, floats within 1e-9 of each other, all else exactly."""
    if wanted is None or actual is None:
        return wanted is actual
    try:
        if sql_type.endswith("[]"):
            items = zip(wanted, actual)
            return len(wanted) == len(actual) and all(same(sql_type[:-2], w, a) for w, a in items)
        if sql_type.startswith("DECIMAL"):
            return not isinstance(actual, bool) and Decimal(str(actual)) == wanted
        if sql_type == "DOUBLE":
            return math.isclose(float(actual), wanted, rel_tol=1e-9)
        if sql_type == "BOOLEAN":
            return actual is wanted
        if sql_type in ("BIGINT", "HUGEINT"):
            return not isinstance(actual, (bool, float)) and int(actual) == wanted
        return isinstance(actual, str) and actual == wanted
    except (TypeError, ValueError, InvalidOperation):
        return False


def compare(view: expected.View, key: int, as_of: int, values: dict) -> list[dict]:
    """The differences in one view of one key. A view that knows nothing of a key may say so instead of zeros."""
    row = view.rows[key, as_of]
    actual = {feature: values.get(f"{view.name}:{feature}") for feature in view.features}
    if all(value is None for value in actual.values()) and not any(row.values()):
        return []
    return [
        {"entity": f"{view.entity} {key}", "feature": f"{view.name}:{name}", "as_of": as_of, "expected": row[name], "actual": actual[name]}
        for name, sql_type in view.features.items()
        if not same(sql_type, row[name], actual[name])
    ]


def check(server: Server, views: list[expected.View]) -> tuple[int, list[dict]]:
    """Asks for everything that is expected: how many values were compared, and what differs."""
    together = defaultdict(list)
    for view in views:
        together[view.entity, view.event].append(view)
    requests = []
    for (entity, _), group in together.items():
        keys_at = defaultdict(list)
        for key, as_of in group[0].rows:
            keys_at[as_of].append(key)
        for as_of, keys in keys_at.items():
            for start in range(0, len(keys), KEYS_PER_REQUEST):
                requests.append((entity, group, keys[start : start + KEYS_PER_REQUEST], as_of))

    def ask(request) -> list[dict]:
        entity, group, keys, as_of = request
        references = [f"{view.name}:{feature}" for view in group for feature in view.features]
        results = server.features(entity, keys, references, as_of)
        differences = []
        for key, result in zip(keys, results):
            found = [d for view in group for d in compare(view, key, as_of, result.get("values") or {})]
            metadata = result.get("metadata") or {}
            differences += [{**d, "answered": metadata.get(d["feature"], result.get("status"))} for d in found]
        return differences

    with ThreadPoolExecutor(THREADS) as pool:
        differences = [difference for found in pool.map(ask, requests) for difference in found]
    return sum(len(view.rows) * len(view.features) for view in views), differences


def show(server: Server, views: list[expected.View], keys: list[int], as_of: int) -> None:
    """A table of some households: each value with its status and source."""
    references = [f"{view.name}:{name}" for view in views if view.entity == "household" for name in view.features]
    results = server.features("household", keys, references, as_of)
    lines = [["feature", *(f"household {key}" for key in keys)]]
    for reference in references:
        cells = []
        for result in results:
            value = (result.get("values") or {}).get(reference)
            about = (result.get("metadata") or {}).get(reference) or {}
            text = json.dumps(value, separators=(",", ":"))
            cells.append(f"{text} {about.get('status', '')} {about.get('source', '')}".strip())
        lines.append([reference, *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def shown_keys(views: list[expected.View]) -> list[int]:
    """Three households with something to say in every view."""
    profile, coupons = (next(view for view in views if view.name == name) for name in ("household_profile", "household_coupons"))
    known = {key for (key, _), row in profile.rows.items() if row["income"]}
    return sorted(known & {key for (key, _), row in coupons.rows.items() if row["redemptions_7d"]})[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the Parquet files")
    parser.add_argument("--report", type=Path, required=True, help="what `millrace replay --report` wrote")
    parser.add_argument("--url", default="http://127.0.0.1:8081", help="the feature server")
    parser.add_argument("--seed", type=int, default=4, help="draws the keys that are checked")
    parser.add_argument("--expected-only", action="store_true", help="compute, but ask no server")
    options = parser.parse_args()

    report = expected.read_report(options.report)
    db = expected.load(options.data, report)
    chosen = expected.choose(db, options.seed)
    views = expected.views(db)
    nonempty, distinct_money = expected.coverage(db, views)
    failures = [f"{name} is non-empty for only {count} keys" for name, count in nonempty.items() if count < 100]
    failures += [f"{name} takes only {count} values" for name, count in distinct_money.items() if count < 20]
    failures += [f"only {len(keys)} keys of {entity}" for entity, keys in chosen.items() if len(keys) < 300]
    summary = {"entities_checked": sum(map(len, chosen.values())), "values_checked": 0, "mismatches": 0}
    if not options.expected_only:
        server = Server(options.url)
        named = {f"{view.name}:{feature}" for view in views for feature in view.features}
        catalog = features_in(server.call("GET", "/v1/catalog"))
        if catalog != named:
            failures.append(f"the check and the catalog differ in {sorted(catalog ^ named)}")
        failures += [f"{report['rejected']} events were rejected"] if report["rejected"] else []
        show(server, views, shown_keys(views), report["last_time"])
        values, differences = check(server, views)
        summary |= {"values_checked": values, "mismatches": len(differences), "asked_again": server.asked_again}
        for difference in differences[:20]:
            print("mismatch:", json.dumps(difference, default=str), file=sys.stderr)
        failures += [f"{len(differences)} of {values} values differ"] if differences else []
    for failure in failures:
        print("failed:", failure, file=sys.stderr)
    print(json.dumps(summary | {"nonempty": nonempty, "distinct_money": distinct_money}))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
