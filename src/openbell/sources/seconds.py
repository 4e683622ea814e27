"""Bars of one second from trades, for sources that send trades and no such bars.

What a trade counts for follows from its sale conditions, as Alpaca documents it for its own
minute bars (Market Data FAQ, "How are bars aggregated?", which goes back to the specifications
of the CTS and UTP tapes): most set prices and volume, some volume alone, a few are notices that
count for nothing. Of several conditions the strictest holds. A condition that is not in the
table counts. A second of which no trade sets a price, or whose volume is 0, has no bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, isfinite, nan
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from openbell.errors import ArgumentError, SchemaError
from openbell.schema import BAR_DTYPE, NS_PER_SECOND, BarArray, Int64Array
from openbell.sources.columns import FloatArray, columns_to_bars

__all__ = ["SecondBar", "SecondsBuilder", "seconds_from_trades"]

_NOTHING, _VOLUME, _PRICES = 0, 1, 2

#: Official open and close, and the corrected close: they repeat trades that came before.
_NOTICES: Final = frozenset("MQ9")
#: Cash, bunched sold, price variation, odd lot, next day, prior reference price, seller, extended
#: hours out of sequence, contingent, average price, out of sequence, derivatively priced,
#: qualified contingent: traded, but not at the market's price of the moment.
_VOLUME_ONLY: Final = frozenset("CGHINPRUVWZ47")
#: An average price on the tapes of CTS, a bunched trade at the market's price on that of UTP.
_AVERAGE_OR_BUNCHED: Final = "B"
_UTP_TAPE: Final = "C"

#: Trades of a second that was told already are taken for so long.
_KEPT_SECONDS: Final = 60
#: No market's prices or sizes; sums of products of lesser ones are finite.
_TOO_LARGE: Final = 1e12


class SecondBar(NamedTuple):
    """A bar of one second, its fields in the order of ``StreamReceiver.on_bar``.

    ``vwap`` is over the trades that set prices, NaN when these have no size; ``trade_count`` is of
    all that count for the volume.
    """

    symbol: str
    ts_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: float
    vwap: float
    is_update: bool


class _Second:
    """The trades of one symbol in one second. Sums are exact, whatever order they came in."""

    __slots__ = (
        "close", "close_ns", "high", "low", "open", "open_ns", "priced", "products", "sizes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.open_ns = self.close_ns = -1
        self.open = self.high = self.low = self.close = nan
        self.sizes: list[float] = []
        self.priced: list[float] = []
        self.products: list[float] = []

    def add(self, ts_ns: int, price: float, size: float, effect: int) -> None:
        self.sizes.append(size)
        if effect == _VOLUME:
            return
        if not self.priced:
            self.open = self.high = self.low = self.close = price
            self.open_ns = self.close_ns = ts_ns
        else:
            if ts_ns < self.open_ns:
                self.open, self.open_ns = price, ts_ns
            if ts_ns >= self.close_ns:
                self.close, self.close_ns = price, ts_ns
            self.high = max(self.high, price)
            self.low = min(self.low, price)
        self.priced.append(size)
        self.products.append(price * size)

    def bar(self, symbol: str, second: int, is_update: bool) -> SecondBar | None:
        volume = fsum(self.sizes)
        if not self.priced or volume == 0.0:
            return None
        return SecondBar(
            symbol, second * NS_PER_SECOND, self.open, self.high, self.low, self.close, volume,
            float(len(self.sizes)), _ratio(fsum(self.products), fsum(self.priced)), is_update,
        )  # fmt: skip


class SecondsBuilder:
    """Makes bars of one second as trades come. For one thread at a time.

    Parameters
    ----------
    delay_s : float
        How long after its end a second is told: trades arrive late.

    Attributes
    ----------
    n_too_late : int
        Trades left out as their second was closed more than a minute before, or began before
        the symbol's trades were received.
    n_refused : int
        Trades left out as their price or size is no number that a market has: not finite, a
        price of 0, a negative size.

    Raises
    ------
    ArgumentError
        When the delay is negative or not finite.
    """

    def __init__(self, delay_s: float = 1.0) -> None:
        if not (isfinite(delay_s) and delay_s >= 0):
            raise ArgumentError("delay_s", delay_s, "a finite number of seconds, 0 or more")
        self.n_too_late = 0
        self.n_refused = 0
        self._delay_ns = round(delay_s * NS_PER_SECOND)
        self._seconds: dict[int, dict[str, _Second]] = {}
        self._n_closed: int | None = None
        self._first: dict[str, int] = {}

    def begin(self, symbol: str, ts_ns: int) -> None:
        """Say that a symbol's trades are received from now on; again after each disconnection.

        Seconds that had begun by then stay as they are: what is known of them is not all.
        """
        self._first[symbol] = -(-ts_ns // NS_PER_SECOND)

    def add(
        self,
        symbol: str,
        ts_ns: int,
        price: float,
        size: float,
        conditions: Sequence[str] = (),
        tape: str = "",
    ) -> list[SecondBar]:
        """Take a trade.

        Parameters
        ----------
        symbol : str
        ts_ns : int
            When it was made, nanoseconds UTC; its second is the one that this lies in.
        price, size : float
        conditions : sequence of str
            One character each.
        tape : str
            ``A`` and ``B`` (CTS), ``C`` (UTP), or another.

        Returns
        -------
        list of SecondBar
            Empty while its second is open. Else that second's bar, made anew, ``is_update``: a
            trade that was late.
        """
        if not _is_sound(price, size):
            self.n_refused += 1
            return []
        second = ts_ns // NS_PER_SECOND
        is_closed = self._n_closed is not None and second < self._n_closed
        if second < self._first.get(symbol, second) or (
            self._n_closed is not None and second < self._n_closed - _KEPT_SECONDS
        ):
            self.n_too_late += 1
            return []
        effect = _effect_of(conditions, tape)
        if effect == _NOTHING:
            return []
        symbols = self._seconds.setdefault(second, {})
        trades = symbols.get(symbol)
        if trades is None:
            trades = symbols[symbol] = _Second()
        trades.add(ts_ns, price, size, effect)
        bar = trades.bar(symbol, second, is_update=True) if is_closed else None
        return [] if bar is None else [bar]

    def flush(self, now_ns: int) -> list[SecondBar]:
        """Close the seconds that ended `delay_s` or longer before an instant.

        Returns
        -------
        list of SecondBar
            Theirs, by time, then symbol; each once.
        """
        n_closed = (now_ns - self._delay_ns) // NS_PER_SECOND
        before = self._n_closed
        if before is not None and n_closed <= before:
            return []
        self._n_closed = n_closed
        found = []
        for second in sorted(self._seconds):
            if second >= n_closed:
                break
            if before is None or second >= before:
                bars = (t.bar(s, second, False) for s, t in sorted(self._seconds[second].items()))
                found += [bar for bar in bars if bar is not None]
            if second < n_closed - _KEPT_SECONDS:
                del self._seconds[second]
        return found


def seconds_from_trades(
    ts_ns: Int64Array,
    price: FloatArray,
    size: FloatArray,
    conditions: Sequence[Sequence[str]] | None = None,
    tapes: Sequence[str] | None = None,
) -> tuple[BarArray, FloatArray, FloatArray]:
    """Make the bars of one symbol's trades, the same to the bit as :class:`SecondsBuilder`.

    Parameters
    ----------
    ts_ns : numpy.ndarray
        int64, any order; of trades of one instant the earlier in the array came first.
    price, size : numpy.ndarray
        float64, of the same length.
    conditions : sequence of sequence of str, optional
        Of each trade; none when absent.
    tapes : sequence of str, optional

    Returns
    -------
    bars : numpy.ndarray
        ``BAR_DTYPE``, ascending.
    trade_count, vwap : numpy.ndarray
        float64, of the same length.

    Raises
    ------
    SchemaError
        When the arguments differ in length.
    """
    n = len(ts_ns)
    for name, given in zip(
        ("price", "size", "conditions", "tapes"), (price, size, conditions, tapes), strict=True
    ):
        if given is not None and len(given) != n:
            raise SchemaError(name, f"{len(given)} values", f"{n}, as there are timestamps")
    effects = _effects_of(n, conditions, tapes)
    with np.errstate(invalid="ignore"):
        is_sound = (np.abs(price) < _TOO_LARGE) & (price != 0) & (size >= 0) & (size < _TOO_LARGE)
    order = np.argsort(ts_ns, kind="stable")
    order = order[(is_sound & (effects > _NOTHING))[order]]
    if not len(order):
        return np.empty(0, BAR_DTYPE), np.empty(0), np.empty(0)
    seconds, starts = np.unique(ts_ns[order] // NS_PER_SECOND, return_index=True)
    counts = np.diff(np.append(starts, len(order)))
    volume = _sums(size[order], starts)
    # Only the trades that set prices, by the number of the second they lie in.
    where = np.repeat(np.arange(len(seconds)), counts)
    sets_prices = effects[order] == _PRICES
    priced = order[sets_prices]
    kept, first = np.unique(where[sets_prices], return_index=True)
    if not len(kept):
        return np.empty(0, BAR_DTYPE), np.empty(0), np.empty(0)
    last = np.append(first[1:], len(priced)) - 1
    products = _sums(price[priced] * size[priced], first)
    sizes = _sums(size[priced], first)
    vwap = np.array([_ratio(a, b) for a, b in zip(products, sizes, strict=True)])
    bars = columns_to_bars(
        seconds[kept] * NS_PER_SECOND,
        price[priced[first]],
        np.maximum.reduceat(price[priced], first),
        np.minimum.reduceat(price[priced], first),
        price[priced[last]],
        np.array(volume)[kept],
    )
    is_bar = bars["volume"] != 0.0
    return bars[is_bar], counts[kept][is_bar].astype(np.float64), vwap[is_bar]


def _is_sound(price: float, size: float) -> bool:
    return abs(price) < _TOO_LARGE and price != 0 and 0 <= size < _TOO_LARGE


def _effect_of(conditions: Sequence[str], tape: str) -> int:
    effect = _PRICES
    for condition in conditions:
        if condition in _NOTICES:
            return _NOTHING
        if condition in _VOLUME_ONLY or (condition == _AVERAGE_OR_BUNCHED and tape != _UTP_TAPE):
            effect = _VOLUME
    return effect


def _effects_of(
    n: int, conditions: Sequence[Sequence[str]] | None, tapes: Sequence[str] | None
) -> npt.NDArray[np.int8]:
    if conditions is None:
        return np.full(n, _PRICES, np.int8)
    known: dict[tuple[tuple[str, ...], str], int] = {}
    effects = []
    for k in range(n):
        key = tuple(conditions[k]), "" if tapes is None else tapes[k]
        effect = known.get(key)
        if effect is None:
            effect = known[key] = _effect_of(*key)
        effects.append(effect)
    return np.array(effects, np.int8)


def _sums(values: FloatArray, starts: npt.NDArray[np.intp]) -> list[float]:
    listed = values.tolist()
    ends = [*starts[1:].tolist(), len(listed)]
    return [fsum(listed[a:b]) for a, b in zip(starts.tolist(), ends, strict=True)]


def _ratio(total: float, size: float) -> float:
    return total / size if size else nan
