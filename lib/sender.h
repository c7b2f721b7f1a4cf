/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_SENDER_H
#define CP_SENDER_H

/* Sender: from a call of cp_send_*, on any thread, to its result. */

#include "channels.h"
#include "clusterpush/transport.h"
#include "list.h"
#include "mailbox.h"
#include "outbox.h"
#include "receipts.h"
#include "registry.h"

#include <stdatomic.h>
#include <uv.h>

/* A send whose caller wants to know. */
typedef struct cp__send {
  cp__list link; /* in cp__sender.done */
  struct cp__sender *sender;
  cp_send_cb cb;
  void *data;
  cp__receipt *receipt; /* behind this in memory; NULL: not asked for */
  uint64_t since_ms;    /* of the call, by the clock of uv_now() */
  uint32_t n_here; /* connections that had it here, without waiting for Redis */
  bool settled;    /* the cluster was, when it was published */
  bool again;      /* it was published twice: some may have answered twice */
  bool echoes;     /* connections here get it from Redis */
  cp_result result;
} cp__send;

typedef struct cp__sender {
  const cp_allocator *alloc;
  cp_transport *transport;
  cp__registry *registry; /* NULL: there are no connections here */
  cp__receipts *receipts; /* NULL: answers can't be heard */
  cp__channels *channels; /* NULL: nobody subscribes here */
  cp_stats *stats;
  char prefix[CP__PREFIX_MAX + 1];
  uint64_t instance;
  uint64_t sequence;
  size_t max_message;

  /* How far results can be trusted. */
  uv_loop_t *loop;
  unsigned settle_ms;
  uint64_t settled_at; /* uv_now() from which they are sure */
  bool linked;
  bool up;       /* and nothing is outstanding */
  bool has_more; /* in the outbox, for the next turn */
  int n_handles; /* not yet closed */
  cp__outbox outbox;

  cp__list done;     /* cp__send.link: their callbacks are due */
  cp__send unheeded; /* the token of every send without a callback */

  /* Other threads. */
  _Atomic(uv_thread_t) loop_thread; /* once has_turned */
  atomic_bool has_turned;
  cp__mailbox posts; /* struct cp__post.link */
  void (*on_closed)(void *ctx);
  void *ctx;
} cp__sender;

typedef struct cp__sender_options {
  cp_transport *transport;
  cp__registry *registry;
  cp__receipts *receipts;
  cp__channels *channels;
  cp_stats *stats;
  const char *prefix;
  uint64_t instance;
  size_t max_message;
  size_t max_posted;
  unsigned settle_ms;
  size_t outbox_bytes;
  unsigned outbox_age_ms;
} cp__sender_options;

/* Returns 0 or a libuv code. */
int cp__sender_init(cp__sender *sender, uv_loop_t *loop,
                    const cp_allocator *alloc,
                    const cp__sender_options *options);

/* Send, from any thread. Returns as cp_send_to_user(). */
int cp__sender_send(cp__sender *sender, const cp__target *target, cp_type type,
                    cp_bytes body, const cp_send_options *options);

/* What the transport and the registry tell. */
void cp__sender_on_linked(cp__sender *sender, bool settle);
/* Let what is for other nodes wait until they are back, at most settle_ms. */
void cp__sender_hold(cp__sender *sender, bool hold);
void cp__sender_on_unlinked(cp__sender *sender);
void cp__sender_on_changed(cp__sender *sender);
void cp__sender_set_up(cp__sender *sender, bool up);
void cp__sender_on_published(cp__sender *sender, cp__send *send, int status,
                             uint32_t subscribers);
/* A link broke before it was answered. */
void cp__sender_on_unanswered(cp__sender *sender, cp__send *send, bool written,
                              cp_bytes channel, cp_bytes payload);

/* The end of a turn: send what other threads posted, call back what is done, up
 * to a budget. */
void cp__sender_turn(cp__sender *sender);
/* Is there something for the next turn? */
static inline bool cp__sender_has_work(const cp__sender *sender) {
  return sender->has_more || !cp__list_empty(&sender->posts.taken) ||
         !cp__list_empty(&sender->done);
}

/* Refuse further sends; what was posted is sent now. */
void cp__sender_stop(cp__sender *sender);
/* Then nothing waits for a link any more. */
static inline bool cp__sender_is_drained(const cp__sender *sender) {
  return cp__outbox_is_empty(&sender->outbox);
}
/* Cancel what waits, and close the handles; on_closed(ctx) follows. */
void cp__sender_close(cp__sender *sender, void (*on_closed)(void *ctx),
                      void *ctx);
/* Call back all that is done: the last turn. */
void cp__sender_finish_callbacks(cp__sender *sender);
/* When nobody holds a reference any more. */
void cp__sender_finish(cp__sender *sender);

#endif
