"""Builds the module ``probe`` against the package under test, once for each Python."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell

SOURCE = Path(__file__).with_name("native") / "probe.pyx"
BUILD = Path(__file__).resolve().parents[1] / "build" / "tests"


@cache
def load_probe() -> Any:
    """The module; compiled when it, the example in it or a .pxd is newer than what was built."""
    pytest.importorskip("Cython", reason="Cython is not installed")
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if sys.platform != "win32" and shutil.which(compiler) is None:
        pytest.skip(f"no C compiler ({compiler})")
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    extension = Extension(
        "probe",
        [str(SOURCE)],
        include_dirs=[np.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=[] if sys.platform == "win32" else ["-O1"],
    )
    package = Path(openbell.__file__).parents[1]
    made = cythonize(
        [extension],
        build_dir=str(BUILD),
        include_path=[str(package)],
        language_level=3,
        quiet=True,
    )
    command = Distribution({"name": "probe", "ext_modules": made}).get_command_obj("build_ext")
    command.build_lib = str(BUILD)
    command.build_temp = str(BUILD)
    command.ensure_finalized()
    command.run()
    spec = spec_from_file_location("probe", command.get_ext_fullpath("probe"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
