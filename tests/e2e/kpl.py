"""KPL aggregates as the format's description has them, written by hand for the tests."""

import hashlib

MAGIC = b"\xf3\x89\x9a\xc2"


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, value):
    return varint(field << 3) + varint(value)


def text(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def aggregate(records, hash_keys=()):
    """`records` are pairs of a partition key and data."""
    keys = list(dict.fromkeys(key for key, _ in records))
    message = b"".join(text(1, key.encode()) for key in keys)
    message += b"".join(text(2, str(key).encode()) for key in hash_keys)
    for key, data in records:
        record = number(1, keys.index(key))
        record += number(2, 0) if hash_keys else b""
        message += text(3, record + text(3, data))
    return MAGIC + message + hashlib.md5(message).digest()
