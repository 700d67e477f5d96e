"""Shows that the check can be trusted: plain Python, one event after the other, answers as a feature server would, from
the NDJSON that `millrace replay --dry-run` wrote. The check must agree with it, and must notice a planted error.

    python selftest.py --data DIR --report replay.json --events events.ndjson
"""

import argparse
import json
import subprocess
import sys
import threading
from collections import defaultdict
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import expected

HOPS = [n * unit for unit, steps in ((1_000, (1, 2, 5, 10, 15, 30)), (60_000, (1, 2, 5, 10, 15, 30)), (3_600_000, (1, 2, 3, 6, 12)), (86_400_000, (1, 2, 5, 10))) for n in steps]
SIZES = {"5m": 300_000, "1h": 3_600_000, "7d": 604_800_000, "30d": 2_592_000_000, "90d": 7_776_000_000}
GAP = 1_800_000
FIELDS = {
    "spend": "sales_value", "units": "quantity", "discount": "retail_disc", "mean_line": "sales_value", "largest_line": "sales_value",
    "smallest_line": "sales_value", "recent_products": "product_id", "session_spend": "sales_value", "session_products": "product_id",
    "products": "product_id", "departments": "department", "known_lines": "department", "first_product": "product_id",
    "last_department": "department", "last_reduced": "reduced", "recent_stores": "store_id", "campaigns": "campaign_id",
    "last_campaign": "campaign_id", "recent_coupons": "coupon_upc", "last_date": "redemption_date", "baskets": "basket_id",
    "stores": "store_id", "mean_units": "quantity", "first_basket": "basket_id", "sales": "sales_value",
    "households": "household_id", "recent_households": "household_id",
}  # fmt: skip
MONEY = ("sales_value", "retail_disc")
SUMS = ("spend", "units", "discount", "session_spend", "sales")
COUNTS = ("lines", "session_lines", "redemptions", "known_lines")
DISTINCT = ("products", "departments", "campaigns", "baskets", "stores", "households", "session_products")
LENGTHS = {"recent_products": 5, "recent_stores": 3, "recent_coupons": 3, "recent_households": 5}


def value_at(events: list[dict], feature: str, as_of: int):
    """One feature by the definition: pick the events of the window, then fold them."""
    name, _, window = feature.rpartition("_")
    if window in SIZES:
        size = SIZES[window]
        hop = next(hop for hop in HOPS if hop * 100 >= size)
        start = (as_of - size) // hop * hop
    else:
        name = name if window == "lifetime" else feature
        start = -(10**18)
    known = [event for event in events if start <= event["time"] <= as_of]
    if feature.startswith("session_"):
        known = current_session(known, as_of)
    field = FIELDS.get(name, name)
    values = [event[field] for event in known if event.get(field) is not None]
    if name in COUNTS:
        return len(values) if name in FIELDS else len(known)
    if name in DISTINCT:
        return len(set(values))
    if name in SUMS:
        total = sum(map(Decimal, values), Decimal("0.00") if field in MONEY else Decimal(0))
        return str(total) if field in MONEY else int(total)
    if not values:
        return None
    if name.startswith("mean_"):
        return float(sum(map(Decimal, values))) / len(values)
    if name in ("largest_line", "smallest_line"):
        return (max if name == "largest_line" else min)(values, key=Decimal)
    if name == "last_date":
        return max(values)
    if name in LENGTHS:
        return values[::-1][: LENGTHS[name]]
    return values[0] if name.startswith("first_") else values[-1]


def current_session(events: list[dict], as_of: int) -> list[dict]:
    """The events of the session that has not ended."""
    if not events or as_of - events[-1]["time"] > GAP:
        return []
    start = len(events) - 1
    while start > 0 and events[start]["time"] - events[start - 1]["time"] <= GAP:
        start -= 1
    return events[start:]


def read_events(path: Path) -> dict:
    """Events by (entity, key, type), in the order of (time, id as bytes)."""
    by_key = defaultdict(list)
    for line in path.open():
        event = json.loads(line)
        flat = {**event["properties"], **{name: event[name] for name in event if name != "properties"}}
        by_key["household", event["household_id"], event["type"]].append(flat)
        if "product_id" in event:
            by_key["product", event["product_id"], event["type"]].append(flat)
    for events in by_key.values():
        events.sort(key=lambda event: (event["time"], event["id"].encode()))
    return by_key


class Handler(BaseHTTPRequestHandler):
    """The two reads that the check makes."""

    events: dict = {}
    features: dict = {}
    wrong: str | None = None

    def log_message(self, *_):
        pass

    def answer(self, body):
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer({"views": [{"name": view, "features": [{"name": name} for name in names]} for view, names in self.features.items()]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        results = []
        for key in asked["keys"]:
            values = {}
            for reference in asked["features"]:
                view, feature = reference.split(":")
                events = self.events.get((asked["entity"], key, expected.VIEWS[view][1]), [])
                values[reference] = None if reference == self.wrong else value_at(events, feature, asked["as_of"])
            results.append({"key": key, "status": "PRESENT", "values": values, "metadata": {}})
        self.answer({"entity": asked["entity"], "results": results, "as_of": asked["as_of"]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--events", type=Path, required=True)
    options = parser.parse_args()
    db = expected.load(options.data, expected.read_report(options.report))
    expected.choose(db, 4)
    Handler.features = {view.name: list(view.features) for view in expected.views(db)}
    Handler.events = read_events(options.events)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [sys.executable, str(Path(__file__).with_name("check.py")), "--data", str(options.data), "--report", str(options.report)]
    command += ["--url", f"http://127.0.0.1:{server.server_port}"]
    agreed = subprocess.run(command).returncode == 0
    Handler.wrong = "household_spend:spend_7d"
    noticed = subprocess.run(command, capture_output=True).returncode == 1
    print(f"selftest: agreed={agreed} planted_error_noticed={noticed}")
    sys.exit(0 if agreed and noticed else 1)


if __name__ == "__main__":
    main()
