"""The vital signs, and what watches them."""
