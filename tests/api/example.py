#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run an example of README.md or guestlock.3 and see that it does what they say.

example.py vmm|manager PROGRAM
"""

import fcntl
import os
import struct
import subprocess
import sys
import tempfile
import time
import uuid

PROGRAM = os.path.abspath(sys.argv[2])
SECONDS = 30


def lockable(path):
    """May a stranger lock byte 0? Takes nothing, but asks as fcntl(2) does."""
    with open(path, "r+b") as f:
        wish = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        answer = fcntl.fcntl(f, fcntl.F_OFD_GETLK, wish)
        return struct.unpack("hhqqi4x", answer)[0] == fcntl.F_UNLCK


def becomes_lockable(path):
    end = time.monotonic() + SECONDS
    while not lockable(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def start(*disks):
    vmm = subprocess.Popen([PROGRAM, *disks], text=True,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
    return vmm


def started(*disks):
    vmm = start(*disks)
    line = vmm.stdout.readline()
    assert line == "locked\n", (line, vmm.stderr.read())
    return vmm


def refusal(*disks):
    vmm = start(*disks)
    _, said = vmm.communicate(timeout=SECONDS)
    assert vmm.returncode == 1, (vmm.returncode, said)
    return said


def image(folder, name):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    return path


def test_vmm(folder):
    a, b, c = (image(folder, name) for name in "abc")
    first = started(a, b)
    try:
        assert not lockable(a) and not lockable(b) and lockable(c)

        said = refusal(a, c)
        assert a in said and "held by web1, pid %d\n" % first.pid in said, said
        said = refusal(c, b)
        assert b in said and "held by web1, pid %d\n" % first.pid in said, said
        assert becomes_lockable(c)
    finally:
        first.kill()
        first.communicate()
    assert becomes_lockable(a) and becomes_lockable(b)

    second = started(a, c)
    _, said = second.communicate("", timeout=SECONDS)
    assert second.returncode == 0, said
    assert becomes_lockable(a) and becomes_lockable(c)

    said = refusal(os.path.join(folder, "none"), c)
    assert "none" in said, said


def manager(who, disk, *command):
    return subprocess.Popen([PROGRAM, who, disk, *command], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def opened(pid):
    fds = "/proc/%d/fd" % pid
    for fd in os.listdir(fds):
        try:
            yield os.readlink(os.path.join(fds, fd))
        except FileNotFoundError:
            pass  # closed meanwhile


def hands_over(pid, who):
    """The guest may speak before its manager has let go of the capsule."""
    with open("/proc/net/unix") as f:
        capsules = ["socket:[%s]" % line.split()[6] for line in f
                    if "@guestlock/1/" + who in line]
    assert capsules
    end = time.monotonic() + SECONDS
    while any(file in capsules for file in opened(pid)):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_manager(folder):
    a = image(folder, "a")
    who = str(uuid.uuid4())
    first = manager(who, a, "sh", "-c", "echo $$; read line")
    try:
        guest = int(first.stdout.readline())
        assert hands_over(first.pid, who)
        assert not lockable(a)

        second = manager(str(uuid.uuid4()), a, "true")
        _, said = second.communicate(timeout=SECONDS)
        assert second.returncode == 1, said
        assert a in said and "held by web1, pid %d\n" % guest in said, said

        first.kill()
        first.wait()
        assert not lockable(a)
    finally:
        first.stdin.close()
        first.stdout.close()
        first.stderr.close()
    assert becomes_lockable(a)

    third = manager(str(uuid.uuid4()), a, "true")
    _, said = third.communicate(timeout=SECONDS)
    assert third.returncode == 0, said
    assert lockable(a)

    fourth = manager("no-uuid", a, "true")
    _, said = fourth.communicate(timeout=SECONDS)
    assert fourth.returncode == 1 and "uuid" in said, said


with tempfile.TemporaryDirectory(prefix="glk-example.") as folder:
    {"vmm": test_vmm, "manager": test_manager}[sys.argv[1]](folder)
