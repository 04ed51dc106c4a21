"""CRC-32C (Castagnoli), the checksum of checkpoint files, compiled: eight bytes a step (Kounavis and Berry
2005)."""

import numba
import numpy as np

_POLYNOMIAL = 0x82F63B78
"""reversed bits of 0x1EDC6F41"""
_MASK_DELTA = 0xA282EAD8


def _tables() -> np.ndarray:
    """(8, 256) uint32: row k is the remainder of a byte that k more bytes follow."""
    rows = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        rows[0, byte] = value
    for k in range(1, 8):
        rows[k] = rows[k - 1] >> np.uint32(8) ^ rows[0][rows[k - 1] & np.uint32(255)]
    return rows


_TABLES = _tables()


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """The checksum of bytes; 0xE3069283 for b"123456789"."""
    array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    return int(_crc(np.ascontiguousarray(array).reshape(-1).view(np.uint8), _TABLES))


def unmasked(stored: int) -> int:
    """The checksum behind the rotated one that TensorFlow and LevelDB store."""
    rotated = (stored - _MASK_DELTA) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def masked(checksum: int) -> int:
    """What TensorFlow and LevelDB store: the checksum rotated by 15 bits, plus a constant."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


@numba.njit(cache=True, nogil=True)
def _crc(data: np.ndarray, tables: np.ndarray) -> np.uint32:
    crc = np.uint32(0xFFFFFFFF)
    at = 0
    for _ in range(len(data) // 8):
        low = crc ^ (
            np.uint32(data[at])
            | np.uint32(data[at + 1]) << np.uint32(8)
            | np.uint32(data[at + 2]) << np.uint32(16)
            | np.uint32(data[at + 3]) << np.uint32(24)
        )
        crc = (
            tables[7, low & 255]
            ^ tables[6, low >> 8 & 255]
            ^ tables[5, low >> 16 & 255]
            ^ tables[4, low >> 24]
            ^ tables[3, data[at + 4]]
            ^ tables[2, data[at + 5]]
            ^ tables[1, data[at + 6]]
            ^ tables[0, data[at + 7]]
        )
        at += 8
    while at < len(data):
        crc = tables[0, (crc ^ np.uint32(data[at])) & np.uint32(255)] ^ crc >> np.uint32(8)
        at += 1
    return crc ^ np.uint32(0xFFFFFFFF)
