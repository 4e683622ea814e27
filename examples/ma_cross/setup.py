"""Builds the Cython strategy beside its source: ``python setup.py build_ext --inplace``."""

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    name="ma_cross",
    ext_modules=cythonize(
        [
            Extension(
                "cython_cross",
                ["cython_cross.pyx"],
                # openbell's .pxd files bring numpy's headers along.
                include_dirs=[numpy.get_include()],
                define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            )
        ],
        language_level=3,
    ),
)
