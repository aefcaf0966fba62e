"""What can go wrong with the platform. Every message names the cause and, where there is one, the remedy."""

from __future__ import annotations


class StackError(Exception):
    """The platform cannot do what was asked; the message is for a person."""


class PartFailedError(StackError):
    """A process of the platform ended or never got ready; carries the end of its log."""


class PortTakenError(StackError):
    """An explicitly chosen port is in use."""


class MigrationError(StackError):
    """A migration was refused; names file, line and Postgres' message."""


class ProjectError(StackError):
    """supabase/config.toml is missing something or says something impossible."""
