"""The handle whose ``append`` a strategy calls, and the slice appender of a feed."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc

cimport numpy as cnp

from openbell._native.block cimport append_rows, preload_rows
from openbell._native.core cimport Core, append_quick
from openbell._native.rings cimport N_REFUSALS
from openbell._native.state cimport OB_PREFETCH, Bar, SeriesState, SymbolState

from openbell.errors import BarRefused, SchemaError
from openbell.schema import REFUSALS, as_bars

cnp.import_array()

_EXPECTED = {
    "not_finite": "expected finite prices and volume",
    "high_below_low": "expected high >= low",
    "outside_range": "expected open and close between low and high",
    "negative_volume": "expected volume >= 0",
    "outside_session": "expected a label within the session's segments",
    "off_grid": "expected a label that starts a slot of this interval",
    "evicted": "the ring has let go of the bars around it; give the record a larger capacity",
    "derived_slot": "base bars cover this slot, and it is folded from them; add the base bars",
}


cdef class SymbolEngine:
    """The native part of a record: append, and what it counts.

    Attributes
    ----------
    core : Core
        The engine itself, shared with the record's series.
    """

    def __cinit__(self, *args, **kwargs):
        self.core = None
        self.state = NULL

    def _attach_core(self, Core core):
        self.core = core
        self.state = core.state

    def append(self, int64_t ts_ns, double open, double high, double low, double close,
               double volume):
        """Store one bar of the base interval and bring everything derived from it up to date.

        Parameters
        ----------
        ts_ns : int
            Start of the bar, nanoseconds UTC.
        open, high, low, close, volume : float

        Raises
        ------
        BarRefused
            When the bar cannot be stored; it is counted in ``rejected``.
        RecordDetached
            When the record was removed or its day was cleared.
        SessionStateError
            Before ``root.begin(window)``.

        Notes
        -----
        O(1) for a bar behind all others. A late bar is put in its place, a corrected one
        replaces what is there (the newest received wins), and the buckets they touch are
        folded anew; an identical one is counted in ``n_duplicate``.
        """
        cdef Bar bar
        cdef int code
        if append_quick(self.state, ts_ns, open, high, low, close, volume):
            return
        bar.timestamp = ts_ns
        bar.open = open
        bar.high = high
        bar.low = low
        bar.close = close
        bar.volume = volume
        code = self.core.append_bar(&bar)
        if code:
            raise refusal(self.core, code, self.core.names[0], &bar)

    def append_block(self, bars):
        """Store base bars of any number and order; the same result as one by one.

        Parameters
        ----------
        bars : numpy.ndarray
            dtype ``BAR_DTYPE``, one-dimensional. Not modified, not kept.

        Returns
        -------
        int
            Bars accepted, duplicates included. The others are counted in ``rejected``.

        Raises
        ------
        SchemaError
            When it is not an array of that dtype.
        RecordDetached, SessionStateError
            As :meth:`append`.
        """
        cdef cnp.ndarray rows = as_bars(bars)
        return append_rows(self.core, <const Bar*>cnp.PyArray_DATA(rows), cnp.PyArray_DIM(rows, 0))

    def preload(self, bars, bint adopt=False):
        """Lay base bars behind the visible head, for a replay cursor to make visible.

        Parameters
        ----------
        bars : numpy.ndarray
            dtype ``BAR_DTYPE``, in any order. Not modified, not kept.
        adopt : bool
            Whether the caller gives the array away. One that was read from a dataset then
            becomes the memory of the series, without a copy, if the record has none yet and
            would refuse none of the bars. It follows the series from there on.

        Returns
        -------
        int
            Bars taken. The others are counted in ``rejected``; of several with one label
            the last wins. A bar behind the visible head is merged there, as by ``append``.
        """
        cdef cnp.ndarray rows = as_bars(bars)
        return preload_rows(self.core, rows, adopt)

    def write(self, str interval, int64_t ts_ns, double open, double high, double low,
              double close, double volume):
        """Store one bar of any interval the record has, directly.

        A bar of the base interval is appended. One of a derived interval is kept (with
        ``n_base`` 0) where no base bar covers its slot, and refused where one does.
        """
        cdef Bar bar
        cdef SeriesState* d = self.core.find(interval)
        cdef int code
        bar.timestamp = ts_ns
        bar.open = open
        bar.high = high
        bar.low = low
        bar.close = close
        bar.volume = volume
        code = (self.core.append_bar(&bar) if d == self.state.base
                else self.core.write_bar(d, &bar))
        if code:
            raise refusal(self.core, code, interval, &bar)

    @property
    def base_interval(self):
        """The interval that arrives; all derived ones are folded from it."""
        return self.core.names[0]

    @property
    def is_attached(self):
        """Whether the record is part of a running day and takes bars."""
        return self.core.attached

    @property
    def n_waiting(self):
        """Bars laid behind the visible head by :meth:`preload`."""
        self.core.catch_up()
        return self.state.base.n_waiting

    @property
    def session_volume(self):
        """Sum of the base bars' volumes, left to right."""
        self.core.catch_up()
        if self.state.metrics_stale:
            self.core.rescan_metrics()
        return self.state.volume

    @property
    def session_high(self):
        """Highest price of the day, None while there is no bar."""
        self.core.catch_up()
        if self.state.metrics_stale:
            self.core.rescan_metrics()
        return self.state.high if self.state.base.n + self.state.base.n_evicted else None

    @property
    def session_low(self):
        """Lowest price of the day, None while there is no bar."""
        self.core.catch_up()
        if self.state.metrics_stale:
            self.core.rescan_metrics()
        return self.state.low if self.state.base.n + self.state.base.n_evicted else None

    @property
    def last_update_ns(self):
        """End of the newest base bar, nanoseconds UTC; None while there is no bar."""
        self.core.catch_up()
        return self.state.last_end_ns if self.state.base.n else None

    @property
    def rejected(self):
        """How many bars were refused, by reason; reasons that never occurred are absent."""
        return {
            name: self.core.refused[code]
            for code, name in enumerate(REFUSALS, 1) if self.core.refused[code]
        }

    @property
    def n_refused(self):
        """How many bars were refused, for whatever reason."""
        cdef int64_t n = 0
        cdef int code
        for code in range(1, N_REFUSALS):
            n += self.core.refused[code]
        return n

    @property
    def n_duplicate(self):
        """Bars received again with the same values."""
        return self.core.n_duplicate

    @property
    def n_corrected(self):
        """Bars that replaced one of other values."""
        return self.core.n_corrected

    @property
    def n_late(self):
        """Bars put in behind newer ones."""
        return self.core.n_late


