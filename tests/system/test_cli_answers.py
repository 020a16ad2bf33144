#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the command answers: ls, who, check, doctor, demo, help, completion."""

import errno
import fcntl
import json
import os
import re
import resource
import subprocess
import unittest

from cli import (Case, COMPLETION, DRIFT, flock, forbid, GUESTLOCK, HELD,
                 INTERNAL, ISO, lockable, MISSING, OK, peek_capsule, ROOT,
                 USAGE, UUID, WAIT)


class Ls(Case):
    def test_json_has_the_fields_of_the_contract(self):
        name, disk = self.name(), self.image()
        guest = self.start("--name", name, "--disk", disk)
        listed = [g for g in self.ask(OK, "ls")["guests"]
                  if g["pid"] == guest.pid]
        self.assertEqual(listed, self.ask(OK, "ls", name)["guests"])
        (found,) = listed
        self.assertRegex(found.pop("uuid"), UUID)
        self.assertRegex(found.pop("started"), ISO + r"\.\d{3}Z$")
        (lease,) = found.pop("leases")
        self.assertEqual(found, {"name": name, "id": None, "pid": guest.pid,
                                 "holder": "guest", "uid": os.geteuid(),
                                 "epoch": 0})
        self.assertRegex(lease.pop("since"), ISO + r"\.\d{3}Z$")
        self.assertIn(lease.pop("scope"), ("host", "server", "cluster"))
        self.assertEqual(lease, {"path": disk, "type": "file",
                                 "mode": "exclusive", "held": True,
                                 "same_file": True, "role": "owner"})

    def test_the_table_has_a_line_for_each_guest(self):
        name = self.name()
        guest = self.start("--name", name, "--disk", self.image("a"),
                           "--disk", self.image("b"))
        lines = self.expect(OK, "ls").out.splitlines()
        self.assertEqual(lines[0].split(), ["UUID", "PID", "UID", "STARTED",
                                            "LEASES", "NAME"])
        (row,) = [l.split() for l in lines if l.endswith(" " + name)]
        self.assertRegex(row[0], UUID)
        self.assertEqual(row[1:3], [str(guest.pid), str(os.geteuid())])
        self.assertEqual(row[4:], ["2", name])

    def test_one_guest_is_shown_with_its_leases(self):
        disk, shared = self.image("d"), self.image("s")
        guest = self.start("--id", "5", "--disk", disk, "--disk",
                           shared + ",shared")
        out = self.expect(OK, "ls", str(guest.pid)).out
        self.assertRegex(out, r"(?m)^pid +%d$" % guest.pid)
        self.assertRegex(out, r"(?m)^id +5$")
        self.assertRegex(out, r"(?m)^name +-$")
        self.assertRegex(out, r"(?m)^exclusive +\w+ +yes +%sZ +%s$" % (
            ISO, re.escape(disk)))
        self.assertRegex(out, r"(?m)^shared +\w+ +yes +%sZ +%s$" % (
            ISO, re.escape(shared)))

    def test_a_path_that_is_not_utf8_survives_json(self):
        disk = self.image(b"\xff\xfe,gr\xc3\xb6\xc3\x9f e")
        guest = self.start("--disk", disk.replace(b",", b",,"))
        (lease,) = self.leases(guest)
        self.assertIn("\ufffd\ufffd,gr\u00f6\u00df e", lease["path"])
        raw = re.sub(rb"%([0-9A-F]{2})",
                     lambda m: bytes([int(m.group(1), 16)]),
                     lease["path_bytes"].encode())
        self.assertEqual(raw, disk)
        out = self.expect(OK, "ls", str(guest.pid),
                          env=dict(os.environ, LC_ALL="C.UTF-8")).out
        self.assertIn("\\xff\\xfe,gr\u00f6\u00df e", out)

    def test_hostile_names_are_escaped(self):
        disk = self.image(b"d\n\x1b[31m")
        guest = self.start("--name", "\u202eevil\u2028" + self.name(),
                           "--disk", disk)
        for args in (("ls",), ("ls", str(guest.pid)), ("who", disk)):
            out = self.expect(OK, *args).out
            for bad in ("\x1b", "\u202e", "\u2028"):
                self.assertNotIn(bad, out)
        self.assertIn("\\x0a\\x1b[31m",
                      self.expect(OK, "ls", str(guest.pid)).out)
        for args in (("ls", "--json"), ("who", "--json", disk)):
            result = self.expect(OK, *args)
            self.assertTrue(result.out.isascii())

    def test_a_dead_guest_is_gone(self):
        guest = self.start("--disk", self.image())
        pid = guest.pid
        self.end(guest)
        self.assertNotIn(pid, [g["pid"] for g in
                               self.ask(OK, "ls")["guests"]])
        self.expect(MISSING, "ls", str(pid))

    def test_a_renamed_disk_is_shown_where_it_is(self):
        disk = self.image("old")
        guest = self.start("--disk", disk)
        os.rename(disk, self.path("new"))
        (lease,) = self.leases(guest)
        self.assertEqual(lease["path"], self.path("new"))
        self.assertTrue(lease["held"])

    def test_a_missing_guest_is_66(self):
        self.assertIn("cli-nobody", self.expect(MISSING, "ls",
                                                "cli-nobody").err)

    def test_a_full_disk_under_stdout_is_an_error(self):
        with open("/dev/full", "w") as full:
            for args in (("ls",), ("ls", "--json"), ("--version",)):
                result = subprocess.run([GUESTLOCK, *args], stdout=full,
                                        stderr=subprocess.PIPE, timeout=WAIT)
                self.assertEqual(result.returncode, INTERNAL, args)
                self.assertIn(b"No space left", result.stderr)


