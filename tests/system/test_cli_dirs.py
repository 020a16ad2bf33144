#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lock directories, and hosts that share one."""

import fcntl
import hashlib
import json
import os
import subprocess
import unittest

from cli import (Case, DENIED, GUESTLOCK, HELD, MISSING, OK, UUID, WAIT,
                 becomes_free, flock, for_nobody, lockable, locks)

# A host of its own, as far as names and processes go: nobody here finds the
# guest's capsule, nor does it find anybody here.
OTHER_HOST = ("unshare", "--uts", "--pid", "--net", "--mount", "--fork",
              "--kill-child", "--mount-proc", "sh", "-c",
              'echo far-away >/proc/sys/kernel/hostname && exec "$@"', "sh")


def can_unshare():
    return os.geteuid() == 0 and subprocess.run(
        [*OTHER_HOST, "true"], capture_output=True).returncode == 0


class DirsCase(Case):
    def setUp(self):
        super().setUp()
        self.locks = self.path("locks")
        os.mkdir(self.locks)
        self.dir_option = "--lock-dir", self.locks

    def lock_file(self, path):
        return os.path.join(
            self.locks, hashlib.sha256(os.fsencode(path)).hexdigest())

    def record(self, path):
        with open(self.lock_file(path), "rb") as f:
            return json.loads(f.readline())


class Dirs(DirsCase):
    def test_a_disk_has_a_lock_file_that_says_who_has_it(self):
        disk, name = self.image(), self.name()
        guest = self.start("--disk", disk, "--name", name, *self.dir_option)
        file = self.lock_file(disk)
        self.assertEqual(os.listdir(self.locks), [os.path.basename(file)])
        self.assertEqual(os.stat(file).st_mode & 0o7777, 0o600)
        self.assertEqual(locks(file), "W---")
        self.assertEqual(locks(disk), "W---")
        record = self.record(disk)
        self.assertEqual(record["name"], name)
        self.assertEqual(record["pid"], guest.pid)
        self.assertEqual(record["host"], os.uname().nodename)
        self.assertRegex(record["uuid"], UUID)

    def test_the_lock_file_alone_excludes_as_virtlockd_does(self):
        disk = self.image()
        with open(self.lock_file(disk), "w") as f:
            fcntl.fcntl(f, fcntl.F_SETLK, flock(fcntl.F_WRLCK))
            err = self.refused(HELD, "--disk", disk, *self.dir_option)
            self.assertIn("held by process %d" % os.getpid(), err)
            who = self.ask(OK, "who", disk, *self.dir_option)
            (holder,) = who["disks"][0]["holders"]
            self.assertEqual(holder["pid"], os.getpid())
            self.expect(OK, "who", disk, "--quiet")
            self.expect(HELD, "who", disk, "--quiet", *self.dir_option)
        self.expect(OK, "run", "--disk", disk, *self.dir_option, "--", "true")

    def test_hotplug_makes_and_removes_the_file(self):
        one, two = self.image("1"), self.image("2")
        guest = self.start("--disk", one, *self.dir_option)
        self.expect(OK, "attach-disk", str(guest.pid), two, *self.dir_option)
        self.assertEqual(len(os.listdir(self.locks)), 2)
        self.expect(OK, "detach-disk", str(guest.pid), one, *self.dir_option)
        self.assertEqual(os.listdir(self.locks),
                         [os.path.basename(self.lock_file(two))])
        self.assertEqual(self.paths(guest), [two])

    def test_a_dead_guests_file_is_in_nobodys_way(self):
        disk = self.image()
        guest = self.start("--disk", disk, *self.dir_option)
        guest.kill()
        guest.wait(WAIT)
        self.assertTrue(becomes_free(self.lock_file(disk)))
        new = self.start("--disk", disk, *self.dir_option)
        self.assertEqual(self.record(disk)["pid"], new.pid)

    def test_check_says_that_a_lock_file_was_removed(self):
        disk = self.image()
        guest = self.start("--disk", disk, *self.dir_option)
        self.expect(OK, "check", str(guest.pid))
        os.unlink(self.lock_file(disk))
        result = self.expect(1, "check", str(guest.pid))
        self.assertIn("%s: unlinked" % disk, result.out)
        (found,) = self.ask(1, "check", str(guest.pid))["guests"]
        self.assertEqual(found["drift"], [
            {"path": disk, "mode": "exclusive", "problem": "unlinked"}])
        # The image itself is still locked.
        self.refused(HELD, "--disk", disk, *self.dir_option)

    def test_odd_paths_have_a_lock_file_too(self):
        for name in ("new\nline", b"\xff\xfe", "comma,", " ", "-"):
            disk = self.image(name)
            listing = self.path("list")
            with open(listing, "wb") as f:
                f.write(os.fsencode(disk) + b"\0")
            guest = self.start("--disks-from", listing, "--null",
                               *self.dir_option)
            self.assertEqual(locks(self.lock_file(disk)), "W---")
            self.expect(OK, "detach-disk", str(guest.pid), disk,
                        *self.dir_option)
            self.assertEqual(os.listdir(self.locks), [])

    def test_a_path_of_4095_bytes_has_one(self):
        # One that the kernel takes, but not in one piece with a directory.
        deep, fd = self.dir, os.open(self.dir, os.O_PATH)
        while len(deep) < 4095 - 256:
            os.mkdir("d" * 200, dir_fd=fd)
            below = os.open("d" * 200, os.O_PATH, dir_fd=fd)
            os.close(fd)
            fd, deep = below, deep + "/" + "d" * 200
        name = "i" * (4095 - len(deep) - 1)
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
        os.close(fd)
        disk = deep + "/" + name
        self.assertEqual(len(disk), 4095)
        self.start("--disk", disk, *self.dir_option)
        self.assertEqual(locks(self.lock_file(disk)), "W---")

    def test_a_directory_that_is_missing_is_named(self):
        disk, nowhere = self.image(), self.path("nowhere")
        err = self.refused(MISSING, "--disk", disk, "--lock-dir", nowhere)
        self.assertIn("there is no lock directory %s" % nowhere, err)
        self.assertTrue(lockable(disk))

    def test_a_file_is_no_directory(self):
        disk = self.image()
        result = self.guestlock("run", "--disk", disk, "--lock-dir", disk,
                                "--", "true")
        self.assertNotEqual(result.returncode, OK)
        self.assertIn("%s is no directory" % disk, result.err)

    @unittest.skipIf(os.geteuid(), "needs root, to be somebody else")
    def test_without_permission_nothing_is_locked(self):
        disk = self.image()
        os.chmod(disk, 0o666)
        os.chmod(self.dir, 0o755)
        err = self.refused(DENIED, "--disk", disk, *self.dir_option,
                           **for_nobody(type(self)))
        self.assertIn(self.locks, err)
        self.assertTrue(lockable(disk))

    def test_a_directory_of_another_kind_does_not_matter_to_files(self):
        disk = self.image()
        guest = self.start("--disk", disk, "--lvm-lock-dir",
                           self.path("nowhere"), "--scsi-lock-dir",
                           self.path("nowhere"))
        self.assertEqual(self.paths(guest), [disk])


