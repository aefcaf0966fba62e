"""Whole paths through the real platform, worker and a receiver; and the parts that bench and chaos share."""
