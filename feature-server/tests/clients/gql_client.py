"""Uses a GraphQL client library that is not part of Millrace: it fetches the schema, checks queries against it, and runs them.

Usage: gql_client.py BASE_URL"""

import json
import sys

from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.requests import RequestsHTTPTransport
from graphql import GraphQLError

transport = RequestsHTTPTransport(url=sys.argv[1] + "/graphql", timeout=30)
client = Client(transport=transport, fetch_schema_from_transport=True)
found = {}
with client as session:
    types = client.schema.type_map
    found["types"] = [name for name in ("FeatureSet", "Map", "EntityFeatures", "Status") if name in types]
    found["entity_id"] = str(types["FeatureSet"].fields["entityId"].type)
    found["get_features"] = str(client.schema.query_type.fields["getFeatures"].type)

    sets = gql("query($ids: [ID!]!, $names: [String!]!) { getFeatures(entityIds: $ids, featureNames: $names) { entityId features } }")
    sets.variable_values = {"ids": ["7", "8"], "names": ["spend:total_1h", "income"]}
    found["sets"] = session.execute(sets)["getFeatures"]

    values = gql('{ features(entity: "household", keys: ["7"], service: "basket@2") { status values { name value status } } }')
    found["values"] = session.execute(values)["features"][0]

    # The client refuses a field that the schema does not have before it sends the query.
    try:
        session.execute(gql("{ nothing }"))
    except GraphQLError as error:
        found["refused_here"] = str(error)
    # An error that only the server can find has a code.
    try:
        session.execute(gql('{ features(entity: "nobody", keys: ["7"]) { key } }'))
    except TransportQueryError as error:
        found["refused_there"] = error.errors[0]["extensions"]["code"]

print(json.dumps(found))
