# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real virtlockd, alone, and what libvirtd says to it.

It runs in a mount namespace of its own with a folder of the test's as /run, so
that neither its socket nor its state meets another's on the same host.

A message is be32 words: length (its own included), program, version, procedure,
type (0 call, 1 reply), serial, status; then arguments or an error, as XDR.
"""

import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid

VIRTLOCKD = shutil.which("virtlockd", path="/usr/sbin:/usr/local/sbin:" +
                         os.environ.get("PATH", ""))
LOCKD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lockd.py")
SECONDS = 60
PROGRAM, VERSION = 0xEA7BEEF, 1
REGISTER, RESTRICT, ACQUIRE, RELEASE, LOCKSPACE = 1, 2, 6, 7, 8
SHARED, AUTOCREATE = 1, 2
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def skip_without(*more):
    """Exit if a test of this cannot run. @more: programs that it needs, and
    where they are, if anywhere."""
    if os.geteuid() != 0:
        print("skipped: virtlockd talks to root only")
        sys.exit(77)
    for name, path in (("virtlockd (Debian: libvirt-daemon)", VIRTLOCKD),
                       *more):
        if not path:
            print("skipped: needs", name)
            sys.exit(77)


class Refused(Exception):
    """What virtlockd answers to what it does not do."""


class Virtlockd:
    """Runs until stop(), kill() or the end of the test program."""

    def __init__(self, folder):
        self.folder = folder
        run = os.path.join(folder, "run")
        os.makedirs(os.path.join(run, "libvirt"))
        self.socket = os.path.join(run, "libvirt", "virtlockd-sock")
        self.log = os.path.join(folder, "virtlockd.log")
        conf = os.path.join(folder, "virtlockd.conf")
        with open(conf, "w") as f:
            f.write('log_outputs = "3:file:%s"\n' % self.log)

        def hide_run():
            libc.prctl(PR_SET_PDEATHSIG, 9)
            if libc.unshare(CLONE_NEWNS) or \
                    libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) or \
                    libc.mount(os.fsencode(run), b"/run", None, MS_BIND, None):
                os._exit(99)

        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [VIRTLOCKD, "-f", conf, "-p", "/run/virtlockd.pid"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": os.defpath}, preexec_fn=hide_run)
        self.pid = self.process.pid
        self.clients = []
        try:
            self.dial().close()
        except BaseException:
            self.kill()
            raise

    def dial(self):
        """Connect, as soon as it listens."""
        end = time.monotonic() + SECONDS
        while True:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.settimeout(SECONDS)
                s.connect(self.socket)
                return s
            except OSError:
                s.close()
                if self.process.poll() is not None or time.monotonic() > end:
                    with open(self.log, errors="replace") as f:
                        raise AssertionError("no virtlockd: " + f.read())
            time.sleep(0.01)

    def client(self, name="other"):
        client = Client(self.dial(), name)
        self.clients.append(client)
        return client

    def lockd(self, client, verb, *resources, config="/nonexistent"):
        """libvirt's own plugin, as in libvirtd, for the guest of @client.
        Return: "", or why it was refused."""
        namespace = os.open("/proc/%d/ns/mnt" % self.pid, os.O_RDONLY)
        root = os.open("/proc/%d/root" % self.pid, os.O_RDONLY)

        def see_what_it_sees():
            if libc.setns(namespace, CLONE_NEWNS):
                os._exit(99)
            os.fchdir(root)  # setns(2) leads to the top, out of any chroot
            os.chroot(".")

        try:
            done = subprocess.run(
                [sys.executable, "-B", LOCKD, config, verb,
                 str(client.guest.pid), client.uuid, *resources],
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                timeout=SECONDS, preexec_fn=see_what_it_sees)
        finally:
            os.close(namespace)
            os.close(root)
        said = done.stderr.decode()
        assert done.returncode == (1 if said else 0), (done.returncode, said)
        return said

    def restart(self):
        """In place, as an upgrade does. A request that it has read before it
        goes is lost, so this returns when the old program is gone: what was
        open of its memory is empty then."""
        with open("/proc/%d/environ" % self.pid, "rb", buffering=0) as f:
            end = time.monotonic() + SECONDS
            os.kill(self.pid, signal.SIGUSR1)
            while os.pread(f.fileno(), 1, 0):
                assert time.monotonic() < end, "virtlockd does not restart"
                time.sleep(0.01)

    def kill(self):
        """As a crash does: all its locks are gone."""
        self.process.kill()
        self.process.wait(SECONDS)
        self.close()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(SECONDS)
        self.close()

    def close(self):
        for client in self.clients:
            client.close()
        self.clients = []


class Client:
    """libvirtd for one guest. The guest is a process that does nothing: when a
    connection ends that registered its own pid, virtlockd kills that pid."""

    def __init__(self, sock, name):
        self.socket = sock
        self.serial = 0
        self.guest = subprocess.Popen(
            ["sleep", "600"], stdin=subprocess.DEVNULL,
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, 9))
        self.uuid = str(uuid.uuid4())
        self.call(REGISTER, uuid.UUID(self.uuid).bytes + text(name) +
                  words(1, self.guest.pid, 0))

    def call(self, procedure, arguments):
        body = words(PROGRAM, VERSION, procedure, 0, self.serial,
                     0) + arguments
        self.serial += 1
        self.socket.sendall(words(len(body) + 4) + body)
        (length,) = struct.unpack(">I", self.read(4))
        reply = self.read(length - 4)
        program, _, answered, kind, serial, status = struct.unpack_from(
            ">6I", reply)
        assert (program, answered, kind, serial) == (
            PROGRAM, procedure, 1, self.serial - 1), reply
        if status:
            raise Refused(message(reply[24:]))

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            assert more, "virtlockd has hung up"
            data += more
        return data

    def acquire(self, name, shared=False, lockspace=""):
        self.call(ACQUIRE, text(lockspace) + text(name) + words(
            (SHARED if shared else 0) | (AUTOCREATE if lockspace else 0)))

    def release(self, name, lockspace=""):
        self.call(RELEASE, text(lockspace) + text(name) + words(0))

    def create_lockspace(self, path):
        self.call(LOCKSPACE, text(path))

    def close(self):
        self.socket.close()
        self.guest.kill()
        self.guest.wait(SECONDS)


def words(*values):
    return struct.pack(">%dI" % len(values), *values)


def text(s):
    s = os.fsencode(s)
    return words(len(s)) + s + b"\0" * (-len(s) % 4)


def message(error):
    """Its text: code, domain, then that, if it is there."""
    _, _, there = struct.unpack_from(">iiI", error)
    if not there:
        return ""
    (length,) = struct.unpack_from(">I", error, 12)
    return error[16:16 + length].decode()
