"""``cimport openbell``: the engine at C speed. ``_native/api.pxd`` says what there is."""

from openbell._native.api cimport (
    Bar, BarView, Core, NativeStrategy, SeriesState, SymbolEngine, SymbolState, append, n_closed,
    newest, open_bar, require_same_build, series_of, view_of, window,
)
