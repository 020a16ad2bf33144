#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who else has a disk open, and disks that are shared or only read."""

import errno
import fcntl
import os
import subprocess
import sys
import unittest

from cli import HELD, OK, ROOT, WAIT, Case, lockable, peek_capsule


class Openers(Case):
    def opener(self, path, mode="r+b"):
        """A process that has it open, and locks nothing."""
        process = subprocess.Popen(
            [sys.executable, "-c",
             "import sys; f = open(sys.argv[1], %r); print('open', "
             "flush=True); sys.stdin.read()" % mode, path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.close, process)
        self.assertEqual(process.stdout.readline(), b"open\n")
        return process

    @staticmethod
    def close(process):
        process.stdin.close()
        process.wait(WAIT)
        process.stdout.close()

    def test_require_refuses_and_names_each_opener(self):
        disk = self.image()
        writer, reader = self.opener(disk), self.opener(disk, "rb")
        err = self.refused(HELD, "--exclusive-open", "require",
                           "--disk", disk)
        lines = err.splitlines()
        self.assertEqual(len(lines), 2, err)
        for process, how in ((writer, "has it open for writing"),
                             (reader, "has it open")):
            (line,) = [l for l in lines if "process %d (" % process.pid in l]
            self.assertTrue(line.startswith("guestlock: %s: " % disk), line)
            self.assertTrue(line.endswith(" " + how), line)
        self.assertTrue(lockable(disk))

        self.close(writer)
        self.assertEqual(len(self.refused(HELD, "--exclusive-open=require",
                                          "--disk", disk).splitlines()), 1)
        self.close(reader)
        self.expect(OK, "run", "--exclusive-open", "require", "--disk", disk,
                    "--", "true")

    def test_warn_takes_the_disk_and_says_so(self):
        disk, mark = self.image(), self.path("ran")
        opener = self.opener(disk, "rb")
        result = self.expect(OK, "run", "--exclusive-open=warn", "--disk",
                             disk, "--", "touch", mark)
        self.assertTrue(os.path.exists(mark))
        self.assertTrue(result.err.startswith(
            "guestlock: warning: %s: process %d (" % (disk, opener.pid)),
            result.err)
        self.assertEqual(result.out, "")
        # Standard output is the guest's.
        result = self.expect(OK, "run", "--json", "--exclusive-open=warn",
                             "--disk", disk, "--", "true")
        self.assertEqual(result.out, "")
        self.assertIn("process %d (" % opener.pid, result.err)
        result = self.expect(OK, "run", "--exclusive-open=warn", "--quiet",
                             "--disk", disk, "--", "true")
        self.assertEqual(result.err, "")
        self.assertEqual(self.expect(OK, "run", "--disk", disk, "--",
                                     "true").err, "")

    def test_a_plugged_disk_is_warned_of_in_json(self):
        guest = self.start("--disk", self.image())
        disk, other = self.image("more"), self.image("other")
        opener = self.opener(disk)
        answer = self.ask(OK, "attach-disk", "--exclusive-open=warn",
                          str(guest.pid), disk, other)
        (warning,) = answer["warnings"]
        self.assertEqual(warning["path"], disk)
        self.assertEqual(warning["mode"], "exclusive")
        holder = warning["holder"]
        self.assertEqual((holder["kind"], holder["pid"], holder["exe"],
                          holder["how"]),
                         ("process", opener.pid,
                          os.path.realpath(sys.executable),
                          "has it open for writing"))
        self.assertIn(disk, self.paths(guest))
        # It has been taken: nobody is asked any more.
        answer = self.ask(OK, "attach-disk", "--exclusive-open=warn",
                          str(guest.pid), disk)
        self.assertEqual(answer, {"warnings": []})

    def test_a_refused_plug_is_75_in_json(self):
        guest = self.start("--disk", self.image())
        disk = self.image("more")
        opener = self.opener(disk, "rb")
        answer = self.ask(HELD, "attach-disk", "--exclusive-open=require",
                          str(guest.pid), disk)
        (conflict,) = answer["conflicts"]
        self.assertEqual(conflict["holder"]["pid"], opener.pid)
        self.assertEqual(conflict["holder"]["how"], "has it open")
        self.assertTrue(lockable(disk))

    @unittest.skipUnless(os.stat("/proc/self/ns/pid").st_ino == 0xeffffffc,
                         "elsewhere not all processes are seen")
    def test_the_guest_may_have_it_open_already(self):
        first, disk = self.image(), self.image("more")
        guest = subprocess.Popen(
            [os.environ["GUESTLOCK_COMMAND"], "run", "--disk", first, "--",
             "sh", "-c", 'exec 9<>"$0"; echo $$; exec sleep 600', disk],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(self.end, guest)
        self.assertEqual(guest.stdout.readline(), b"%d\n" % guest.pid)
        self.expect(OK, "attach-disk", "--exclusive-open=require",
                    str(guest.pid), disk)
        self.assertEqual(self.paths(guest), sorted((first, disk)))


class Shared(Case):
    def parked(self, guest, disk):
        """The descriptor of a disk that is parked in the guest."""
        there = os.stat(disk)
        fds = peek_capsule(guest.pid)
        for fd in fds:
            self.addCleanup(os.close, fd)
        (found,) = [fd for fd in fds
                    if (os.fstat(fd).st_dev, os.fstat(fd).st_ino) ==
                    (there.st_dev, there.st_ino)]
        return found

    @unittest.skipUnless(ROOT, "needs root")
    def test_what_is_shared_or_read_only_is_parked_read_only(self):
        for word in ("shared", "readonly"):
            disk = self.image(word)
            guest = self.start("--disk", "%s,%s" % (disk, word))
            fd = self.parked(guest, disk)
            self.assertEqual(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE,
                             os.O_RDONLY)
            with self.assertRaises(OSError) as caught:
                os.write(fd, b"x")
            self.assertEqual(caught.exception.errno, errno.EBADF)
            self.assertFalse(lockable(disk))
            self.assertTrue(lockable(disk, fcntl.F_RDLCK))
            err = self.refused(HELD, "--disk", disk)
            self.assertIn("pid %d" % guest.pid, err)
            self.expect(OK, "run", "--disk", disk + ",shared", "--", "true")

    @unittest.skipUnless(ROOT, "needs root")
    def test_to_write_a_shared_disk_takes_the_files_own_permission(self):
        """Parked read-only, it can be opened anew as its mode allows."""
        script = ("import os, sys\n"
                  "os.setresgid(65534, 65534, 65534)\n"
                  "os.setresuid(65534, 65534, 65534)\n"
                  "try:\n"
                  "    os.open('/proc/self/fd/%s' % sys.argv[1], os.O_RDWR)\n"
                  "except PermissionError:\n"
                  "    sys.exit(3)\n")
        disk = self.image("golden")
        guest = self.start("--disk", disk + ",shared")
        fd = self.parked(guest, disk)
        for mode, code in ((0o644, 3), (0o666, 0)):
            os.chmod(disk, mode)
            done = subprocess.run([sys.executable, "-c", script, str(fd)],
                                  pass_fds=[fd], timeout=WAIT, cwd="/")
            self.assertEqual(done.returncode, code, oct(mode))

    def test_a_read_only_disk_can_be_skipped(self):
        disk, iso = self.image(), self.image("tools.iso")
        guest = self.start("--readonly=skip", "--disk", disk,
                           "--disk", iso + ",readonly",
                           "--disk", self.path("is-not-there") + ",readonly")
        self.assertEqual(self.paths(guest), [disk])
        self.assertTrue(lockable(iso))
        self.expect(OK, "attach-disk", "--readonly=skip", str(guest.pid),
                    iso + ",readonly")
        self.assertEqual(self.paths(guest), [disk])
        self.expect(OK, "run", "--disk", iso, "--", "true")
        # Without the option it is locked.
        self.expect(OK, "attach-disk", "--readonly=lock", str(guest.pid),
                    iso + ",readonly")
        self.assertFalse(lockable(iso))
        self.assertEqual(self.paths(guest), sorted((disk, iso)))

    def test_a_lease_is_never_skipped(self):
        disk, lease = self.image(), self.image("lease")
        guest = self.start("--readonly=skip", "--disk", disk,
                           "--disk", lease + ",lease,readonly")
        self.assertEqual(self.paths(guest), sorted((disk, lease)))

    def test_a_disk_that_is_both_is_skipped_and_taken(self):
        disk = self.image()
        guest = self.start("--readonly=skip", "--disk", disk,
                           "--disk", disk + ",readonly")
        (lease,) = self.leases(guest)
        self.assertEqual((lease["path"], lease["mode"]), (disk, "exclusive"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
