# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of the guestlock command, end to end.

GUESTLOCK_COMMAND names the program, GUESTLOCK_COMPLETION the bash completion.
Whether a disk is locked is asked of the kernel here, never of the command.
"""

import ctypes
import fcntl
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import unittest

GUESTLOCK = os.environ["GUESTLOCK_COMMAND"]
COMPLETION = os.environ["GUESTLOCK_COMPLETION"]
ROOT = os.geteuid() == 0
NOBODY = 65534
WAIT = 60
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
OK, DRIFT, USAGE, MISSING, INTERNAL, HELD, DENIED = 0, 1, 64, 66, 70, 75, 77

libc = ctypes.CDLL(None, use_errno=True)

# Capsules are found by their abstract names, which belong to the network
# namespace: in one of our own, no other test's guests and forgeries are seen.
CLONE_NEWNET = 0x40000000
if ROOT:
    libc.unshare(CLONE_NEWNET)


def flock(kind, byte=0):
    """struct flock for one byte."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)


def lockable(path, kind=fcntl.F_WRLCK, byte=0):
    """May a stranger lock this byte? Takes no lock."""
    flags = os.O_RDONLY if kind == fcntl.F_RDLCK else os.O_RDWR
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, flock(kind, byte))
        return struct.unpack_from("h", answer)[0] == fcntl.F_UNLCK
    finally:
        os.close(fd)


def locks(path):
    """What others hold of bytes 0, 2, 3 and 4: one of W, R and - for each."""
    return "".join("-" if lockable(path, byte=b) else
                   "R" if lockable(path, fcntl.F_RDLCK, b) else "W"
                   for b in (0, 2, 3, 4))


def becomes_free(path):
    end = time.monotonic() + WAIT
    while not lockable(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def peek_capsule(pid):
    """Descriptors that are parked in a guest, as any tracer can see them."""
    pidfd = os.pidfd_open(pid)
    found = []
    try:
        for name in os.listdir("/proc/%d/fd" % pid):
            if not os.readlink("/proc/%d/fd/%s" % (pid, name)
                               ).startswith("socket:"):
                continue
            fd = libc.syscall(438, pidfd, int(name), 0)  # pidfd_getfd
            with socket.socket(fileno=fd) as sock:
                sock.setsockopt(socket.SOL_SOCKET, 42, 0)  # SO_PEEK_OFF
                found += peek_all(sock)
                sock.setsockopt(socket.SOL_SOCKET, 42, -1)
    finally:
        os.close(pidfd)
    return found


def peek_all(sock):
    found = []
    while True:
        try:
            data, anc, _, _ = sock.recvmsg(
                1 << 20, 16384, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        if not data:
            return found
        for level, kind, payload in anc:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found += struct.unpack("%di" % (len(payload) // 4), payload)


def forbid(syscall, err):
    """For preexec_fn: a seccomp filter as a sandbox has it."""
    code = b"".join(struct.pack("HBBI", *i) for i in (
        (0x20, 0, 0, 0),               # load the system call's number
        (0x15, 0, 1, syscall),         # if it is this one
        (0x06, 0, 0, 0x50000 | err),   # fail
        (0x06, 0, 0, 0x7fff0000)))     # else allow
    buf = ctypes.create_string_buffer(code)
    program = struct.pack("HP", 4, ctypes.addressof(buf))

    def install():
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program):
            os._exit(99)

    install.keep = buf
    return install


def for_nobody(case):
    """How the user nobody runs the command: keywords for Case.guestlock().
    The build directory may be closed to others, so it is a copy."""
    folder = tempfile.mkdtemp(prefix="guestlock-bin-", dir="/var/tmp")
    case.addClassCleanup(shutil.rmtree, folder)
    os.chmod(folder, 0o755)
    out = subprocess.run(["ldd", GUESTLOCK], capture_output=True, text=True,
                         check=True).stdout
    (library,) = re.findall(r"libguestlock\S+ => (\S+)", out)
    shutil.copy(library, os.path.join(folder, "libguestlock.so.0"))
    return {"program": shutil.copy(GUESTLOCK, folder), "user": NOBODY,
            "group": NOBODY, "extra_groups": [],
            "env": dict(os.environ, LD_LIBRARY_PATH=folder)}


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        base = os.environ.get("GUESTLOCK_TEST_DIR", "/var/tmp")
        self.dir = tempfile.mkdtemp(prefix="guestlock-cli-", dir=base)
        os.chmod(self.dir, 0o755)
        self.addCleanup(shutil.rmtree, self.dir)
        self.n = 0

    def path(self, name):
        if isinstance(name, bytes):
            return os.path.join(os.fsencode(self.dir), name)
        return os.path.join(self.dir, name)

    def image(self, name="disk.img", content=b"guest data"):
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def name(self, tag="web"):
        """A guest's name that no other test run has."""
        self.n += 1
        return "cli-%s-%d-%d" % (tag, os.getpid(), self.n)

    def guestlock(self, *args, **kw):
        kw.setdefault("timeout", WAIT)
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("cwd", self.dir)
        program = kw.pop("program", GUESTLOCK)
        result = subprocess.run([program, *args], capture_output=True, **kw)
        result.out = result.stdout.decode("utf-8", "surrogateescape")
        result.err = result.stderr.decode("utf-8", "surrogateescape")
        return result

    def expect(self, code, *args, **kw):
        result = self.guestlock(*args, **kw)
        if result.returncode != code:
            self.fail("%r: exit code %d, not %d\n%s%s" % (
                args, result.returncode, code, result.out, result.err))
        return result

    def ask(self, code, *args, **kw):
        """As expect(), for --json: what it printed."""
        result = self.expect(code, *args, "--json", **kw)
        self.assertEqual(result.out.count("\n"), 1, result.out)
        return json.loads(result.out)

    def start(self, *options, **kw):
        """A guest that runs; its pid is that of the process started here."""
        program = kw.pop("program", GUESTLOCK)
        verb = kw.pop("verb", ("run",))
        guest = subprocess.Popen(
            [program, *verb, *options, "--",
             "sh", "-c", "echo $$; exec sleep 600"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=self.dir,
            **kw)
        self.addCleanup(self.end, guest)
        line = guest.stdout.readline()
        self.assertEqual(line, b"%d\n" % guest.pid)
        return guest

    @staticmethod
    def end(guest):
        guest.kill()
        guest.wait(WAIT)
        guest.stdout.close()

    def refused(self, code, *args, **kw):
        """`run` that must fail: COMMAND must not have run. Its stderr."""
        mark = self.path("command-ran")
        result = self.expect(code, "run", *args, "--", "touch", mark, **kw)
        self.assertFalse(os.path.exists(mark), "COMMAND ran")
        self.assertEqual(result.out, "")
        return result.err

    def leases(self, guest):
        (found,) = self.ask(OK, "ls", str(guest.pid))["guests"]
        return found["leases"]

    def paths(self, guest):
        return sorted(lease["path"] for lease in self.leases(guest))
