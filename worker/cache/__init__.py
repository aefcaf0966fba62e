"""Tells the edge adapter's cache, in Redis, what has changed since its entries were filled."""
