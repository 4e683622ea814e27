"""What a type checker must see in the public interface; read by mypy, never run.

Each ``reveal_type`` is followed by the type expected, modules left out; ``...`` stands for
anything. Each line ending in ``# error: code`` must be refused with that code.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import reveal_type

import numpy as np

import openbell as ob
from openbell import SessionData, SymbolSessionData

window = ob.SessionWindow(date(2025, 7, 2), [(0, 60_000_000_000)])
reveal_type(window.grid("1m").starts_ns)  # ndarray[..., dtype[signedinteger[_64Bit]]]

root = SessionData()
reveal_type(ob.get_session_data())  # SessionData
reveal_type(root.begin(window))  # None
reveal_type(root.advance(datetime(2025, 7, 2, tzinfo=UTC)))  # None
reveal_type(root.now_ns)  # int
reveal_type(root.window)  # SessionWindow | None
reveal_type(root.current_session_date)  # date | None
reveal_type(root.get_symbol_data("AAPL"))  # SymbolSessionData | None
reveal_type(root["AAPL"])  # SymbolSessionData
reveal_type(list(root))  # list[SymbolSessionData]
reveal_type(root.get_active_symbols())  # set[str]
reveal_type(root.get_symbols_with_derived())  # dict[str, list[str]]
reveal_type(root.active_streams)  # Mapping[tuple[str, str], bool]
reveal_type(root.remove_symbol("AAPL"))  # bool
reveal_type(root.latest("close", "1m"))  # ndarray[..., dtype[float64]]

rec = root.register_symbol_data(SymbolSessionData("AAPL", base_interval="1s", added_by="scanner"))
reveal_type(rec)  # SymbolSessionData
reveal_type(rec.append)  # def (ts_ns: int, open: float, ...: float, volume: float)
reveal_type(rec.append_block(np.empty(0, dtype=ob.BAR_DTYPE)))  # int
reveal_type(rec.symbol)  # str
reveal_type(rec.added_at)  # datetime | None
reveal_type(rec.added_by)  # Literal['config'] | ... | Literal['adhoc']
reveal_type(rec.is_loaded)  # bool
reveal_type(rec.rejected)  # dict[str, int]
reveal_type(rec.session_metrics)  # SessionMetrics
reveal_type(rec.session_metrics.high)  # float | None
reveal_type(rec.session_volume)  # float
reveal_type(rec.last_update)  # datetime | None
reveal_type(rec.quality)  # dict[str, float | None]
reveal_type(rec.bar_gaps)  # dict[str, Sequence[GapInfo]]
reveal_type(rec.derived_intervals)  # list[str]
reveal_type(rec.get_latest_bar("1m"))  # BarData | None
reveal_type(rec.get_last_n_bars(20))  # ndarray[..., dtype[void]]
reveal_type(rec.bars_base[0])  # BarData
reveal_type(rec.bars_base[:2])  # list[BarData]
reveal_type(rec.historical_bars["1m"])  # dict[date, ndarray[..., dtype[void]]]
reveal_type(rec.quotes[0])  # QuoteData
reveal_type(rec.ticks[-5:])  # list[TickData]
reveal_type(rec.quotes.data)  # ndarray[..., dtype[void]]
reveal_type(rec.get_latest_quote())  # QuoteData | None
reveal_type(rec.preload_quotes(rec.quotes.data))  # int
reveal_type(rec.quotes_updated)  # bool
reveal_type(rec.errors)  # list[RecordError]
reveal_type(rec.errors[0].first_ns)  # int
reveal_type(rec.note_error("indicator rsi", ValueError()))  # None

series = rec.bars["5m"]
reveal_type(series)  # BarIntervalData
reveal_type(series.data)  # ndarray[..., dtype[void]]
reveal_type(series.window(20))  # ndarray[..., dtype[void]]
reveal_type(series.close(20))  # ndarray[..., dtype[float64]]
reveal_type(series.timestamp(20))  # ndarray[..., dtype[signedinteger[_64Bit]]]
reveal_type(series.n_base)  # ndarray[..., dtype[signedinteger[_32Bit]]] | None
reveal_type(series.mean("close", 20))  # float
reveal_type(series.last)  # BarData | None
reveal_type(series.open_bar)  # BarData | None
reveal_type(series.asof("2025-07-02T13:30:00+00:00"))  # BarData | None
reveal_type(series.base)  # str | None
reveal_type(series.derived)  # bool
reveal_type(series.quality)  # float | None
reveal_type(series.gaps)  # Sequence[GapInfo]
reveal_type(series.gaps[0].start_time)  # datetime
reveal_type(series.complete_only())  # ndarray[..., dtype[void]]
reveal_type(series.complete)  # ndarray[..., dtype[bool[bool]]]

bar = ob.BarData(0, 1, 2, 0.5, 1.5, 100)
reveal_type(bar.timestamp)  # datetime
reveal_type(bar.ts_ns)  # int
reveal_type(root.add_bar("TSLA", "1m", bar))  # SymbolSessionData

rec.note_error("indicator rsi", "division by zero")  # error: arg-type
rec.append("2025-07-02", 1, 2, 0.5, 1.5, 100)  # error: arg-type
rec.append(0, 1, 2, 0.5, 1.5)  # error: call-arg
rec.symbol = "MSFT"  # error: misc
series.quality = 100.0  # error: misc
bar.close = 2.0  # error: misc
SymbolSessionData("AAPL", "1s")  # error: call-arg
SymbolSessionData("AAPL", added_by="me")  # error: arg-type
root.add_bar("TSLA", "1m", (0, 1, 2, 0.5, 1.5, 100))  # error: arg-type
