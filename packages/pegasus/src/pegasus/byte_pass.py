"""One pass over the bytes of texts: where sentences end, and the number of each ASCII word (see sentences).

Compiled; the bytes are read 64 at a time as bits, on a little-endian machine.
"""

import functools
from collections.abc import Sequence

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pegasus.words import STOP_WORDS, SentenceWords

_MIX = np.uint64(0x9E3779B97F4A7C15)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOWER = np.uint64(0x2020202020202020)  # set, it makes ASCII letters small and leaves digits as they are
_PAD = 80  # zero bytes behind the last segment: 64 bytes are read at once, and 16 from a word's first on
_EDGES = 1024  # edges of words kept before their words are numbered; 8 KB stay in the fastest cache


def join(segments: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """One byte a character for all segments, a zero behind each, and where each begins: (segments+1,) int64.

    Segment g is bytes starts[g] to starts[g+1]-1, the last of them its zero. Characters outside ASCII are
    neither in words nor ends of sentences; from 255 on they become 255, which is quicker than UTF-8 and keeps
    places in bytes the same as places in the text.
    """
    joined = "\0".join([*segments, "\0" * _PAD])
    if joined.isascii():
        data = np.frombuffer(joined.encode(), np.uint8)
    else:
        data = _narrow(np.array([joined]).view(np.uint32))
    starts = np.zeros(len(segments) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, segments), np.int64, len(segments)) + 1, out=starts[1:])
    return data, starts


def _mixed(value: int) -> int:
    """`_mix` in Python's integers, so that importing compiles nothing."""
    value = (value ^ value >> 32) * int(_MIX) % 2**64
    return value ^ value >> 29


@functools.cache
def _stop_table() -> np.ndarray:
    """The stop-words' hashes in an open-addressing table of 512 slots, 0 where empty."""
    table = np.zeros(512, np.uint64)
    for word in sorted(STOP_WORDS):
        value, data = 0, word.encode()
        for start in reversed(range(0, len(data), 8)):
            value = _mixed(value ^ int.from_bytes(data[start : start + 8], "little"))
        slot = value & 511
        while table[slot]:
            slot = (slot + 1) & 511
        table[slot] = value
    return table


