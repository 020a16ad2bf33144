/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)

/* A deadline is an instant of CLOCK_MONOTONIC in ns; 0 has always passed. */
#define DEADLINE_NEVER UINT64_MAX

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t deadline_in_ms(uint64_t ms)
{
	return clock_now() + ms * NSEC_PER_MSEC;
}
