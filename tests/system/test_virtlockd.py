#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Beside libvirt's virtlockd: each refuses what the other holds.

It is the real one, asked as libvirtd asks it; see virtlockd.py. And beside the
locks that libvirt and QEMU themselves have on other bytes of an image.
"""

import fcntl
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import unittest
import uuid

from cli import (Case, GUESTLOCK, HELD, ISO, OK, WAIT, becomes_free,
                 lockable)
from lockd import LOCKD_SO
from virtlockd import Refused, VIRTLOCKD, Virtlockd, skip_without

QEMU = shutil.which("qemu-system-x86_64")
EVERYTHING = 0  # the length of a lock: to the end of all files


class Virtlockds(Case):
    def setUp(self):
        super().setUp()
        self.virtlockd = self.run_virtlockd("virtlockd")
        self.libvirt = self.virtlockd.client()
        self.disk = self.image()

    def run_virtlockd(self, name):
        virtlockd = Virtlockd(self.path(name))
        self.addCleanup(virtlockd.stop)
        return virtlockd

    def assert_refuses(self, path, shared=False, client=None):
        """virtlockd does not get it."""
        with self.assertRaises(Refused) as caught:
            (client or self.libvirt).acquire(path, shared)
        self.assertIn("Lockspace resource '%s' is locked" % path,
                      str(caught.exception))

    def executable(self):
        """As seen from here: it has a mount namespace of its own, so in a
        chroot its name begins with that."""
        exe = os.readlink("/proc/%d/exe" % self.virtlockd.pid)
        self.assertTrue(exe.endswith(os.path.realpath(VIRTLOCKD)), exe)
        return exe

    def assert_named(self, said, path):
        self.assertRegex(said, r"%s: held (exclusively )?by process %d \(%s\), "
                         "running since %sZ" % (
                             re.escape(path), self.virtlockd.pid,
                             re.escape(self.executable()), ISO))


class Direct(Virtlockds):
    def test_what_virtlockd_holds_is_refused_and_virtlockd_is_named(self):
        self.libvirt.acquire(self.disk)
        self.assert_named(self.refused(HELD, "--disk", self.disk), self.disk)
        answer = json.loads(self.expect(
            HELD, "run", "--json", "--disk", self.disk, "true").out)
        self.assertEqual(answer["error"], "held")
        (conflict,) = answer["conflicts"]
        holder = conflict.pop("holder")
        self.assertEqual(conflict, {"path": self.disk, "mode": "exclusive"})
        self.assertRegex(holder.pop("since"), ISO + r"\.\d{3}Z$")
        self.assertEqual(holder, {
            "kind": "process", "pid": self.virtlockd.pid, "uuid": None,
            "name": None, "exe": self.executable()})
        self.assertIn(" %d " % self.virtlockd.pid,
                      self.expect(OK, "who", self.disk).out)
        self.assert_refuses(self.disk, client=self.virtlockd.client())
        self.libvirt.release(self.disk)
        self.start("--disk", self.disk)

    def test_one_disk_of_virtlockds_is_enough_to_get_none(self):
        others = [self.image("d%d" % i) for i in range(20)]
        self.libvirt.acquire(self.disk)
        disks = others[:7] + [self.disk] + others[7:]
        said = self.refused(HELD, *(a for d in disks for a in ("--disk", d)))
        self.assert_named(said, self.disk)
        self.assertEqual(said.count("held by"), 1)
        for disk in others:
            self.libvirt.acquire(disk)

    def test_virtlockd_is_refused_what_a_guest_holds(self):
        guest = self.start("--disk", self.disk)
        self.assert_refuses(self.disk)
        os.link(self.disk, self.path("alias"))
        self.assert_refuses(self.path("alias"))
        self.assertTrue(self.leases(guest)[0]["held"])
        guest.kill()
        guest.wait(WAIT)
        self.assertTrue(becomes_free(self.disk))
        self.libvirt.acquire(self.disk)
        self.assertFalse(lockable(self.disk, fcntl.F_RDLCK))

    def test_who_shares_goes_with_who_shares_and_with_nobody_else(self):
        self.libvirt.acquire(self.disk, shared=True)
        guest = self.start("--disk", self.disk + ",shared")
        other = self.start("--disk", self.disk + ",readonly")
        self.virtlockd.client().acquire(self.disk, shared=True)
        self.refused(HELD, "--disk", self.disk)
        self.virtlockd.stop()
        self.assertTrue(lockable(self.disk, fcntl.F_RDLCK))
        self.assertFalse(lockable(self.disk))

        # The same with a guest that was first.
        self.virtlockd = self.run_virtlockd("second")
        client = self.virtlockd.client()
        self.assert_refuses(self.disk, client=client)
        client.acquire(self.disk, shared=True)
        self.end(guest)
        self.end(other)
        self.assert_named(self.refused(HELD, "--disk", self.disk), self.disk)

    def test_an_exclusive_lock_of_either_excludes_who_shares(self):
        self.libvirt.acquire(self.disk)
        self.assert_named(self.refused(HELD, "--disk", self.disk + ",shared"),
                          self.disk)
        self.libvirt.release(self.disk)
        self.start("--disk", self.disk)
        self.assert_refuses(self.disk, shared=True)

    def test_what_a_killed_virtlockd_held_is_free(self):
        self.libvirt.acquire(self.disk)
        self.assertFalse(lockable(self.disk))
        self.virtlockd.kill()
        self.start("--disk", self.disk)
        self.virtlockd = self.run_virtlockd("second")
        self.assert_refuses(self.disk, client=self.virtlockd.client())

    def test_a_virtlockd_that_restarts_in_place_keeps_its_disks(self):
        self.libvirt.acquire(self.disk)
        self.virtlockd.restart()
        self.assert_refuses(self.disk, client=self.virtlockd.client())
        self.assertFalse(lockable(self.disk, fcntl.F_RDLCK))
        self.assert_named(self.refused(HELD, "--disk", self.disk), self.disk)

    def test_disks_that_are_plugged_in_and_out(self):
        guest = self.start("--disk", self.disk)
        pid, other = str(guest.pid), self.image("other")
        self.libvirt.acquire(other)
        self.assert_named(self.expect(HELD, "attach-disk", pid, other).err,
                          other)
        self.libvirt.release(other)
        self.expect(OK, "attach-disk", pid, other)
        self.assert_refuses(other)
        self.expect(OK, "detach-disk", pid, self.disk)
        self.libvirt.acquire(self.disk)
        self.assert_refuses(other)
        self.assert_named(self.expect(HELD, "attach-disk", pid, self.disk).err,
                          self.disk)
        self.assertEqual(self.paths(guest), [other])

    def test_virtlockd_gets_nothing_of_a_disk_that_is_handed_over(self):
        me = str(uuid.uuid4())
        options = "--uuid", me, "--disk", self.disk
        source = self.start(*options)
        self.expect(OK, "migrate", "prepare", me, "localhost")
        self.assert_refuses(self.disk)
        destination = self.start(*options, verb=("migrate", "incoming"))
        self.assert_refuses(self.disk)
        self.expect(OK, "migrate", "out", me)
        self.assert_refuses(self.disk)
        self.expect(OK, "migrate", "in", me)
        self.assert_refuses(self.disk)
        self.end(source)
        self.assert_refuses(self.disk)
        self.expect(OK, "migrate", "in", me)
        self.assert_refuses(self.disk)
        self.end(destination)
        self.assertTrue(becomes_free(self.disk))
        self.libvirt.acquire(self.disk)


class Lockd(Virtlockds):
    """libvirt's own plugin says what to lock, in place of us."""

    def lockd(self, *args):
        return self.virtlockd.lockd(self.libvirt, *args)

    def test_what_libvirt_locks_is_refused_until_it_is_released(self):
        shared, readonly = self.image("shared"), self.image("readonly")
        self.assertEqual(self.lockd("acquire", self.disk, shared + ",shared",
                                    readonly + ",readonly"), "")
        self.assert_named(self.refused(HELD, "--disk", self.disk), self.disk)
        self.assert_named(self.refused(HELD, "--disk", shared), shared)
        self.start("--disk", shared + ",shared")
        self.start("--disk", readonly)
        self.assertEqual(self.lockd("release", self.disk, shared + ",shared",
                                    readonly + ",readonly"), "")
        self.start("--disk", self.disk)

    def test_libvirt_is_refused_what_a_guest_holds(self):
        guest = self.start("--disk", self.disk)
        for mode in ("", ",shared"):
            self.assertIn("resource busy: Lockspace resource '%s' is locked" %
                          self.disk, self.lockd("acquire", self.disk + mode))
        self.end(guest)
        self.assertTrue(becomes_free(self.disk))
        self.assertEqual(self.lockd("acquire", self.disk), "")
        self.assertFalse(lockable(self.disk, fcntl.F_RDLCK))


