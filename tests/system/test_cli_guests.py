#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Refusals, hotplug, and what a user without privileges gets."""

import fcntl
import json
import os
import re
import resource
import subprocess
import sys
import unittest
import uuid

from cli import (Case, DENIED, GUESTLOCK, HELD, INTERNAL, ISO, MISSING,
                 NOBODY, OK, ROOT, USAGE, UUID, becomes_free, for_nobody,
                 lockable, locks)


class Refusals(Case):
    def test_the_holder_is_named(self):
        name, disk = self.name(), self.image()
        guest = self.start("--name", name, "--disk", disk)
        err = self.refused(HELD, "--disk", disk)
        self.assertRegex(err, r"^guestlock: %s: held by guest '%s' \(uuid %s, "
                         r"pid %d\) since %sZ\n$" % (
                             re.escape(disk), name, UUID, guest.pid, ISO))

    def test_every_conflict_is_named(self):
        disks = [self.image("d%d" % i) for i in range(6)]
        one, two = self.name(), self.name()
        self.start("--name", one, "--disk", disks[1])
        self.start("--name", two, "--disk", disks[3], "--disk", disks[4])
        err = self.refused(HELD, *[a for d in disks for a in ("--disk", d)])
        self.assertEqual(len(err.splitlines()), 3)
        for disk, name in ((1, one), (3, two), (4, two)):
            self.assertRegex(err, r"d%d: held by guest '%s'" % (disk, name))
        for i in (0, 2, 5):
            self.assertTrue(lockable(disks[i]))

    def test_json_has_the_fields_of_the_contract(self):
        name, disk = self.name(), self.image()
        guest = self.start("--name", name, "--disk", disk)
        answer = json.loads(self.expect(
            HELD, "run", "--json", "--disk", disk, "true").out)
        self.assertEqual(set(answer), {"error", "conflicts"})
        self.assertEqual(answer["error"], "held")
        (conflict,) = answer["conflicts"]
        holder = conflict.pop("holder")
        self.assertEqual(conflict, {"path": disk, "mode": "exclusive"})
        self.assertRegex(holder.pop("uuid"), UUID)
        self.assertRegex(holder.pop("since"), ISO + r"\.\d{3}Z$")
        self.assertIn("sleep", os.path.basename(holder.pop("exe")) + "sleep")
        self.assertEqual(holder, {"kind": "guest", "name": name,
                                  "pid": guest.pid})

    def foreign(self, command, disk):
        """Another program's lock on byte 0: `command` is fcntl's."""
        code = ("import fcntl,os,struct,sys,time\n"
                "fd=os.open(sys.argv[1],os.O_RDWR)\n"
                "fcntl.fcntl(fd,%d,struct.pack('hhqqi4x',1,0,0,1,0))\n"
                "print('held',flush=True);time.sleep(600)\n" % command)
        holder = subprocess.Popen([sys.executable, "-c", code, disk],
                                  stdout=subprocess.PIPE)
        self.addCleanup(self.end, holder)
        self.assertEqual(holder.stdout.readline(), b"held\n")
        return holder

    def test_a_foreign_ofd_lock_is_traced_to_its_process(self):
        disk = self.image()
        holder = self.foreign(fcntl.F_OFD_SETLK, disk)
        exe = os.readlink("/proc/%d/exe" % holder.pid)
        err = self.refused(HELD, "--disk", disk)
        self.assertIn("%s: held by process %d (%s)" % (disk, holder.pid, exe),
                      err)

    def test_a_foreign_posix_lock_is_traced_to_its_process(self):
        disk = self.image()
        holder = self.foreign(fcntl.F_SETLK, disk)
        err = self.refused(HELD, "--disk", disk)
        self.assertIn("held by process %d (" % holder.pid, err)
        answer = json.loads(self.expect(
            HELD, "run", "--json", "--disk", disk, "true").out)
        found = answer["conflicts"][0]["holder"]
        self.assertEqual((found["kind"], found["pid"], found["uuid"]),
                         ("process", holder.pid, None))

    def test_shared_excludes_exclusive_only(self):
        disk = self.image()
        self.start("--disk", disk + ",shared")
        self.start("--disk", disk + ",readonly")
        self.assertTrue(lockable(disk, fcntl.F_RDLCK))
        self.assertFalse(lockable(disk))
        self.refused(HELD, "--disk", disk)

    def test_who_wants_to_share_learns_that_the_lock_is_exclusive(self):
        disk = self.image()
        self.start("--disk", disk)
        self.assertIn("held exclusively by guest", self.refused(
            HELD, "--disk", disk + ",shared"))

    def test_links_do_not_get_around_a_lock(self):
        disk = self.image()
        os.link(disk, self.path("hard"))
        os.symlink(disk, self.path("soft"))
        self.start("--disk", disk)
        self.refused(HELD, "--disk", self.path("hard"))
        self.refused(HELD, "--disk", self.path("soft"))


