/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_OUTBOX_H
#define CP_OUTBOX_H

/* Outbox: what waits to be published until there is a link again, the oldest
 * first, bounded in bytes and age. */

#include "clusterpush/transport.h"
#include "list.h"
#include "registry.h"

#include <uv.h>

/* One that waits. */
typedef struct cp__waiting {
  cp__list link; /* in cp__outbox.returned, .again or .fresh */
  struct cp__send *send;
  uint64_t since;   /* uv_now() */
  bool again;       /* it was given to a link that broke before it was answered:
                       `body` is the payload, to be published as it is */
  bool written;     /* ... and may have been read */
  cp_bytes channel; /* of one that is published again */
  cp__target target; /* of any other, with these two */
  cp_type type;
  cp_bytes body;
  char bytes[];
} cp__waiting;

/* What the outbox asks of the sender. */
typedef struct cp__outbox_host {
  /* Publish it. Returns as cp_transport_ops.publish. */
  int (*publish)(void *ctx, const cp__waiting *waiting);
  /* It will not be published: CP_E_TIMEOUT (too old), CP_E_CANCELED, or an
   * error of publish that waiting doesn't cure. */
  void (*give_up)(void *ctx, const cp__waiting *waiting, int err);
} cp__outbox_host;

typedef struct cp__outbox {
  const cp_allocator *alloc;
  uv_loop_t *loop;
  const cp__outbox_host *host;
  void *ctx;
  size_t max_bytes; /* 0: nothing ever waits */
  unsigned max_age_ms;
  size_t n_bytes;
  size_t n_items;
  uint64_t
      held_until;    /* uv_now(); 0: it may go out as soon as there is a link */
  cp__list returned; /* cp__waiting.link: given back by a link that broke, older
                        than all of `again` */
  cp__list again;    /* older than all of `fresh` */
  cp__list fresh;
  uv_timer_t timer; /* until the oldest is too old */
} cp__outbox;

/* Takes a handle of the loop. */
void cp__outbox_init(cp__outbox *outbox, uv_loop_t *loop,
                     const cp_allocator *alloc, size_t max_bytes,
                     unsigned max_age_ms, const cp__outbox_host *host,
                     void *ctx);

static inline bool cp__outbox_is_empty(const cp__outbox *outbox) {
  return outbox->n_items == 0;
}
/* Nothing waits, and nothing has to. */
static inline bool cp__outbox_is_clear(const cp__outbox *outbox) {
  return outbox->n_items == 0 && outbox->held_until == 0;
}

/* Let everything wait for `ms`, or until it is released. */
void cp__outbox_hold(cp__outbox *outbox, unsigned ms);
void cp__outbox_release(cp__outbox *outbox);

/* Put a message in; everything is copied. Returns 0, CP_E_FULL, CP_E_NOMEM, or
 * CP_E_DOWN: this outbox takes nothing. */
int cp__outbox_put(cp__outbox *outbox, const cp__target *target, cp_type type,
                   cp_bytes body, struct cp__send *send);
/* Put back what a broken link left unanswered, the oldest first: it will be
 * published before everything else. Returns as cp__outbox_put. */
int cp__outbox_put_back(cp__outbox *outbox, cp_bytes channel, cp_bytes payload,
                        bool written, struct cp__send *send);

/* The end of a turn: give up what is too old, and, if `can_publish`, publish
 * up to `budget` messages. True: there are more to be published at once. */
bool cp__outbox_turn(cp__outbox *outbox, bool can_publish, int budget);

/* Give up everything. */
void cp__outbox_cancel(cp__outbox *outbox);

/* Close the handle. Nothing may be put in any more. */
void cp__outbox_close(cp__outbox *outbox, uv_close_cb on_closed, void *data);

#endif
