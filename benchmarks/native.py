"""Builds what is measured in Cython beside openbell's own modules, once for each Python."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "benchmarks"


def load_noop() -> Any:
    """The module ``noop``: native calls that do nothing."""
    return load_native("noop")


@cache
def load_native(name: str) -> Any:
    """A module of this folder; compiled when its source is newer than what was built."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    # As setup.py compiles ours.
    flags = [] if sys.platform == "win32" else ["-O3"]
    extension = Extension(
        name,
        [str(HERE / f"{name}.pyx")],
        include_dirs=[np.get_include()],
        extra_compile_args=flags,
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    )
    made = cythonize(
        [extension], build_dir=str(BUILD), include_path=[str(HERE.parent / "src")], quiet=True
    )
    command = Distribution({"name": name, "ext_modules": made}).get_command_obj("build_ext")
    command.build_lib = str(BUILD)
    command.build_temp = str(BUILD)
    command.ensure_finalized()
    command.run()
    return load_file(name, Path(command.get_ext_fullpath(name)))


def load_file(name: str, path: Path) -> Any:
    """A module from a file."""
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # numba looks a function's module up by its name.
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module
