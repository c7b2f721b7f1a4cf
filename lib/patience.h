/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_PATIENCE_H
#define CP_PATIENCE_H

/* Patience: an answer that nobody waits for need not wake the loop. While there
 * are no others, the system is told to report the socket readable only when a
 * good many have come (SO_RCVLOWAT), or its end; whoever owns this fetches
 * stragglers after CP__PATIENCE_MS. At low rates that spares who publishes
 * every second turn of its loop. Where the system knows no such thing, every
 * answer comes at once. */

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define CP__PATIENCE_MS 50

/* Zeroed, it is ready for use. */
typedef struct cp__patience {
  size_t n_awaited; /* answers that somebody waits for */
  unsigned n_calm;  /* in a row that nobody waits for, were asked for */
  bool on;
} cp__patience;

/* An answer is asked for; `awaited`: somebody waits for it. */
void cp__patience_asked(cp__patience *patience, bool awaited);
/* It came. */
void cp__patience_answered(cp__patience *patience, bool awaited);
/* Is it time to be patient? */
bool cp__patience_is_due(const cp__patience *patience);
/* Be it, or not. A system call if that is a change. */
void cp__patience_set(cp__patience *patience, uv_stream_t *stream, bool on);

#endif
