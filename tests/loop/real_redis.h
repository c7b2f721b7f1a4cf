/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_REAL_REDIS_H
#define CP_TEST_REAL_REDIS_H

/* Real Redis: a redis-server of the test's own, at a Unix socket in a directory
 * of its own, without persistence. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct real_redis {
  char dir[32];
  char path[64];
  char url[96];
  pid_t pid; /* 0: not running */
} real_redis;

/* Start it, and wait until it accepts connections. False: there is no
 * redis-server here (or it doesn't start), so skip the test. */
bool real_redis_start(real_redis *redis);
/* Start it again, at the same place, after a kill. */
bool real_redis_restart(real_redis *redis);

/* SIGKILL, and wait for its end. */
void real_redis_kill(real_redis *redis);
void real_redis_pause(real_redis *redis);
void real_redis_continue(real_redis *redis);

/* Run a command that a blank separates into words, over a connection of its
 * own, and wait for the answer. Returns its number if it is one, 0 for any
 * other answer, -1 for an error. */
long long real_redis_run(real_redis *redis, const char *command);

/* Kill it if it runs, and remove the directory. */
void real_redis_stop(real_redis *redis);

#endif
