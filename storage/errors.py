"""What can go wrong in an object store.

StorageError
├── ObjectNotFound        no object has this key
├── ObjectExists          the key is taken; keys are written once
├── InvalidKey            the key is not of the form that `base.validate_key` accepts
├── RangeNotSatisfiable   the asked range starts past the end of the object
├── IntegrityError        what the store holds differs from what was sent
└── StorageUnavailable    the store cannot be reached, is full or refuses; try again later
    └── KeyUnavailable    the key by which objects are encrypted cannot be had; the objects themselves may be whole
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of all errors raised by a store."""


class ObjectNotFound(StorageError):
    """No object has this key."""


class ObjectExists(StorageError):
    """The key is taken. A key is written once, so this is a defect of the caller or a forged key."""


class InvalidKey(StorageError, ValueError):
    """The key does not follow the key grammar."""


class RangeNotSatisfiable(StorageError):
    """The asked range starts at or past the end of the object."""


class IntegrityError(StorageError):
    """What the store holds differs from what was sent to it."""


class StorageUnavailable(StorageError):
    """The store cannot be reached, is full, or refuses. Nothing was stored; the caller may try again."""


class KeyUnavailable(StorageUnavailable):
    """A key by which objects are encrypted is missing, is another one, or its keeper does not answer."""
