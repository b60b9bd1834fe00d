"""``python -m archive encryption|encrypt|rewrap``: encryption of stored objects, for an operator."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from config.settings import Settings
from storage.encryption.convert import Converted, encrypt_existing
from storage.encryption.keyring import COPIES
from storage.encryption.store import EncryptedStore
from storage.factory import open_store

Add = Callable[[str, Callable[[Settings, argparse.Namespace], int], str], argparse.ArgumentParser]
_SAID_EACH = 5.0


def register(add: Add) -> None:
    """Add the commands."""
    add("encryption", _status, "By which keys objects are encrypted; with --count also how many are not.").add_argument(
        "--count", action="store_true", help="count the objects, which lists the whole store"
    )
    command = add(
        "encrypt", _encrypt, "Encrypt what was stored before encryption was on. May be broken off and repeated."
    )
    command.add_argument(
        "--prefix", default="", help="only keys that start so, such as 2026/11; several may run at once"
    )
    add(
        "rewrap",
        _rewrap,
        "Have the keys of all objects encrypted by the active key, so that others can be taken from the settings; mend "
        "copies of keys. Objects are not touched.",
    )


@contextmanager
def _opened(settings: Settings) -> Iterator[EncryptedStore | None]:
    store = open_store(settings)
    try:
        if isinstance(store, EncryptedStore):
            yield store
        else:
            print(
                "nothing is encrypted here, and there is no key; see Encryption in docs/operations.md", file=sys.stderr
            )
            yield None
    finally:
        store.close()


def _status(settings: Settings, given: argparse.Namespace) -> int:
    with _opened(settings) as store:
        if store is None:
            return 1
        active = settings.storage.encryption.active
        print(f"new objects are encrypted by the key {active}" if active else "new objects are not encrypted")
        volumes = store.keyring.wrapped()
        by_key = Counter(key for keys in volumes.values() for key in keys)
        for key, count in sorted(by_key.items()):
            known = "" if key in store.keyring.keys else ", WHICH IS NOT IN THE SETTINGS"
            print(f"{count} volumes of objects need the key {key}{known}")
        thin = [volume for volume, keys in volumes.items() if all(len(found) < len(COPIES) for found in keys.values())]
        if thin:
            print(
                f"{len(thin)} volumes have one copy of their key only: run `python -m archive rewrap`", file=sys.stderr
            )
        if given.count:
            plain, sealed = (sum(1 for _ in each.keys("")) for each in (store.plain, store.sealed))
            print(f"{sealed} objects are encrypted, {plain} are not")
        return 1 if thin or set(by_key) - set(store.keyring.keys) else 0


def _encrypt(settings: Settings, given: argparse.Namespace) -> int:
    with _opened(settings) as store:
        if store is None:
            return 1
        say = _Progress()
        done = encrypt_existing(store, given.prefix, say)
    print(f"encrypted: {done.objects} objects, {done.bytes} bytes; failed: {done.failed}")
    return 1 if done.failed else 0


def _rewrap(settings: Settings, given: argparse.Namespace) -> int:
    del given
    with _opened(settings) as store:
        if store is None:
            return 1
        done = store.keyring.rewrap()
    print(f"volumes: {done.volumes}; changed to the active key: {done.rewrapped}; copies mended: {done.mended}")
    for volume, problem in done.failed.items():
        print(f"{volume}: {problem}", file=sys.stderr)
    return 1 if done.failed else 0


class _Progress:
    """Says every few seconds how far it is."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _SAID_EACH

    def __call__(self, now: Converted) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SAID_EACH
            print(f"  {now.objects} objects, {now.bytes >> 20} MiB encrypted, {now.failed} failed", flush=True)