class Who(Case):
    def test_a_free_disk_is_free(self):
        disk = self.image()
        self.assertEqual(self.expect(OK, "who", disk).out, disk + ": free\n")
        self.assertEqual(self.ask(OK, "who", disk),
                         {"disks": [{"path": disk, "holders": []}]})
        self.expect(OK, "who", "-q", disk)

    def test_a_held_disk_names_its_holder(self):
        disk, name = self.image(), self.name()
        guest = self.start("--name", name, "--disk", disk)
        self.assertRegex(
            self.expect(OK, "who", disk).out,
            r"^%s: held exclusively by guest '%s' \(uuid %s, pid %d\) since "
            r"%sZ\n$" % (re.escape(disk), name, UUID, guest.pid, ISO))
        (answer,) = self.ask(OK, "who", disk)["disks"]
        (holder,) = answer["holders"]
        self.assertEqual((holder["kind"], holder["name"], holder["pid"],
                          holder["mode"]),
                         ("guest", name, guest.pid, "exclusive"))
        result = self.expect(HELD, "who", "-q", disk)
        self.assertEqual((result.out, result.err), ("", ""))

    def test_every_holder_of_a_shared_disk_is_named(self):
        disk = self.image()
        pids = {self.start("--disk", disk + ",shared").pid for _ in range(3)}
        lines = self.expect(OK, "who", disk).out.splitlines()
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertIn(": held shared by guest", line)
        (answer,) = self.ask(OK, "who", disk)["disks"]
        self.assertEqual({h["pid"] for h in answer["holders"]}, pids)
        self.assertEqual({h["mode"] for h in answer["holders"]}, {"shared"})

    def test_several_disks_are_answered_in_order(self):
        a, b = self.image("a"), self.image("b")
        self.start("--disk", b)
        lines = self.expect(OK, "who", a, b).out.splitlines()
        self.assertEqual(lines[0], a + ": free")
        self.assertTrue(lines[1].startswith(b + ": held"))

    def test_a_missing_disk_is_66_and_the_others_are_answered(self):
        a, none = self.image("a"), self.path("none")
        result = self.expect(MISSING, "who", none, a)
        self.assertEqual(result.out, a + ": free\n")
        self.assertIn("none", result.err)
        answers = self.ask(MISSING, "who", none, a)["disks"]
        self.assertEqual(answers[0], {"path": none, "holders": [],
                                      "error": "not-found"})
        self.start("--disk", a)
        self.expect(MISSING, "who", "-q", a, none)

    def test_asking_takes_no_lock_and_disturbs_none(self):
        disk = self.image()
        self.start("--disk", disk)
        for _ in range(3):
            self.expect(OK, "who", disk)
        self.assertFalse(lockable(disk))