class Hotplug(Case):
    def setUp(self):
        super().setUp()
        self.first, self.second = self.image("first"), self.image("second")
        self.vm, self.uuid = self.name(), str(uuid.uuid4())
        self.guest = self.start("--name", self.vm, "--uuid", self.uuid,
                                "--disk", self.first)

    def selectors(self):
        return self.vm, self.uuid, self.uuid.upper(), str(self.guest.pid)

    def test_a_guest_is_found_by_name_uuid_and_pid(self):
        for selector in self.selectors():
            self.expect(OK, "attach-disk", selector, self.second)
            self.assertFalse(lockable(self.second))
            self.expect(OK, "detach-disk", selector, self.second)
            self.assertTrue(lockable(self.second))
            self.assertFalse(lockable(self.first))

    def test_a_plugged_disk_lives_and_dies_with_the_guest(self):
        self.expect(OK, "attach-disk", self.vm, self.second)
        self.assertEqual(self.paths(self.guest), [self.first, self.second])
        self.end(self.guest)
        self.assertTrue(becomes_free(self.first))
        self.assertTrue(becomes_free(self.second))

    def test_plugging_twice_is_one_lease(self):
        for _ in range(3):
            result = self.expect(OK, "attach-disk", self.vm, self.second)
            self.assertEqual((result.out, result.err), ("", ""))
        self.expect(OK, "attach-disk", self.vm, self.first)
        self.assertEqual(self.paths(self.guest), [self.first, self.second])
        self.expect(OK, "detach-disk", self.vm, self.second)
        self.assertTrue(lockable(self.second))

    def test_all_or_nothing(self):
        other = self.image("other")
        self.start("--disk", other)
        err = self.expect(HELD, "attach-disk", self.vm, self.second, other).err
        self.assertIn("other: held by guest", err)
        self.assertTrue(lockable(self.second))
        self.assertFalse(lockable(self.first))
        self.assertEqual(self.paths(self.guest), [self.first])

    def test_the_other_mode_is_an_error_and_changes_nothing(self):
        err = self.expect(USAGE, "attach-disk", self.vm,
                          self.first + ",shared").err
        self.assertIn("first", err)
        self.assertEqual(self.leases(self.guest)[0]["mode"], "exclusive")
        self.assertEqual(self.ask(USAGE, "attach-disk", self.vm,
                                  self.first + ",shared")["error"],
                         "other-mode")

    def test_disks_come_from_a_list_too(self):
        disks = [self.image("d%d" % i) for i in range(300)]
        with open(self.path("list"), "w") as f:
            f.write("\0".join(disks))
        self.expect(OK, "attach-disk", self.vm, "--disks-from",
                    self.path("list"), "-0", self.second)
        self.assertEqual(len(self.leases(self.guest)), 302)
        answer = self.ask(OK, "detach-disk", self.vm, "--disks-from",
                          self.path("list"), "-0")
        self.assertEqual(answer, {"released": 300})
        for disk in disks:
            self.assertTrue(lockable(disk))
        self.assertFalse(lockable(self.second))

    def test_releasing_what_is_not_held_is_fine_and_said(self):
        result = self.expect(OK, "detach-disk", self.vm, self.second)
        self.assertEqual(result.err, "guestlock: %s: not held by this guest\n"
                         % self.second)
        result = self.expect(OK, "detach-disk", self.vm, self.second,
                             self.path("gone"), self.first)
        self.assertEqual(result.err, "guestlock: 2 of 3 disks were not held "
                         "by this guest\n")
        self.assertTrue(lockable(self.first))
        result = self.expect(OK, "detach-disk", "-q", self.vm, self.second)
        self.assertEqual((result.out, result.err), ("", ""))
        self.assertEqual(self.ask(OK, "detach-disk", "-q", self.vm,
                                  self.second), {"released": 0})

    def test_another_guests_disk_is_not_released(self):
        other = self.image("other")
        self.start("--disk", other)
        self.expect(OK, "detach-disk", self.vm, other)
        self.assertFalse(lockable(other))

    def test_a_disk_is_released_by_any_of_its_names(self):
        os.link(self.first, self.path("hard"))
        self.expect(OK, "detach-disk", self.vm, self.path("hard"))
        self.assertTrue(lockable(self.first))

    def test_a_path_to_release_has_no_options(self):
        odd = self.image("a,shared")
        self.expect(OK, "attach-disk", self.vm, self.path("a,,shared"))
        self.assertFalse(lockable(odd))
        self.expect(OK, "detach-disk", self.vm, odd)
        self.assertTrue(lockable(odd))
        self.expect(USAGE, "detach-disk", self.vm, "")

    def test_a_missing_guest_is_66(self):
        for selector in ("cli-nobody", str(uuid.uuid4()), "1", "999999999"):
            for verb in ("attach-disk", "detach-disk"):
                self.assertIn(selector, self.expect(
                    MISSING, verb, selector, self.second).err)
        self.assertEqual(self.ask(MISSING, "attach-disk", "cli-nobody",
                                  self.second)["error"], "no-such-guest")
        self.assertTrue(lockable(self.second))

    def test_a_dead_guest_is_66(self):
        self.end(self.guest)
        self.expect(MISSING, "attach-disk", self.uuid, self.second)
        self.assertTrue(lockable(self.second))

    def test_a_name_that_two_guests_have_is_refused(self):
        self.start("--name", self.vm)
        err = self.expect(USAGE, "attach-disk", self.vm, self.second).err
        self.assertIn(self.vm, err)
        self.assertTrue(lockable(self.second))
        self.expect(OK, "attach-disk", self.uuid, self.second)

    def test_a_plugged_disk_is_refused_to_others(self):
        self.expect(OK, "attach-disk", self.vm, self.second + ",shared")
        self.assertIn("'%s'" % self.vm,
                      self.refused(HELD, "--disk", self.second))


