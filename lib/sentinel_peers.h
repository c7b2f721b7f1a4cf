/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_SENTINEL_PEERS_H
#define CP_SENTINEL_PEERS_H

/* Sentinel peers: the sentinels that are known, which are those of the options
 * and those learned from others; which of them is to be asked next; and how
 * they write addresses. No I/O.
 *
 * A question goes round: each is asked once, until one answers. First comes who
 * answered last, then those of the options, then the learned ones. Who failed
 * comes behind all who did not; of those, who failed longest ago is first. */

#include "alloc.h"
#include "redis_url.h"
#include "resp.h"

#include <stdbool.h>

#define CP__SENTINEL_NAME_MAX     255
#define CP__SENTINELS_LEARNED_MAX 16

typedef struct cp__sentinel_address {
  char name[CP__SENTINEL_NAME_MAX + 1];
  int port; /* 0: none */
} cp__sentinel_address;

typedef struct cp__sentinel_peer {
  uint64_t failed; /* counts the failures of all; 0: not since it answered */
  cp__sentinel_address address;
  bool tried; /* in this round */
} cp__sentinel_peer;

typedef struct cp__sentinel_peers {
  cp__sentinel_peer *all; /* the options' first */
  size_t n_hosts;         /* the options' */
  size_t n;
  size_t current; /* who is asked */
  size_t last;    /* who answered last; at the start the first one */
  uint64_t n_failures;
} cp__sentinel_peers;

/* `hosts` are copied, at least one. Returns 0 or CP_E_NOMEM. */
int cp__sentinel_peers_init(cp__sentinel_peers *peers,
                            const cp_allocator *alloc,
                            const cp__redis_host *hosts, size_t n);
void cp__sentinel_peers_finish(cp__sentinel_peers *peers,
                               const cp_allocator *alloc);

/* Begin a round. With `stay` the current one is asked first, whoever it is. */
void cp__sentinel_peers_begin(cp__sentinel_peers *peers, bool stay);
/* Make the next one current. False: this round is over. */
bool cp__sentinel_peers_next(cp__sentinel_peers *peers);
/* Borrowed until learn is called. */
const cp__sentinel_address *
cp__sentinel_peers_current(const cp__sentinel_peers *peers);

/* The current one answered; or failed. */
void cp__sentinel_peers_answered(cp__sentinel_peers *peers);
void cp__sentinel_peers_failed(cp__sentinel_peers *peers);
/* Who answered last might as well have failed. */
void cp__sentinel_peers_lied(cp__sentinel_peers *peers);

/* The answer of the current one, which answered last, to SENTINEL SENTINELS:
 * these are the learned ones from now on, but for those that it holds for down,
 * and it stays one. An answer of another kind teaches nothing. */
void cp__sentinel_peers_learn(cp__sentinel_peers *peers,
                              const cp__resp_reply *reply);

bool cp__sentinel_address_equal(const cp__sentinel_address *a,
                                const cp__sentinel_address *b);
/* As sentinels write them. The name must be one that can be looked up, and
 * printed. */
bool cp__sentinel_address_read(cp__sentinel_address *address, cp_bytes name,
                               cp_bytes port);
/* The value of that name, of `n` nodes that are names and values in turn; "" if
 * there is none. */
cp_bytes cp__sentinel_field(const cp__resp_node *nodes, size_t n,
                            const char *name);

#endif
