/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_COUNTS_H
#define CP_COUNTS_H

/* Counts: on how many nodes is a user, asked now. */

#include "registry.h"

#define CP__COUNT_MAX 1000 /* users in one question */

typedef struct cp__counts {
  const cp_allocator *alloc;
  cp__list done;    /* struct cp__count.link: their callbacks are due */
  size_t n_pending; /* questions, until they are called back */
} cp__counts;

void cp__counts_init(cp__counts *counts, const cp_allocator *alloc);

/* Ask the transport, or the registry, if there is no other node. Returns as
 * cp_users_nodes(). */
int cp__counts_ask(cp__counts *counts, cp_transport *transport,
                   const cp__registry *registry, const cp_bytes *users,
                   size_t n, cp_user_nodes_cb cb, void *data);

/* What the transport tells. */
void cp__counts_on_counted(cp__counts *counts, void *token, int status,
                           const uint32_t *subscribers, size_t n);

/* Call back what is done. */
void cp__counts_turn(cp__counts *counts);
static inline bool cp__counts_has_work(const cp__counts *counts) {
  return !cp__list_empty(&counts->done);
}

#endif
