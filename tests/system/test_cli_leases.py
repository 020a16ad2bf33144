#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leases, a lease for a whole guest, and options from a file."""

import fcntl
import json
import os
import re
import stat
import subprocess
import sys
import unittest
import uuid

from cli import (Case, GUESTLOCK, HELD, MISSING, OK, UUID, USAGE, WAIT,
                 becomes_free, lockable, locks)


class Leases(Case):
    def setUp(self):
        super().setUp()
        self.space = self.path("lockspace")
        os.mkdir(self.space)

    def key(self, key):
        return os.path.join(self.space, key)

    def lease(self, *keys):
        return "--lockspace", self.space, *[
            a for k in keys for a in ("--lease", k)]

    def test_a_lease_is_a_file_of_its_lockspace_as_virtlockd_has_it(self):
        self.start(*self.lease("web1"))
        self.assertEqual(os.listdir(self.space), ["web1"])
        info = os.stat(self.key("web1"))
        self.assertTrue(stat.S_ISREG(info.st_mode))
        self.assertEqual((stat.S_IMODE(info.st_mode), info.st_size), (0o600, 0))
        self.assertEqual(locks(self.key("web1")), "W---")

    def test_two_guests_never_have_one_lease(self):
        name, disk = self.name(), self.image()
        guest = self.start("--name", name, *self.lease("web1"))
        err = self.refused(HELD, "--disk", disk, *self.lease("other", "web1"))
        self.assertRegex(err, r"^guestlock: %s: held by guest '%s' \(uuid %s, "
                         r"pid %d\) since " % (re.escape(self.key("web1")),
                                               name, UUID, guest.pid))
        self.assertTrue(lockable(disk))
        guest.kill()
        guest.wait(WAIT)
        self.assertTrue(becomes_free(self.key("web1")))
        self.start("--name", self.name(), *self.lease("web1"))
        self.assertFalse(lockable(self.key("web1")))

    def test_a_lease_of_virtlockds_is_respected(self):
        path = self.key("k")
        code = ("import fcntl,sys,time\n"
                "f=open(sys.argv[1],'w')\n"
                "fcntl.lockf(f,fcntl.LOCK_EX,1,0)\n"
                "print('held',flush=True);time.sleep(600)\n")
        holder = subprocess.Popen([sys.executable, "-c", code, path],
                                  stdout=subprocess.PIPE)
        self.addCleanup(self.end, holder)
        self.assertEqual(holder.stdout.readline(), b"held\n")
        err = self.refused(HELD, *self.lease("k"))
        self.assertIn("held by process %d (" % holder.pid, err)
        self.assertTrue(os.path.exists(path))

    def test_ls_tells_leases_from_disks(self):
        disk = self.image()
        guest = self.start("--disk", disk, *self.lease("a"))
        self.assertEqual({l["path"]: l["type"] for l in self.leases(guest)},
                         {disk: "file", self.key("a"): "lease"})

    def test_a_lease_is_plugged_and_unplugged(self):
        name = self.name()
        guest = self.start("--name", name)
        self.expect(OK, "attach-disk", name, *self.lease("a", "b"))
        self.expect(OK, "attach-disk", name, self.key("c") + ",lease")
        self.assertEqual(self.paths(guest), [self.key(k) for k in "abc"])
        for key in "abc":
            self.assertFalse(lockable(self.key(key)))
        answer = self.ask(OK, "detach-disk", name, *self.lease("a"))
        self.assertEqual(answer, {"released": 1})
        self.expect(OK, "detach-disk", name, self.key("c"))
        self.assertEqual(os.listdir(self.space), ["b"])
        self.assertFalse(lockable(self.key("b")))
        self.assertEqual(self.paths(guest), [self.key("b")])
        self.start(*self.lease("a"))

    def test_a_refused_lease_is_not_plugged(self):
        name, disk = self.name(), self.image()
        self.start(*self.lease("a"))
        guest = self.start("--name", name)
        self.expect(HELD, "attach-disk", name, disk, *self.lease("a"))
        self.assertTrue(lockable(disk))
        self.assertEqual(self.leases(guest), [])

    def test_a_lockspace_must_exist(self):
        disk = self.image()
        err = self.refused(MISSING, "--disk", disk, "--lockspace",
                           self.path("none"), "--lease", "k")
        self.assertIn("none/k", err)
        self.assertFalse(os.path.exists(self.path("none")))
        self.assertTrue(lockable(disk))

    def test_bad_keys_and_lone_options(self):
        for key in ("", ".", "..", "a/b", "../a"):
            self.assertIn("--lease", self.refused(USAGE, *self.lease(key)))
        self.refused(USAGE, "--lease", "k")
        self.refused(USAGE, "--lockspace", self.space)
        guest = self.start()
        for verb in ("attach-disk", "detach-disk"):
            self.expect(USAGE, verb, str(guest.pid), "--lease", "k")
            self.expect(USAGE, verb, str(guest.pid), "--lockspace", "/x")
        self.assertEqual(os.listdir(self.space), [])


