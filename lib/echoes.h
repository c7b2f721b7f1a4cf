/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_ECHOES_H
#define CP_ECHOES_H

/* Echoes: copies of what this node published to channels that it listens on
 * itself, until it is heard; a log in one buffer, the oldest first. */

#include "buf.h"

typedef struct cp__echoes {
  cp__buf log; /* records, each with its name and body behind it */
  size_t max_bytes;
} cp__echoes;

/* One that was not heard; borrowed from the log. */
typedef struct cp__echo {
  uint64_t sequence;
  uint64_t sent_ms;
  uint8_t type;
  uint8_t target_kind; /* as in cp__target, with the next two */
  uint8_t order;
  cp_bytes user;
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

/* The oldest; borrowed until the next call. False: there is none. */
bool cp__echoes_first(const cp__echoes *echoes, cp__echo *echo);
/* Take the oldest out; borrowed until the next call. False: there is none. */
bool cp__echoes_take(cp__echoes *echoes, cp__echo *echo);

#endif
