"""Signed webhooks: which delivery goes next, how it is signed, sent, tried again and written back."""
