#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Includes point downwards, and are written from the repository root.

Only core/lib (later also monitor/main) is where locks, the engine and
capsules meet. Nothing but tests and benchmarks may see everything.
"""

import posixpath
import re

import tidy

# folder: the folders that it may include, besides itself
ALLOWED = {
    "include": set(),
    "core/base": set(),
    "core/lease": {"core/base"},
    "core/capsule": {"core/base", "core/lease"},
    "core/driver": {"include", "core/base"},
    "core/wire": {"core/base"},
    "core/lib": {"include", "core/base", "core/lease", "core/capsule",
                 "core/driver", "core/wire", "uring"},
    "core/cli": {"include", "core/base"},
    "core/libvirt": {"include"},
    "uring": {"core/base"},
    "monitor": {"core/base"},
}
FREE = ("tests/", "bench/")

INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*([\"<])([^\">]+)[\">]", re.M)


def layer(path):
    """The layer that a file belongs to: its longest folder of the table."""
    folder = posixpath.dirname(path)
    while folder:
        if folder in ALLOWED:
            return folder
        folder = posixpath.dirname(folder)
    return None


def target(quote, name, files):
    """The project's file that an include names, or None."""
    if name in files:
        return name
    if quote == "<" and "include/" + name in files:
        return "include/" + name
    return None


def check(root):
    files = set(tidy.tracked(root))
    for path in sorted(filter(tidy.is_c, files)):
        own = layer(path)
        free = path.startswith(FREE)
        if own is None and not free:
            yield "%s: is in no layer that this check knows" % path
            continue
        for quote, name in INCLUDE.findall(tidy.read(root, path)):
            to = target(quote, name, files)
            if to is None:
                if quote == '"' and name != "config.h":
                    yield ('%s: "%s" is not written from the repository root'
                           % (path, name))
                continue
            theirs = layer(to)
            if free or theirs == own:
                continue
            if theirs is None:
                yield "%s: includes %s" % (path, to)
            elif theirs not in ALLOWED[own]:
                yield "%s: %s must not include %s" % (path, own, to)


PLANTS = [
    tidy.Plant("core/base/err.c", tidy.append('#include "uring/op.h"\n'),
               "core/base must not include uring/op.h"),
    tidy.Plant("core/lease/planted.c",
               tidy.append('#include "uring/engine.h"\n'),
               "core/lease must not include uring/engine.h"),
    tidy.Plant("uring/planted.c",
               tidy.append('#include "core/lease/resource.h"\n'),
               "uring must not include core/lease/resource.h"),
    tidy.Plant("core/capsule/planted.c",
               tidy.append('# include "uring/engine.h"\n'),
               "core/capsule must not include uring/engine.h"),
    tidy.Plant("core/driver/planted.c",
               tidy.append('#include "core/lib/lib.h"\n'),
               "core/driver must not include core/lib/lib.h"),
    tidy.Plant("core/cli/planted.c",
               tidy.append('#include "core/capsule/capsule.h"\n'),
               "core/cli must not include core/capsule/capsule.h"),
    tidy.Plant("monitor/planted.c",
               tidy.append('#include "core/lease/txn.h"\n'),
               "monitor must not include core/lease/txn.h"),
    tidy.Plant("core/base/planted.h",
               tidy.append("#include <guestlock.h>\n"),
               "core/base must not include include/guestlock.h"),
    tidy.Plant("core/base/planted.c", tidy.append('#include "tests/lib/test.h"\n'),
               "includes tests/lib/test.h"),
    tidy.Plant("uring/planted.c", tidy.append('#include "op.h"\n'),
               "not written from the repository root"),
    tidy.Plant("tests/unit/planted.c", tidy.append('#include "../lib/test.h"\n'),
               "not written from the repository root"),
    tidy.Plant("elsewhere/planted.c", tidy.append("int x;\n"),
               "is in no layer"),
]

if __name__ == "__main__":
    tidy.main(check, PLANTS)
