/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TURN_H
#define CP_TURN_H

/* Turn: runs the owner's end-of-turn work around every poll of the loop, before
 * (so that what timers did goes out) and after (what reads did). If the owner
 * says that work is left, the next poll doesn't block. Costs nothing while the
 * loop sleeps, and doesn't keep it alive. */

#include <stdbool.h>
#include <uv.h>

typedef struct cp__turn {
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle;
  bool (*run)(void *ctx); /* returns: is there more to do? */
  void (*on_closed)(void *ctx);
  void *ctx;
  int n_open; /* handles */
} cp__turn;

void cp__turn_start(cp__turn *turn, uv_loop_t *loop, bool (*run)(void *ctx),
                    void *ctx);
/* on_closed(ctx) when the handles are gone. `run` isn't called any more. */
void cp__turn_close(cp__turn *turn, void (*on_closed)(void *ctx));

#endif