class Check(Case):
    def test_a_guest_that_is_well_passes(self):
        guest = self.start("--disk", self.image("a"), "--disk",
                           self.image("b") + ",shared")
        self.assertEqual(self.expect(OK, "check", str(guest.pid)).out,
                         "guests 1, leases 2, problems 0\n")
        answer = self.ask(OK, "check", str(guest.pid))
        self.assertTrue(answer["ok"])
        (found,) = answer["guests"]
        self.assertEqual((found["pid"], found["checked"], found["drift"]),
                         (guest.pid, 2, []))
        self.assertEqual(self.expect(OK, "check", "-q", str(guest.pid)).out,
                         "")

    def test_a_lost_lock_is_found(self):
        disk = self.image()
        guest = self.start("--disk", disk, "--disk", self.image("other"))
        for fd in peek_capsule(guest.pid):
            if os.path.samestat(os.fstat(fd), os.stat(disk)):
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, flock(fcntl.F_UNLCK))
            os.close(fd)
        self.assertTrue(lockable(disk))
        out = self.expect(DRIFT, "check", str(guest.pid)).out
        self.assertIn("%s: lost\n" % disk, out)
        self.assertIn("problems 1", out)
        answer = self.ask(DRIFT, "check", str(guest.pid))
        self.assertFalse(answer["ok"])
        self.assertEqual(answer["guests"][0]["drift"],
                         [{"path": disk, "mode": "exclusive",
                           "problem": "lost"}])
        self.assertIn("lost", self.expect(OK, "ls").out)

    def test_a_replaced_disk_is_found(self):
        disk = self.image()
        guest = self.start("--disk", disk)
        os.rename(self.image("new"), disk)
        out = self.expect(DRIFT, "check", str(guest.pid)).out
        self.assertIn(": replaced\n", out)
        answer = self.ask(DRIFT, "check", str(guest.pid))
        self.assertEqual(answer["guests"][0]["drift"][0]["problem"],
                         "replaced")

    def test_a_missing_guest_is_66(self):
        self.expect(MISSING, "check", "cli-nobody")

    def test_all_guests_are_checked(self):
        pids = [self.start("--disk", self.image("d%d" % i)).pid
                for i in range(3)]
        result = self.guestlock("check", "--json")
        found = {g["pid"]: g for g in json.loads(result.out)["guests"]}
        for pid in pids:
            self.assertEqual(found[pid]["drift"], [])


