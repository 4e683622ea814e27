"""Sends bars as Alpaca does, from a process of its own, when a line on its input asks for it.

It first prints where it listens and what lets in, as JSON. Each line asks for some seconds:
``even`` or ``burst``, the first step, how many, and when to begin, on the monotonic clock.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tests.servers.alpaca import AlpacaServer, bar_message

N_SYMBOLS = 500
#: Symbols of one length, and values that msgpack packs alike: every bar has as many bytes.
SYMBOLS = tuple(f"S{k:03d}" for k in range(N_SYMBOLS))
STEP_NS = 60 * 10**9
#: The bars of a second are spread over so much of it: they are there before the clock goes on.
SPREAD_S = 0.9
#: 2025-07-02, 09:30 in New York.
OPEN_NS = 1_751_463_000 * 10**9


def make_bars(step: int) -> list[dict[str, Any]]:
    """A minute of every symbol, one step after the other; its volume says which bar it is."""
    ts_ns = OPEN_NS + step * STEP_NS
    return [
        bar_message(symbol, ts_ns, 100.25, 100.5, 99.75, 100.0, float(step * N_SYMBOLS + k))
        for k, symbol in enumerate(SYMBOLS)
    ]


def main() -> None:
    with AlpacaServer() as server:
        print(json.dumps({"url": server.stream_url, **server.environment}), flush=True)
        for line in sys.stdin:
            how, first, n, begin = line.split()
            for second in range(int(n)):
                bars = make_bars(int(first) + second)
                frames = [bars] if how == "burst" else [[bar] for bar in bars]
                for k, frame in enumerate(frames):
                    at = float(begin) + second + SPREAD_S * k / len(frames)
                    time.sleep(max(0.0, at - time.monotonic()))
                    server.send(frame)


if __name__ == "__main__":
    main()
