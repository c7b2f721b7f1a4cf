/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_MAILBOX_H
#define CP_MAILBOX_H

/* Mailbox: what any thread hands to the loop, in the order of the calls, within
 * a limit in bytes. The first of a batch wakes the loop. The owner's items are
 * named by their links. */

#include "list.h"

#include <stdbool.h>
#include <uv.h>

typedef struct cp__mailbox {
  uv_async_t async; /* its `data` is the owner's */
  uv_mutex_t mutex; /* guards the next three */
  cp__list posted;
  size_t n_bytes; /* of all that isn't done, in `taken` too */
  bool closed;    /* written by the loop alone */
  size_t max_bytes;
  cp__list taken; /* the loop's: not done yet */
} cp__mailbox;

/* `on_posted` runs on the loop, once a batch. Returns 0 or a libuv code. */
int cp__mailbox_init(cp__mailbox *box, uv_loop_t *loop, size_t max_bytes,
                     uv_async_cb on_posted, void *data);

/* From any thread. Returns 0 (it is the loop's now), CP_E_CLOSED or CP_E_FULL;
 * one always fits into an empty box. */
int cp__mailbox_post(cp__mailbox *box, cp__list *link, size_t size);

/* The rest on the loop's thread. */

/* Move what was posted to `taken`. */
void cp__mailbox_take(cp__mailbox *box);
/* So much of what was taken is done. */
void cp__mailbox_done(cp__mailbox *box, size_t n_bytes);
/* More is to be done: run on_posted in the next turn, too. */
void cp__mailbox_wake(cp__mailbox *box);
/* Refuse what comes; what was posted can still be taken. `on_closed` follows.
 */
void cp__mailbox_close(cp__mailbox *box, uv_close_cb on_closed);
/* When no thread knows it any more. */
void cp__mailbox_finish(cp__mailbox *box);

#endif
