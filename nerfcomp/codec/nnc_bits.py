"""Single bits of NNC syntax, read within bounds."""

_LONGEST = 32  # bits of an Exp-Golomb code's suffix


class StreamError(ValueError):
    """An NNC bitstream is damaged or uses what is not supported; the message says what, as the end of a sentence."""


class BitReader:
    """Reads syntax elements of a part of a stream, highest bit first.

    Args:
        data: The stream.
        start, end: The part.
        skip: Bits of it that have been read.

    >>> reader = BitReader(bytes([0b10100110, 0]), 0, 2)
    >>> reader.u(3), reader.ue(0)
    (5, 5)
    """

    def __init__(self, data: bytes, start: int, end: int, skip: int = 0) -> None:
        if not 0 <= start <= end <= len(data):
            raise StreamError("a unit says that it is longer than the stream")
        self._data = data
        self._place = 8 * start + skip
        self._end = 8 * end

    def u(self, count: int) -> int:
        """Unsigned number of ``count`` bits."""
        first, last = self._place, self._place + count
        if last > self._end:
            raise StreamError("a unit ends too early")
        self._place = last
        taken = int.from_bytes(self._data[first >> 3 : (last + 7) >> 3], "big")
        return taken >> (-last & 7) & ((1 << count) - 1)

    def i(self, count: int) -> int:
        """Signed number of ``count`` bits."""
        found = self.u(count)
        return found - (found >> (count - 1) << count)

    def ue(self, order: int) -> int:
        """Exp-Golomb code of an order."""
        found = 0
        while not self.u(1):
            found += 1 << order
            order += 1
            if order > _LONGEST:
                raise StreamError("a number has more than 32 bits")
        return found + self.u(order)

    def ie(self, order: int) -> int:
        """Signed Exp-Golomb code of an order."""
        found = self.ue(order)
        return (found + 1) >> 1 if found & 1 else -(found >> 1)

    def st(self) -> str:
        """Text that ends with a zero byte."""
        first = self.byte()
        last = self._data.find(0, first, self._end >> 3)
        if last < 0:
            raise StreamError("a name has no end")
        self._place = 8 * (last + 1)
        try:
            return self._data[first:last].decode()
        except UnicodeDecodeError as error:
            raise StreamError("a name is no text") from error

    def align(self) -> None:
        """Read on from the next whole byte; one bit at least is left out."""
        self.u(1)
        self._place = (self._place + 7) & ~7

    def byte(self) -> int:
        """Where the next byte begins; the bits before it must be read."""
        if self._place & 7:
            raise StreamError("a part does not begin with a whole byte")
        return self._place >> 3
