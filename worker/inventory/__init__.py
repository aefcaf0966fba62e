"""Stock: holds whose time is over are given back."""
