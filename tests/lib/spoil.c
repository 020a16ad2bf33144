/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/spoil.h"

#include "tests/lib/guest.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool take_message(int b, struct taken *t)
{
	char control[CMSG_SPACE(sizeof(t->fds))];
	struct iovec iov = { t->payload, sizeof(t->payload) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;

	t->n_fds = 0;
	t->size = recvmsg(b, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (t->size <= 0)
		return false;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg)
		return true;
	t->n_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(t->fds, CMSG_DATA(cmsg), t->n_fds * sizeof(int));
	return true;
}

static bool put_message(int a, const struct taken *t)
{
	char control[CMSG_SPACE(sizeof(t->fds))] = {};
	struct iovec iov = { (void *)t->payload, (size_t)t->size };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen =
				      CMSG_SPACE(t->n_fds * sizeof(int)) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(t->n_fds * sizeof(int));
	memcpy(CMSG_DATA(cmsg), t->fds, t->n_fds * sizeof(int));
	return sendmsg(a, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == t->size;
}

/* Take all messages; the first has end A and the identity. */
size_t spoil_take_all(int b, struct taken **ret_messages)
{
	struct taken *messages = calloc(64, sizeof(*messages));
	size_t n = 0;

	MUST(messages != NULL);
	while (n < 64 && take_message(b, &messages[n]))
		n++;
	MUST(n >= 2 && messages[0].n_fds == 2);
	*ret_messages = messages;
	return n;
}

void spoil_put_back(int a, const struct taken *messages, size_t n)
{
	for (size_t i = 0; i < n; i++)
		MUST(put_message(a, &messages[i]));
}

void spoil_close(const struct taken *messages, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < messages[i].n_fds; k++)
			close(messages[i].fds[k]);
}

void spoil_first_lock(int b)
{
	struct flock lock = { .l_type = F_UNLCK, .l_start = 0, .l_len = 1 };
	struct taken *messages;
	size_t n = spoil_take_all(b, &messages);

	spoil_put_back(messages[0].fds[0], messages, n);
	MUST(!fcntl(messages[1].fds[0], F_OFD_SETLK, &lock));
	spoil_close(messages, n);
	free(messages);
}
