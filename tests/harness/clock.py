"""A server whose wall clock a test may move: a library before the C library shifts it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.harness.servers import REDIS, LocalServer, program_of

SOURCE = """\
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *seconds;

static long shift(void) {
  if (!seconds) {
    int file = open(getenv("SHIFT_FILE"), O_RDONLY);
    if (file < 0) return 0;
    seconds = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
  }
  return *seconds;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
  int failed = syscall(SYS_clock_gettime, clock, at);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += shift();
  return failed;
}
int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""


class MovableClock:
    """The clock of one server of Debian's kind, which is linked against the system's C library."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler on PATH (Debian: apt-get install gcc)")
        library, self._file = folder / "shift.so", folder / "shift"
        (folder / "shift.c").write_text(SOURCE)
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, folder / "shift.c"], check=True)
        self._file.write_bytes(struct.pack("l", 0))
        with patch.context() as before:
            before.setenv("LD_PRELOAD", str(library))
            before.setenv("SHIFT_FILE", str(self._file))
            self.server = LocalServer(program_of(REDIS), folder / "server").start()

    def move(self, seconds: int) -> None:
        """Set the server's clock forward, or back."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("l", seconds))
