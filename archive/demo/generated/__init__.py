"""A whole province for the index: 15 hospitals and 100 commune stations, years of studies, and messy identities.

The same seed, size and end give the same province, byte for byte. Nobody in it is real: citizen, insurance and phone
numbers begin with digits that are given to nobody.
"""
