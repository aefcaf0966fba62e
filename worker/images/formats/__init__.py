"""Walks through the containers of pictures, without decoding any: what a header claims, and where it ends."""
