"""List the Cython extensions; everything else is in pyproject.toml.

REGIONRESOLVER_SANITIZE=1 builds with AddressSanitizer and UBSan, REGIONRESOLVER_DEBUG=1 without optimisation.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

flags = ["-O0", "-g3"] if os.environ.get("REGIONRESOLVER_DEBUG") else ["-O3", "-fno-math-errno"]
sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"] if os.environ.get("REGIONRESOLVER_SANITIZE") else []
names = sorted(path.stem for path in Path("_fastpath").glob("*.pyx"))
modules = [
    Extension(f"_fastpath.{name}", [f"_fastpath/{name}.pyx"], extra_compile_args=flags + sanitize, extra_link_args=sanitize)
    for name in names
]

setup(
    ext_modules=cythonize(
        modules, build_dir="build/cython", compiler_directives={"language_level": 3, "binding": True, "autotestdict": False}
    )
)
