/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A send on the loop's thread is published at once: the envelope's head is
 * written on the stack and goes to the transport with the body, which copies
 * both into what it writes at the end of the turn. A send on another thread is
 * copied into a post; the first post of a batch wakes the loop, which takes the
 * whole batch under one lock and sends it in its order. So the sends of one
 * thread keep their order; those of two threads have none. Which thread is the
 * loop's shows in its first turn; until then every send is a post.
 *
 * Results: a send with a callback is a cp__send from the call until its
 * callback ran. The transport answers it, or it is done at once; either way it
 * goes to `done` and is called back from the end of the turn, never earlier.
 *
 * While there is no link, the connections on this node get their messages
 * directly, and for the rest of the cluster they wait in the outbox. As long as
 * anything waits there, newer sends go behind it. What a broken link left
 * unanswered comes back from the transport as it was written, and goes out
 * first on the next link, under its old name.
 */

#include "sender.h"
#include "sized.h"

#include "envelope.h"
#include "gaps.h"
#include "utf8.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

/* Posts and callbacks in one turn. */
#define TURN_BUDGET 4096

/* A send of another thread on its way to the loop. */
struct cp__post {
  cp__list link; /* in cp__sender.posts */
  cp__target target;
  cp_type type;
  cp__send *send;
  cp_bytes body; /* behind the user in `bytes` */
  char bytes[];
};

/* A send that asks for receipts. */
struct asking {
  cp__send send;
  cp__receipt receipt;
};

/* Results. ---------------------------------------------------------------- */

static bool is_settled(const cp__sender *sender) {
  return sender->linked && sender->up &&
         uv_now(sender->loop) >= sender->settled_at;
}

/* Of a send with CP_RECEIPT: do nodes that got it still owe an answer? */
static bool must_wait(cp__send *send) {
  cp__receipts *receipts = send->sender->receipts;
  cp__receipt *receipt = send->receipt;

  if (receipt == NULL)
    return false;
  if (send->result.error == 0)
    return cp__receipts_await(
        receipts, receipt, receipt->number != 0 ? send->result.subscribers : 0);
  cp__receipts_drop(receipts, receipt);
  return false;
}

static void on_receipts(void *ctx, cp__receipt *receipt) {
  cp__sender *sender = ctx;
  struct asking *asking = cp__container_of(receipt, struct asking, receipt);

  cp__list_push_back(&sender->done, &asking->send.link);
}

static void complete(cp__send *send, cp_state state, int error,
                     uint32_t subscribers) {
  cp__sender *sender = send->sender;

  if (state == CP_UNKNOWN || state == CP_DROPPED || state == CP_CANCELED)
    sender->stats->publish_errors++;
  if (send == &sender->unheeded)
    return;
  send->result.size = sizeof send->result;
  send->result.state = state;
  send->result.error = error;
  send->result.subscribers = subscribers;
  if (!must_wait(send))
    cp__list_push_back(&sender->done, &send->link);
}

/* This node subscribes, and Redis didn't count it: it has closed the
 * subscriber, and the news of that is still on the way. */
static bool is_unheard(const cp__send *send, uint32_t subscribers) {
  return send->echoes && subscribers == 0;
}

/* It may have been published into a gap that began after the call. */
static bool is_late(const cp__send *send, uint32_t subscribers) {
  return subscribers > 0 &&
         uv_now(send->sender->loop) > send->since_ms + CP__SURE_MS;
}

void cp__sender_on_published(cp__sender *sender, cp__send *send, int status,
                             uint32_t subscribers) {
  if (status == CP_E_TIMEOUT)
    sender->stats->outbox_dropped++;
  if (status == CP_E_CANCELED)
    complete(send, CP_CANCELED, status, 0);
  else if (status == CP_E_CLOSED)
    complete(send, CP_UNKNOWN, status, 0);
  else if (status != 0)
    complete(send, CP_DROPPED, status, 0);
  else if (!send->settled || !is_settled(sender) ||
           is_unheard(send, subscribers) || is_late(send, subscribers))
    complete(send, CP_UNSURE, 0, subscribers);
  else
    complete(send, subscribers > 0 ? CP_REACHED : CP_NONE, 0, subscribers);
}

