/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Only what runs at the end of a turn publishes: a hello is heard inside the
 * transport's parser, where nothing may be asked of it. Who is not up yet
 * answers nobody, since its own hello will follow. A peer that stays silent
 * until the deadline is forgotten: it is waited for once. */

#include "hello.h"

#include "envelope.h"
#include "registry.h"

void cp__hello_init(cp__hello *hello, uv_loop_t *loop,
                    const cp_allocator *alloc, const char *prefix,
                    uint64_t instance, unsigned settle_ms) {
  memset(hello, 0, sizeof *hello);
  hello->loop = loop;
  hello->alloc = alloc;
  hello->prefix = prefix;
  hello->instance = instance;
  hello->settle_ms = settle_ms;
  cp__buf_init(&hello->callers, alloc);
}

void cp__hello_finish(cp__hello *hello) {
  cp__free(hello->alloc, hello->peers);
  cp__buf_finish(&hello->callers);
}

/* Peers. ------------------------------------------------------------------ */

static cp__hello_peer *find(cp__hello *hello, uint64_t instance) {
  size_t i;

  for (i = 0; i < hello->n_peers; i++)
    if (hello->peers[i].instance == instance)
      return &hello->peers[i];
  return NULL;
}

/* Without memory, or with too many, it isn't waited for. */
static void add(cp__hello *hello, uint64_t instance) {
  cp__hello_peer *peer;

  if (hello->peers == NULL)
    hello->peers =
        cp__malloc(hello->alloc, CP__HELLO_MAX_PEERS * sizeof *hello->peers);
  if (hello->peers == NULL || hello->n_peers == CP__HELLO_MAX_PEERS)
    return;
  peer = &hello->peers[hello->n_peers++];
  peer->instance = instance;
  peer->spoke = true;
}

static void forget_the_silent(cp__hello *hello) {
  size_t n = 0;
  size_t i;

  for (i = 0; i < hello->n_peers; i++)
    if (hello->peers[i].spoke)
      hello->peers[n++] = hello->peers[i];
  hello->n_peers = n;
  hello->n_silent = 0;
}

bool cp__hello_on_linked(cp__hello *hello) {
  size_t i;

  for (i = 0; i < hello->n_peers; i++)
    hello->peers[i].spoke = false;
  hello->n_silent = hello->n_peers;
  hello->deadline = uv_now(hello->loop) + hello->settle_ms;
  hello->is_due = true;
  cp__buf_reset(&hello->callers, 0);
  return hello->n_silent > 0;
}

void cp__hello_on_spoken(cp__hello *hello, uint64_t instance,
                         bool wants_answer) {
  cp__hello_peer *peer = find(hello, instance);

  if (instance == hello->instance || instance == 0)
    return;
  if (peer == NULL) {
    add(hello, instance);
  } else if (!peer->spoke) {
    peer->spoke = true;
    hello->n_silent--;
  }
  if (wants_answer &&
      cp__buf_len(&hello->callers) < CP__HELLO_MAX_PEERS * sizeof instance)
    cp__buf_append(&hello->callers, &instance, sizeof instance);
}

bool cp__hello_is_settled(cp__hello *hello) {
  if (hello->n_silent > 0 && uv_now(hello->loop) >= hello->deadline)
    forget_the_silent(hello);
  return hello->n_silent == 0;
}

/* Speaking. --------------------------------------------------------------- */

static int say(cp__hello *hello, cp_transport *transport, cp__kind kind,
               cp_bytes channel) {
  uint8_t head[CP__ENVELOPE_HEAD_MAX];
  const cp__envelope envelope = {.kind = kind,
                                 .instance = hello->instance,
                                 .incarnation = transport->incarnation};
  cp_bytes part = cp_bytes_of(head, cp__envelope_write_head(head, &envelope));

  return transport->ops->publish(transport, channel, &part, 1, NULL);
}

static void say_hello(cp__hello *hello, cp_transport *transport) {
  char channel[CP__CHANNEL_MAX];
  size_t len = cp__channel_of_all(hello->prefix, channel);

  if (say(hello, transport, CP__KIND_HELLO, cp_bytes_of(channel, len)) == 0)
    hello->is_due = false;
}

static void answer_callers(cp__hello *hello, cp_transport *transport) {
  char channel[CP__CHANNEL_MAX];
  uint64_t instance;
  size_t len;

  while (cp__buf_len(&hello->callers) >= sizeof instance) {
    memcpy(&instance, cp__buf_begin(&hello->callers), sizeof instance);
    len = cp__channel_of_node(hello->prefix, instance, channel);
    if (say(hello, transport, CP__KIND_WELCOME, cp_bytes_of(channel, len)) != 0)
      return;
    cp__buf_consume(&hello->callers, sizeof instance);
  }
}

void cp__hello_turn(cp__hello *hello, cp_transport *transport, bool is_up) {
  if (transport == NULL || transport->local)
    return;
  if (!is_up) {
    cp__buf_consume(&hello->callers, cp__buf_len(&hello->callers));
    return;
  }
  if (hello->is_due)
    say_hello(hello, transport);
  answer_callers(hello, transport);
}