@unittest.skipUnless(can_unshare(), "needs root, for namespaces")
class Hosts(DirsCase):
    """Disks here and there that are copies: only the lock file is shared."""

    def setUp(self):
        super().setUp()
        # Mounted over in the other host's mount namespace.
        self.local = self.path("local")
        os.mkdir(self.local)
        self.disk = self.image("local/disk")

    def other_host(self, *words):
        hide = ('mount -t tmpfs none "$1" && touch "$1/disk" && shift && '
                'exec "$@"')
        return [*OTHER_HOST, "sh", "-c", hide, "sh", self.local, *words]

    def start_there(self, *options):
        guest = subprocess.Popen(
            self.other_host(GUESTLOCK, "run", *options, "--", "sh", "-c",
                            "echo up; exec sleep 600"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=self.dir)
        self.addCleanup(self.end, guest)
        self.assertEqual(guest.stdout.readline(), b"up\n")
        return guest

    def test_a_refusal_quotes_the_other_host(self):
        name = self.name("far")
        guest = self.start_there("--disk", self.disk, "--name", name,
                                 *self.dir_option)
        self.assertTrue(lockable(self.disk))
        record = self.record(self.disk)
        err = self.refused(HELD, "--disk", self.disk, *self.dir_option)
        self.assertIn("held by guest '%s' (uuid %s, pid %d) of host 'far-away'"
                      " since " % (name, record["uuid"], record["pid"]), err)
        result = self.guestlock("run", "--json", "--disk", self.disk,
                                *self.dir_option, "--", "true")
        (conflict,) = json.loads(result.out)["conflicts"]
        holder = conflict["holder"]
        self.assertEqual(
            [holder[k] for k in ("kind", "host", "name", "uuid", "pid")],
            ["host", "far-away", name, record["uuid"], record["pid"]])
        result = self.expect(OK, "who", self.disk, *self.dir_option)
        self.assertIn("far-away", result.out)
        self.end(guest)
        self.assertTrue(becomes_free(self.lock_file(self.disk)))
        self.start("--disk", self.disk, *self.dir_option)
        self.assertEqual(self.record(self.disk)["host"], os.uname().nodename)

    def test_a_shared_holder_is_not_who_had_it_exclusively(self):
        subprocess.run(
            self.other_host(GUESTLOCK, "run", "--disk", self.disk, "--name",
                            "dead", *self.dir_option, "--", "true"),
            stdin=subprocess.DEVNULL, check=True, cwd=self.dir, timeout=WAIT)
        self.assertEqual(self.record(self.disk)["name"], "dead")
        guest = self.start_there("--disk", self.disk + ",shared",
                                 *self.dir_option)
        err = self.refused(HELD, "--disk", self.disk, *self.dir_option)
        self.assertNotIn("dead", err)
        self.assertIn("somebody who cannot be seen", err)
        result = self.expect(OK, "who", self.disk, *self.dir_option)
        self.assertNotIn("dead", result.out)
        self.assertNotIn("free", result.out)
        self.end(guest)

    def test_and_the_other_way_round(self):
        guest = self.start("--disk", self.disk, "--name", "near",
                           *self.dir_option)
        result = subprocess.run(
            self.other_host(GUESTLOCK, "run", "--disk", self.disk,
                            *self.dir_option, "--", "true"),
            stdin=subprocess.DEVNULL, capture_output=True, cwd=self.dir,
            timeout=WAIT)
        self.assertEqual(result.returncode, HELD)
        self.assertIn(b"held by guest 'near' (uuid ", result.stderr)
        self.assertIn(b"pid %d) of host '%s' since " % (
            guest.pid, os.fsencode(os.uname().nodename)), result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