class Qemu(Virtlockds):
    """A real guest, stopped before its first instruction, and no more than
    that: test_qemu.py has guests that run."""

    def setUp(self):
        super().setUp()
        os.truncate(self.disk, 1 << 20)

    def run_qemu(self, *run):
        process = subprocess.Popen(
            [*run, QEMU, "-accel", "tcg", "-S", "-nodefaults",
             "-no-user-config", "-display", "none", "-m", "16",
             "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk",
             "-blockdev", json.dumps({
                 "driver": "raw", "node-name": "disk", "file": {
                     "driver": "file", "filename": self.disk,
                     "locking": "on"}})],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(self.end, process)
        end = time.monotonic() + WAIT
        while lockable(self.disk, byte=201):
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        return process

    def test_virtlockd_is_refused_while_qemu_runs_under_guestlock(self):
        process = self.run_qemu(GUESTLOCK, "run", "--disk", self.disk, "--")
        for shared in (False, True):
            self.assert_refuses(self.disk, shared)
        self.assertEqual(self.paths(process), [self.disk])
        self.end(process)
        self.assertTrue(becomes_free(self.disk))
        self.libvirt.acquire(self.disk)

    def test_a_guest_of_libvirts_is_refused_to_guestlock(self):
        """libvirtd has virtlockd lock the disk, and then QEMU runs."""
        self.libvirt.acquire(self.disk)
        process = self.run_qemu()
        for mode in ("", ",shared"):
            said = self.refused(HELD, "--disk", self.disk + mode)
            self.assert_named(said, self.disk)
        self.assertIsNone(process.poll())


HOLDER = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for lock in sys.argv[2:]:
    command, kind, start, length = map(int, lock.split(","))
    fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, 0, start, length, 0))
