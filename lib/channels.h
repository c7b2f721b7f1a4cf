/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_CHANNELS_H
#define CP_CHANNELS_H

/* Channels: who of the application listens to which of its channels. */

#include "clusterpush/channels.h"
#include "clusterpush/transport.h"
#include "map.h"
#include "subs.h"

typedef struct cp__channels {
  const cp_allocator *alloc;
  cp_transport *transport; /* the server's */
  cp_transport *bus;       /* NULL: not opened, or closed */
  cp_transport_host host;
  bool opened;
  bool closed;
  const char *prefix;
  size_t max_subscriptions;
  size_t n_subscriptions;

  cp__subs subs;       /* on the bus */
  cp__map names;       /* of struct cp__channel, by "c" and name or "p" and */
  cp__list patterns;   /* those of them that are patterns */
  cp__list due;        /* subscriptions whose on_status is due */
  cp__list dead;       /* what ended while it might be in use */
  cp__list messages;   /* not yet delivered */
  size_t n_messages;   /* their bytes */
  size_t max_messages; /* without a bus */
  uint64_t *n_lags;    /* counts; see cp_stats */

  void (*on_closed)(void *ctx); /* the bus is */
  void *ctx;
} cp__channels;

/* 1 to 255 bytes and none of the library's. */
bool cp__channel_is_valid(const char *prefix, cp_bytes name);
bool cp__pattern_is_valid(const char *prefix, cp_bytes pattern);

typedef struct cp__channels_options {
  cp_transport *transport;
  struct uv_loop_s *loop;
  const char *prefix;
  size_t max_subscriptions;
  size_t max_messages;
  uint64_t *n_lags;
  const uint64_t *seed;
  void (*on_closed)(void *ctx);
  void *ctx;
} cp__channels_options;

void cp__channels_init(cp__channels *channels, const cp_allocator *alloc,
                       const cp__channels_options *options);

/* cp_subscribe() and cp_psubscribe(), by `kind`: 'c' or 'p'. */
int cp__channels_subscribe(cp__channels *channels, char kind, cp_bytes name,
                           cp_channel_cb cb, void *data,
                           const cp_subscribe_options *options,
                           cp_subscription **subscription);

/* What the transport's publish_plain or publish does; or, where there is no
 * other node, delivery in the next turn. Returns as publish; CP_E_DOWN is not
 * among the errors without other nodes. `*n` is then the number of nodes. */
int cp__channels_deliver(cp__channels *channels, cp_bytes channel,
                         cp_bytes body, uint32_t *n);

/* The end of a turn: call back, subscribe, write. */
void cp__channels_turn(cp__channels *channels);
bool cp__channels_has_work(const cp__channels *channels);

/* Close the bus; on_closed follows, if there is one. Nobody is called back any
 * more. */
void cp__channels_close(cp__channels *channels);
void cp__channels_finish(cp__channels *channels);

#endif
