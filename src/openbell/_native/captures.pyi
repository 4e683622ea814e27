from openbell._native.series import Series

SeriesState = tuple[str | None, int, int, int, int, int, int]

def read_states(bars: list[Series]) -> list[SeriesState]: ...
