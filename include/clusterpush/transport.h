/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CLUSTERPUSH_TRANSPORT_H
#define CLUSTERPUSH_TRANSPORT_H

/* Transport: how nodes reach each other. For implementers: an application that
 * only uses Redis, or nothing, never includes this. The library brings two, the
 * one for Redis (cp_server_options.redis) and the local one.
 *
 * A transport carries payloads over named channels, like Redis pub/sub: whoever
 * subscribed to a channel gets what anybody publishes to it, the publisher's
 * own node included. It is linked or not. While it is linked, it keeps the
 * order of the calls and of what it receives; when it loses its link it says so
 * and forgets all subscriptions: the library subscribes again after the next
 * link. (One over several servers keeps the order channel by channel, is linked
 * while it reaches any of them, and answers CP_E_DOWN for what the others
 * carry, or lets it wait.) Which channels there are is the library's business;
 * each node subscribes one of its own, one for broadcasts, and one for each of
 * its users.
 *
 * Everything happens on the loop thread. The library calls a transport through
 * cp_transport_ops, a transport calls the library through cp_transport_host.
 * None of the host's functions ever calls back into the transport, so they may
 * be called from anywhere, from inside an ops function too. */

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;

typedef struct cp_transport cp_transport;

/* What the library gives to a transport at start: borrowed until on_closed. */
typedef struct cp_transport_host {
  size_t size; /* of this struct, set by the library */
  void *ctx;   /* first argument of every function here */
  struct uv_loop_s *loop;
  const cp_allocator *allocator;
  int publish_only; /* nothing will be subscribed (a cp_publisher) */

  /* The link stands: subscribe and publish work from now on. `settle` is
   * nonzero if other nodes may still be coming back (this is a reconnect, or
   * the server behind the link is young): the library then calls results unsure
   * for settle_ms. */
  void (*on_linked)(void *ctx, int settle);

  /* The link is gone. Before, every pending token was answered: subscriptions
   * with CP_E_DOWN, publishes with CP_E_DOWN (known not to have been written)
   * or CP_E_CLOSED (written, unanswered), or by on_unanswered. `err` and
   * `reason` say why; `reason` is borrowed, and never NULL. Also called for
   * every attempt to link that failed, so that the reason stays true; but not
   * once close was called. */
  void (*on_unlinked)(void *ctx, int err, const char *reason);

  /* The link stands, but something on it is late, say a probe (`degraded`
   * nonzero), or is good again (0), as every new link is. */
  void (*on_health)(void *ctx, int degraded, const char *reason);

  /* A subscribe or unsubscribe is done (`status` 0) or failed. What failed is
   * tried again after a while, or after the next link. */
  void (*on_confirmed)(void *ctx, void *token, int status);

  /* A publish reached `subscribers` nodes (`status` 0), or failed. Called for a
   * token other than NULL only. */
  void (*on_published)(void *ctx, void *token, int status,
                       uint32_t subscribers);

  /* A payload arrived. Both are borrowed until it returns. Returns the number
   * of connections here that it was queued for. */
  uint32_t (*on_message)(void *ctx, cp_bytes channel, cp_bytes payload);

  /* One line of log. */
  void (*log)(void *ctx, cp_log_level level, const char *text);

  /* Close is complete: the library touches the transport no more, the
   * implementation frees it. */
  void (*on_closed)(void *ctx);

  /* NULL, or the token of publishes whose answer nobody waits for: it may come
   * some 50 ms late if that saves work. */
  const void *unhurried;

  /* A count is done: so many subscribers for each of the `n` channels, in their
   * order (`status` 0); or it failed, and `subscribers` is NULL. */
  void (*on_counted)(void *ctx, void *token, int status,
                     const uint32_t *subscribers, size_t n);

  /* A payload arrived on a channel because of a pattern. For the transport that
   * cp_transport_ops.channels returns, and NULL for all others. */
  void (*on_pattern_message)(void *ctx, cp_bytes pattern, cp_bytes channel,
                             cp_bytes payload);

  /* NULL, or to be called instead of on_published by a transport that keeps
   * copies, for what a broken link left unanswered, the oldest first, before
   * on_unlinked: the library takes the publish back, and makes it again, byte
   * by byte the same, on the next link. `written` is nonzero if it may have
   * reached somebody. For tokens other than NULL only. `channel` and `payload`
   * are borrowed until it returns. */
  void (*on_unanswered)(void *ctx, void *token, int written, cp_bytes channel,
                        cp_bytes payload);

  /* NULL, or the link was proven: whatever was published, by anybody, before
   * `since_ms` (uv_now()) has been heard here if it ever will be. */
  void (*on_proven)(void *ctx, uint64_t since_ms);

  /* For transports over several servers, which lose them one by one. Either may
   * be NULL. */

  /* The channel that was subscribed with `token` is not any more, though the
   * link stands: what was published after `since_ms` (uv_now()) may be missed,
   * until it is subscribed again, which happens in a later turn. Not for a
   * token whose channel was unsubscribed. */
  void (*on_lost)(void *ctx, void *token, uint64_t since_ms);

  /* Some channels are carried by another server from now on, or carried again.
   * Results are unsure for settle_ms, and subscriptions that failed are tried
   * again in a later turn. */
  void (*on_changed)(void *ctx);

  /* NULL, or to be called before on_unlinked if what was published after
   * `since_ms` may not have been heard though the link was proven later: others
   * may have gone by another server by then. */
  void (*on_doubt)(void *ctx, uint64_t since_ms);

  /* NULL, or to be called, before on_unlinked or on_lost, when a server closed
   * a link since too much waited there for this node. */
  void (*on_lagged)(void *ctx);

  /* What is published to channels whose server is away may wait for it within
   * the transport, so long and of so many bytes; then on_published says
   * CP_E_TIMEOUT, and publish CP_E_FULL. If either is 0 nothing waits. What
   * still waits when the last link is lost goes to on_unanswered. */
  unsigned wait_ms;
  unsigned settle_ms; /* subscribers may be this long on their way to a server
                         that is new, or back again */
  size_t wait_bytes;
} cp_transport_host;

