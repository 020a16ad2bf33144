/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A directory tree that was recorded as text, such as a part of sysfs: a line
 * "l PATH TARGET" is a symbolic link, "f PATH TEXT" a file of one line, "#" a
 * comment. Directories are made as needed.
 */

/* Make it in DIR/@name. Return: that path, static; a ring of 16. */
const char *tree_make(const char *recording, const char *name);

/* One more line. */
void tree_add(const char *root, const char *line);
