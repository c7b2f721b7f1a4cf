/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_TRANSPORT_HOST_H
#define CP_TEST_TRANSPORT_HOST_H

/* Transport host: a host for one transport, that keeps everything it hears as
 * text, one word an event:
 *
 *   linked:SETTLE  unlinked  late  good       the link
 *   lost:TOKEN  changed                       some of its channels
 *   +TOKEN  -TOKEN:CP_E_...                   on_confirmed
 *   TOKEN=N  TOKEN!CP_E_...                   on_published
 *   <CHANNEL|PAYLOAD>                         on_message
 *   TOKEN?<CHANNEL|PAYLOAD>                   on_unanswered, which a test sets
 *                                             itself; ~ for ?: not written
 *
 * Tokens are strings. */

#include "../unit/failing_alloc.h"
#include "run_until.h"
#include "transport.h"

#define NODE_CHANNEL "cp:n:{0123456789abcdef}"

typedef struct transport_host {
  test_loop loop;
  failing_alloc memory;
  cp__log log;
  cp_transport_host host;
  cp_transport *transport; /* NULL: closed */
  char heard[16384];
  size_t len;
  int n_linked;
  int n_unlinked;
  bool linked;
  int err; /* of the last on_unlinked */
  char reason[512];
  bool late;
  bool closed;
  bool messages_only_counted; /* instead of being kept in `heard` */
  size_t n_messages;
  size_t n_published;
  size_t n_confirmed;
  size_t n_changed;  /* not in `heard` if it comes twice in a row */
  size_t n_warnings; /* lines at CP_LOG_WARN and above */
  char log_text[8192];
} transport_host;

void transport_host_init(transport_host *self);
void transport_host_on_unanswered(void *ctx, void *token, int written,
                                  cp_bytes channel, cp_bytes payload);

/* Create a Redis transport, and start it. */
void transport_host_start(transport_host *self, const char *url,
                          const cp_redis_options *options);
/* ... and wait until it is linked, and forget that. */
void transport_host_link(transport_host *self, const char *url,
                         const cp_redis_options *options);

int transport_host_subscribe(transport_host *self, const char *channel,
                             const char *token);
int transport_host_unsubscribe(transport_host *self, const char *channel,
                               const char *token);
int transport_host_publish(transport_host *self, const char *channel,
                           const char *payload, const char *token);
void transport_host_flush(transport_host *self);

void transport_host_forget(transport_host *self);
bool transport_host_heard(const transport_host *self, const char *words);

/* Close, and wait for the end. */
void transport_host_close(transport_host *self, uint64_t grace_ms);
/* Only close. */
void transport_host_begin_close(transport_host *self, uint64_t grace_ms);

/* Close if that was not done, and check that nothing is left: no memory, no
 * handle. */
void transport_host_finish(transport_host *self);

#endif
