"""Product images: from a source to pictures that may be served."""
