#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Beside virtlockd, with a directory of lock files that both use.

There a disk is a file named by the SHA-256 of its path. Each makes the file if
it is not there, and removes it when nobody has it any more.
"""

import ctypes
import fcntl
import hashlib
import os
import stat
import subprocess
import unittest

from cli import GUESTLOCK, HELD, OK, WAIT, becomes_free, lockable
from test_virtlockd import Virtlockds
from lockd import LOCKD_SO
from virtlockd import Refused, skip_without

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000

libc = ctypes.CDLL(None, use_errno=True)


class Directory(Virtlockds):
    def setUp(self):
        super().setUp()
        self.lockspace = self.path("locks")
        self.libvirt.create_lockspace(self.lockspace)
        self.option = "--lock-dir", self.lockspace
        self.other = self.image("other")

    def name_of(self, path):
        return hashlib.sha256(os.fsencode(path)).hexdigest()

    def file_of(self, path):
        return os.path.join(self.lockspace, self.name_of(path))

    def acquire(self, path, shared=False, client=None):
        (client or self.libvirt).acquire(self.name_of(path), shared,
                                         self.lockspace)

    def release(self, path, client=None):
        (client or self.libvirt).release(self.name_of(path), self.lockspace)

    def assert_refuses_name(self, path, shared=False):
        with self.assertRaises(Refused) as caught:
            self.acquire(path, shared)
        self.assertIn("Lockspace resource '%s' is locked" % self.name_of(path),
                      str(caught.exception))

    def run_guest(self, *options, **kw):
        return self.start(*self.option, *options, **kw)

    def assert_files(self, *paths):
        self.assertEqual(sorted(os.listdir(self.lockspace)),
                         sorted(self.name_of(path) for path in paths))


class Dirs(Directory):
    def test_what_virtlockd_holds_is_refused_and_virtlockd_is_named(self):
        self.acquire(self.disk)
        said = self.refused(HELD, *self.option, "--disk", self.other,
                            "--disk", self.disk)
        self.assert_named(said, self.disk)
        self.assertEqual(said.count("held "), 1)
        self.assertTrue(lockable(self.disk))
        self.assertTrue(lockable(self.other))
        self.release(self.disk)
        self.assert_files()
        self.run_guest("--disk", self.disk)
        self.assert_files(self.disk)

    def test_virtlockd_is_refused_what_a_guest_holds(self):
        guest = self.run_guest("--disk", self.disk, "--disk", self.other)
        for path in (self.disk, self.other):
            self.assert_refuses_name(path)
            self.assert_refuses_name(path, shared=True)
            self.assertFalse(lockable(self.file_of(path), fcntl.F_RDLCK))
            # Without the directory it is refused just so.
            self.assert_refuses(path)
        guest.kill()
        guest.wait(WAIT)
        # What the guest has left is as good as new.
        for path in (self.disk, self.other):
            self.assertTrue(becomes_free(self.file_of(path)))
            self.acquire(path)
            self.release(path)
        self.assert_files()

    def test_a_lock_file_is_as_virtlockd_makes_it(self):
        self.acquire(self.other)
        self.run_guest("--disk", self.disk)
        self.assert_files(self.disk, self.other)
        ours, theirs = (os.stat(self.file_of(path))
                        for path in (self.disk, self.other))
        self.assertEqual((oct(ours.st_mode), ours.st_uid, ours.st_nlink),
                         (oct(theirs.st_mode), theirs.st_uid, theirs.st_nlink))
        self.assertEqual(oct(ours.st_mode), oct(stat.S_IFREG | 0o600))

    def test_disks_that_are_plugged_in_and_out(self):
        guest = self.run_guest()
        pid = str(guest.pid)
        self.acquire(self.disk)
        self.assert_named(
            self.expect(HELD, "attach-disk", *self.option, pid, self.disk).err,
            self.disk)
        self.assertEqual(self.paths(guest), [])
        self.release(self.disk)
        for _ in range(3):
            self.expect(OK, "attach-disk", *self.option, pid, self.disk)
            self.assert_refuses_name(self.disk)
            self.assertEqual(self.paths(guest), [self.disk])
            self.expect(OK, "detach-disk", *self.option, pid, self.disk)
            self.assert_files()
            self.acquire(self.disk)
            self.release(self.disk)
            self.assert_files()

    def test_who_shares_goes_with_who_shares_and_with_nobody_else(self):
        self.acquire(self.disk, shared=True)
        guest = self.run_guest("--disk", self.disk + ",shared")
        self.refused(HELD, *self.option, "--disk", self.disk)
        # virtlockd leaves first: the file is the guest's, and stays.
        self.release(self.disk)
        self.assert_files(self.disk)
        self.assertTrue(lockable(self.file_of(self.disk), fcntl.F_RDLCK))
        self.assertFalse(lockable(self.file_of(self.disk)))
        self.assert_refuses_name(self.disk)
        # The guest leaves first.
        self.acquire(self.disk, shared=True)
        self.expect(OK, "detach-disk", *self.option, str(guest.pid), self.disk)
        self.assert_files(self.disk)
        self.assert_named(self.refused(HELD, *self.option, "--disk",
                                       self.disk), self.disk)
        self.release(self.disk)
        self.assert_files()
        self.run_guest("--disk", self.disk)
        self.assert_refuses_name(self.disk, shared=True)

    def test_what_a_killed_virtlockd_held_is_free(self):
        self.acquire(self.disk)
        self.virtlockd.kill()
        self.assert_files(self.disk)
        guest = self.run_guest("--disk", self.disk)
        self.virtlockd = self.run_virtlockd("second")
        self.libvirt = self.virtlockd.client()
        self.libvirt.create_lockspace(self.lockspace)
        self.assert_refuses_name(self.disk)
        self.expect(OK, "detach-disk", *self.option, str(guest.pid), self.disk)
        self.assert_files()
        self.acquire(self.disk)

    def test_what_a_dead_guest_has_written_is_not_believed(self):
        guest = self.run_guest("--name", self.name("gone"), "--disk", self.disk)
        guest.kill()
        guest.wait(WAIT)
        self.assertTrue(becomes_free(self.file_of(self.disk)))
        self.acquire(self.disk)
        said = self.refused(HELD, *self.option, "--disk", self.disk)
        self.assert_named(said, self.disk)
        self.assertNotIn("gone", said)
        self.assertNotIn(" %d" % guest.pid, said)

    def test_two_images_of_one_name_on_two_hosts_are_one_disk(self):
        """The second host is a mount namespace that has another file there,
        as with storage that is not a shared file system."""
        elsewhere = self.image("elsewhere")

        def other_host():
            if libc.unshare(CLONE_NEWNS) or \
                    libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) or \
                    libc.mount(os.fsencode(elsewhere), os.fsencode(self.disk),
                               None, MS_BIND, None):
                os._exit(99)

        guest = self.run_guest("--disk", self.disk, preexec_fn=other_host)
        self.assertTrue(lockable(self.disk))
        self.assertFalse(lockable(elsewhere))
        self.assert_refuses_name(self.disk)
        self.assertIn("held ", self.refused(HELD, *self.option, "--disk",
                                            self.disk))
        self.end(guest)
        self.assertTrue(becomes_free(self.file_of(self.disk)))
        self.acquire(self.disk)
        done = subprocess.run(
            [GUESTLOCK, "run", *self.option, "--disk", self.disk, "true"],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=WAIT,
            preexec_fn=other_host)
        self.assertEqual(done.returncode, HELD)
        self.assert_named(done.stderr.decode(), self.disk)


class Lockd(Directory):
    """libvirt's own plugin names the files, in place of us."""

    def lockd(self, *args):
        config = self.path("qemu-lockd.conf")
        with open(config, "w") as f:
            f.write('file_lockspace_dir = "%s"\n' % self.lockspace)
        return self.virtlockd.lockd(self.libvirt, *args, config=config)

    def test_either_is_refused_what_the_other_holds(self):
        # The second is not where it seems: its path is what counts.
        os.makedirs(self.path("real"))
        os.symlink("real", self.path("link"))
        for disk in (self.image("d d\xf6"), self.image("link/../real/./x")):
            with self.subTest(disk=disk):
                self.assertEqual(self.lockd("acquire", disk), "")
                self.assert_files(disk)
                self.assert_named(self.refused(HELD, *self.option, "--disk",
                                               disk), disk)
                self.assertEqual(self.lockd("release", disk), "")
                self.assert_files()
                guest = self.run_guest("--disk", disk)
                self.assert_files(disk)
                self.assertIn("Lockspace resource '%s' is locked" %
                              self.name_of(disk), self.lockd("acquire", disk))
                self.expect(OK, "detach-disk", *self.option, str(guest.pid),
                            disk)
                self.assertEqual(self.lockd("acquire", disk), "")
                self.assertEqual(self.lockd("release", disk), "")
                self.assert_files()


if __name__ == "__main__":
    skip_without(("libvirt's lockd.so", LOCKD_SO))
    unittest.main(verbosity=2)
