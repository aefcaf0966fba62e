"""The edge adapter, as a client with an API key sees it; docs/api/README.md is its guide."""
