# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command and block devices: what it prints, and what it takes from whom."""

import json
import os
import stat
import subprocess
import unittest

from cli import HELD, OK, ROOT, USAGE, Case, lockable

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
        self.assertEqual(os.listdir(self.path("locks")), [])

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


if __name__ == "__main__":
    unittest.main()