/* What was not known yet when PUBLISH was answered. */
static void finish_result(cp__send *send) {
  const cp__receipt *receipt = send->receipt;
  cp_result *result = &send->result;

  /* PUBLISH may have come before our own SUBSCRIBE: it counted nobody. */
  if (send->n_here > 0 && result->state == CP_NONE) {
    result->state = CP_REACHED;
    result->subscribers = 1;
  }
  if (receipt == NULL)
    return;
  result->connections = send->n_here + receipt->connections;
  result->partial = cp__receipt_is_partial(receipt) || send->again ||
                    is_unheard(send, result->subscribers);
}

static void call_back_some(cp__sender *sender, int budget) {
  cp__list *link;

  while (budget > 0 && (link = cp__list_pop(&sender->done)) != NULL) {
    cp__send *send = cp__container_of(link, cp__send, link);
    budget--;
    finish_result(send);
    send->cb(send->data, &send->result);
    cp__free(sender->alloc, send);
  }
}

void cp__sender_finish_callbacks(cp__sender *sender) {
  call_back_some(sender, INT_MAX);
}

/* Publish. ---------------------------------------------------------------- */

static int ask_for_receipt(cp__sender *sender, cp__send *send,
                           cp__envelope *envelope) {
  int rc;

  if (send->receipt == NULL)
    return 0;
  rc = cp__receipts_ask(sender->receipts, send->receipt);
  envelope->flags |= CP__FIELD_REQUEST;
  envelope->request = send->receipt->number;
  return rc;
}

static void drop_receipt(cp__sender *sender, cp__send *send) {
  if (send->receipt != NULL)
    cp__receipts_drop(sender->receipts, send->receipt);
}

static cp__kind kind_of(const cp__target *target, cp_type type) {
  if (target->order != 0)
    return (cp__kind)target->order;
  return type == CP_TEXT ? CP__KIND_TEXT : CP__KIND_BINARY;
}

/* `delivered`: to the connections here, before. */
static int publish(cp__sender *sender, const cp__target *target, cp_type type,
                   cp_bytes body, cp__send *send, bool delivered) {
  uint8_t head[CP__ENVELOPE_HEAD_MAX];
  char channel[CP__CHANNEL_MAX];
  cp__envelope envelope;
  cp_bytes parts[2];
  cp__claim claim = CP__CLAIM_NOBODY;
  int rc;

  memset(&envelope, 0, sizeof envelope);
  envelope.kind = kind_of(target, type);
  envelope.instance = sender->instance;
  envelope.incarnation = sender->transport->incarnation;
  envelope.sequence = ++sender->sequence;
  if (target->kind == CP__TO_CONN) {
    envelope.flags = CP__FIELD_SERIAL;
    envelope.serial = target->conn.serial;
  }
  rc = ask_for_receipt(sender, send, &envelope);
  if (rc != 0)
    return rc;
  parts[0] = cp_bytes_of(head, cp__envelope_write_head(head, &envelope));
  parts[1] = body;
  send->settled = is_settled(sender);
  /* The echo, and the answer, may come during the call. */
  if (delivered && sender->registry != NULL)
    cp__registry_disown(sender->registry, target, envelope.sequence);
  else if (sender->registry != NULL)
    claim = cp__registry_claim(sender->registry, target, type, body,
                               envelope.sequence);
  send->echoes = claim == CP__CLAIM_ECHO && !sender->transport->local;
  rc = sender->transport->ops->publish(
      sender->transport, cp__target_channel(sender->prefix, target, channel),
      parts, 2, send);
  if (rc != 0) {
    if (claim == CP__CLAIM_ECHO)
      cp__registry_unclaim(sender->registry, envelope.sequence);
    drop_receipt(sender, send);
    return rc;
  }
  sender->stats->published++;
  if (claim == CP__CLAIM_NOW)
    send->n_here = cp__registry_deliver(sender->registry, target, type, body);
  return 0;
}