class Doctor(Case):
    TOPICS = {"kernel", "engine", "lock query", "identity", "discovery",
              "adoption", "descriptors", "parked locks", "send buffer",
              "/proc"}

    def test_this_host_is_usable(self):
        answer = self.ask(OK, "doctor")
        self.assertTrue(answer["usable"])
        topics = {f["topic"] for f in answer["findings"]}
        self.assertEqual(topics - {"environment"}, self.TOPICS)
        for finding in answer["findings"]:
            self.assertEqual(set(finding), {"topic", "state", "text", "mend"})
            self.assertIn(finding["state"], ("ok", "degraded", "missing"))
            self.assertEqual(finding["mend"] is None,
                             finding["state"] == "ok")
        out = self.expect(OK, "doctor").out
        for topic in self.TOPICS:
            self.assertIn("  %s  " % topic, out + " ")

    def test_a_path_has_a_file_system_and_a_scope(self):
        disk = self.image()
        (found,) = self.ask(OK, "doctor", disk)["disks"]
        self.assertEqual(found["path"], disk)
        self.assertIn(found["scope"], ("host", "server", "cluster"))
        self.assertTrue(found["fs"])
        self.assertIn("%s: %s, scope %s" % (disk, found["fs"],
                                            found["scope"]),
                      self.expect(OK, "doctor", disk).out)
        self.assertTrue(disk.startswith(found["mount"]))
        for field in "option", "upper", "lower", "twin":
            self.assertIsNone(found[field])

    @unittest.skipUnless(ROOT, "mounts")
    def test_an_overlay_is_explained(self):
        for name in "lower", "upper", "work", "merged":
            os.mkdir(self.path(name))
        low = self.image("lower/disk")
        merged = self.path("merged")
        options = "lowerdir=%s,upperdir=%s,workdir=%s" % tuple(
            map(self.path, ("lower", "upper", "work")))
        subprocess.run(["mount", "-t", "overlay", "overlay", merged,
                        "-o", options], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", merged], check=True)
        disk = merged + "/disk"
        (found,) = self.ask(OK, "doctor", disk)["disks"]
        self.assertEqual((found["scope"], found["fs"], found["mount"],
                          found["upper"], found["lower"]),
                         ("node", "overlay", merged, None, low))
        self.assertIn("copies it to the upper layer", found["why"])
        out = self.expect(USAGE, "run", "--require-scope", "host", "--disk",
                          disk, "true")
        self.assertIn("scope 'node' (overlay), and 'host' is required",
                      out.err)
        guest = self.start("--disk", disk)
        (lease,) = self.ask(OK, "ls", str(guest.pid))["guests"][0]["leases"]
        self.assertEqual(lease["scope"], "node")
        out = self.expect(OK, "doctor", disk).out
        self.assertIn("upper layer: %s\n" % self.path("upper/disk"), out)
        self.assertIn("lower layer: %s\n" % low, out)
        self.assertIn("mend: keep images outside of the overlay", out)

    def test_what_run_refuses_has_no_scope(self):
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        for path in fifo, self.dir, "/dev/null":
            self.expect(USAGE, "run", "--disk", path, "true")
            out = self.expect(USAGE, "doctor", path)
            self.assertNotIn("scope", out.out)
            self.assertIn(path, out.err)
            (found,) = self.ask(USAGE, "doctor", path)["disks"]
            self.assertEqual(found["error"], "unsupported")

    def test_an_empty_path_is_a_usage_error(self):
        for args in ("--json", ""), ("", self.image()), (self.image(), ""):
            out = self.expect(USAGE, "doctor", *args)
            self.assertNotIn("scope", out.out)
            self.assertIn("empty", out.err)

    def test_a_missing_path_is_66(self):
        self.assertIn("none", self.expect(MISSING, "doctor",
                                          self.path("none")).err)
        (found,) = self.ask(MISSING, "doctor", self.path("none"))["disks"]
        self.assertEqual(found["error"], "not-found")

    def test_a_chosen_engine_is_said(self):
        answer = self.ask(OK, "doctor",
                          env=dict(os.environ, GUESTLOCK_ENGINE="syscall"))
        (engine,) = [f for f in answer["findings"] if f["topic"] == "engine"]
        self.assertEqual((engine["state"], engine["mend"]),
                         ("degraded", "unset GUESTLOCK_ENGINE"))

    def test_without_pidfd_getfd_the_host_is_not_usable(self):
        sandbox = forbid(438, errno.EPERM)
        answer = self.ask(DRIFT, "doctor", preexec_fn=sandbox)
        self.assertFalse(answer["usable"])
        states = {f["topic"]: f["state"] for f in answer["findings"]}
        self.assertEqual(states["adoption"], "missing")
        self.expect(OK, "run", "--disk", self.image(), "true",
                    preexec_fn=sandbox)

    def test_without_io_uring_the_host_is_degraded_and_works(self):
        sandbox = forbid(425, errno.EPERM)
        free = {k: v for k, v in os.environ.items()
                if k not in ("GUESTLOCK_ENGINE", "GUESTLOCK_DISABLE")}
        answer = self.ask(OK, "doctor", preexec_fn=sandbox, env=free)
        (engine,) = [f for f in answer["findings"] if f["topic"] == "engine"]
        self.assertEqual(engine["state"], "degraded")
        self.assertIn("io_uring", engine["mend"])
        disk = self.image()
        guest = self.start("--disk", disk, preexec_fn=sandbox)
        self.assertFalse(lockable(disk))
        self.assertEqual(self.paths(guest), [disk])

    def test_an_unknown_engine_is_a_usage_error(self):
        self.assertIn("GUESTLOCK_ENGINE", self.expect(
            USAGE, "doctor",
            env=dict(os.environ, GUESTLOCK_ENGINE="bogus")).err)

    def test_an_unknown_feature_is_said(self):
        self.assertIn("bogus", self.expect(
            OK, "doctor", env=dict(os.environ,
                                   GUESTLOCK_DISABLE="bogus")).out)

    def test_a_fallback_is_said(self):
        answer = self.ask(OK, "doctor", env=dict(
            os.environ, GUESTLOCK_DISABLE="getlk-unlck"))
        states = {f["topic"]: f["state"] for f in answer["findings"]}
        self.assertEqual(states["lock query"], "degraded")
        self.assertEqual(states["environment"], "degraded")


class Demo(Case):
    def demo(self, code, *args, **kw):
        kw["env"] = dict(os.environ, TMPDIR=self.dir, **kw.get("env", {}))
        result = self.expect(code, "demo", *args, **kw)
        self.assert_clean()
        return result

    def assert_clean(self):
        self.assertEqual(os.listdir(self.dir), [])
        names = [g["name"] or "" for g in self.ask(OK, "ls")["guests"]]
        self.assertEqual([n for n in names if n in self.started()], [])

    def started(self):
        return set()

    def test_the_promise_is_kept_here(self):
        out = self.demo(OK, env={"LC_ALL": "C.UTF-8"}).out
        self.assertEqual(re.findall(r"(?m)^ ?(\d+)\. (\S)", out),
                         [(str(i + 1), "\u2713") for i in range(12)])
        self.assertIn("held by guest 'demo-web-", out)
        self.assertRegex(out, r"\d ms from fork to the running guest")

    def test_a_plain_terminal_gets_plain_marks(self):
        out = self.demo(OK, env={"LC_ALL": "C"}).out
        self.assertEqual(out.count(". ok "), 12)
        self.assertTrue(out.isascii())

    def test_json_has_every_step(self):
        answer = json.loads(self.demo(OK, "--json").out)
        self.assertTrue(answer["ok"])
        self.assertEqual([s["step"] for s in answer["steps"]],
                         list(range(1, 13)))

    def test_a_failed_step_is_exit_1_and_cleans_up(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        out = self.demo(DRIFT, preexec_fn=limit,
                        env={"LC_ALL": "C"}).out
        self.assertIn("10. FAILED", out)
        self.assertIn("Too many open files", out)

    def test_an_interrupted_demo_cleans_up(self):
        demo = subprocess.Popen(
            [GUESTLOCK, "demo"], stdout=subprocess.PIPE,
            env=dict(os.environ, TMPDIR=self.dir))
        first = demo.stdout.readline()
        self.assertIn(b" 1. ", first)
        demo.terminate()
        out = demo.stdout.read()
        demo.stdout.close()
        self.assertEqual(demo.wait(WAIT), DRIFT, out)
        self.assertIn(b"interrupted", out)
        self.assert_clean()
        mine = "-%d" % demo.pid
        self.assertEqual([g for g in self.ask(OK, "ls")["guests"]
                          if (g["name"] or "").endswith(mine)], [])

    def test_a_reader_that_goes_away_leaves_nothing(self):
        demo = subprocess.Popen(
            [GUESTLOCK, "demo"], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, TMPDIR=self.dir))
        demo.stdout.close()
        demo.wait(WAIT)
        self.assertEqual(os.listdir(self.dir), [])


class Help(Case):
    VERBS = ("run", "attach-disk", "detach-disk", "ls", "who", "check",
             "migrate", "doctor", "demo")
    STEPS = ("prepare", "incoming", "out", "in", "cancel")

    def test_the_version_is_told(self):
        self.assertRegex(self.expect(OK, "--version").out,
                         r"^guestlock \d+\.\d+\.\d+\n$")

    def test_help_lists_the_verbs(self):
        out = self.expect(OK, "--help").out
        for verb in self.VERBS:
            self.assertRegex(out, r"(?m)^  %s +\S" % verb)

    def test_every_verb_has_help(self):
        for verb in self.VERBS:
            out = self.expect(OK, verb, "--help").out
            self.assertTrue(out.startswith("usage: guestlock %s " % verb), out)
            for line in out.splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_every_step_of_a_migration_has_help(self):
        listed = self.expect(OK, "migrate", "--help").out
        for step in self.STEPS:
            self.assertRegex(listed, r"\b%s\b" % step)
            out = self.expect(OK, "migrate", step, "--help").out
            self.assertTrue(out.startswith("usage: guestlock migrate %s "
                                           % step), out)
            for line in out.splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_no_verb_or_a_wrong_one_is_a_usage_error(self):
        self.assertIn("usage:", self.expect(USAGE).err)
        self.assertIn("unknown verb 'x\\x0a'", self.expect(USAGE, "x\n").err)


class Completion(Case):
    def complete(self, *words):
        """What bash offers for the last of @words."""
        script = (". %s; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); "
                  "_guestlock; ((${#COMPREPLY[@]} == 0)) || "
                  "printf '%%s\\n' \"${COMPREPLY[@]}\"" % COMPLETION)
        env = dict(os.environ, PATH=os.path.dirname(GUESTLOCK) + ":" +
                   os.environ["PATH"])
        result = subprocess.run(
            ["bash", "-c", script, "bash", "guestlock", *words],
            capture_output=True, timeout=WAIT, cwd=self.dir, env=env)
        self.assertEqual(result.stderr, b"")
        return result.stdout.decode().split("\n")[:-1]

    def test_verbs_and_options_are_offered(self):
        self.assertEqual(self.complete("d"), ["detach-disk", "doctor", "demo"])
        self.assertIn("--disks-from", self.complete("run", "--d"))
        self.assertNotIn("--disk", self.complete("ls", "--"))

    def test_the_steps_of_a_migration_are_offered(self):
        self.assertEqual(self.complete("migrate", ""), [
            "prepare", "incoming", "out", "in", "cancel", "--help"])
        self.assertEqual(self.complete("migrate", "in"), ["incoming", "in"])
        self.assertIn("--disks-from", self.complete("migrate", "incoming",
                                                    "--d"))
        self.assertNotIn("--disk", self.complete("migrate", "in", "--"))
        self.assertEqual(self.complete("migrate", "in", "--t"), ["--timeout"])
        self.assertEqual(self.complete("migrate", "cancel", "--side", ""),
                         ["source", "destination"])
        self.assertEqual(self.complete("migrate", "in", "--timeout", ""), [])
        self.assertEqual(self.complete("migrate", "incoming", "--tag", "1",
                                       "guestlo"), ["guestlock"])

    def test_options_with_a_file_offer_files(self):
        self.image("args-file")
        os.mkdir(self.path("args-dir"))
        for option in ("--args-from", "--lockspace"):
            self.assertEqual(sorted(self.complete("run", option, "args-")),
                             ["args-dir", "args-file"])
        self.assertEqual(self.complete("run", "--epoch", ""), [])

    def test_guests_are_offered_by_name_and_uuid(self):
        name = self.name()
        self.start("--name", name)
        for verb in (("ls",), ("check",), ("attach-disk",), ("detach-disk",),
                     ("migrate", "prepare"), ("migrate", "out"),
                     ("migrate", "in"), ("migrate", "cancel"),
                     ("migrate", "cancel", "--side", "source")):
            self.assertEqual(self.complete(*verb, name), [name])

    def test_a_guest_in_a_hand_over_is_offered_by_its_name(self):
        name = self.name()
        self.start("--name", name, "--disk", self.image())
        self.expect(OK, "migrate", "prepare", name, "localhost")
        self.assertIn("1 (1 prepared)  " + name, self.expect(OK, "ls").out)
        self.assertEqual(self.complete("migrate", "out", name), [name])

    def test_disks_are_offered(self):
        self.image("disk-a.img")
        for words in (("who", "disk-"), ("run", "--disk", "disk-"),
                      ("attach-disk", "web", "disk-")):
            self.assertEqual(self.complete(*words), ["disk-a.img"])

    def test_a_guests_name_is_never_executed_nor_offered(self):
        mark = self.path("executed")
        self.start("--name", "cli$(touch %s)" % mark)
        self.start("--name", "cli`touch %s`" % mark)
        offered = self.complete("ls", "cli")
        self.assertFalse(os.path.exists(mark))
        self.assertEqual([o for o in offered if "touch" in o], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
