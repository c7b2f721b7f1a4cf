/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_ECHOES_H
#define CP_ECHOES_H

/* Echoes: copies of what this node published to channels that it listens on
 * itself, until it is heard; a log in one buffer, the oldest first. */

#include "buf.h"

typedef struct cp__echoes {
  cp__buf log; /* records, each with its name and body behind it */
  size_t last; /* bytes of the newest record */
  size_t max_bytes;
} cp__echoes;

/* One that was not heard; borrowed from the log. */
typedef struct cp__echo {
  uint64_t sequence;
  uint64_t sent_ms;
  uint64_t newest; /* as in cp__target, with the next three */
  uint8_t target_kind;
  uint8_t order;
  cp_bytes user;
  uint8_t type;
  cp_bytes body;
} cp__echo;

void cp__echoes_init(cp__echoes *echoes, const cp_allocator *alloc,
                     size_t max_bytes);
void cp__echoes_finish(cp__echoes *echoes);

static inline bool cp__echoes_is_empty(const cp__echoes *echoes) {
  return cp__buf_len(&echoes->log) == 0;
}

/* Keep a copy. False: too many bytes, or no memory. */
bool cp__echoes_put(cp__echoes *echoes, const cp__echo *echo);
/* The newest was not published after all. */
void cp__echoes_undo(cp__echoes *echoes, uint64_t sequence);

/* This one was heard, and no older one will be any more. */
void cp__echoes_heard(cp__echoes *echoes, uint64_t sequence);
/* What was sent before then was heard, or never will be. */
void cp__echoes_heard_until(cp__echoes *echoes, uint64_t sent_ms);

/* The one that begins at *at, at first 0, the oldest; *at is where the next
 * begins then. Borrowed until the next call that changes the log. False: there
 * is none. */
bool cp__echoes_next(const cp__echoes *echoes, size_t *at, cp__echo *echo);
static inline bool cp__echoes_first(const cp__echoes *echoes, cp__echo *echo) {
  size_t at = 0;
  return cp__echoes_next(echoes, &at, echo);
}
/* Take the oldest out; borrowed until the next call. False: there is none. */
bool cp__echoes_take(cp__echoes *echoes, cp__echo *echo);

#endif