/* A server is, others are not: what is for these must not wait behind. */
static bool is_one_of_many_down(const cp__sender *sender) {
  return sender->transport->unordered && sender->linked &&
         cp__outbox_is_clear(&sender->outbox);
}

/* What can be done without a link. Returns as dispatch. */
static int send_later(cp__sender *sender, const cp__target *target,
                      cp_type type, cp_bytes body, cp__send *send) {
  int rc = is_one_of_many_down(sender)
               ? CP_E_DOWN
               : cp__outbox_put(&sender->outbox, target, type, body, send);
  bool is_alone = sender->registry == NULL || target->kind == CP__TO_CONN;

  if (rc == CP_E_NOMEM)
    return rc;
  if (!is_alone && sender->linked) /* what it must not overtake */
    cp__registry_deliver_ahead_of(sender->registry, target);
  if (!is_alone)
    send->n_here = cp__registry_deliver(sender->registry, target, type, body);
  if (rc == 0)
    return 0;
  if (rc == CP_E_FULL)
    sender->stats->outbox_dropped++;
  complete(send, is_alone || rc == CP_E_FULL ? CP_DROPPED : CP_UNSURE, rc,
           !is_alone && send->n_here > 0);
  return 0;
}

static int publish_again(cp__sender *sender, const cp__waiting *waiting) {
  int rc;

  waiting->send->settled = false; /* who got it the first time isn't known */
  waiting->send->again = true;
  rc = sender->transport->ops->publish(sender->transport, waiting->channel,
                                       &waiting->body, 1, waiting->send);
  if (rc == 0)
    sender->stats->republished++;
  return rc;
}

static int publish_waiting(void *ctx, const cp__waiting *waiting) {
  cp__sender *sender = ctx;

  if (waiting->again)
    return publish_again(sender, waiting);
  return publish(sender, &waiting->target, waiting->type, waiting->body,
                 waiting->send, true);
}

static void give_up(void *ctx, const cp__waiting *waiting, int err) {
  cp__sender *sender = ctx;
  cp__send *send = waiting->send;
  cp_state state = err == CP_E_CANCELED ? CP_CANCELED : CP_DROPPED;

  if (err != CP_E_CANCELED)
    sender->stats->outbox_dropped++;
  if (waiting->written)
    state = CP_UNKNOWN;
  complete(send, state, state == CP_UNKNOWN ? CP_E_CLOSED : err,
           send != &sender->unheeded && send->n_here > 0);
}

static const cp__outbox_host outbox_host = {publish_waiting, give_up};

void cp__sender_on_unanswered(cp__sender *sender, cp__send *send, bool written,
                              cp_bytes channel, cp_bytes payload) {
  if (cp__outbox_put_back(&sender->outbox, channel, payload, written, send) !=
      0)
    cp__sender_on_published(sender, send, written ? CP_E_CLOSED : CP_E_DOWN, 0);
}

static void send_to_own(cp__sender *sender, const cp__target *target,
                        cp_type type, cp_bytes body, cp__send *send) {
  send->n_here = 0;
  if (!cp__registry_has(sender->registry, target->conn)) {
    complete(send, CP_NONE, 0, 0);
    return;
  }
  send->n_here = cp__registry_deliver(sender->registry, target, type, body);
  if (send->n_here == 0)
    complete(send, CP_DROPPED, CP_E_FULL, 0);
  else
    complete(send, CP_REACHED, 0, 1);
}

static bool is_own_conn(const cp__sender *sender, const cp__target *target) {
  return target->kind == CP__TO_CONN && sender->registry != NULL &&
         target->conn.instance == sender->instance;
}

static bool publishes_plain(const cp_transport *transport) {
  return transport->ops->size > offsetof(cp_transport_ops, publish_plain) &&
         transport->ops->publish_plain != NULL;
}

