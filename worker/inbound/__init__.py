"""Events that other systems send: those of orders happen here, as whoever sent them."""
