"""Products from and to files: the Shopify product CSV and JSON Lines."""
