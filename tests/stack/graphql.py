"""How a Supabase without pg_graphql answers a GraphQL request.

Its words are those of `set_graphql_placeholder` in the migrations of supabase/postgres.
"""

from __future__ import annotations

NO_GRAPHQL_ANSWER = {"errors": [{"message": "pg_graphql extension is not enabled."}]}

NO_GRAPHQL = "answered that pg_graphql is not enabled; what the guide says it answers was not compared"
"""Why an example of the guide is skipped."""
