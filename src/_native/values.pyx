"""One bar, quote or trade as a small immutable object."""

cimport cython
from libc.stdint cimport int64_t

from openbell._native.state cimport Bar

from openbell.schema import to_datetime, to_iso, to_ns


# As many as close in one slice of many symbols.
@cython.freelist(1024)
cdef class BarData:
    """One bar: a copy of the values, independent of any buffer.

    Parameters
    ----------
    timestamp : aware datetime, int nanoseconds UTC, or ISO-8601 text with an offset
        Start of the bar.
    open, high, low, close, volume : float
    symbol, interval : str
        Where it belongs, when known.

    Attributes
    ----------
    is_correction : bool
        Whether a subscriber is told it a second time, because it, or one behind it, changed.
    """

    def __init__(self, timestamp, double open, double high, double low, double close,
                 double volume=0.0, str symbol="", str interval=""):
        self.bar.timestamp = to_ns(timestamp, "bar timestamp")
        self.bar.open = open
        self.bar.high = high
        self.bar.low = low
        self.bar.close = close
        self.bar.volume = volume
        self.symbol = symbol
        self.interval = interval

    @property
    def ts_ns(self):
        """Start of the bar, int64 nanoseconds UTC."""
        return self.bar.timestamp

    @property
    def timestamp(self):
        """Start of the bar, aware UTC."""
        return to_datetime(self.bar.timestamp)

    @property
    def open(self):
        """First price."""
        return self.bar.open

    @property
    def high(self):
        """Highest price."""
        return self.bar.high

    @property
    def low(self):
        """Lowest price."""
        return self.bar.low

    @property
    def close(self):
        """Last price."""
        return self.bar.close

    @property
    def volume(self):
        """Traded volume; may be fractional."""
        return self.bar.volume

    def _key(self):
        return (self.bar.timestamp, self.bar.open, self.bar.high, self.bar.low, self.bar.close,
                self.bar.volume, self.symbol, self.interval)

    def __eq__(self, other):
        return self._key() == (<BarData>other)._key() if isinstance(other, BarData) else NotImplemented

    def __hash__(self):
        return hash(self._key())

    def __reduce__(self):
        return BarData, self._key()

    def __repr__(self):
        name = f"{self.symbol} {self.interval}".strip()
        return (f"<BarData {name + ' ' if name else ''}{to_iso(self.bar.timestamp)} "
                f"o={self.bar.open} h={self.bar.high} l={self.bar.low} c={self.bar.close} "
                f"v={self.bar.volume}>")


cdef BarData make_bar(const Bar* bar, str symbol, str interval):
    cdef BarData made = BarData.__new__(BarData)
    made.bar = bar[0]
    made.symbol = symbol
    made.interval = interval
    return made