def scan(
    data: np.ndarray, segments: np.ndarray, documents: np.ndarray, split: bool, stop_words: bool
) -> tuple[SentenceWords, np.ndarray]:
    """Run the byte pass over a batch; also the end of each sentence in bytes, (S,) int64.

    Args:
        data: (N,) uint8 as `join` gives them.
        segments: (segments+1,) int64, where each begins.
        documents: (B+1,) int64, the first segment of each.
        split: cut segments into sentences; else each is one.
        stop_words: leave English stop-words out.
    """
    longest = int(np.diff(segments[documents]).max(initial=0))
    most = len(data) // 2 + 1  # a word has a byte behind it; memory that is not touched costs nothing
    words, word_offsets = np.empty(most, np.int32), np.empty(most + len(segments), np.int64)
    ends, sentence_offsets = np.empty(most + len(segments), np.int64), np.empty(len(documents), np.int64)
    for share in (4, 2):  # bytes a slot of the table of words; with two there is room for any text
        slots = 2 << max(6, (longest // share).bit_length())
        table, keys = np.empty(slots, np.uint32), np.empty(slots, np.uint64)
        W, S = _scan(
            data, segments, documents, share, split, stop_words, _stop_table(), table, keys,
            words, word_offsets, ends, sentence_offsets,
        )  # fmt: skip
        if W >= 0:
            break
    return SentenceWords(words[:W].copy(), word_offsets[: S + 1].copy(), sentence_offsets), ends[:S].copy()


@numba.njit(cache=True, nogil=True)
def _narrow(characters):
    out = np.empty(len(characters), np.uint8)
    for i in range(len(characters)):
        out[i] = min(characters[i], np.uint32(255))
    return out


def _pointer(context, builder, signature, arguments, kind):
    """Where byte arguments[1] of the array arguments[0] is, as a pointer to `kind`."""
    base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(base, [arguments[1]]), kind.as_pointer())


@intrinsic
def _classes(typingctx, data, i):
    """Masks of the 64 bytes from byte i on, bit k for byte i + k: letters and digits; `.!?`; whitespace.

    One comparison of 64 bytes each, in LLVM's vectors, which become the widest instructions that the machine
    has.
    """

    def generate(context, builder, signature, arguments):
        vector = ir.VectorType(ir.IntType(8), 64)
        block = builder.load(_pointer(context, builder, signature, arguments, vector), align=1)

        def all_of(byte):
            return ir.Constant(vector, [byte] * 64)

        def among(values, first, count):
            return builder.icmp_unsigned("<", builder.sub(values, all_of(first)), all_of(count))

        small = builder.or_(block, all_of(0x20))
        letters = builder.or_(among(small, ord("a"), 26), among(block, ord("0"), 10))
        stops = builder.or_(among(block, ord("."), 1), among(block, ord("!"), 1))
        stops = builder.or_(stops, among(block, ord("?"), 1))
        spaces = builder.or_(among(block, ord(" "), 1), among(block, ord("\t"), 5))
        masks = [builder.bitcast(mask, ir.IntType(64)) for mask in (letters, stops, spaces)]
        return context.make_tuple(builder, signature.return_type, masks)

    return types.UniTuple(types.uint64, 3)(data, types.intp), generate


@intrinsic
def _eight(typingctx, data, i):
    """The eight bytes from byte i on as a number, the first one lowest (on a little-endian machine)."""

    def generate(context, builder, signature, arguments):
        return builder.load(_pointer(context, builder, signature, arguments, ir.IntType(64)), align=1)

    return types.uint64(data, types.intp), generate


@intrinsic
def _lowest(typingctx, mask):
    """The place of the lowest bit that is set, 64 for none."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def _ones(typingctx, mask):
    """How many bits are set."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@numba.njit(cache=True, nogil=True)
def _mix(value):
    """Spread a number over 64 bits; a bijection, and zero stays zero."""
    value = (value ^ (value >> np.uint64(32))) * _MIX
    return value ^ (value >> np.uint64(29))


@numba.njit(cache=True, nogil=True)
def _head(data, i, length):
    """The first eight bytes (fewer if length, at least 1, is less) of a word at byte i, in lower case."""
    return (_eight(data, i) | _LOWER) & (_ALL >> np.uint64(max(0, 64 - 8 * length)))


@numba.njit(cache=True, nogil=True)
def _number(data, edges, count, stop, table, mask, keys, known, words, W):
    """Number the words between edges[2k] and edges[2k+1]; how many different words the document has by now.

    The table is open-addressed; a slot is 0 or a word's number from 1 on, and keys has its hash. The hash of
    up to eight bytes is a bijection of them. Longer words may share one and then count as one: for 50,000
    different words the chance is 7e-11. Half of the words are new, a branch on it could not be foretold, so
    there is none. Stops at `stop` different words.
    """
    for k in range(count):
        i = edges[2 * k]
        length = edges[2 * k + 1] - i
        if (
            length <= 16
        ):  # two eights at once; the second is empty more often than not, but a branch would cost more
            shift = np.uint64((128 - 8 * length) & 63)
            rest = ((_eight(data, i + 8) | _LOWER) & (_ALL >> shift)) if length > 8 else np.uint64(0)
        else:
            at = (length - 1) // 8 * 8
            rest = np.uint64(0)
            while at:
                rest = _head(data, i + at, length - at) ^ _mix(rest)
                at -= 8
        value = _mix(_head(data, i, length) ^ _mix(rest))
        slot = value & mask
        number = table[slot]
        while (number != 0) & (keys[number] != value):
            slot = (slot + np.uint64(1)) & mask
            number = table[slot]
        new = number == 0
        known += new
        number = np.uint32(known) if new else number
        table[slot] = number
        keys[number] = value
        words[W + k] = np.int32(number) - 1
        if known >= stop:
            break
    return known


@numba.njit(cache=True, nogil=True)
def _drop(words, word_offsets, first, last, keys, known, stop_table):
    """Leave stop-words out of sentences first..last-1 and number the others anew; how many words are left."""
    numbers = np.empty(known, np.int32)
    kept = 0
    for w in range(known):
        value = keys[w + 1]
        probe = value & np.uint64(511)
        while (stop_table[probe] != 0) & (stop_table[probe] != value):
            probe = (probe + np.uint64(1)) & np.uint64(511)
        found = stop_table[probe] == value
        numbers[w] = -1 if found else kept
        kept += not found
    W = start = word_offsets[first]
    for s in range(first, last):
        end = word_offsets[s + 1]
        for k in range(start, end):
            number = numbers[words[k]]
            words[W] = number
            W += number >= 0
        start = end
        word_offsets[s + 1] = W
    return W


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _scan(data, segments, documents, share, split, stop_words, stop_table, table, keys,
          words, word_offsets, ends, sentence_offsets):  # fmt: skip
    """One pass over the bytes, 64 at a time: edges of words, ends of sentences, then the words' numbers.

    Bytes become bits: a word begins or ends where a bit differs from the one before it, and a sentence ends
    with the whitespace that begins right behind a bit of `.!?`. Words before a place are half the edges
    before it. The words themselves are looked up afterwards, many in a row and without a branch on what they
    are, so that several are under way at once. A document's table has at least one slot for `share` of its
    bytes; if its different words fill three quarters of it, the result is (-1, -1).
    """
    edges = np.empty(_EDGES + 64 + 8, np.int64)
    W = 0
    S = 0
    word_offsets[0] = 0
    sentence_offsets[0] = 0
    for document in range(len(documents) - 1):
        first, last = documents[document], documents[document + 1]
        first_sentence = S
        mask = np.uint64(63)
        while np.int64(mask) * share < segments[last] - segments[first]:
            mask = (mask << np.uint64(1)) | np.uint64(1)
        table[: np.int64(mask) + 1] = 0
        stop = np.int64(mask - (mask >> np.uint64(2)))
        known = np.int64(0)
        count = np.int64(0)  # edges kept; an odd one is the beginning of a word without its end
        for segment in range(first, last):
            i, end = segments[segment], segments[segment + 1] - 1
            sentence_start = i
            letter_before, stop_before = np.uint64(0), np.uint64(0)
            while i <= end:  # the zero behind the segment ends its last word
                letters, stops, spaces = _classes(data, i)
                if end - i < 63:
                    inside = _ALL >> np.uint64(63 - (end - i))
                    letters, spaces = letters & inside, spaces & inside
                changes = letters ^ ((letters << np.uint64(1)) | letter_before)
                letter_before = letters >> np.uint64(63)
                if split:
                    begins = spaces & ((stops << np.uint64(1)) | stop_before)
                    stop_before = stops >> np.uint64(63)
                    while begins:
                        place = _lowest(begins)
                        begins &= begins - np.uint64(1)
                        before = changes & ((np.uint64(1) << np.uint64(place)) - np.uint64(1))
                        sentence_start = i + place + 1
                        while data[sentence_start] == 32 or 9 <= data[sentence_start] <= 13:
                            sentence_start += 1
                        ends[S] = sentence_start
                        S += 1
                        word_offsets[S] = W + (count + _ones(before)) // 2
                        # an edge at the place itself ends no word: whitespace stands behind a full stop
                more = _ones(changes)
                at = count
                count += more
                while at < count:  # eight at a time, the surplus is overwritten: fewer branches to foretell
                    for k in range(8):
                        edges[at + k] = i + _lowest(changes)
                        changes &= changes - np.uint64(1)
                    at += 8
                i += 64
                if count >= _EDGES:
                    known = _number(data, edges, count // 2, stop, table, mask, keys, known, words, W)
                    if known >= stop:
                        return -1, -1
                    W += count // 2
                    edges[0] = edges[count - 1]
                    count &= 1
            if not split or sentence_start < end:
                ends[S] = end
                S += 1
                word_offsets[S] = W + count // 2
        known = _number(data, edges, count // 2, stop, table, mask, keys, known, words, W)
        if known >= stop:
            return -1, -1
        W += count // 2  # type: ignore[assignment]
        if stop_words:
            W = _drop(words, word_offsets, first_sentence, S, keys, known, stop_table)
        sentence_offsets[document + 1] = S
    return W, S
