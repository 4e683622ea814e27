"""Builds the native no-op that calls are measured beside, once for each Python."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).with_name("noop.pyx")
BUILD = Path(__file__).resolve().parents[1] / "build" / "benchmarks"


@cache
def load_noop() -> Any:
    """The module ``noop``; compiled when its source is newer than what was built."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    # As setup.py compiles ours.
    flags = [] if sys.platform == "win32" else ["-O3"]
    extension = Extension(
        "noop",
        [str(SOURCE)],
        include_dirs=[np.get_include()],
        extra_compile_args=flags,
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    )
    made = cythonize([extension], build_dir=str(BUILD), quiet=True)
    command = Distribution({"name": "noop", "ext_modules": made}).get_command_obj("build_ext")
    command.build_lib = str(BUILD)
    command.build_temp = str(BUILD)
    command.ensure_finalized()
    command.run()
    spec = spec_from_file_location("noop", command.get_ext_fullpath("noop"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
