/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_GUARD_H
#define CP_GUARD_H

/* Guard: how much one stranger may have of a server: sockets from an address,
 * handshakes a second, frames and bytes a second on a connection. A limit that
 * is off costs nothing, a connection's memory included. */

#include "clusterpush/server.h"
#include "list.h"
#include "map.h"

#include <stdbool.h>
#include <sys/socket.h>

/* What was taken from a rate. Zeroed, nothing was. */
typedef struct cp__rate {
  uint64_t due_ns; /* when the last of it may be taken again */
} cp__rate;

/* Take `n` of `per_second` > 0. False, and nothing is taken: it would be more
 * than that in a second. */
bool cp__rate_take(cp__rate *rate, uint64_t per_second, uint64_t n,
                   uint64_t now_ms);

/* Sockets from one address. */
typedef struct cp__address {
  cp__map_node node; /* in cp__guard.addresses */
  size_t n;
  uint8_t key[16];
} cp__address;

/* Of one connection. */
typedef struct cp__guarded {
  cp__address *address; /* NULL: it isn't counted */
  cp__rate frames;
  cp__rate bytes;
} cp__guarded;

typedef struct cp__guard {
  const cp_allocator *alloc;
  size_t max_per_address; /* 0, here as below: no limit */
  unsigned max_handshakes;
  unsigned max_frames;
  size_t max_bytes;
  bool has_guarded; /* connections need a cp__guarded */
  cp__rate handshakes;
  cp__map addresses; /* cp__address.node */
} cp__guard;

/* Returns 0 or a libuv code. */
int cp__guard_init(cp__guard *guard, const cp_allocator *alloc,
                   const cp_server_options *limits);
/* When no connection is left. */
void cp__guard_finish(cp__guard *guard);

/* May one more socket come from there? Then `guarded` is counted until it is
 * released. False also if there is no memory to count it. */
bool cp__guard_admit(cp__guard *guard, cp__guarded *guarded,
                     const struct sockaddr *peer);
void cp__guard_release(cp__guard *guard, cp__guarded *guarded);

/* May one more handshake be made? */
bool cp__guard_take_handshake(cp__guard *guard, uint64_t now_ms);
/* Did the client send no more than it may? */
bool cp__guard_take_frames(const cp__guard *guard, cp__guarded *guarded,
                           uint64_t n, uint64_t now_ms);
bool cp__guard_take_bytes(const cp__guard *guard, cp__guarded *guarded,
                          uint64_t n, uint64_t now_ms);

#endif