class WholeGuest(Case):
    def setUp(self):
        super().setUp()
        self.space = self.path("lockspace")
        os.mkdir(self.space)
        self.uuid = str(uuid.uuid4())

    def options(self, uuid_):
        return "--vm", "--lockspace", self.space, "--uuid", uuid_

    def test_one_lease_is_taken_and_no_disk(self):
        disk = self.image()
        guest = self.start(*self.options(self.uuid), "--disk", disk, "--disk",
                           self.path("none"), "--lease", "k")
        self.assertEqual(os.listdir(self.space), [self.uuid])
        self.assertEqual(locks(os.path.join(self.space, self.uuid)), "W---")
        self.assertTrue(lockable(disk))
        self.assertEqual(self.paths(guest),
                         [os.path.join(self.space, self.uuid)])

    def test_a_guest_runs_once_however_its_uuid_is_spelt(self):
        guest = self.start(*self.options(self.uuid.upper()))
        for spelling in (self.uuid, self.uuid.upper()):
            err = self.refused(HELD, *self.options(spelling))
            self.assertIn("(uuid %s, pid %d)" % (self.uuid, guest.pid), err)
        self.start(*self.options(str(uuid.uuid4())))

    def test_a_whole_guest_is_handed_over(self):
        path = os.path.join(self.space, self.uuid)
        source = self.start(*self.options(self.uuid))
        self.expect(OK, "migrate", "prepare", self.uuid, "localhost")
        destination = self.start(*self.options(self.uuid),
                                 verb=("migrate", "incoming"))
        self.expect(OK, "migrate", "out", self.uuid)
        self.expect(OK, "migrate", "in", self.uuid)
        self.end(source)
        err = self.refused(HELD, *self.options(self.uuid))
        self.assertIn("pid %d)" % destination.pid, err)
        self.end(destination)
        self.assertTrue(becomes_free(path))

    def test_place_and_uuid_are_needed(self):
        self.refused(USAGE, "--vm", "--uuid", self.uuid)
        self.refused(USAGE, "--vm", "--lockspace", self.space)


class ArgsFrom(Case):
    def memfd(self, *words):
        """A sealed memory file of this process, by its name for others."""
        fd = os.memfd_create("args", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.addCleanup(os.close, fd)
        with open(fd, "wb", closefd=False) as f:
            f.write(b"".join(os.fsencode(w) + b"\0" for w in words))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL |
                    fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW |
                    fcntl.F_SEAL_SHRINK)
        return "/proc/%d/fd/%d" % (os.getpid(), fd)

    def test_2000_disks_with_long_paths_fit(self):
        names = ["%04d%s" % (i, "x" * 196) for i in range(2000)]
        disks = [self.image(n) for n in names]
        words = [w for d in disks for w in ("--disk", d)]
        guest = self.start("--args-from", self.memfd(
            "--name", self.name(), *words, "--id", "7"))
        for disk in disks:
            self.assertFalse(lockable(disk))
        (found,) = self.ask(OK, "ls", str(guest.pid))["guests"]
        self.assertEqual(found["id"], 7)
        self.assertEqual(sorted(l["path"] for l in found["leases"]), disks)
        self.end(guest)
        for disk in disks:
            self.assertTrue(becomes_free(disk))

    def test_options_may_stand_on_both_sides_of_it(self):
        a, b, c = self.image("a"), self.image("b,c"), self.image("d e\n")
        guest = self.start("--disk", a, "--args-from", self.memfd(
            "--disk", self.path("b,,c") + ",shared"), "--disk", c)
        self.assertEqual({l["path"]: l["mode"] for l in self.leases(guest)},
                         {a: "exclusive", b: "shared", c: "exclusive"})

    def test_bad_files_lock_nothing(self):
        disk = self.image()
        for words, why in ((("--disk", disk, "true"), "'true' is not an"),
                           (("--", "true"), "'--' is not an option"),
                           (("--args-from", "x"), "--args-from stands in"),
                           (("--disk",), "no value after '--disk'")):
            err = self.refused(USAGE, "--disk", disk, "--args-from",
                               self.memfd(*words))
            self.assertIn(why, err)
            self.assertTrue(lockable(disk))
        self.assertIn("No such file", self.refused(
            MISSING, "--disk", disk, "--args-from", self.path("none")))

    def test_a_tag_is_in_the_capsules_name(self):
        id_ = str(uuid.uuid4())
        self.start("--args-from", self.memfd("--tag", "0BadC0ffee",
                                             "--uuid", id_))
        with open("/proc/net/unix") as f:
            (name,) = {w for line in f for w in line.split()
                       if "guestlock/1/%s/" % id_ in w}
        self.assertEqual(int(name.split("/")[-1], 16), 0x0badc0ffee)

    def test_failures_in_json_count_from_the_file(self):
        disk = self.image()
        self.start("--disk", disk)
        out = self.expect(HELD, "run", "--disk", disk, "--args-from",
                          self.memfd("--json"), "true").out
        self.assertEqual(json.loads(out)["error"], "held")


if __name__ == "__main__":
    unittest.main(verbosity=2)
