"""ClickHouse's own Python client, clickhouse-connect, with its default settings: prints what it found as JSON.

Usage: connect.py HOST PORT"""

import datetime
import decimal
import gzip
import json
import sys

import clickhouse_connect
import pandas
from clickhouse_connect.driver.exceptions import DatabaseError

host, port = sys.argv[1], int(sys.argv[2])
client = clickhouse_connect.get_client(host=host, port=port)
found = {"session": "session_id" in client.params, "ping": client.ping()}

client.command(
    "CREATE TABLE sales (id UInt64, name LowCardinality(String), price Decimal(18, 2), at DateTime64(3, 'UTC'),"
    " tags Array(String), maybe Nullable(Int32)) ENGINE = MergeTree ORDER BY id"
)
at = datetime.datetime(2026, 1, 31, 12, 0, 0, 250000, tzinfo=datetime.timezone.utc)
rows = [
    [number, f"line {number % 100}\n\n", decimal.Decimal(number) / 4, at, ["\n\n"] * (number % 3), None if number % 2 else 2570]
    for number in range(50_000)
]
# More rows than one block holds: each block is an LZ4 frame of its own.
summary = client.insert("sales", rows, column_names=["id", "name", "price", "at", "tags", "maybe"])
found["written"] = summary.written_rows
found["count"] = client.query("SELECT count(), sum(price) FROM sales").result_rows[0][0]
answer = client.query("SELECT * FROM sales WHERE id = {id:UInt64}", parameters={"id": 7})
found["row"] = [str(value) for value in answer.result_rows[0]]
found["all"] = [list(row) for row in client.query("SELECT id, tags FROM sales ORDER BY id").result_rows] == [[r[0], r[4]] for r in rows]
found["setting"] = client.query("SELECT getSetting('max_threads')", settings={"max_threads": 3}).result_rows[0][0]

frame = pandas.DataFrame({"id": [1, 2, 3], "name": ["a", "b\n\n", "c"], "value": [0.5, 1.25, -3.0]})
client.command("CREATE TABLE frames (id Int64, name String, value Float64) ENGINE = MergeTree ORDER BY id")
client.insert_df("frames", frame)
back = client.query_df("SELECT id, name, value FROM frames ORDER BY id")
found["frame"] = back.to_dict(orient="list")

for compression, pack in (("gzip", gzip.compress), (None, bytes)):
    client.raw_insert("frames", ["id", "name", "value"], pack(b"4,d,1.5\n"), fmt="CSV", compression=compression)
found["raw"] = client.command("SELECT count() FROM frames WHERE id = 4")

# Sessions are accepted and keep nothing: a statement that acts on its session alone is refused.
for name, statement in (("set", "SET max_threads = 1"), ("temporary", "CREATE TEMPORARY TABLE t (a Int8)")):
    try:
        client.command(statement)
    except DatabaseError as error:
        found[name] = "keeps no sessions" in str(error)
try:
    client.query("SELECT * FROM nowhere")
except DatabaseError as error:
    found["missing"] = "Code: 60." in str(error)

print(json.dumps(found))
