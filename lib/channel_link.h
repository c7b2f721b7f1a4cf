/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_CHANNEL_LINK_H
#define CP_CHANNEL_LINK_H

/* Channel link: a transport that only subscribes, over one link to one Redis
 * server; for the application's channels. Its channels are named "c" and a
 * channel's name, or "p" and a pattern. What comes for a pattern goes to
 * on_pattern_message. Where the server is, its owner says. */

#include "clusterpush/redis.h"
#include "clusterpush/transport.h"
#include "dial.h"
#include "log.h"
#include "redis_greeting.h"
#include "tls.h"

/* All of it is borrowed until on_gone. */
typedef struct cp__channel_link_options {
  const cp_allocator *alloc;
  const cp__log *log;
  const cp_redis_options *redis; /* every field set */
  const cp__redis_identity *identity;
  cp__tls_context *tls; /* NULL: plain text */
  const char *tls_host; /* NULL: the endpoint's */
  unsigned *warned;     /* as in cp__redis_link_options */
  /* It is freed already; right before the host's on_closed. */
  void (*on_gone)(void *owner);
  void *owner;
} cp__channel_link_options;

/* NULL: no memory. */
cp_transport *cp__channel_link_create(const cp__channel_link_options *options);

/* Link to this server, which is copied; or to none (NULL), which breaks the
 * link that is there. Any time before on_gone. */
void cp__channel_link_follow(cp_transport *transport,
                             const cp__endpoint *endpoint);

#endif
