"""Encryption at rest: an object store whose medium never sees what is in its objects; see ADR 8.

`sealed` is the format of an object, `keyring` and `key_encryption` are its keys, `store` is the store, `convert`
encrypts what was stored before.
"""
