"""What CI checks besides the tests: format, lint, types, import contracts, SQL and advisors, TypeScript."""