typedef struct cp_transport_ops {
  size_t size; /* sizeof(cp_transport_ops) */

  /* Begin to link, and go on trying for ever. Returns 0, or an error: then the
   * create call fails with it, and nothing else is called. */
  int (*start)(cp_transport *transport, const cp_transport_host *host);

  /* Subscribe, unsubscribe. Called while linked only. Each call that returns 0
   * is answered exactly once by on_confirmed, in the order of the calls, during
   * the call or later. `channel` is borrowed until the call returns. Errors:
   * CP_E_FULL, CP_E_NOMEM, CP_E_DOWN; the library tries to subscribe again in a
   * later turn. */
  int (*subscribe)(cp_transport *transport, cp_bytes channel, void *token);
  int (*unsubscribe)(cp_transport *transport, cp_bytes channel, void *token);

  /* Publish the `n` parts, joined, as one payload. They are borrowed until the
   * call returns. If it returns 0 and `token` is not NULL, on_published answers
   * exactly once, during the call or later. Errors: CP_E_DOWN (no link),
   * CP_E_FULL (too many bytes wait), CP_E_NOMEM; then it must not have called
   * on_unlinked or on_lost during the call. */
  int (*publish)(cp_transport *transport, cp_bytes channel,
                 const cp_bytes *parts, size_t n, void *token);

  /* The end of a turn of the loop: write what the calls above collected. Called
   * until on_closed, so during the close too. */
  void (*flush)(cp_transport *transport);

  /* End. What was published so far is written and answered if that can be done
   * within `grace_ms`; then every pending token is answered (subscriptions with
   * CP_E_CANCELED, publishes with CP_E_CANCELED if never written, else
   * CP_E_CLOSED), then on_closed is called, never before close returned. Called
   * once, with the `host` that start was given. Nothing but flush is called
   * after it. */
  void (*close)(cp_transport *transport, const cp_transport_host *host,
                uint64_t grace_ms);

  /* How many nodes are subscribed to each of `n` channels, 1 to 1,000? They are
   * borrowed until the call returns. If it returns 0, on_counted answers
   * exactly once, during the call or later; CP_E_DOWN if the link goes before,
   * CP_E_CANCELED if close ends it. Errors: CP_E_DOWN, CP_E_FULL, CP_E_NOMEM.
   *
   * Optional: NULL, or a `size` that ends before it, makes cp_user_nodes()
   * return CP_E_UNSUPPORTED. It is not called if `local` is set. */
  int (*count)(cp_transport *transport, const cp_bytes *channels, size_t n,
               void *token);

  /* From here on each may be NULL, or be missing by `size`. */

  /* A transport of its own, not started, for the application's channels: its
   * subscribe and unsubscribe get "c" and a channel's name, or "p" and a
   * pattern, its publish is never called. The library calls it at most once,
   * between start and close, and closes both, in any order. NULL if there is no
   * memory. Without it cp_subscribe() returns CP_E_UNSUPPORTED. */
  cp_transport *(*channels)(cp_transport *transport);

  /* Publish to a channel of the application's: as publish, which is called
   * where this is missing. Also CP_E_UNSUPPORTED: there are no such channels.
   */
  int (*publish_plain)(cp_transport *transport, cp_bytes channel,
                       const cp_bytes *parts, size_t n, void *token);
} cp_transport_ops;

/* Put it first into your own struct. */
struct cp_transport {
  const cp_transport_ops *ops;
  uint32_t incarnation; /* counts links: 1 is the first; set before on_linked */
  int local;            /* nonzero: there is no other node to reach */
  int unordered; /* nonzero: it goes by several servers, so messages keep their
                    order within a hash slot of Redis Cluster only (channels
                    with the same name in braces share one). What one server
                    can't take is not waited for, and what it has taken without
                    an answer is not published a second time */
};

#ifdef __cplusplus
}
#endif

#endif