/* To a channel of the application's, the body alone. */
static int publish_plain(cp__sender *sender, cp_bytes channel, cp_bytes body,
                         cp__send *send) {
  cp_transport *transport = sender->transport;
  uint32_t n;
  int rc;

  if (!sender->linked)
    return CP_E_DOWN;
  send->settled = is_settled(sender);
  if (transport->local && sender->channels != NULL) {
    rc = cp__channels_deliver(sender->channels, channel, body, &n);
    if (rc == 0)
      cp__sender_on_published(sender, send, 0, n);
    return rc;
  }
  rc = (publishes_plain(transport)
            ? transport->ops->publish_plain
            : transport->ops->publish)(transport, channel, &body, 1, send);
  if (rc == 0)
    sender->stats->published++;
  return rc;
}

static int dispatch_plain(cp__sender *sender, cp_bytes channel, cp_bytes body,
                          cp__send *send) {
  int rc = publish_plain(sender, channel, body, send);

  if (rc != CP_E_DOWN)
    return rc;
  complete(send, CP_DROPPED, CP_E_DOWN, 0);
  return 0;
}

/* Returns 0 (then `send` will be completed), or an error (then not). */
static int dispatch(cp__sender *sender, const cp__target *target, cp_type type,
                    cp_bytes body, cp__send *send) {
  int rc = CP_E_DOWN;

  if (target->kind == CP__TO_CHANNEL)
    return dispatch_plain(sender, target->user, body, send);
  if (is_own_conn(sender, target)) {
    send_to_own(sender, target, type, body, send);
    rc = 0;
  } else if (sender->linked && cp__outbox_is_clear(&sender->outbox)) {
    rc = publish(sender, target, type, body, send, false);
  }
  if (rc != CP_E_DOWN)
    return rc;
  return send_later(sender, target, type, body, send);
}

/* The flags of a caller who knows of them. */
static unsigned flags_of(const cp_send_options *options) {
  const size_t needed =
      offsetof(cp_send_options, deadline_ms) + sizeof options->deadline_ms;
  return options != NULL && options->size >= needed ? options->flags : 0;
}

/* The send record of a callback, or the one for those without. */
static cp__send *create_send(cp__sender *sender, const cp_send_options *options,
                             uint64_t now_ms) {
  bool asks = (flags_of(options) & CP_RECEIPT) != 0;
  struct asking *asking;

  if (options == NULL || options->cb == NULL)
    return &sender->unheeded;
  asking =
      cp__malloc(sender->alloc, asks ? sizeof *asking : sizeof asking->send);
  if (asking == NULL)
    return NULL;
  memset(&asking->send, 0, sizeof asking->send);
  cp__list_init(&asking->send.link);
  asking->send.sender = sender;
  asking->send.since_ms = now_ms;
  asking->send.cb = options->cb;
  asking->send.data = options->data;
  if (asks) {
    asking->send.receipt = &asking->receipt;
    cp__receipt_init(&asking->receipt, options->deadline_ms);
  }
  return &asking->send;
}

static void destroy_send(cp__sender *sender, cp__send *send) {
  if (send != &sender->unheeded)
    cp__free(sender->alloc, send);
}

static int send_now(cp__sender *sender, const cp__target *target, cp_type type,
                    cp_bytes body, const cp_send_options *options) {
  cp__send *send = create_send(sender, options, uv_now(sender->loop));
  int rc;

  if (send == NULL)
    return CP_E_NOMEM;
  rc = dispatch(sender, target, type, body, send);
  if (rc != 0)
    destroy_send(sender, send);
  else
    sender->stats->sends++;
  return rc;
}

/* Threads. ---------------------------------------------------------------- */

static struct cp__post *create_post(cp__sender *sender,
                                    const cp__target *target, cp_type type,
                                    cp_bytes body) {
  struct cp__post *post =
      cp__malloc(sender->alloc, sizeof *post + target->user.len + body.len);

  if (post == NULL)
    return NULL;
  cp__list_init(&post->link);
  post->target = *target;
  post->target.user.data = post->bytes;
  post->type = type;
  post->body = cp_bytes_of(post->bytes + target->user.len, body.len);
  if (target->user.len > 0)
    memcpy(post->bytes, target->user.data, target->user.len);
  if (body.len > 0)
    memcpy(post->bytes + target->user.len, body.data, body.len);
  return post;
}

