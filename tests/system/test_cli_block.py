# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command and block devices: what it prints, and what it takes from whom."""

import json
import os
import resource
import shutil
import stat
import subprocess
import time
import unittest

from cli import (GUESTLOCK, HELD, OK, ROOT, USAGE, Case, becomes_free,
                 lockable)

LOOP = ROOT and os.access("/dev/loop-control", os.W_OK)


@unittest.skipUnless(LOOP, "needs root and loop devices")
class Block(Case):
    def setUp(self):
        super().setUp()
        os.environ["GUESTLOCK_HOST_DIR"] = self.path("locks")
        self.addCleanup(os.environ.pop, "GUESTLOCK_HOST_DIR")
        self.good = self.image("good")
        image = self.path("image")
        with open(image, "wb") as f:
            f.truncate(64 << 20)
        self.disk = subprocess.check_output(
            ["losetup", "--find", "--show", image], text=True).strip()
        self.addCleanup(subprocess.check_call, ["losetup", "-d", self.disk])

    def alias(self):
        node = self.path("alias")
        os.mknod(node, stat.S_IFBLK | 0o600, os.stat(self.disk).st_rdev)
        return node

    def test_a_device_is_listed_as_one(self):
        guest = self.start("--disk", self.disk)
        (lease,) = self.leases(guest)
        self.assertEqual(lease["type"], "block")
        self.assertEqual(lease["path"], self.disk)
        self.assertEqual(lease["scope"], "host")
        self.assertTrue(lease["held"] and lease["same_file"])
        self.expect(OK, "check", str(guest.pid))

    def test_the_holder_is_named_by_any_node(self):
        guest = self.start("--disk", self.disk)
        alias = self.alias()
        for path in (self.disk, alias):
            (holder,) = self.ask(OK, "who", path)["disks"][0]["holders"]
            self.assertEqual(holder["pid"], guest.pid)
            self.assertIn("pid %d" % guest.pid,
                          self.refused(HELD, "--disk", self.good,
                                       "--disk", path))
            self.assertTrue(lockable(self.good))

    def test_a_device_is_plugged_and_unplugged_by_any_node(self):
        guest = self.start("--disk", self.good)
        self.expect(OK, "attach-disk", str(guest.pid), self.disk)
        self.assertFalse(lockable(self.disk))
        self.expect(OK, "detach-disk", str(guest.pid), self.alias())
        self.assertTrue(lockable(self.disk))
        (name,) = os.listdir(self.path("locks"))
        self.assertTrue(lockable(os.path.join(self.path("locks"), name)))

    def test_only_a_device_can_be_claimed(self):
        self.assertIn("only a block device can be claimed",
                      self.refused(USAGE, "--disk", self.good + ",claim"))
        self.assertTrue(lockable(self.good))

    def test_a_mount_is_told(self):
        where = self.path("mnt")
        os.mkdir(where)
        subprocess.check_call(["mkfs.ext4", "-q", "-F", self.disk])
        subprocess.check_call(["mount", self.disk, where])
        try:
            self.assertIn("the kernel has it mounted at " + where,
                          self.refused(HELD, "--disk", self.disk + ",claim"))
            result = self.expect(HELD, "run", "--json", "--disk",
                                 self.disk + ",claim", "--", "true")
            (conflict,) = json.loads(result.out)["conflicts"]
            self.assertEqual(conflict["holder"]["kind"], "kernel")
            self.assertEqual(conflict["holder"]["how"],
                             "has it mounted at " + where)
            # By then it has the lock itself, which is no answer.
            self.assertIn("the kernel has it mounted at " + where,
                          self.refused(HELD, "--exclusive-open=require",
                                       "--disk", self.disk))
        finally:
            subprocess.check_call(["umount", where])

    def test_a_claim_keeps_mkfs_away(self):
        guest = self.start("--disk", self.disk + ",claim")
        mkfs = subprocess.run(["mkfs.ext4", "-q", self.disk],
                              stdin=subprocess.DEVNULL, capture_output=True)
        self.assertNotEqual(mkfs.returncode, 0)
        self.end(guest)

    def partition(self):
        subprocess.check_call(["addpart", self.disk, "1", "2048", "8192"])
        self.addCleanup(subprocess.check_call, ["delpart", self.disk, "1"])
        node = self.path("part")
        with open("/sys/class/block/%sp1/dev" %
                  os.path.basename(self.disk)) as f:
            major, minor = map(int, f.read().split(":"))
        os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(major, minor))
        return node

    def test_who_lacks_descriptors_gets_no_relative_of_a_held_disk(self):
        part = self.partition()
        for held, wanted in ((self.disk, part), (part, self.disk)):
            guest = self.start("--disk", held)
            for limit in range(4, 40):
                result = subprocess.run(
                    [GUESTLOCK, "run", "--disk", wanted, "--", "true"],
                    preexec_fn=lambda: resource.setrlimit(
                        resource.RLIMIT_NOFILE, (limit, limit)),
                    capture_output=True)
                self.assertNotEqual(result.returncode, OK, (limit, held))
            self.end(guest)

    def test_deleting_the_host_directory_loses_no_lock(self):
        part = self.partition()
        for held, others in ((self.disk, (self.alias(), part)),
                             (part, (self.disk,))):
            guest = self.start("--disk", held)
            shutil.rmtree(self.path("locks"))
            for path in others:
                for mode in ("", ",shared", ""):
                    self.assertIn("pid %d" % guest.pid,
                                  self.refused(HELD, "--disk", path + mode))
            self.end(guest)
            for path in others:
                self.expect(OK, "run", "--disk", path, "--", "true")

    def test_what_the_guest_has_claimed_it_may_claim_again(self):
        guest = self.start("--disk", self.disk + ",claim")
        for words in ([], [self.good]):
            self.expect(OK, "attach-disk", str(guest.pid), *words,
                        self.disk + ",claim")
        self.assertEqual(sorted(self.paths(guest)),
                         sorted([self.good, self.disk]))
        self.assertRaises(OSError, os.open, self.disk,
                          os.O_RDONLY | os.O_EXCL)
        result = self.expect(USAGE, "attach-disk", str(guest.pid),
                             self.disk + ",shared,claim")
        self.assertIn("the guest holds it already, in another mode",
                      result.err)

    def test_a_claim_is_not_forgotten(self):
        guest = self.start("--disk", self.disk)
        result = self.expect(USAGE, "attach-disk", str(guest.pid),
                             self.disk + ",claim")
        self.assertIn("the guest holds it already, without a claim",
                      result.err)
        self.assertEqual(self.paths(guest), [self.disk])
        self.end(guest)
        self.assertTrue(becomes_free(self.disk))
        result = self.expect(USAGE, "run", "--disk", self.disk, "--disk",
                             self.disk + ",claim", "--", "true")
        self.assertIn("wanted both with and without a claim", result.err)

    def test_the_kernels_use_of_a_guests_disk_is_no_claim_of_the_guest(self):
        where = self.path("mnt")
        os.mkdir(where)
        subprocess.check_call(["mkfs.ext4", "-q", "-F", self.disk])
        guest = self.start("--disk", self.disk)
        subprocess.check_call(["mount", self.disk, where])
        try:
            result = self.expect(HELD, "attach-disk", str(guest.pid),
                                 self.disk + ",claim")
            self.assertIn("the kernel has it mounted at " + where, result.err)
        finally:
            subprocess.check_call(["umount", where])

    def test_a_claim_is_waited_for(self):
        holder = os.open(self.disk, os.O_RDONLY | os.O_EXCL)
        self.addCleanup(lambda: holder is None or os.close(holder))
        wait = "run", "--wait", "1", "--disk", self.disk + ",claim"
        result = self.expect(HELD, *wait, "--", "true")
        self.assertIn("somebody who cannot be seen from here has claimed it",
                      result.err)
        os.close(holder)
        holder = None
        guest = subprocess.Popen(
            [GUESTLOCK, "run", "--disk", self.disk + ",claim", "--", "sh",
             "-c", "echo up; sleep 1"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, cwd=self.dir)
        self.addCleanup(self.end, guest)
        self.assertEqual(guest.stdout.readline(), b"up\n")
        self.expect(OK, "run", "--wait", "30", "--disk", self.good, "--disk",
                    self.disk + ",claim", "--", "true")

    def test_who_has_the_disk_of_a_partition_is_named(self):
        part = self.partition()
        self.expect(OK, "who", "--quiet", part)
        for held, asked, how in (
                (self.disk, part, "of which it is a part"),
                (part, self.disk, "holds its partition")):
            guest = self.start("--disk", held)
            (holder,) = self.ask(OK, "who", asked)["disks"][0]["holders"]
            self.assertEqual(holder["pid"], guest.pid)
            self.assertIn(how, self.expect(OK, "who", asked).out)
            self.expect(HELD, "who", "--quiet", asked)
            self.refused(HELD, "--disk", asked)
            self.end(guest)
            self.assertTrue(becomes_free(held))
        self.start("--disk", self.disk, "--disk", part)
        answer = self.expect(OK, "who", part).out
        self.assertIn("held exclusively by", answer)
        self.assertIn("of which it is a part", answer)

    def test_a_disk_and_its_partition_claimed_by_one_call_are_told_so(self):
        part = self.partition()
        result = self.expect(HELD, "run", "--disk", self.disk + ",claim",
                             "--disk", part + ",claim", "--", "true")
        self.assertIn("has claimed it for another disk of this call",
                      result.err)

    def test_a_call_in_its_own_way_is_told_so(self):
        start = time.monotonic()
        result = self.expect(HELD, "run", "--wait", "30", "--disk",
                             self.disk + ",claim", "--disk",
                             self.alias() + ",claim", "--", "true")
        self.assertIn("has claimed it for another disk of this call",
                      result.err)
        self.assertLess(time.monotonic() - start, 30)


if __name__ == "__main__":
    unittest.main(verbosity=2)
