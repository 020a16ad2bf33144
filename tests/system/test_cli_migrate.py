#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlock migrate: two processes, one directory, and a third that tries.

Nothing of one side is known to the other but its uuid and the disks. What a
side holds is asked of the kernel, byte by byte: see locks().
"""

import fcntl
import os
import re
import subprocess
import unittest
import uuid

from cli import (Case, DRIFT, GUESTLOCK, HELD, INTERNAL, ISO, MISSING, OK,
                 USAGE, WAIT, becomes_free, flock, locks, peek_capsule)

# Bytes 0, 2, 3 and 4: owner, successor, writer, predecessor.
FREE = "----"
OWNER = "W---"
PREPARED = "R-WW"
CLAIMED = "RWWW"  # prepared, and a destination has claimed it
LEFT = "RW-W"     # left, and claimed
LEFT_ALONE = "R--W"
INCOMING_ALONE = "RW--"
ARRIVED = "RWWW"  # arrived, and the source is still there
ARRIVED_ALONE = "RWW-"


class Migration(Case):
    def setUp(self):
        super().setUp()
        self.vm, self.uuid = self.name(), str(uuid.uuid4())
        self.disks = [self.image("a"), self.image("b")]
        self.source = self.start(*self.options())

    def options(self, *more):
        disks = [a for d in self.disks for a in ("--disk", d)]
        return "--uuid", self.uuid, "--name", self.vm, *disks, *more

    def prepare(self):
        self.expect(OK, "migrate", "prepare", self.uuid, "localhost")

    def incoming(self, *more):
        return self.start(*self.options("--epoch", "1", *more),
                          verb=("migrate", "incoming"))

    def out(self):
        self.expect(OK, "migrate", "out", self.uuid)

    def arrive(self):
        self.expect(OK, "migrate", "in", self.uuid)

    def claimed(self):
        self.prepare()
        return self.incoming()

    def left(self):
        destination = self.claimed()
        self.out()
        return destination

    def arrived(self):
        destination = self.left()
        self.arrive()
        return destination

    def cancel(self, side):
        self.expect(OK, "migrate", "cancel", "--side", side, self.uuid)

    def assert_locks(self, want):
        self.assertEqual([locks(d) for d in self.disks],
                         [want] * len(self.disks))

    def assert_roles(self, guest, role, held):
        self.assertEqual({(l["role"], l["held"]) for l in self.leases(guest)},
                         {(role, held)})

    def assert_refused(self, *guests):
        """To a third party, in either mode; one of @guests is named."""
        pids = "|".join(str(g.pid) for g in guests)
        for mode in ("", ",shared"):
            for disk in self.disks:
                err = self.refused(HELD, "--disk", disk + mode)
                self.assertRegex(err, r"%s: held (exclusively )?by guest '%s' "
                                 r"\(uuid %s, pid (%s)\)" % (
                                     re.escape(disk), self.vm, self.uuid, pids))

    def assert_free(self):
        for disk in self.disks:
            self.assertTrue(becomes_free(disk))
        self.assert_locks(FREE)


class HandOver(Migration):
    def test_a_guest_is_handed_over_and_nobody_gets_in_between(self):
        self.assert_locks(OWNER)
        self.assert_refused(self.source)
        self.prepare()
        self.assert_locks(PREPARED)
        self.assert_refused(self.source)
        destination = self.incoming()
        self.assert_locks(CLAIMED)
        self.assert_refused(self.source, destination)
        self.out()
        self.assert_locks(LEFT)
        self.assert_refused(self.source, destination)
        self.arrive()
        self.assert_locks(ARRIVED)
        self.assert_refused(self.source, destination)
        self.end(self.source)
        self.assert_locks(ARRIVED_ALONE)
        self.assert_refused(destination)
        self.arrive()
        self.assert_locks(OWNER)
        self.assert_refused(destination)
        self.end(destination)
        self.assert_free()

    def test_the_source_may_end_in_place_of_leaving(self):
        destination = self.claimed()
        self.end(self.source)
        self.assert_locks(INCOMING_ALONE)
        self.assert_refused(destination)
        self.arrive()
        self.assert_locks(OWNER)
        self.assert_roles(destination, "owner", True)

    def test_every_step_may_be_repeated(self):
        self.prepare()
        self.prepare()
        self.assert_locks(PREPARED)
        self.incoming()
        self.out()
        self.out()
        self.assert_locks(LEFT)
        self.arrive()
        self.arrive()
        self.assert_locks(ARRIVED)

    def test_roles_are_in_json_at_every_step(self):
        def step(*args):
            answer = self.ask(OK, "migrate", *args)
            self.assertEqual(set(answer), {"guest"})
            guest = answer["guest"]
            self.assertEqual(
                self.ask(OK, "ls", str(guest["pid"]))["guests"], [guest])
            (role,) = {l["role"] for l in guest["leases"]}
            return guest["pid"], guest["epoch"], role

        self.assert_roles(self.source, "owner", True)
        self.assertEqual(step("prepare", self.uuid, "localhost"),
                         (self.source.pid, 0, "prepared"))
        destination = self.incoming()
        self.assert_roles(destination, "incoming", False)
        self.assertEqual(step("out", self.vm), (self.source.pid, 0, "left"))
        self.assert_roles(self.source, "left", False)
        self.assertEqual(step("in", self.vm), (destination.pid, 1, "arrived"))
        self.end(self.source)
        self.assertEqual(step("in", self.vm), (destination.pid, 1, "owner"))

    def test_in_waits_for_the_source_to_leave(self):
        destination = self.claimed()
        waiting = subprocess.Popen(
            [GUESTLOCK, "migrate", "in", "--timeout", str(WAIT),
             str(destination.pid)])
        self.addCleanup(waiting.wait, WAIT)
        self.addCleanup(waiting.kill)
        self.assertIsNone(waiting.poll())
        self.out()
        self.assertEqual(waiting.wait(WAIT), OK)
        self.assert_locks(ARRIVED)

    def test_a_shared_disk_goes_over_without_a_step(self):
        iso = self.image("iso")
        self.expect(OK, "attach-disk", self.vm, iso + ",readonly")
        self.prepare()
        destination = self.incoming("--disk", iso + ",readonly")
        self.assertEqual(locks(iso), "R---")
        self.out()
        self.arrive()
        self.end(self.source)
        self.assertEqual(locks(iso), "R---")
        self.end(destination)
        self.assertTrue(becomes_free(iso))

    def test_a_guest_may_be_handed_on_from_where_it_came(self):
        second = self.arrived()
        self.end(self.source)
        self.source = second
        self.prepare()
        self.assert_locks(PREPARED)
        third = self.incoming("--epoch", "2")
        self.out()
        self.arrive()
        self.end(second)
        self.arrive()
        self.assert_locks(OWNER)
        self.assert_refused(third)

    def test_run_incoming_is_the_same_step(self):
        self.prepare()
        self.start(*self.options("--incoming"))
        self.assert_locks(CLAIMED)


class Refusals(Migration):
    def test_no_destination_gets_in_unprepared(self):
        for verb in (("migrate", "incoming"), ("run", "--incoming")):
            err = self.expect(HELD, *verb, *self.options(), "--", "true").err
            self.assertRegex(err, r"held by guest '%s' \(uuid %s, pid %d\)" % (
                self.vm, self.uuid, self.source.pid))
        self.assert_locks(OWNER)

    def test_there_is_one_destination(self):
        destination = self.claimed()
        err = self.expect(HELD, "migrate", "incoming", *self.options(), "--",
                          "true").err
        self.assertIn("pid %d)" % destination.pid, err)
        self.assert_locks(CLAIMED)

    def test_a_destination_claims_all_disks_or_none(self):
        other = self.image("other")
        stranger = self.start("--disk", other)
        self.prepare()
        err = self.expect(HELD, "migrate", "incoming",
                          *self.options("--disk", other), "--", "true").err
        self.assertIn("other: held by guest", err)
        self.assertIn("pid %d)" % stranger.pid, err)
        self.assert_locks(PREPARED)
        self.assertEqual(locks(other), OWNER)

    def test_the_source_stays_while_a_disk_is_not_claimed(self):
        self.prepare()
        err = self.expect(MISSING, "migrate", "out", self.uuid).err
        self.assertIn(self.disks[0], err)
        self.assertEqual(self.ask(MISSING, "migrate", "out",
                                  self.uuid)["error"], "no-destination")
        self.start("--uuid", self.uuid, "--disk", self.disks[0],
                   verb=("migrate", "incoming"))
        err = self.expect(MISSING, "migrate", "out", self.uuid).err
        self.assertIn(self.disks[1], err)
        self.assertEqual([locks(d) for d in self.disks], [CLAIMED, PREPARED])

    def test_the_destination_waits_no_longer_than_it_is_told(self):
        destination = self.claimed()
        for _ in range(2):
            answer = self.ask(INTERNAL, "migrate", "in", "--timeout", "0",
                              self.uuid)
            self.assertEqual(answer["error"], "timeout")
        self.assert_locks(CLAIMED)
        self.assert_roles(destination, "incoming", False)
        self.out()
        self.arrive()

    def test_a_step_out_of_turn_changes_nothing(self):
        def wrong(*args):
            answer = self.ask(USAGE, "migrate", *args)
            self.assertEqual((answer["error"], set(answer)),
                             ("wrong-state", {"error", "message"}))

        wrong("out", self.uuid)
        self.assert_locks(OWNER)
        destination = self.claimed()
        wrong("prepare", str(destination.pid), "localhost")
        wrong("out", str(destination.pid))
        wrong("in", str(self.source.pid))
        self.assert_locks(CLAIMED)
        self.out()
        self.arrive()
        wrong("out", str(destination.pid))
        wrong("cancel", str(destination.pid))
        self.assert_locks(ARRIVED)

    def test_a_lock_that_does_not_reach_the_other_host_is_no_migration(self):
        (scope,) = {l["scope"] for l in self.leases(self.source)}
        if scope in ("server", "cluster"):
            self.expect(OK, "migrate", "prepare", self.uuid, "tcp://far.away:1")
            return
        answer = self.ask(USAGE, "migrate", "prepare", self.uuid,
                          "tcp://far.away:4444")
        self.assertEqual(answer["error"], "out-of-reach")
        self.assertIn(self.disks[0], answer["message"])
        self.assertIn("far.away", answer["message"])
        self.assert_locks(OWNER)

    def test_a_missing_guest_is_66(self):
        gone = str(uuid.uuid4())
        for args in (("prepare", gone, "localhost"), ("out", gone),
                     ("in", gone), ("cancel", gone),
                     ("cancel", "--side", "source", gone)):
            self.assertIn(gone, self.expect(MISSING, "migrate", *args).err)

    def test_bad_calls(self):
        self.expect(USAGE, "migrate")
        self.assertIn("unknown verb 'x\\x0a' after migrate",
                      self.expect(USAGE, "migrate", "x\n").err)
        self.expect(USAGE, "migrate", "prepare", self.uuid)
        self.expect(USAGE, "migrate", "prepare", self.uuid, "")
        self.expect(USAGE, "migrate", "prepare", self.uuid, "a", "b")
        self.expect(USAGE, "migrate", "incoming")
        self.expect(USAGE, "migrate", "incoming", "--side", "source", "true")
        self.expect(USAGE, "migrate", "out")
        self.expect(USAGE, "migrate", "out", "--timeout", "1", self.uuid)
        self.expect(USAGE, "migrate", "in", "--timeout", "x", self.uuid)
        self.expect(USAGE, "migrate", "cancel", "--side", "x", self.uuid)
        self.assertEqual(self.ask(USAGE, "migrate", "out")["error"], "usage")
        self.assert_locks(OWNER)

    def test_json_is_asked_for_before_or_after_the_step(self):
        for args in (("--json", "out", self.uuid), ("out", self.uuid, "-j")):
            out = self.expect(USAGE, "migrate", *args).out
            self.assertIn('"wrong-state"', out)


class Cancel(Migration):
    def test_a_source_that_nobody_came_for_goes_on(self):
        self.prepare()
        self.expect(OK, "migrate", "cancel", self.uuid)
        self.assert_locks(OWNER)
        self.assert_refused(self.source)

    def test_cancel_of_nothing_is_fine(self):
        for args in ((), ("--side", "source"), ("--side", "destination")):
            self.expect(OK, "migrate", "cancel", *args, self.uuid)
        self.assert_locks(OWNER)

    def test_a_destination_lets_go_and_another_one_may_come(self):
        destination = self.claimed()
        self.cancel("destination")
        self.assert_locks(PREPARED)
        self.assertEqual(self.leases(destination), [])
        self.assertIsNone(destination.poll())
        self.assert_refused(self.source)
        other = self.incoming()
        self.out()
        self.arrive()
        self.end(self.source)
        self.assert_refused(other)

    def test_a_source_that_has_left_comes_back(self):
        destination = self.left()
        self.cancel("source")
        self.assert_locks(CLAIMED)
        self.assert_roles(self.source, "prepared", True)
        self.assert_refused(self.source, destination)
        self.assertEqual(self.ask(INTERNAL, "migrate", "in", "--timeout", "0",
                                  self.uuid)["error"], "timeout")
        self.cancel("destination")
        self.cancel("source")
        self.assert_locks(OWNER)
        self.assert_refused(self.source)

    def test_who_is_meant_must_be_clear(self):
        destination = self.claimed()
        for who in (self.uuid, self.vm):
            answer = self.ask(USAGE, "migrate", "cancel", who)
            self.assertEqual(answer["error"], "ambiguous")
            self.assertRegex(answer["message"], "use the pid, or --side$")
            self.assertRegex(self.expect(USAGE, "ls", who).err, "use the pid$")
        self.assert_locks(CLAIMED)
        self.expect(OK, "migrate", "cancel", str(destination.pid))
        self.assert_locks(PREPARED)
        self.expect(OK, "migrate", "cancel", str(self.source.pid))
        self.assert_locks(OWNER)

    def test_a_side_can_let_go_of_one_disk(self):
        destination = self.left()
        for side in (self.source, destination):
            self.assertEqual(self.ask(OK, "detach-disk", str(side.pid),
                                      self.disks[0]), {"released": 1})
            self.assertEqual([lease["path"] for lease in self.leases(side)],
                             [self.disks[1]])
        self.assertEqual([locks(d) for d in self.disks], [FREE, LEFT])

    def test_there_is_no_way_back_once_the_destination_has_arrived(self):
        destination = self.arrived()
        answer = self.ask(HELD, "migrate", "cancel", "--side", "source",
                          self.uuid)
        self.assertEqual(answer["error"], "held")
        self.assertIn("conflicts", answer)
        err = self.expect(HELD, "migrate", "cancel", "--side", "source",
                          self.uuid).err
        self.assertIn(self.disks[0], err)
        self.expect(HELD, "migrate", "prepare", str(self.source.pid),
                    "localhost")
        self.assert_locks(ARRIVED)
        self.assert_roles(destination, "arrived", True)
        self.assert_roles(self.source, "left", False)


class Killed(Migration):
    """kill -9 of a side between two steps."""

    def test_a_prepared_source_frees_its_disks(self):
        self.prepare()
        self.end(self.source)
        self.assert_free()

    def test_a_source_dies_and_the_destination_gives_up(self):
        destination = self.claimed()
        self.end(self.source)
        self.assert_refused(destination)
        self.cancel("destination")
        self.assert_free()

    def test_a_source_that_has_left_dies(self):
        destination = self.left()
        self.end(self.source)
        self.assert_refused(destination)
        self.arrive()
        self.assert_locks(OWNER)
        self.assert_refused(destination)

    def test_a_destination_dies_and_the_source_goes_on(self):
        self.end(self.claimed())
        self.assert_locks(PREPARED)
        self.assert_refused(self.source)
        self.cancel("source")
        self.assert_locks(OWNER)

    def test_a_destination_dies_when_the_source_has_left(self):
        self.end(self.left())
        self.assert_locks(LEFT_ALONE)
        self.assert_refused(self.source)
        self.cancel("source")
        self.assert_locks(OWNER)
        self.assert_refused(self.source)

    def test_a_destination_dies_after_its_arrival(self):
        self.end(self.arrived())
        self.assert_locks(LEFT_ALONE)
        self.assert_refused(self.source)
        self.cancel("source")
        self.assert_locks(OWNER)

    def test_a_dead_destination_is_followed_by_another(self):
        self.end(self.left())
        self.prepare()
        self.assert_locks(PREPARED)
        destination = self.incoming()
        self.out()
        self.arrive()
        self.end(self.source)
        self.assert_refused(destination)

    def test_both_die_and_nothing_is_left(self):
        for reach in (self.claimed, self.left, self.arrived):
            destination = reach()
            self.end(self.source)
            self.end(destination)
            self.assert_free()
            self.source = self.start(*self.options())


class Answers(Migration):
    def test_ls_shows_the_role_of_each_side(self):
        destination = self.claimed()
        rows = {int(r.split()[1]): r for r in
                self.expect(OK, "ls").out.splitlines()[1:]}
        self.assertIn(" 2 (2 prepared)  " + self.vm, rows[self.source.pid])
        self.assertIn(" 2 (2 incoming)  " + self.vm, rows[destination.pid])
        for guest, held, role in ((self.source, "yes", "prepared"),
                                  (destination, "no", "incoming")):
            out = self.expect(OK, "ls", str(guest.pid)).out
            for disk in self.disks:
                self.assertRegex(
                    out, r"(?m)^exclusive +\w+ +%s +%sZ +%s \(%s\)$" % (
                        held, ISO, re.escape(disk), role))
        self.assertRegex(self.expect(OK, "ls", str(destination.pid)).out,
                         r"(?m)^epoch +1$")

    def test_check_says_the_role_and_finds_no_problem(self):
        destination = self.left()
        for guest, role in ((self.source, "left"), (destination, "incoming")):
            pid = str(guest.pid)
            out = self.expect(OK, "check", pid).out
            for disk in self.disks:
                self.assertIn("pid %s): %s: %s\n" % (pid, disk, role), out)
            self.assertIn("guests 1, leases 2, problems 0\n", out)
            self.assertEqual(self.expect(OK, "check", "-q", pid).out, "")
            answer = self.ask(OK, "check", pid)
            self.assertTrue(answer["ok"])
            (found,) = answer["guests"]
            self.assertEqual(found["drift"], [])
            self.assertEqual(sorted(h["path"] for h in found["handover"]),
                             self.disks)
            self.assertEqual({(h["mode"], h["role"])
                              for h in found["handover"]},
                             {("exclusive", role)})

    def test_check_finds_a_claim_that_is_lost(self):
        destination = self.claimed()
        for fd in peek_capsule(destination.pid):
            if os.path.samestat(os.fstat(fd), os.stat(self.disks[0])):
                for byte in (0, 2):
                    fcntl.fcntl(fd, fcntl.F_OFD_SETLK,
                                flock(fcntl.F_UNLCK, byte))
            os.close(fd)
        self.assertEqual([locks(d) for d in self.disks], [PREPARED, CLAIMED])
        answer = self.ask(DRIFT, "check", str(destination.pid))
        self.assertEqual(answer["guests"][0]["drift"],
                         [{"path": self.disks[0], "mode": "exclusive",
                           "problem": "lost"}])

    def test_who_names_both_sides(self):
        destination = self.claimed()
        (answer,) = self.ask(OK, "who", self.disks[0])["disks"]
        self.assertEqual({h["pid"] for h in answer["holders"]},
                         {self.source.pid, destination.pid})
        out = self.expect(OK, "who", self.disks[0]).out
        self.assertEqual(out.count(": held, in a hand-over, by guest '%s'"
                                   % self.vm), 2)
        self.expect(HELD, "who", "-q", self.disks[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