print(fd, flush=True)
sys.stdin.read()
"""

# What strace prints of a lock that is taken, or tried.
LOCKS = re.compile(r"<([^>]*)>, F_(?:OFD_)?SETLKW?, "
                   r"\{l_type=F_(?:RDLCK|WRLCK), l_whence=SEEK_SET, "
                   r"l_start=(\d+), l_len=(\d+)")

LIBVIRTS = [(fcntl.F_SETLK, fcntl.F_WRLCK, 1, 1)]
# What QEMU has on an image that it writes: the permissions that it uses, and
# those that it does not grant to others.
QEMUS = [(fcntl.F_OFD_SETLK, fcntl.F_RDLCK, byte, 1)
        for byte in (100, 101, 103, 201, 203)]


class Bytes(Case):
    """Bytes that are others'. An exclusive lock on one is in the way of any
    lock that we might take there, be it for a moment."""

    def setUp(self):
        super().setUp()
        self.uuid = str(uuid.uuid4())
        self.first, self.second = self.image("first"), self.image("second")

    def hold(self, path, locks, *run):
        """A process that holds these, if @run starts it: as a guest."""
        holder = subprocess.Popen(
            [*run, sys.executable, "-c", HOLDER, path,
             *(",".join(map(str, lock)) for lock in locks)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.dir)
        self.addCleanup(self.let_go, holder)
        holder.fd = int(holder.stdout.readline())
        holder.path = path
        return holder

    def let_go(self, holder):
        holder.stdin.close()
        holder.wait(WAIT)
        holder.stdout.close()

    def held_by(self, holder):
        """Its own locks on that file, as the kernel lists them."""
        with open("/proc/%d/fdinfo/%d" % (holder.pid, holder.fd)) as f:
            return [line.split(None, 2)[2] for line in f
                    if line.startswith("lock:")]

    def first_lock(self, path, start, length):
        """Anybody's lock in this range: (type, start, length, pid)."""
        with open(path, "r+b") as f:
            kind, _, start, length, pid = struct.unpack(
                "hhqqi4x", fcntl.fcntl(f, fcntl.F_OFD_GETLK, struct.pack(
                    "hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)))
        return None if kind == fcntl.F_UNLCK else (kind, start, length, pid)

    def steps(self):
        """All that is done to a guest's disks, and back."""
        yield "acquire", lambda: self.start(
            "--uuid", self.uuid, "--disk", self.first)
        yield from self.changes()

    def changes(self):
        for verb in (("attach-disk", self.uuid, self.second),
                     ("detach-disk", self.uuid, self.second),
                     ("attach-disk", self.uuid, self.second),
                     ("check", self.uuid),
                     ("migrate", "prepare", self.uuid, "localhost"),
                     ("migrate", "cancel", self.uuid),
                     ("detach-disk", self.uuid, self.second)):
            yield verb[0], lambda verb=verb: self.expect(OK, *verb)

    def refuse(self, path):
        """A refusal looks at more of a disk than success does."""
        self.assertIn("held by", self.refused(HELD, "--disk", path))

    def test_libvirts_lock_on_metadata_is_nobody_elses_business(self):
        for command in (fcntl.F_SETLK, fcntl.F_OFD_SETLK):
            with self.subTest(command=command):
                self.uuid = str(uuid.uuid4())
                holders = [self.hold(path, [(command, fcntl.F_WRLCK, 1, 1)])
                           for path in (self.first, self.second)]
                before = [self.held_by(h) for h in holders]
                self.assertEqual([len(b) for b in before], [1, 1])
                guest = None
                for what, step in self.steps():
                    done = step()
                    guest = guest or done
                    self.refuse(self.first)
                    self.assertEqual([self.held_by(h) for h in holders],
                                     before, what)
                    for h in holders:
                        self.assertEqual(
                            self.first_lock(h.path, 1, 1),
                            (fcntl.F_WRLCK, 1, 1, h.pid
                             if command == fcntl.F_SETLK else -1), what)
                self.end(guest)
                for h in holders:
                    self.assertEqual(self.first_lock(h.path, 0, 1), None)
                    self.let_go(h)

    def test_every_byte_that_is_not_ours_may_be_anothers(self):
        rest = [(fcntl.F_SETLK, fcntl.F_WRLCK, 1, 1),
                (fcntl.F_OFD_SETLK, fcntl.F_WRLCK, 6, 94),
                (fcntl.F_OFD_SETLK, fcntl.F_WRLCK, 105, 95),
                (fcntl.F_OFD_SETLK, fcntl.F_WRLCK, 205, EVERYTHING)]
        holders = [self.hold(path, rest)
                   for path in (self.first, self.second)]
        before = [self.held_by(h) for h in holders]
        self.assertEqual([len(b) for b in before], [len(rest)] * 2)
        for what, step in self.steps():
            step()
            self.assertEqual([self.held_by(h) for h in holders], before, what)

    def test_no_lock_of_ours_is_on_a_byte_of_libvirts_or_qemus(self):
        for what, step in self.steps():
            step()
            for path in (self.first, self.second):
                self.assertEqual(self.first_lock(path, 1, 1), None, what)
                self.assertEqual(self.first_lock(path, 6, EVERYTHING), None,
                                 what)
        self.assertNotEqual(self.first_lock(self.first, 0, 1), None)

    def traced(self, *args):
        """The bytes of a disk that a call locks, be it for a moment. It does
        that with a capsule's own file, too."""
        log = self.path("trace")
        self.expect(OK, "-f", "-y", "-qq", "-e", "trace=fcntl", "-o", log,
                    GUESTLOCK, *args, program="strace", env=dict(
                        os.environ, ASAN_OPTIONS="detect_leaks=0"))
        found = set()
        with open(log, errors="replace") as f:
            for path, start, length in LOCKS.findall(f.read()):
                self.assertGreater(int(length), 0)
                if path in (self.first, self.second):
                    found |= set(range(int(start), int(start) + int(length)))
                else:
                    self.assertIn("memfd:", path)
        os.unlink(log)
        return found

    def test_no_call_locks_a_byte_that_is_not_ours(self):
        guest = "--uuid", self.uuid, "--disk", self.first
        true = "--", "true"
        found = [self.traced("run", *guest, *true),
                 self.traced("run", *guest, "--disk", self.second + ",shared",
                             *true)]
        source = self.start(*guest)
        found += [self.traced(*args) for args in (
            ("attach-disk", self.uuid, self.second),
            ("detach-disk", self.uuid, self.second),
            ("attach-disk", self.uuid, self.second + ",shared"),
            ("detach-disk", self.uuid, self.second),
            ("check", self.uuid), ("who", self.first),
            ("migrate", "prepare", self.uuid, "localhost"),
            ("migrate", "cancel", self.uuid),
            ("migrate", "prepare", self.uuid, "localhost"),
            ("migrate", "incoming", *guest, *true),
            ("migrate", "cancel", self.uuid),
            ("migrate", "prepare", self.uuid, "localhost"))]
        self.start(*guest, verb=("migrate", "incoming"))
        found.append(self.traced("migrate", "out", self.uuid))
        self.end(source)
        found.append(self.traced("migrate", "in", self.uuid))
        self.assertEqual(set().union(*found), {0, 2, 3, 4, 5})
        self.assertEqual([0 in f for f in found[:3]], [True] * 3)

    def test_a_guests_own_locks_stay_as_they_were(self):
        holder = self.hold(self.first, LIBVIRTS + QEMUS, GUESTLOCK, "run",
                           "--uuid", self.uuid, "--disk", self.first, "--")
        before = self.held_by(holder)
        self.assertEqual(len(before), 5)  # neighbours are one lock
        for what, step in self.changes():
            step()
            self.refuse(self.first)
            self.assertEqual(self.held_by(holder), before, what)


if __name__ == "__main__":
    skip_without(("libvirt's lockd.so", LOCKD_SO),
                 ("qemu-system-x86_64", QEMU),
                 ("strace", shutil.which("strace")))
    unittest.main(verbosity=2)
