/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/base/util.h"
#include "core/lease/handover.h"
#include "tests/lib/test.h"

#include <stdio.h>

/*
 * Every state that one disk can get into while two guests hand it to and fro,
 * any of them is killed at any moment, and two strangers want it all the time,
 * one exclusively, one shared. A move is one system call of one party; all
 * orders of moves are tried, so there is no seed. Roles are judged by the real
 * handover_role().
 */

/* What a side does: nothing, or a claim (glk_guest_acquire() of a destination)
   that is under way. */
enum step {
	IDLE,
	WANTS_READ,  /* has byte 2 */
	LOOKS,	     /* is there a source? */
	WANTS_ALONE, /* no: then nobody may share it either */
	GIVES_BACK,
	_STEP_N,
};

struct side {
	struct held_bytes held;
	enum step step;
	bool alive;
};

/* The sharer reads first and looks for a hand-over then. */
enum sharer {
	SHARER_OUT,
	SHARER_LOOKS,
	SHARER_IN,
};

struct state {
	struct side sides[2];
	bool owner; /* a stranger has it exclusively */
	enum sharer sharer;
};

#define SIDE_BITS 9
#define STATES (1U << (2 * SIDE_BITS + 3))

static struct {
	uint8_t seen[STATES / 8];
	uint32_t queue[STATES];
	size_t head, tail;
	size_t roles[2][_ROLE_N];
	size_t owned, shared;
} search;

static uint32_t side_pack(const struct side *s)
{
	return (uint32_t)s->held.owner | (uint32_t)s->held.successor << 2 |
	       (uint32_t)s->held.writer << 3 |
	       (uint32_t)s->held.predecessor << 4 | (uint32_t)s->step << 5 |
	       (uint32_t)s->alive << 8;
}

static struct side side_unpack(uint32_t x)
{
	return (struct side){
		.held = {
			.owner = (enum held_byte)(x & 3),
			.successor = x >> 2 & 1,
			.writer = x >> 3 & 1,
			.predecessor = x >> 4 & 1,
		},
		.step = (enum step)(x >> 5 & 7),
		.alive = x >> 8 & 1,
	};
}

static uint32_t state_pack(const struct state *s)
{
	return side_pack(&s->sides[0]) | side_pack(&s->sides[1]) << SIDE_BITS |
	       (uint32_t)s->owner << 2 * SIDE_BITS |
	       (uint32_t)s->sharer << (2 * SIDE_BITS + 1);
}

static struct state state_unpack(uint32_t x)
{
	return (struct state){
		.sides = { side_unpack(x), side_unpack(x >> SIDE_BITS) },
		.owner = x >> 2 * SIDE_BITS & 1,
		.sharer = (enum sharer)(x >> (2 * SIDE_BITS + 1) & 3),
	};
}

static enum role role_of(const struct side *s)
{
	return handover_role(RES_EXCLUSIVE, &s->held);
}

/* A claim that is under way is nobody's yet: it is not parked. */
static bool may_write(const struct side *s)
{
	return s->step == IDLE && role_holds(role_of(s));
}

static void verify(const struct state *s)
{
	const struct side *a = &s->sides[0], *b = &s->sides[1];
	bool involved = (a->step == IDLE && role_of(a) != ROLE_NONE) ||
			(b->step == IDLE && role_of(b) != ROLE_NONE);
	bool stranger = s->owner || s->sharer == SHARER_IN;

	assert_true(may_write(a) + may_write(b) + s->owner <= 1);
	assert_false(s->owner && s->sharer == SHARER_IN);
	assert_false(involved && stranger);
	for (int i = 0; i < 2; i++)
		search.roles[i][role_of(&s->sides[i])]++;
	search.owned += s->owner;
	search.shared += s->sharer == SHARER_IN;
}

static void reach(const struct state *s)
{
	uint32_t x = state_pack(s);

	if (search.seen[x / 8] & 1U << x % 8)
		return;
	search.seen[x / 8] |= (uint8_t)(1U << x % 8);
	search.queue[search.tail++] = x;
	verify(s);
}

/* Would the kernel give byte 0? */
static bool alone_is_free(const struct state *s, int me)
{
	return !s->sides[!me].held.owner && !s->owner &&
	       s->sharer == SHARER_OUT;
}

static bool read_is_free(const struct state *s, int me)
{
	return s->sides[!me].held.owner != HELD_WRITE && !s->owner;
}

static void claim(struct state s, int me)
{
	struct side *mine = &s.sides[me];
	bool source = s.sides[!me].held.predecessor;
	bool ok = true;

	switch (mine->step) {
	case WANTS_READ:
		ok = read_is_free(&s, me);
		mine->held.owner = HELD_READ;
		mine->step = LOOKS;
		break;
	case LOOKS:
		mine->step = source ? IDLE : WANTS_ALONE;
		break;
	case WANTS_ALONE:
		ok = alone_is_free(&s, me);
		mine->held.owner = HELD_WRITE;
		mine->step = GIVES_BACK;
		break;
	default:
		mine->held.owner = HELD_READ;
		mine->step = IDLE;
		break;
	}
	if (!ok)
		*mine = (struct side){ .alive = true };
	reach(&s);
}

static void with(struct state s, int me, struct held_bytes held)
{
	s.sides[me].held = held;
	reach(&s);
}

