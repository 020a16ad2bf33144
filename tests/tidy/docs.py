#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the texts say is so: README's C and that of the library's manual is what
the tests build, README's two commands are there for CI to run, the manual names
every public call and no other, links lead somewhere, and every dependency has
its line in CONTRIBUTING.
"""

import os
import re

import header
import tidy

EXAMPLE = "tests/api/example_vmm.c"
EXAMPLES = [EXAMPLE, "tests/api/example_manager.c"]
README, CONTRIBUTING = "README.md", "CONTRIBUTING.md"
MANUAL = "core/lib/guestlock.3"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
DISPLAY = re.compile(r"^\.Bd -literal\b[^\n]*\n(.*?)^\.Ed$", re.S | re.M)
FUNCTION = re.compile(r"^\.Fn (glk_\w+)", re.M)
DEPENDENCY = re.compile(r"dependency\('([\w.+-]+)'")


def check_example(root):
    blocks = [b for lang, b in BLOCK.findall(tidy.read(root, README))
              if lang == "c"]
    if not blocks:
        yield "%s: has no example in C" % README
    for block in blocks:
        if block.strip() not in tidy.read(root, EXAMPLE):
            yield "%s: its C is not what stands in %s" % (README, EXAMPLE)


def check_manual(root):
    text = tidy.read(root, MANUAL)
    named = set(FUNCTION.findall(text))
    calls = {name for path in header.HEADERS
             for name, _ in header.prototypes(tidy.read(root, path))}
    for name in sorted(calls - named):
        yield "%s: does not name %s()" % (MANUAL, name)
    for name in sorted(named - calls):
        yield "%s: there is no %s()" % (MANUAL, name)

    programs = [block.replace("\\e", "\\").replace("\\&", "")
                for block in DISPLAY.findall(text) if "#include" in block]
    for path in EXAMPLES:
        source = tidy.read(root, path).split("\n", 1)[1]
        if source not in programs:
            yield "%s: does not have %s as it is" % (MANUAL, path)


def check_commands(root):
    text = tidy.read(root, README)
    for name in ("demo", "tests"):
        if not re.search(r"^<!-- %s -->\n+```sh\n" % name, text, re.M):
            yield "%s: no command under <!-- %s -->" % (README, name)


def check_links(root, path):
    for link in LINK.findall(tidy.read(root, path)):
        if re.match(r"[a-z]+:", link):
            continue
        to = os.path.normpath(os.path.join(os.path.dirname(path), link))
        if not os.path.exists(os.path.join(root, to)):
            yield "%s: the link to %s leads nowhere" % (path, link)


def check_dependencies(root):
    text = tidy.read(root, CONTRIBUTING)
    for path in tidy.tracked(root):
        if os.path.basename(path) != "meson.build":
            continue
        for name in DEPENDENCY.findall(tidy.read(root, path)):
            if name != "threads" and not re.search(
                    r"^\| *`?%s`? *\|" % re.escape(name), text, re.M):
                yield "%s: no line for the dependency %s of %s" % (
                    CONTRIBUTING, name, path)


def check(root):
    yield from check_example(root)
    yield from check_manual(root)
    yield from check_commands(root)
    for path in tidy.tracked(root):
        if path.endswith(".md"):
            yield from check_links(root, path)
    yield from check_dependencies(root)


PLANTS = [
    tidy.Plant(EXAMPLE, tidy.replace("glk_guest_acquire", "glk_guest_obtain"),
               "its C is not what stands in"),
    tidy.Plant(EXAMPLES[1], tidy.replace("glk_manager_set", "glk_manager_put"),
               "does not have tests/api/example_manager.c as it is"),
    tidy.Plant(MANUAL, tidy.replace(".Fn glk_version\n", ""),
               "does not name glk_version()"),
    tidy.Plant(MANUAL, tidy.replace(".Fn glk_version\n",
                                    ".Fn glk_version\n.Fn glk_planted\n"),
               "there is no glk_planted()"),
    tidy.Plant(README, tidy.replace("<!-- tests -->\n", ""),
               "no command under <!-- tests -->"),
    tidy.Plant(README, tidy.append("[planted](planted/none.md#there)\n"),
               "the link to planted/none.md leads nowhere"),
    tidy.Plant("meson.build", tidy.append("dependency('planted')\n"),
               "no line for the dependency planted"),
]

if __name__ == "__main__":
    tidy.main(check, PLANTS)
