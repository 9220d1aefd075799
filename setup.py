"""List the Cython extensions; everything else is in pyproject.toml.

REGIONRESOLVER_SANITIZE=1 builds with AddressSanitizer and UBSan, REGIONRESOLVER_DEBUG=1 without optimisation.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"] if os.environ.get("REGIONRESOLVER_SANITIZE") else []
# Nobody steps through what is installed, and debug information takes a quarter of the time to compile; -O1 a third of -O3's
# under the sanitizers.
flags = ["-O1", "-g1"] if sanitize else ["-O3", "-g0", "-fno-math-errno"]
if os.environ.get("REGIONRESOLVER_DEBUG"):
    flags = ["-O0", "-g3"]
names = sorted(path.stem for path in Path("_fastpath").glob("*.pyx"))
modules = [
    Extension(f"_fastpath.{name}", [f"_fastpath/{name}.pyx"], extra_compile_args=flags + sanitize, extra_link_args=sanitize)
    for name in names
]

jobs = len(os.sched_getaffinity(0))

setup(
    ext_modules=cythonize(
        modules,
        build_dir="build/cython",
        nthreads=jobs,
        compiler_directives={"language_level": 3, "binding": True, "autotestdict": False},
    ),
    options={"build_ext": {"parallel": jobs}},
)
