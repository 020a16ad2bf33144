#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""guestlock run and attach-disk with --wait."""

import json
import select
import signal
import subprocess
import time
import unittest

from cli import (Case, GUESTLOCK, HELD, OK, USAGE, WAIT, becomes_free,
                 lockable, locks)


class Waiting(Case):
    def setUp(self):
        super().setUp()
        self.held = self.image("held")
        self.beside = self.image("beside")
        self.holder_name = self.name("holder")
        self.holder = self.start("--name", self.holder_name,
                                 "--disk", self.held)

    def spawn(self, *args):
        waiter = subprocess.Popen(
            [GUESTLOCK, *args], stdin=subprocess.DEVNULL, cwd=self.dir,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(waiter.stderr.close)
        self.addCleanup(self.end, waiter)
        return waiter

    def wait_for(self, *options):
        """A guest that waits, as its note says."""
        waiter = self.spawn("run", "--wait", "3600", *options,
                            "--disk", self.held,
                            "--", "sh", "-c", "echo $$; exec sleep 600")
        self.expect_note(waiter)
        return waiter

    def wait_for_both(self):
        return self.wait_for("--disk", self.beside)

    def expect_note(self, waiter):
        line = waiter.stderr.readline().decode()
        self.assertIn("guestlock: %s: waiting: held by guest '%s' (uuid "
                      % (self.held, self.holder_name), line)
        self.assertIn("pid %d)" % self.holder.pid, line)
        self.assertIsNone(waiter.poll())

    def test_it_runs_once_the_holder_has_ended(self):
        waiter = self.wait_for_both()
        self.holder.kill()
        self.assertEqual(waiter.stdout.readline(), b"%d\n" % waiter.pid)
        self.assertEqual(self.paths(waiter), sorted([self.held, self.beside]))
        self.assertFalse(lockable(self.held))
        waiter.kill()
        self.assertEqual(waiter.stderr.read(), b"")

    def test_it_runs_once_the_holder_lets_go_of_the_disk(self):
        waiter = self.wait_for_both()
        self.expect(OK, "detach-disk", str(self.holder.pid), self.held)
        self.assertEqual(waiter.stdout.readline(), b"%d\n" % waiter.pid)
        self.assertIsNone(self.holder.poll())

    def test_when_the_time_is_over_the_holder_is_named(self):
        begin = time.monotonic()
        err = self.refused(HELD, "--wait", "1", "--disk", self.beside,
                           "--disk", self.held)
        self.assertGreaterEqual(time.monotonic() - begin, 1)
        note, refusal = err.splitlines()
        self.assertIn(": waiting: held by guest", note)
        self.assertEqual(refusal, note.replace("waiting: ", ""))
        self.assertTrue(lockable(self.beside))

    def test_json_and_quiet(self):
        result = self.guestlock("run", "--wait", "1", "--json", "--quiet",
                                "--disk", self.held, "--", "true")
        self.assertEqual(result.returncode, HELD)
        (conflict,) = json.loads(result.out)["conflicts"]
        self.assertEqual(conflict["holder"]["name"], self.holder_name)
        self.assertNotIn("waiting", result.err)

    def test_without_a_second_to_wait_it_is_refused_at_once(self):
        err = self.refused(HELD, "--wait", "0", "--disk", self.held)
        self.assertNotIn("waiting", err)

    def test_a_signal_ends_it_and_nothing_is_left(self):
        for sig in signal.SIGINT, signal.SIGTERM, signal.SIGKILL:
            waiter = self.wait_for_both()
            waiter.send_signal(sig)
            self.assertEqual(waiter.wait(WAIT), -sig)
            self.assertTrue(becomes_free(self.beside))
        self.holder.kill()
        self.assertTrue(becomes_free(self.held))

    def test_attach_disk_waits_too(self):
        guest = self.start("--disk", self.image("own"))
        waiter = self.spawn("attach-disk", "--wait", "3600", str(guest.pid),
                            self.held, self.beside)
        self.expect_note(waiter)
        self.holder.kill()
        self.assertEqual(waiter.wait(WAIT), OK)
        self.assertEqual(self.paths(guest), sorted(
            [self.path("own"), self.held, self.beside]))

    def test_what_the_guest_has_is_not_waited_for(self):
        self.expect(OK, "attach-disk", "--wait", "3600",
                    str(self.holder.pid), self.held, self.beside)
        self.assertIn("in another mode", self.expect(
            USAGE, "attach-disk", "--wait", "3600", str(self.holder.pid),
            self.held + ",shared").err)

    def test_a_destination_waits_for_its_source_to_be_prepared(self):
        waiter = self.wait_for("--incoming")
        self.expect(OK, "migrate", "prepare", str(self.holder.pid),
                    "localhost")
        self.assertEqual(waiter.stdout.readline(), b"%d\n" % waiter.pid)
        self.assertEqual(locks(self.held), "RWWW")

    def test_two_that_wait_get_it_one_after_the_other(self):
        waiters = [self.wait_for(), self.wait_for()]
        self.holder.kill()
        fds = {w.stdout.fileno(): w for w in waiters}
        ready, _, _ = select.select(list(fds), [], [], WAIT)
        self.assertEqual(len(ready), 1)
        first = fds[ready[0]]
        (second,) = [w for w in waiters if w is not first]
        self.assertEqual(first.stdout.readline(), b"%d\n" % first.pid)
        first.kill()
        self.assertEqual(second.stdout.readline(), b"%d\n" % second.pid)


if __name__ == "__main__":
    unittest.main(verbosity=2)
