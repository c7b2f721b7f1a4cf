/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_HELLO_H
#define CP_HELLO_H

/* Hello: nodes that come back together. Whoever is up says so to all, and who
 * hears that and is up, too, answers. So a node knows when everybody it knew
 * before an outage can be reached again. */

#include "buf.h"
#include "clusterpush/transport.h"

#include <stdbool.h>
#include <uv.h>

/* Nodes that are known and waited for. */
#define CP__HELLO_MAX_PEERS 1024

/* Another node. */
typedef struct cp__hello_peer {
  uint64_t instance;
  bool spoke; /* since the link stands */
} cp__hello_peer;

typedef struct cp__hello {
  uv_loop_t *loop;
  uint64_t instance;
  unsigned settle_ms;
  const char *prefix; /* borrowed */
  cp__hello_peer *peers;
  size_t n_peers;
  size_t n_silent; /* of them */
  uint64_t deadline;
  cp__buf callers; /* instances, uint64_t, that are owed an answer */
  bool is_due;     /* to be said on this link */
  const cp_allocator *alloc;
} cp__hello;

void cp__hello_init(cp__hello *hello, uv_loop_t *loop,
                    const cp_allocator *alloc, const char *prefix,
                    uint64_t instance, unsigned settle_ms);
void cp__hello_finish(cp__hello *hello);

/* There is a new link. Returns whether anybody has to speak before it can be
 * trusted. */
bool cp__hello_on_linked(cp__hello *hello);
/* This node spoke; in a hello, if it wants an answer. */
void cp__hello_on_spoken(cp__hello *hello, uint64_t instance,
                         bool wants_answer);
/* Does everybody speak who did before, or have we waited for long enough? */
bool cp__hello_is_settled(cp__hello *hello);

/* The end of a turn; `transport` is linked, or NULL. `is_up`: this node can be
 * reached by whoever sends. */
void cp__hello_turn(cp__hello *hello, cp_transport *transport, bool is_up);

#endif