@unittest.skipUnless(ROOT, "needs root to become another user")
class OtherUser(Case):
    """What a user without privileges gets."""

    @classmethod
    def setUpClass(cls):
        cls.nobody = for_nobody(cls)

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o777)
        self.user = dict(self.nobody)

    def image(self, name="disk.img", owner=NOBODY):
        path = super().image(name)
        os.chown(path, owner, owner)
        os.chmod(path, 0o600)
        return path

    def own(self, code, *args):
        return self.expect(code, *args, **self.user)

    def start_own(self, *options):
        return self.start(*options, **self.user)

    def skip_if_yama(self):
        try:
            with open("/proc/sys/kernel/yama/ptrace_scope") as f:
                scope = int(f.read())
        except FileNotFoundError:
            scope = 0
        if scope:
            self.skipTest("kernel.yama.ptrace_scope forbids it to users")

    def test_the_promise_is_kept_for_a_user(self):
        self.skip_if_yama()
        self.user["env"]["TMPDIR"] = self.dir
        answer = json.loads(self.own(OK, "demo", "--json").out)
        self.assertTrue(answer["ok"])
        self.assertEqual(os.listdir(self.dir), [])

    def test_the_doctor_tells_a_user_of_his_limits(self):
        answer = json.loads(self.guestlock("doctor", "--json",
                                           **self.user).out)
        found = {f["topic"]: f["text"] for f in answer["findings"]}
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertIn("at most %d disks" % hard, found["parked locks"])

    def test_a_user_locks_and_plugs_his_own_disks(self):
        self.skip_if_yama()
        disk, more = self.image(), self.image("more")
        name = self.name()
        guest = self.start_own("--name", name, "--disk", disk)
        self.assertFalse(lockable(disk))
        self.own(OK, "attach-disk", name, more)
        self.assertFalse(lockable(more))
        found = json.loads(self.own(OK, "ls", "--json", name).out)
        self.assertEqual(len(found["guests"][0]["leases"]), 2)
        self.assertEqual(found["guests"][0]["uid"], NOBODY)
        self.own(OK, "detach-disk", str(guest.pid), disk)
        self.assertTrue(lockable(disk))

    def test_a_user_hands_his_own_guest_over(self):
        self.skip_if_yama()
        disk, id_ = self.image(), str(uuid.uuid4())
        options = ("--uuid", id_, "--disk", disk)
        source = self.start_own(*options)
        self.own(OK, "migrate", "prepare", id_, "localhost")
        self.start(*options, verb=("migrate", "incoming"), **self.user)
        self.own(OK, "migrate", "out", id_)
        self.own(OK, "migrate", "in", id_)
        self.end(source)
        self.own(OK, "migrate", "in", id_)
        self.assertEqual(locks(disk), "W---")

    def test_a_disk_that_he_may_not_open_is_77(self):
        mine, roots = self.image(), self.image("roots", owner=0)
        result = self.own(DENIED, "run", "--disk", mine, "--disk", roots,
                          "true")
        self.assertIn("roots", result.err)
        self.assertIn("Permission denied", result.err)
        self.assertTrue(lockable(mine))
        self.assertTrue(lockable(roots))

    def test_a_guest_of_roots_is_not_his_to_change(self):
        name, mine = self.name(), self.image()
        guest = self.start("--name", name)
        result = self.own(DENIED, "attach-disk", str(guest.pid), mine)
        self.assertTrue(lockable(mine))
        self.assertTrue(result.err.startswith("guestlock: "))

    def test_guests_of_others_are_counted_not_shown(self):
        guest = self.start("--disk", self.image("r", owner=0))
        result = self.own(OK, "ls", "--json")
        answer = json.loads(result.out)
        self.assertNotIn(guest.pid, [g["pid"] for g in answer["guests"]])
        self.assertGreaterEqual(answer["denied"], 1)
        self.assertIn("may not look into", result.err)
        self.assertEqual(self.own(OK, "ls", "--json", "--quiet").err, "")

    def test_root_does_not_take_a_users_word_for_a_name(self):
        name, disk = self.name(), self.image()
        mine = self.start_own("--name", name, "--disk", disk)
        err = self.refused(HELD, "--disk", disk)
        self.assertIn("held by process %d (" % mine.pid, err)
        self.expect(MISSING, "attach-disk", name, self.image("x"))

    def test_the_limit_of_parked_locks_is_clear_and_takes_nothing(self):
        """In flight a user may have as many as his RLIMIT_NOFILE."""
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

        disks = [self.image("d%d" % i) for i in range(200)]
        args = [("--disk", d) for d in disks]
        self.user["preexec_fn"] = limit
        guests = [self.start_own(*sum(args[i:i + 50], ()))
                  for i in (0, 50, 100)]
        result = self.own(INTERNAL, "run", *sum(args[150:], ()), "true")
        self.assertIn("RLIMIT_NOFILE", result.err)
        for disk in disks[150:]:
            self.assertTrue(becomes_free(disk))
        for disk in disks[:150]:
            self.assertFalse(lockable(disk))
        self.end(guests[0])
        self.own(OK, "run", *sum(args[150:], ()), "true")


if __name__ == "__main__":
    unittest.main(verbosity=2)
