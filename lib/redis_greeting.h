/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_REDIS_GREETING_H
#define CP_REDIS_GREETING_H

/* Redis greeting: the commands that open every connection to Redis, written in
 * one go, and the verdict on their answers: AUTH, SELECT, CLIENT SETNAME, INFO
 * server, ROLE, CONFIG GET. No I/O. */

#include "resp.h"

#include <stdbool.h>

/* Who connects; borrowed. */
typedef struct cp__redis_identity {
  const char *user;        /* NULL: the password alone */
  const char *password;    /* NULL: no AUTH */
  int db;                  /* 0: no SELECT */
  const char *client_name; /* NULL: no CLIENT SETNAME */
  bool any_role;           /* no ROLE: to a Sentinel, or a replica will do */
} cp__redis_identity;

/* What the server told. */
typedef struct cp__redis_info {
  char run_id[64];  /* "" if unknown: it names one start of one server */
  char version[32]; /* "" if unknown */
  int64_t uptime_s; /* -1 if unknown */
  bool is_cluster;  /* a node of a Redis Cluster */
  bool is_master;   /* false: ROLE was refused, so unknown */
  /* A subscriber is closed when more bytes wait for it (the lower of the two
   * figures of client-output-buffer-limit pubsub). 0: no limit, or unknown. */
  int64_t subscriber_limit;
} cp__redis_info;

/* The commands, in the order in which they are written. */
typedef enum cp__greeting_step {
  CP__GREETING_AUTH,
  CP__GREETING_SELECT,
  CP__GREETING_SETNAME,
  CP__GREETING_INFO,
  CP__GREETING_ROLE,
  CP__GREETING_LIMIT, /* for those who want to know */
  CP__N_GREETING_STEPS
} cp__greeting_step;

/* What a server may refuse and is used all the same, as bits. */
enum {
  CP__REDIS_REFUSED_SETNAME = 1 << CP__GREETING_SETNAME,
  CP__REDIS_REFUSED_INFO = 1 << CP__GREETING_INFO,
  CP__REDIS_REFUSED_ROLE = 1 << CP__GREETING_ROLE,
  CP__REDIS_LOW_LIMIT = 1 << CP__GREETING_LIMIT /* not refused, but low */
};

/* "AUTH", "CLIENT SETNAME", ... Static. */
const char *cp__redis_greeting_name(cp__greeting_step step);

/* Append the command of one step. Returns false, and appends nothing, if this
 * identity has no need of it. `out->failed` tells of missing memory. */
bool cp__redis_greeting_write(cp__buf *out, cp__greeting_step step,
                              const cp__redis_identity *identity);

/* What the answer to a step means. */
typedef struct cp__greeting_verdict {
  int err;      /* 0: go on; else break the link with it */
  bool refused; /* go on without it */
  char reason[256];
} cp__greeting_verdict;

/* Judge the answer to a step, and note in `info` what it tells. `info` starts
 * as cp__redis_info_init left it. Errors: CP_E_AUTH, CP_E_REDIS (SELECT was
 * refused, the server is busy with something else, or no master), CP_E_PROTOCOL
 * (not what this command is answered with). Few may ask for the limit, and its
 * refusal is none. */
void cp__redis_greeting_judge(cp__greeting_verdict *verdict,
                              cp__redis_info *info, cp__greeting_step step,
                              const cp__resp_reply *reply);

void cp__redis_info_init(cp__redis_info *info);

/* Is this the answer of a master to ROLE? Otherwise `reason` says what it is;
 * `size` is that of `reason`. */
bool cp__redis_is_master(const cp__resp_reply *reply, char *reason,
                         size_t size);

/* May the link go on after this error answer to a command that it can do
 * without: not permitted, or unknown to the server? */
bool cp__redis_is_refusal(cp_bytes error);

#endif
