"""The CloudEvents SDK as a sender: each content mode, by its present interface and by the one of its first versions.

Usage: cloudevents_sdk.py INGEST_URL"""

import http.client
import json
import sys
from datetime import datetime, timezone
from urllib.parse import urlsplit

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion as first
from cloudevents.v1.http import CloudEvent as FirstEvent

WEIRD = 'till "7" / 100% \\ Käse €😀'
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NESTED = {"household_id": 1, "product_id": 10, "properties": {"sales_value": "1.15", "note": WEIRD}}
FLAT = {"household_id": 1, "product_id": 10, "sales_value": "1.15", "note": WEIRD}


def attributes(event_id, **others):
    time = datetime(2026, 1, 31, 12, 30, 15, 250000, tzinfo=timezone.utc)
    required = {"specversion": "1.0", "id": event_id, "source": WEIRD, "type": "purchase", "time": time}
    return {**required, "subject": WEIRD, "traceparent": TRACE, **others}


def post(headers, body):
    # The plain client: it adds no content type of its own.
    connection = http.client.HTTPConnection(urlsplit(sys.argv[1]).netloc, timeout=30)
    connection.request("POST", "/v1/events", body, headers)
    response = connection.getresponse()
    return {"status": response.status, "answer": json.loads(response.read())}


def send(message):
    return post(message.headers, message.body)


def batch(events):
    body = b"[" + b",".join(JSONFormat().write(event) for event in events) + b"]"
    return post({"content-type": "application/cloudevents-batch+json; charset=UTF-8"}, body)


json_type = {"datacontenttype": "application/json"}
encoded = json.dumps(FLAT).encode()
old = {**attributes("first binary"), "source": "till-8", "time": "2026-01-31T13:30:15.250+01:00", "subject": "old"}
found = {
    "binary": send(to_binary_event(CloudEvent(attributes("binary " + WEIRD, **json_type), NESTED))),
    "binary without a content type": send(to_binary_event(CloudEvent(attributes("bare"), FLAT))),
    "structured": send(to_structured_event(CloudEvent(attributes("structured " + WEIRD, **json_type), NESTED))),
    "structured with bytes": send(to_structured_event(CloudEvent(attributes("bytes", **json_type), encoded))),
    "first binary": post(*first.to_binary(FirstEvent(old, NESTED))),
    "first structured": post(*first.to_structured(FirstEvent({**old, "id": "first structured"}, FLAT))),
    "batch": batch(
        [
            CloudEvent(attributes("batch 0"), NESTED),
            CloudEvent(attributes("batch 1", type="com.example.purchase"), NESTED),
            CloudEvent(attributes("batch 2"), encoded),
            CloudEvent(attributes("batch 3"), {"product_id": 10}),
            CloudEvent(attributes("batch 4", datacontenttype="text/plain"), FLAT),
        ]
    ),
    "empty batch": batch([]),
    "text": send(to_binary_event(CloudEvent(attributes("text", datacontenttype="text/plain"), "milk"))),
    "unknown type": send(to_structured_event(CloudEvent(attributes("x", type="nothing"), NESTED))),
}
print(json.dumps(found))
