"""Compares the batch view `household_orders` of every household, as REST, gRPC and GraphQL answer it, with what DuckDB
computes from the files; exit 1 on any difference.

    python check_orders.py --data DIR --report replay.json --run run.json --protos DIR --url http://127.0.0.1:8081 --grpc 127.0.0.1:50051

`run.json` is what `millrace materialize household_orders --json` printed.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import expected
import grpc
from check import Server
from grpc_tools import protoc

KEYS_PER_REQUEST = 500
VIEW = "household_orders"
FEATURES = ("amount_7d", "amount_30d", "orders_7d", "orders_30d")
NAMES = [f"{VIEW}:{feature}" for feature in FEATURES]
QUERY = """query ($keys: [ID!]!, $names: [String!]!) {
  features(entity: "household", keys: $keys, features: $names) { key values { name value status source jobId } } }"""


def by_rest(server: Server, keys: list[int]) -> Iterator[tuple]:
    body = {"entity": "household", "keys": keys, "features": NAMES, "metadata": True}
    for row in server.call("POST", "/v1/features", body)["results"]:
        about = row["metadata"]
        for name in NAMES:
            job = about[name].get("job_id", "")
            yield row["key"], name, row["values"][name], about[name]["status"], about[name]["source"], job


def by_graphql(server: Server, keys: list[int]) -> Iterator[tuple]:
    answer = server.call("POST", "/graphql", {"query": QUERY, "variables": {"keys": keys, "names": NAMES}})
    if "errors" in answer:
        raise SystemExit(f"GraphQL: {answer['errors']}")
    for row in answer["data"]["features"]:
        for value in row["values"]:
            yield int(row["key"]), value["name"], value["value"], value["status"], value["source"], value["jobId"] or ""


def stubs(protos: Path):
    """Modules that gRPC's own tools make of our protos."""
    folder = tempfile.mkdtemp()
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{protos}", f"-I{well_known}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main([*arguments, "millrace/v1/features.proto"]) != 0:
        raise SystemExit("the protos do not compile")
    sys.path.insert(0, folder)
    from millrace.v1 import features_pb2, features_pb2_grpc  # noqa: PLC0415

    return features_pb2, features_pb2_grpc


def by_grpc(address: str, protos: Path):
    pb, rpc = stubs(protos)
    service = rpc.FeatureServiceStub(grpc.insecure_channel(address))
    selection = pb.Selection(features=pb.FeatureList(names=NAMES))

    def read(_: Server, keys: list[int]) -> Iterator[tuple]:
        request = pb.BatchGetFeaturesRequest(
            entity="household", keys=map(str, keys), selection=selection, include_metadata=True
        )
        answer = service.BatchGetFeatures(request, timeout=60)
        for row in answer.rows:
            for column, value, status, about in zip(answer.columns, row.values, row.statuses, row.metadata, strict=True):
                kind = value.WhichOneof("kind")
                plain = None if kind is None else getattr(value, kind)
                yield int(row.key), column.name, plain, pb.Status.Name(status), column.source, about.job_id

    return read


def wanted(db, run: dict) -> dict[tuple[int, str], tuple]:
    """Value, status, source and job of each feature of each household; one that ordered nothing has the defaults."""
    midnight = datetime.fromisoformat(run["as_of"])
    db.execute("set variable midnight = ?", [int(midnight.timestamp() * 1_000)])
    result = db.execute((expected.SQL / f"{VIEW}.sql").read_text())
    rows = {}
    for household, amount_7d, amount_30d, orders_7d, orders_30d in result.fetchall():
        source = ("redis", run["job_id"] if orders_30d else "")
        known = "PRESENT" if orders_30d else "NOT_FOUND"
        # The view's sum of no amounts is null, as SQL has it, and shows as the default.
        recent = "PRESENT" if orders_7d else "NULL_VALUE" if orders_30d else "NOT_FOUND"
        values = [(str(amount_7d), recent), (str(amount_30d), known), (orders_7d, known), (orders_30d, known)]
        rows |= {(household, name): (*value, *source) for name, value in zip(NAMES, values, strict=True)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the Parquet files")
    parser.add_argument("--report", type=Path, required=True, help="what `millrace replay --report` wrote")
    parser.add_argument("--run", type=Path, required=True, help="what `millrace materialize --json` printed")
    parser.add_argument("--protos", type=Path, required=True, help="the folder of the protos")
    parser.add_argument("--url", default="http://127.0.0.1:8081", help="REST and GraphQL")
    parser.add_argument("--grpc", default="127.0.0.1:50051", help="gRPC")
    options = parser.parse_args()

    db = expected.load(options.data, expected.read_report(options.report))
    rows = wanted(db, expected.read_report(options.run))
    households = sorted({household for household, _ in rows})
    parts = [households[start : start + KEYS_PER_REQUEST] for start in range(0, len(households), KEYS_PER_REQUEST)]
    server = Server(options.url)
    apis = {"rest": by_rest, "grpc": by_grpc(options.grpc, options.protos), "graphql": by_graphql}
    checked, differences = 0, []
    for api, read in apis.items():
        with ThreadPoolExecutor(4) as pool:
            found = {row[:2]: row[2:] for part in pool.map(lambda keys: list(read(server, keys)), parts) for row in part}
        checked += len(found)
        differences += [f"{api}: {key}: {found.get(key)} instead of {rows.get(key)}" for key in rows.keys() | found.keys() if found.get(key) != rows.get(key)]
    ordering = {household for (household, _), row in rows.items() if row[1] == "PRESENT"}
    for difference in differences[:20]:
        print("mismatch:", difference, file=sys.stderr)
    if len(ordering) < 100:
        print(f"failed: only {len(ordering)} households ordered anything", file=sys.stderr)
    counts = {"households": len(households), "ordering": len(ordering), "apis": list(apis), "values_checked": checked}
    print(json.dumps(counts | {"mismatches": len(differences)}))
    sys.exit(1 if differences or len(ordering) < 100 else 0)


if __name__ == "__main__":
    main()
