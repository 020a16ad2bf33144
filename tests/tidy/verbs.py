#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every verb and option of the command is in its manual and its completion.

And the other way round: the manual and the completion offer nothing that the
command does not know.
"""

import glob
import os
import re

import tidy

CLI = "core/cli"
OPTIONS = CLI + "/options.c"
COMPLETION = CLI + "/guestlock.bash"

# "migrate out" is two words, and the second is looked for after the first.
VERB = re.compile(r'^\s*\.name = "([a-z -]+)",$', re.M)
OPTION = re.compile(r'\{\s*OPTION_\w+,\s*(?:0|\'.\'),\s*"([a-z-]+)"')
LATER = re.compile(r"--([a-z][a-z-]+)|Fl -([a-z][a-z-]+)")
GLOBAL = {"help", "version"}


def manual(root):
    found = sorted(glob.glob(os.path.join(root, CLI, "guestlock.[18]")))
    return os.path.relpath(found[0], root) if found else None


def known(root):
    verbs, options = [], []
    for path in tidy.tracked(root):
        if re.fullmatch(CLI + r"/cmd_\w+\.c", path):
            verbs += VERB.findall(tidy.read(root, path))
    if os.path.exists(os.path.join(root, OPTIONS)):
        options = OPTION.findall(tidy.read(root, OPTIONS))
    return verbs, options


def plain(path, text):
    """Without the escapes that a page's hyphens need."""
    return text.replace("\\-", "-") if path != COMPLETION else text


def check_page(root, path, verbs, options):
    text = plain(path, tidy.read(root, path))
    for verb in verbs:
        words = [r"(?<![\w-])%s(?![\w-])" % re.escape(w) for w in verb.split()]
        if not re.search(r"[\s\S]*?".join(words), text):
            yield "%s: does not know the verb %s" % (path, verb)
    seen = {a or b for a, b in LATER.findall(text)}
    for option in options:
        if option not in seen:
            yield "%s: does not know the option --%s" % (path, option)
    for option in sorted(seen - set(options) - GLOBAL):
        yield "%s: there is no option --%s" % (path, option)


def check(root):
    verbs, options = known(root)
    if len(verbs) < 8 or len(options) < 8:
        yield "%s: only %d verbs and %d options were understood" % (
            CLI, len(verbs), len(options))
    for path in (manual(root), COMPLETION):
        if path is None or not os.path.exists(os.path.join(root, path)):
            yield "%s: is missing" % (path or CLI + "/guestlock.8")
            continue
        yield from check_page(root, path, verbs, options)


def plants(root):
    page = manual(root) or CLI + "/guestlock.8"
    return [
        tidy.Plant(CLI + "/cmd_planted.c",
                   tidy.append('\t\t.name = "planted",\n'), found)
        for found in (page + ": does not know the verb planted",
                      COMPLETION + ": does not know the verb planted")
    ] + [
        tidy.Plant(CLI + "/cmd_planted.c",
                   tidy.append('\t\t.name = "migrate planted",\n'),
                   page + ": does not know the verb migrate planted"),
        tidy.Plant(OPTIONS, tidy.append('{ OPTION_PLANTED, 0, "planted",\n'),
                   page + ": does not know the option --planted"),
        tidy.Plant(OPTIONS, tidy.append("{ OPTION_PLANTED, 'p', \"planted\"\n"),
                   COMPLETION + ": does not know the option --planted"),
        tidy.Plant(page, tidy.append("\\-\\-planted\n"),
                   "there is no option --planted"),
        tidy.Plant(COMPLETION, tidy.append("# --planted\n"),
                   "there is no option --planted"),
    ]


if __name__ == "__main__":
    import sys
    tidy.main(check, plants(sys.argv[1]))
