/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CLUSTERPUSH_CHANNELS_H
#define CLUSTERPUSH_CHANNELS_H

/* Channels: the application's own Redis channels, by their plain names and with
 * plain bodies, so that programs in any language take part. Every node that
 * subscribed gets each message, at most once; nothing is stored.
 *
 * With Redis they have a link of their own, which is opened for the first
 * subscription, and follows the server's: while that is away, so is this one,
 * and each handler's on_status is told. Afterwards everything is subscribed
 * again. Without Redis they work within the node. A Redis Cluster carries each
 * message to all of its servers; all nodes go to the master of slot 0 for it.
 * With a transport of the application's own that has no such channels,
 * subscribing is CP_E_UNSUPPORTED.
 *
 * Names are 1 to 255 bytes. Names that begin with "PREFIX:" (the prefix of
 * cp_server_options) are the library's: CP_E_INVALID; and so are patterns that
 * could match such a name: "*" or "c*" with the prefix "cp", but not "d*",
 * "cp" or "cp[^:]*". */

#include "publisher.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One handler on one name. It is gone with cp_unsubscribe(), or right before
 * the callback of cp_server_close(). */
typedef struct cp_subscription cp_subscription;

/* A message came. `pattern` is empty for a subscription without one. All are
 * borrowed until it returns. */
typedef void (*cp_channel_cb)(void *data, cp_bytes channel, cp_bytes pattern,
                              cp_bytes body);

/* The subscription holds (`status` 0), from now on; or does not: CP_E_DOWN (no
 * link: messages may be missed from now on), CP_E_REDIS (refused, say by an
 * ACL: the log has Redis' words; it is tried again every few seconds).
 * CP_E_NOMEM: messages were lost for want of memory, which is said each time
 * that some were and changes nothing: what was said before stays true. */
typedef void (*cp_channel_status_cb)(void *data, int status);

/* Where the default does not fit. NULL stands for all zero. */
typedef struct cp_subscribe_options {
  size_t size;                    /* set by cp_subscribe_options_init() */
  cp_channel_status_cb on_status; /* NULL: nobody wants to know */
} cp_subscribe_options;

#define cp_subscribe_options_init(options)  \
  (memset((options), 0, sizeof *(options)), \
   (void)((options)->size = sizeof *(options)))

/* Subscribe to a channel. `cb` gets each message published from the moment that
 * on_status says 0; several subscriptions to one channel each get it, in the
 * order of their calls. `subscription` may be NULL.
 *
 * Returns 0; CP_E_INVALID (the name, see above; no `cb`); CP_E_UNSUPPORTED (the
 * transport has no such channels); CP_E_FULL (max_subscriptions is reached);
 * CP_E_CLOSED; CP_E_NOMEM. */
CP_EXTERN int cp_subscribe(cp_server *server, cp_bytes channel,
                           cp_channel_cb cb, void *data,
                           const cp_subscribe_options *options,
                           cp_subscription **subscription);

/* Subscribe to all channels that match a pattern, as Redis' PSUBSCRIBE has
 * them: * ? [a-c] [^a], and \ in front of what is meant as it is. A message
 * that several patterns match comes once for each. Returns as cp_subscribe().
 */
CP_EXTERN int cp_psubscribe(cp_server *server, cp_bytes pattern,
                            cp_channel_cb cb, void *data,
                            const cp_subscribe_options *options,
                            cp_subscription **subscription);

/* End a subscription: its callbacks are not called any more. From inside them,
 * too. NULL is accepted. */
CP_EXTERN void cp_unsubscribe(cp_subscription *subscription);

/* Publish a body, any bytes, to a channel. The result counts subscribers as
 * Redis does: every connection to Redis that subscribed, and each of its
 * patterns that matches; without Redis it is 1 if there is a handler. While
 * there is no link it is CP_DROPPED with CP_E_DOWN. With a Redis Cluster those
 * are counted that are at the same server, as all nodes are. Thread: any.
 * Returns as cp_send_to_user(), CP_E_INVALID for the name (see above), and for
 * CP_RECEIPT. */
CP_EXTERN int cp_publish(cp_server *server, cp_bytes channel, cp_bytes body,
                         const cp_send_options *options);

/* As cp_publish(): unlike a publisher's other sends it does not wait for the
 * link. Thread: any. */
CP_EXTERN int cp_publisher_publish(cp_publisher *publisher, cp_bytes channel,
                                   cp_bytes body,
                                   const cp_send_options *options);

#ifdef __cplusplus
}
#endif

#endif
