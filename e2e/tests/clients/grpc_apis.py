"""The gRPC API through the official client: grpcio, with stubs that its own tools generate from our protos.

Usage: grpc_apis.py <host:port of gRPC> <folder of the protos>. Asks about the households 1 (with
purchases and a profile), 2 (without a profile) and 99 (unknown). Fails at the first answer that breaks a promise.
"""

import sys
import tempfile

import grpc
from grpc_tools import protoc

address, protos = sys.argv[1:]
stubs = tempfile.mkdtemp()
files = ["feature_store/v1/feature_store.proto", "millrace/v1/features.proto"]
well_known = f"{protoc.__file__.rsplit('/', 1)[0]}/_proto"
arguments = ["protoc", f"-I{protos}", f"-I{well_known}", f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
assert protoc.main(arguments + files) == 0, "our protos compile"
sys.path.insert(0, stubs)

from feature_store.v1 import feature_store_pb2 as store  # noqa: E402
from feature_store.v1 import feature_store_pb2_grpc as store_grpc  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # noqa: E402
    ProtoReflectionDescriptorDatabase,
)
from google.protobuf import json_format  # noqa: E402
from google.protobuf.descriptor_pool import DescriptorPool  # noqa: E402
from millrace.v1 import features_pb2 as typed  # noqa: E402
from millrace.v1 import features_pb2_grpc as typed_grpc  # noqa: E402

NAMES = [
    "household_spend:spend_1h",
    "household_spend:spend_7d",
    "household_spend:lines_lifetime",
    "household_spend:recent_products",
    "household_spend:session_lines",
    "household_profile:income",
    "household_frequency:lines_90d",
    "household_frequency:spend_90d",
]


def refused(code, call, request):
    try:
        call(request)
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} instead of {code}: {error.details()}"
        return error.details()
    raise AssertionError(f"{request} was answered instead of {code}")


def plain(value):
    """A typed value as REST writes it."""
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "list_value":
        return [plain(item) for item in value.list_value.values]
    return getattr(value, kind)


def of_names(names):
    return typed.Selection(features=typed.FeatureList(names=names))


def check_realtime(service):
    names = ["spend_7d", "household_profile:income", "recent_products", "household_frequency:spend_90d"]
    answer = service.GetRealtimeFeatures(store.GetRealtimeFeaturesRequest(entity_id="1", feature_names=names))
    values = {name: json_format.MessageToDict(value) for name, value in answer.features.items()}
    assert answer.entity_id == "1"
    assert values == dict(zip(names, ["3.65", "50-74K", [11, 10], "3.65"])), values
    answer = service.GetRealtimeFeatures(store.GetRealtimeFeaturesRequest(entity_id="2", feature_names=names[:2]))
    assert answer.features["household_profile:income"].WhichOneof("kind") == "null_value"
    for code, entity_id, names, part in [
        (grpc.StatusCode.INVALID_ARGUMENT, "1", [], "at least one"),
        (grpc.StatusCode.INVALID_ARGUMENT, "one", ["spend_7d"], "household_id"),
        (grpc.StatusCode.INVALID_ARGUMENT, "1", ["lines_7d"], "household_spend:lines_7d, product_popularity:lines_7d"),
        (grpc.StatusCode.NOT_FOUND, "1", ["household_spend:x"], "spend_lifetime"),
        (grpc.StatusCode.NOT_FOUND, "99", ["spend_7d"], "features not found for household"),
    ]:
        request = store.GetRealtimeFeaturesRequest(entity_id=entity_id, feature_names=names)
        said = refused(code, service.GetRealtimeFeatures, request)
        assert part in said, said


def check_typed(service):
    request = typed.GetFeaturesRequest(
        entity="household", key="1", selection=typed.Selection(service="basket"), include_metadata=True
    )
    answer = service.GetFeatures(request)
    assert [feature.name for feature in answer.features] == ["household_spend:spend_7d", "household_profile:income"]
    spend, income = answer.features
    assert (spend.value.decimal_value, spend.source, spend.version) == ("3.65", "redis", 1), spend
    assert (income.value.string_value, income.source) == ("50-74K", "mongodb"), income
    assert spend.HasField("event_time") and spend.status == typed.PRESENT
    batch = service.BatchGetFeatures(
        typed.BatchGetFeaturesRequest(entity="household", keys=["2", "99", "1"], selection=of_names(NAMES))
    )
    assert [column.name for column in batch.columns] == NAMES
    assert [row.status for row in batch.rows] == [typed.PRESENT, typed.NOT_FOUND, typed.PRESENT], batch
    keys = [str(key) for key in range(20_000)]
    request = typed.StreamFeaturesRequest(entity="household", keys=keys, selection=of_names(NAMES[:1]))
    rows = [row for part in service.StreamFeatures(request) for row in part.rows]
    assert [row.key for row in rows] == keys
    assert plain(rows[1].values[0]) == "3.65", rows[1]
    stream = service.StreamFeatures(request)
    next(iter(stream))
    stream.cancel()
    # More rows than can be read before the deadline.
    keys = [str(key) for key in range(1_000_000)]
    request = typed.StreamFeaturesRequest(entity="household", keys=keys, selection=of_names(NAMES[:1]))
    refused(grpc.StatusCode.DEADLINE_EXCEEDED, lambda request: list(service.StreamFeatures(request, timeout=0.1)), request)
    unknown = typed.GetFeaturesRequest(entity="house", key="1")
    assert "household" in refused(grpc.StatusCode.NOT_FOUND, service.GetFeatures, unknown)


def check_health(service):
    for name in ["", "millrace.v1.FeatureService", "feature_store.v1.FeatureStoreService"]:
        answer = service.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
    refused(grpc.StatusCode.NOT_FOUND, service.Check, health_pb2.HealthCheckRequest(service="nothing"))


def check_reflection(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {"millrace.v1.FeatureService", "grpc.health.v1.Health"} <= set(database.get_services())
    found = DescriptorPool(database).FindServiceByName("millrace.v1.FeatureService")
    ours = typed.DESCRIPTOR.services_by_name["FeatureService"]
    assert [method.name for method in found.methods] == [method.name for method in ours.methods]


with grpc.insecure_channel(address) as channel:
    check_realtime(store_grpc.FeatureStoreServiceStub(channel))
    check_typed(typed_grpc.FeatureServiceStub(channel))
    check_health(health_pb2_grpc.HealthStub(channel))
    check_reflection(channel)
print("the gRPC API keeps its promises")