/* Byte 0 is ours alone: get ready to share it, or forget the hand-over. */
static void move_owner(const struct state *s, int me)
{
	const struct held_bytes *other = &s->sides[!me].held;
	struct held_bytes h = s->sides[me].held, next = h;

	if (!h.predecessor && !other->predecessor)
		next.predecessor = true;
	else if (h.predecessor && !h.writer && !other->writer)
		next.writer = true;
	else if (h.predecessor && h.writer)
		next.owner = HELD_READ;
	with(*s, me, next);
	with(*s, me, (struct held_bytes){ .owner = HELD_WRITE });
}

static void move_source(const struct state *s, int me, enum role role)
{
	const struct held_bytes *other = &s->sides[!me].held;
	struct held_bytes h = s->sides[me].held, next = h;

	if (role == ROLE_LEFT) {
		next.writer = h.owner && !other->writer;
		with(*s, me, next);
		return;
	}
	if (alone_is_free(s, me)) {
		next.owner = HELD_WRITE;
		with(*s, me, next);
	}
	next = h;
	if (h.successor)
		next.successor = false; /* it has come from elsewhere itself */
	else if (other->successor)
		next.writer = false;
	with(*s, me, next);
}

static void move_destination(const struct state *s, int me, enum role role)
{
	const struct held_bytes *other = &s->sides[!me].held;
	struct held_bytes h = s->sides[me].held, next = h;

	if (role == ROLE_INCOMING) {
		next.writer = !other->writer;
		with(*s, me, next);
		with(*s, me, (struct held_bytes){});
		return;
	}
	if (alone_is_free(s, me)) {
		next.owner = HELD_WRITE;
		with(*s, me, next);
		next = h;
	}
	next.predecessor = !other->predecessor; /* and on to a third place */
	with(*s, me, next);
}

static void move_side(const struct state *s, int me)
{
	enum role role = role_of(&s->sides[me]);
	struct state next = *s;

	/* It is killed, or born again. */
	next.sides[me] = (struct side){ .alive = !s->sides[me].alive };
	reach(&next);
	if (!s->sides[me].alive)
		return;
	if (s->sides[me].step != IDLE) {
		claim(*s, me);
	} else if (role == ROLE_OWNER) {
		move_owner(s, me);
	} else if (role == ROLE_PREPARED || role == ROLE_LEFT) {
		move_source(s, me, role);
	} else if (role != ROLE_NONE) {
		move_destination(s, me, role);
	} else if (!s->sides[!me].held.successor) {
		next.sides[me] = (struct side){ .held.successor = true,
						.step = WANTS_READ,
						.alive = true };
		reach(&next);
	}
}

static bool is_handed_over(const struct held_bytes *held)
{
	return held->successor || held->writer || held->predecessor;
}

static void move_strangers(const struct state *s)
{
	const struct held_bytes *a = &s->sides[0].held, *b = &s->sides[1].held;
	struct state next = *s;

	if (s->owner || (!a->owner && !b->owner && s->sharer == SHARER_OUT)) {
		next.owner = !s->owner;
		reach(&next);
		next = *s;
	}
	if (s->sharer != SHARER_OUT)
		next.sharer = s->sharer == SHARER_LOOKS && !is_handed_over(a) &&
					      !is_handed_over(b)
				      ? SHARER_IN
				      : SHARER_OUT;
	else if (!s->owner && a->owner != HELD_WRITE && b->owner != HELD_WRITE)
		next.sharer = SHARER_LOOKS;
	reach(&next);
}

static void search_from(const struct state *s)
{
	memset(&search, 0, sizeof(search));
	reach(s);
	while (search.head < search.tail) {
		struct state now = state_unpack(search.queue[search.head++]);

		move_side(&now, 0);
		move_side(&now, 1);
		move_strangers(&now);
	}
	printf("%zu states\n", search.tail);
}

static void no_order_of_moves_and_kills_breaks_a_hand_over(void **state)
{
	struct state s = { .sides = {
				   { .held.owner = HELD_WRITE, .alive = true },
				   { .alive = true } } };

	(void)state;
	search_from(&s);
	/* A search in which something never happens proves nothing. */
	for (int i = 0; i < 2; i++)
		for (int role = 0; role < _ROLE_N; role++)
			assert_true(search.roles[i][role] > 0);
	assert_true(search.owned > 0 && search.shared > 0);
}

/* The only one that is left, from wherever it is, to byte 0 for itself. */
static bool gets_home(struct held_bytes held)
{
	for (int i = 0; i < _ROLE_N; i++) {
		switch (handover_role(RES_EXCLUSIVE, &held)) {
		case ROLE_OWNER:
			return true;
		case ROLE_PREPARED:
		case ROLE_ARRIVED:
			held.owner = HELD_WRITE;
			break;
		case ROLE_LEFT:
		case ROLE_INCOMING:
			held.writer = true;
			break;
		default:
			return false;
		}
	}
	return false;
}

static void whoever_is_left_can_have_the_disk(void **state)
{
	struct state s = { .sides = {
				   { .held.owner = HELD_WRITE, .alive = true },
				   { .alive = true } } };
	size_t n = 0;

	(void)state;
	search_from(&s);
	for (size_t i = 0; i < search.tail; i++) {
		struct state now = state_unpack(search.queue[i]);
		struct side *a = &now.sides[0];

		if (now.sides[1].alive || a->step != IDLE ||
		    role_of(a) == ROLE_NONE)
			continue;
		assert_true(gets_home(a->held));
		n++;
	}
	assert_true(n > 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(no_order_of_moves_and_kills_breaks_a_hand_over),
	cmocka_unit_test(whoever_is_left_can_have_the_disk),
};

TEST_MAIN(tests, TEST_NEEDS_NOTHING)
