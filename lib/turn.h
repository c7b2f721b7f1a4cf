/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TURN_H
#define CP_TURN_H

/* Turn: runs the owner's end-of-turn work around every poll of the loop, before
 * (so that what timers did goes out) and after (what reads did). If the owner
 * says that work is left, the next poll doesn't block. Costs nothing while the
 * loop sleeps, and doesn't keep it alive.
 *
 * Batches that adapt: after a busy turn the thread offers its core to whoever
 * waits for it before it polls again. On a core that is shared with
 * Redis, other nodes or clients, these get to write more before this node wakes
 * up, so its turns are fewer and larger; eight saturated nodes on one core need
 * a third less CPU a message. On a core of its own, and at low rates, nothing
 * happens. (A timed pause of 50 to 300 µs was tried instead: it made all of it
 * slower.) */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

typedef struct cp__turn {
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle;
  bool (*run)(void *ctx); /* returns: is there more to do? */
  uint64_t n_work;        /* see cp__turn_note_work */
  bool busy;              /* since the last poll */
  void (*on_closed)(void *ctx);
  void *ctx;
  int n_open; /* handles */
} cp__turn;

void cp__turn_start(cp__turn *turn, uv_loop_t *loop, bool (*run)(void *ctx),
                    void *ctx);
/* From `run`: the messages that the owner has handled since its start. */
void cp__turn_note_work(cp__turn *turn, uint64_t n_work);
/* on_closed(ctx) when the handles are gone. `run` isn't called any more. */
void cp__turn_close(cp__turn *turn, void (*on_closed)(void *ctx));

#endif
