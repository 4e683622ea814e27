"""Strategies that are one C function: their state, their log, and calling them.

Knows nothing of who compiled the function; :mod:`openbell.strategies` does.
"""

from cpython.exc cimport PyErr_Occurred
from libc.stdint cimport int32_t, int64_t, uintptr_t

cimport numpy as cnp

from openbell._native.state cimport Bar, SeriesState, SymbolState
from openbell._native.strategy cimport BarView, NativeStrategy

import numpy as np

from openbell.errors import StrategyError

cnp.import_array()


cdef class FunctionStrategy(NativeStrategy):
    """Calls a C function in each slice, with the views, its own state and its log.

    Parameters
    ----------
    on : str
        The interval whose closes call it.
    intervals : sequence of str
        What it reads besides.
    state : numpy.dtype or None
        What is kept for each record.
    log : numpy.dtype or None
        What it writes down.
    log_rows : int
        How many rows of that are kept at most.

    Attributes
    ----------
    symbols : list of str
        Every symbol there has been, in the order in which they came; ``symbols[id]`` is the
        name of what the function knows as `id`.
    """

    def __init__(self, on, intervals=(), state=None, log=None, int64_t log_rows=0):
        super().__init__(on, intervals)
        self.reads_views_only = True
        self.id_of_symbol = {}
        self.told_records = []
        self.symbol_ids = np.empty(0, np.int32)
        self.held_state = None if state is None else np.zeros(0, state)
        self.held_log = None
        if log is not None:
            # Pages of it that are never written cost nothing.
            self.held_log = np.zeros(log_rows + 1, log)
            self.log_head.rows = <char*>cnp.PyArray_DATA(self.held_log)
            self.log_head.room = log_rows

    def compile(self):
        """The address of the function; asked for when the strategy is first run."""
        raise NotImplementedError

    @property
    def name(self):
        """What an error calls the function."""
        raise NotImplementedError

    @property
    def symbols(self):
        return list(self.id_of_symbol)

    @property
    def state(self):
        """The state: row k is that of ``records[k]``. None when there is no state.

        Returns
        -------
        numpy.ndarray
            A view, which may be written to between slices. A row begins with zeros on each day;
            when a record joins, there are more rows, in a new array. O(1).
        """
        return self.held_state

    @property
    def log(self):
        """What was written down so far, over all days: a copy, or None when there is no log."""
        return None if self.held_log is None else self.held_log[:self.log_head.n].copy()

    @property
    def n_lost(self):
        """Rows that found no room in the log."""
        return self.log_head.n_lost

    def clear_log(self):
        """Forget what was written down."""
        self.log_head.n = self.log_head.n_lost = 0

    cdef int bound(self) except -1:
        cdef int64_t n = self.n_records
        cdef int64_t k
        cdef cnp.ndarray symbol_ids
        if self.function == NULL:
            self.function = <SliceFunction><uintptr_t>self.compile()
        symbol_ids = np.full(n, -1, np.int32)
        state = None if self.held_state is None else np.zeros(n, self.held_state.dtype)
        for k, record in enumerate(self.records):
            if k < len(self.told_records) and (
                    record is None or record is self.told_records[k]):
                # Ids stay for the day, and with them the state; also of one that left.
                symbol_ids[k] = self.symbol_ids[k]
                if state is not None:
                    state[k] = self.held_state[k]
            elif record is not None:
                symbol_ids[k] = self.id_of_symbol.setdefault(
                    record.symbol, len(self.id_of_symbol))
        self.told_records = list(self.records)
        self.symbol_ids = symbol_ids
        self.held_state = state
        return 0

    cdef int on_slice(self, int64_t ts_ns, const int32_t* ids, int64_t n) except -1:
        cdef void* state = NULL
        cdef int64_t code
        if self.held_state is not None:
            state = cnp.PyArray_DATA(self.held_state)
        code = self.function(
            ts_ns, ids, n, self.views, self.n_records, self.n_intervals,
            <const int32_t*>cnp.PyArray_DATA(self.symbol_ids), state, &self.log_head)
        if code:
            self.fail(ts_ns, code)
        return 0

    cdef int fail(self, int64_t ts_ns, int64_t code) except -1:
        try:
            raise_pending()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise StrategyError(self.name, reason, ts_ns) from error
        raise StrategyError(self.name, f"returned {code}", ts_ns)


cdef int raise_pending() except? -1:
    # The function was called as C, so that nobody has looked yet whether it raised.
    return -1 if PyErr_Occurred() != NULL else 0


def struct_sizes():
    """Bytes of the structs that modules compiled against openbell look into."""
    return sizeof(Bar), sizeof(BarView), sizeof(SeriesState), sizeof(SymbolState)
