"""What machines do to a host, for its alone: a disk that is full or hangs, and a clock that is set."""

import contextlib
import ctypes
import glob
import os
import subprocess
import traceback

from harness import BUILDDIR, end, on_exit, spawn, temp_dir, wait_for


class SmallDisk(contextlib.AbstractContextManager):
    """
    A file system of so many bytes in a mount namespace of its own: Host(…, under=disk.under) sees it at disk.dir, as
    does what inside() runs; everybody else at disk.seen. It stays while hosts come and go.
    """

    def __init__(self, size):
        self.dir = temp_dir()
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        mount = 'mount -t tmpfs -o size=%d,mode=0755 none "$0" && echo mounted && exec sleep infinity' % size
        self.holder = spawn(["unshare", "--mount", *user, "sh", "-c", mount, self.dir], stdout=subprocess.PIPE)
        on_exit(self.holder.kill)
        if self.holder.stdout.readline() != b"mounted\n":
            raise RuntimeError("a file system for a test needs root, or namespaces for users (unshare --map-root-user)")
        pid = str(self.holder.pid)
        self.under = ["nsenter", "--target", pid, "--mount", *(["--user", "--preserve-credentials"] if user else [])]
        self.seen = "/proc/%s/root%s" % (pid, self.dir)

    def __exit__(self, *_):
        end(self.holder)
        self.holder.stdout.close()

    def inside(self, function, *args):
        """Runs a function in a process of its own that sees what the host sees."""
        child = os.fork()
        if not child:
            status = 1
            try:
                self._enter()
                function(*args)
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        if os.waitpid(child, 0)[1]:
            raise AssertionError("%s failed, see above" % function.__name__)

    def _enter(self):
        libc = ctypes.CDLL(None, use_errno=True)
        for kind in (["user"] if os.getuid() else []) + ["mnt"]:
            with open("/proc/%d/ns/%s" % (self.holder.pid, kind)) as f:
                if libc.setns(f.fileno(), 0):
                    raise OSError(ctypes.get_errno(), "setns " + kind)

    @contextlib.contextmanager
    def read_only(self):
        """While the block runs nothing can be written; no file may be open for it."""
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def _remount(self, how):
        subprocess.run([*self.under, "mount", "-o", "remount,bind," + how, self.dir], check=True)

    @contextlib.contextmanager
    def full(self):
        """While the block runs not a byte is free."""
        path = os.path.join(self.seen, "filler")
        with open(path, "wb", buffering=0) as f:
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        f.write(b"x" * size)
        try:
            yield
        finally:
            os.unlink(path)


class FrozenDisk:
    """A folder on a disk that hangs while it is frozen: whoever writes there waits, and is no more than a thread."""

    def __init__(self):
        self.dir = temp_dir()
        self.flag = os.path.join(temp_dir(), "frozen")
        self.env = {
            "LD_PRELOAD": os.path.abspath(os.path.join(BUILDDIR, "tests/integration/plugins/.libs/frozen.so")),
            "FROZEN_FOLDER": self.dir,
            "FROZEN_FLAG": self.flag,
            # It comes before the sanitizers' own library, and calls what they interpose.
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
        }

    @contextlib.contextmanager
    def frozen(self):
        """While the block runs; it begins when somebody waits."""
        open(self.flag, "w").close()
        try:
            wait_for(lambda: os.path.exists(self.flag + ".waiting"), 60, "somebody waits for the disk")
            yield
        finally:
            os.unlink(self.flag)


class Clock:
    """A wall clock that is set while a host runs, by libfaketime; the clock that only goes forward is left alone."""

    def __init__(self):
        self.path = os.path.join(temp_dir(), "clock")
        self.offset = 0
        self.set(0)
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        if not library:
            raise RuntimeError("libfaketime is missing: run contrib/packages test")
        self.env = {
            "LD_PRELOAD": library[0],
            "FAKETIME_TIMESTAMP_FILE": self.path,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
            # It comes before the sanitizers' own library, and interposes nothing that they do.
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
        }

    def set(self, offset):
        """So many seconds from the machine's own clock."""
        fresh = self.path + ".new"
        with open(fresh, "w") as f:
            f.write("%+d\n" % offset)
        os.rename(fresh, self.path)
        self.offset = offset
