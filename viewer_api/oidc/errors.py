"""Why a sign-in at a provider comes to nothing."""

from __future__ import annotations


class ProviderDown(Exception):
    """The provider does not answer, or not as a provider does. The message says why, for the log."""


class BadAnswer(Exception):
    """What came from the browser or the provider is not to be trusted. The message says why, for the audit trail."""