static size_t post_size(const struct cp__post *post) {
  return sizeof *post + post->target.user.len + post->body.len;
}

static int send_from_afar(cp__sender *sender, const cp__target *target,
                          cp_type type, cp_bytes body,
                          const cp_send_options *options) {
  struct cp__post *post = create_post(sender, target, type, body);
  int rc;

  if (post == NULL)
    return CP_E_NOMEM;
  post->send = create_send(sender, options, uv_hrtime() / 1000000);
  rc = post->send != NULL
           ? cp__mailbox_post(&sender->posts, &post->link, post_size(post))
           : CP_E_NOMEM;
  if (rc == 0)
    return 0;
  destroy_send(sender, post->send);
  cp__free(sender->alloc, post);
  return rc;
}

/* The caller has long returned: an error becomes the result. */
static void send_post(cp__sender *sender, const struct cp__post *post) {
  int rc = dispatch(sender, &post->target, post->type, post->body, post->send);

  sender->stats->sends++;
  if (rc != 0)
    complete(post->send, CP_DROPPED, rc, 0);
}

static void send_some_posts(cp__sender *sender, int budget) {
  size_t n_bytes = 0;
  cp__list *link;

  while (budget > 0 && (link = cp__list_pop(&sender->posts.taken)) != NULL) {
    struct cp__post *post = cp__container_of(link, struct cp__post, link);
    budget--;
    n_bytes += post_size(post);
    send_post(sender, post);
    cp__free(sender->alloc, post);
  }
  cp__mailbox_done(&sender->posts, n_bytes);
}

static void on_posted(uv_async_t *async) {
  cp__sender *sender = async->data;
  cp__mailbox_take(
      &sender->posts); /* cp__sender_turn(), due next, sends them */
}

static bool on_loop_thread(cp__sender *sender) {
  uv_thread_t loop_thread, self;

  if (!atomic_load_explicit(&sender->has_turned, memory_order_acquire))
    return false;
  loop_thread =
      atomic_load_explicit(&sender->loop_thread, memory_order_relaxed);
  self = uv_thread_self();
  return uv_thread_equal(&loop_thread, &self) != 0;
}

/* Called from each turn. */
static void note_loop_thread(cp__sender *sender) {
  if (on_loop_thread(sender))
    return;
  atomic_store_explicit(&sender->loop_thread, uv_thread_self(),
                        memory_order_relaxed);
  atomic_store_explicit(&sender->has_turned, true, memory_order_release);
  /* This thread's own too: they come before what it sends from here on. */
  cp__mailbox_take(&sender->posts);
  send_some_posts(sender, INT_MAX);
}

/* Interface. -------------------------------------------------------------- */

static int check(const cp__sender *sender, const cp__target *target,
                 cp_type type, cp_bytes body) {
  if ((target->kind == CP__TO_USER || target->kind == CP__TO_GROUP) &&
      !cp__user_is_valid(target->user))
    return CP_E_INVALID;
  if (target->kind == CP__TO_CONN && target->conn.instance == 0)
    return CP_E_INVALID;
  if (target->order != 0)
    return 0;
  if (target->kind == CP__TO_CHANNEL &&
      !cp__channel_is_valid(sender->prefix, target->user))
    return CP_E_INVALID;
  if ((type != CP_TEXT && type != CP_BINARY) ||
      (body.data == NULL && body.len > 0))
    return CP_E_INVALID;
  if (body.len > sender->max_message)
    return CP_E_TOOBIG;
  if (type == CP_TEXT && !cp__utf8_valid(body))
    return CP_E_UTF8;
  return 0;
}

static int check_options(const cp__sender *sender, const cp__target *target,
                         const cp_send_options *options) {
  unsigned flags = flags_of(options);

  if (options != NULL && !cp__is_sized(options, data))
    return CP_E_INVALID;
  if (flags == 0)
    return 0;
  if (flags != CP_RECEIPT || options->cb == NULL ||
      options->deadline_ms > CP__RECEIPT_MAX_MS ||
      target->kind == CP__TO_CHANNEL)
    return CP_E_INVALID;
  return sender->receipts != NULL ? 0 : CP_E_UNSUPPORTED;
}

