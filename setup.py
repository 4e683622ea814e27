"""Build of the native modules; all other metadata is in pyproject.toml.

Environment switches: OPENBELL_DEBUG=1 (bounds checks, -O0 -g), OPENBELL_SANITIZE=1
(address and undefined-behaviour sanitizers), OPENBELL_ANNOTATE=1 (Cython's HTML),
OPENBELL_PROFILE=1 (frame pointers and the .pyx files' lines, for perf, py-spy and callgrind;
optimised as ever). What is built already is not built anew for a switch: add --force.
"""

import os
import sys

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = (
    "arena", "rings", "folds", "core", "block", "engine", "values", "gap_runs", "series",
    "latest", "events", "watched", "closings", "strategy", "compiled", "slices", "replay",
    "columns", "batches", "gap_notes", "json_rows", "arrow_batch", "captures",
)  # fmt: skip

debug = os.environ.get("OPENBELL_DEBUG") == "1"
sanitize = os.environ.get("OPENBELL_SANITIZE") == "1"
profile = os.environ.get("OPENBELL_PROFILE") == "1"

compile_args: list[str] = []
link_args: list[str] = []
if sys.platform != "win32":
    compile_args += ["-O0", "-g"] if debug else ["-O3", "-fno-math-errno", "-fno-trapping-math"]
    # Sums must be added in the order the bars came: contraction to FMA would change the bytes.
    compile_args += ["-ffp-contract=off"]
    if profile:
        compile_args += ["-fno-omit-frame-pointer", "-g"]
    if sanitize:
        flags = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"]
        compile_args += flags
        link_args += flags

extensions = [
    Extension(
        f"openbell._native.{name}",
        [f"src/_native/{name}.pyx"],
        include_dirs=[numpy.get_include(), "src/openbell/_native"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for name in MODULES
]

setup(
    options={"build_ext": {"parallel": os.cpu_count()}},
    ext_modules=cythonize(
        extensions,
        include_path=["src"],
        build_dir="build/cython-profile" if profile else "build/cython",
        emit_linenums=profile,
        annotate=os.environ.get("OPENBELL_ANNOTATE") == "1",
        compiler_directives={
            "language_level": 3,
            "boundscheck": debug,
            "wraparound": False,
            "initializedcheck": debug,
            "cdivision": True,
            "embedsignature": True,
            "embedsignature.format": "python",
            "freethreading_compatible": False,
        },
    ),
)
