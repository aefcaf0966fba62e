"""An HTTP/1.1 client for one purpose: a POST to a checked address, and a bounded look at its answer."""