int cp__sender_send(cp__sender *sender, const cp__target *target, cp_type type,
                    cp_bytes body, const cp_send_options *options) {
  int rc = check(sender, target, type, body);

  if (rc == 0)
    rc = check_options(sender, target, options);
  if (rc != 0)
    return rc;
  if (!on_loop_thread(sender))
    return send_from_afar(sender, target, type, body, options);
  if (sender->posts.closed)
    return CP_E_CLOSED;
  return send_now(sender, target, type, body, options);
}

void cp__sender_on_linked(cp__sender *sender, bool settle) {
  sender->linked = true;
  sender->settled_at = uv_now(sender->loop) + (settle ? sender->settle_ms : 0);
}

void cp__sender_hold(cp__sender *sender, bool hold) {
  if (hold)
    cp__outbox_hold(&sender->outbox, sender->settle_ms);
  else
    cp__outbox_release(&sender->outbox);
}

void cp__sender_on_changed(cp__sender *sender) {
  sender->settled_at = uv_now(sender->loop) + sender->settle_ms;
}

void cp__sender_on_unlinked(cp__sender *sender) {
  sender->linked = false;
}

void cp__sender_set_up(cp__sender *sender, bool up) {
  sender->up = up;
}

void cp__sender_turn(cp__sender *sender) {
  note_loop_thread(sender);
  sender->has_more =
      cp__outbox_turn(&sender->outbox, sender->linked, TURN_BUDGET);
  send_some_posts(sender, TURN_BUDGET);
  call_back_some(sender, TURN_BUDGET);
}

int cp__sender_init(cp__sender *sender, uv_loop_t *loop,
                    const cp_allocator *alloc,
                    const cp__sender_options *options) {
  int rc;

  memset(sender, 0, sizeof *sender);
  sender->alloc = alloc;
  sender->loop = loop;
  sender->transport = options->transport;
  sender->registry = options->registry;
  sender->receipts = options->receipts;
  if (sender->receipts != NULL) {
    sender->receipts->on_done = on_receipts;
    sender->receipts->ctx = sender;
  }
  sender->channels = options->channels;
  sender->stats = options->stats;
  sender->instance = options->instance;
  sender->max_message = options->max_message;
  sender->settle_ms = options->settle_ms;
  sender->unheeded.sender = sender;
  strcpy(sender->prefix, options->prefix);
  cp__list_init(&sender->done);
  atomic_init(&sender->loop_thread, uv_thread_self());
  atomic_init(&sender->has_turned, false);
  rc = cp__mailbox_init(&sender->posts, loop, options->max_posted, on_posted,
                        sender);
  if (rc != 0)
    return rc;
  cp__outbox_init(&sender->outbox, loop, alloc, options->outbox_bytes,
                  options->outbox_age_ms, &outbox_host, sender);
  return 0;
}

static void on_handle_closed(uv_handle_t *handle) {
  cp__sender *sender = handle->data;

  if (--sender->n_handles == 0)
    sender->on_closed(sender->ctx);
}

void cp__sender_stop(cp__sender *sender) {
  sender->n_handles = 2;
  cp__mailbox_close(&sender->posts, on_handle_closed);
  cp__outbox_turn(&sender->outbox, sender->linked, INT_MAX);
  cp__mailbox_take(&sender->posts);
  send_some_posts(sender, INT_MAX);
}

void cp__sender_close(cp__sender *sender, void (*on_closed)(void *ctx),
                      void *ctx) {
  sender->on_closed = on_closed;
  sender->ctx = ctx;
  cp__outbox_release(&sender->outbox);
  cp__outbox_turn(&sender->outbox, sender->linked, INT_MAX);
  cp__outbox_cancel(&sender->outbox);
  cp__outbox_close(&sender->outbox, on_handle_closed, sender);
}

void cp__sender_finish(cp__sender *sender) {
  assert(cp__list_empty(&sender->done));
  cp__mailbox_finish(&sender->posts);
}