cdef class SliceAppender:
    """Appends one bar to each of many records: what a feed has at the end of a second.

    Parameters
    ----------
    engines : sequence of SymbolEngine
        Records by position; `ids` name them by it.
    """

    def __cinit__(self, engines):
        self.cores = [(<SymbolEngine?>e).core for e in engines]
        self.n_engines = len(self.cores)
        self.states = <SymbolState**>malloc(max(1, self.n_engines) * sizeof(SymbolState*))
        if self.states == NULL:
            raise MemoryError("no memory for the slice appender")
        for i in range(self.n_engines):
            self.states[i] = (<Core>self.cores[i]).state

    def __dealloc__(self):
        free(self.states)

    def append(self, cnp.ndarray ids, bars):
        """Append ``bars[k]`` to record ``ids[k]``, for each k.

        Parameters
        ----------
        ids : numpy.ndarray
            int32, shape (n,).
        bars : numpy.ndarray
            dtype ``BAR_DTYPE``, shape (n,).

        Returns
        -------
        int
            Bars accepted; the others are counted in their record's ``rejected``.

        Raises
        ------
        SchemaError
            When the arrays do not fit each other, or an id names no record.
        """
        cdef cnp.ndarray rows = as_bars(bars)
        cdef int64_t n = cnp.PyArray_DIM(rows, 0)
        cdef const int32_t* at
        cdef const Bar* bar = <const Bar*>cnp.PyArray_DATA(rows)
        cdef int64_t n_refused = 0
        cdef int64_t k
        cdef SymbolState* s
        cdef SeriesState* base
        if (cnp.PyArray_TYPE(ids) != cnp.NPY_INT32 or cnp.PyArray_NDIM(ids) != 1
                or not cnp.PyArray_IS_C_CONTIGUOUS(ids) or cnp.PyArray_DIM(ids, 0) != n):
            raise SchemaError("ids", f"{ids.dtype} of shape {(<object>ids).shape}",
                              f"contiguous int32 of shape ({n},)")
        at = <const int32_t*>cnp.PyArray_DATA(ids)
        for k in range(n):
            if at[k] < 0 or at[k] >= self.n_engines:
                raise SchemaError(f"ids[{k}]", at[k], f"0 to {self.n_engines - 1}")
        for k in range(n):
            # Each step fetches what the next one follows: the state, the rings, the rows.
            if k + 16 < n:
                OB_PREFETCH(self.states[at[k + 16]])
            if k + 12 < n:
                base = self.states[at[k + 12]].base
                OB_PREFETCH(base)
                OB_PREFETCH(&base.acc)
            if k + 8 < n:
                base = self.states[at[k + 8]].base
                OB_PREFETCH(base.rows + base.n)
                OB_PREFETCH(&(base.rows + base.n).volume)
                OB_PREFETCH(base.first_consumer)
                if base.first_consumer != NULL:
                    OB_PREFETCH(&base.first_consumer.acc)
            s = self.states[at[k]]
            if not append_quick(s, bar[k].timestamp, bar[k].open, bar[k].high, bar[k].low,
                                bar[k].close, bar[k].volume):
                n_refused += (<Core>s.core).append_bar(bar + k) != 0
        return n - n_refused


cdef object refusal(Core core, int code, str interval, const void* at):
    cdef const Bar* bar = <const Bar*>at
    reason = REFUSALS[code - 1]
    return BarRefused(
        core.symbol, interval, reason, bar.timestamp,
        (bar.open, bar.high, bar.low, bar.close, bar.volume), _EXPECTED[reason],
    )
