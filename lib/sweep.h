/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_SWEEP_H
#define CP_SWEEP_H

/* Sweep: one timer for everything that waits. Things with the same time-out
 * stand in one list, in the order in which they began to wait, so the first is
 * always the next to be due. With nothing waiting, no timer runs. */

#include "list.h"

#include <stdint.h>
#include <uv.h>

/* In a thing that waits; in at most one list. */
typedef struct cp__timed {
  cp__list link;  /* in cp__sweep_list.items */
  uint32_t since; /* ms of the sweep's own clock, wraps */
} cp__timed;

typedef struct cp__sweep_list {
  cp__list items; /* cp__timed.link */
  cp__list link;  /* in cp__sweep.lists */
  struct cp__sweep *sweep;
  uint32_t timeout_ms;
  /* The item is already out of the list. */
  void (*on_due)(struct cp__sweep_list *list, cp__timed *item);
} cp__sweep_list;

typedef struct cp__sweep {
  uv_timer_t timer;
  cp__list lists;
  uint64_t armed_for; /* uv_now() at which the timer fires; 0: not armed */
  void (*on_closed)(void *ctx);
  void *ctx;
} cp__sweep;

/* Lists may be added from here on. */
void cp__sweep_init(cp__sweep *sweep);
/* Takes a handle of the loop; nothing can wait earlier. */
void cp__sweep_start(cp__sweep *sweep, uv_loop_t *loop);
void cp__sweep_add_list(cp__sweep *sweep, cp__sweep_list *list,
                        uint32_t timeout_ms,
                        void (*on_due)(cp__sweep_list *, cp__timed *));
void cp__sweep_close(cp__sweep *sweep, void (*on_closed)(void *ctx), void *ctx);

static inline void cp__timed_init(cp__timed *item) {
  cp__list_init(&item->link);
  item->since = 0;
}
/* Begin to wait in `list`, from now; out of the one it was in. */
void cp__timed_start(cp__sweep_list *list, cp__timed *item);
/* The same, but for `ms`, which is at most the list's time-out. The list is
 * kept in the order in which its items fall due, which is a walk past all that
 * fall due later than this one. */
void cp__timed_start_for(cp__sweep_list *list, cp__timed *item, uint32_t ms);
/* Wait no longer. Does no harm to one that doesn't wait. */
static inline void cp__timed_stop(cp__timed *item) {
  cp__list_remove(&item->link);
}

#endif
