"""Whom connections to servers of others trust."""

from __future__ import annotations

import os
import ssl

import certifi


def tls_context(*, roots: str | None = None) -> ssl.SSLContext:
    """Verifies names and chains against the machine's roots, or those that certifi brings where it has none.

    `roots`: a PEM file of authorities to trust instead.
    """
    paths = ssl.get_default_verify_paths()
    if roots is None and paths.cafile is None and not (paths.capath and os.listdir(paths.capath)):
        roots = certifi.where()
    context = ssl.create_default_context(cafile=roots)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
