/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_REDIS_LINK_H
#define CP_REDIS_LINK_H

/* Redis link: one connection to one Redis server, over TCP, with or without
 * TLS, or a Unix socket. It looks the host up, connects, introduces itself,
 * learns what it is talking to, and is then ready for its owner's pipelined
 * commands. It never connects twice: a link that broke is closed, and the owner
 * opens another. */

#include "dial.h"
#include "log.h"
#include "redis_greeting.h"
#include "resp.h"
#include "tls.h"

#include <stdbool.h>

typedef struct cp__redis_link cp__redis_link;

/* What a link tells its owner; `ctx` is the owner's. None of it runs before
 * cp__redis_link_open returned. Any function here may be called from any of
 * them but on_message. */
typedef struct cp__redis_link_events {
  /* The greeting is done: commands may be written. */
  void (*on_ready)(void *ctx);
  /* The reply to the oldest command; borrowed until it returns. An error that
   * answers a command of several replies comes once for each. */
  void (*on_reply)(void *ctx, int kind, void *token,
                   const cp__resp_reply *reply);
  /* A published message, straight from the parser: as cp__resp_message_cb. Only
   * for links with options.messages. */
  void (*on_message)(void *ctx, cp_bytes channel, cp_bytes payload);
  /* The link is of no use any more: take what is unanswered, and close it. At
   * most once, never after close. It may run inside cp__redis_link_flush.
   * `reason` is text for people, borrowed until on_closed. `err` is a libuv
   * code (UV_EOF: Redis closed the connection), CP_E_NOMEM, CP_E_PROTOCOL (no
   * Redis, no TLS, or a certificate that is not good enough), CP_E_TOOBIG,
   * CP_E_TIMEOUT (not ready in time), CP_E_AUTH, CP_E_REDIS (refused, or not a
   * master), or CP_E_LAGGED (too much waited for this subscriber: a guess, by
   * how much there was to read right before). */
  void (*on_broken)(void *ctx, int err, const char *reason);
  /* The end: the link is freed already. */
  void (*on_closed)(void *ctx);
  /* Is this no answer to the oldest command, which has `kind` (-1: there is no
   * command) and `token`, but something that Redis says by itself? If so, it
   * was taken care of. NULL: it never is. */
  bool (*on_push)(void *ctx, int kind, void *token,
                  const cp__resp_reply *reply);
} cp__redis_link_events;

/* All of it is borrowed until on_closed. */
typedef struct cp__redis_link_options {
  uv_loop_t *loop;
  const cp_allocator *alloc;
  const cp__log *log;
  cp__endpoint endpoint;
  const cp__redis_identity *identity;
  uint64_t connect_timeout_ms; /* from open to ready */
  cp__tls_context *tls;        /* NULL: plain text */
  const char *tls_host;        /* as cp__tls_create's `host` */
  size_t max_reply;            /* bytes of one reply or message */
  bool messages;               /* a subscriber: on_message is set */
  bool ask_limit;              /* learn how much may wait for a subscriber */
  const void *unhurried; /* NULL, or the token of a reply that may be late */
  cp__resp_message_cb
      on_any_message; /* instead of it, with its pattern; NULL */
  bool keep;        /* commands may be wanted back: see cp__redis_unanswered */
  unsigned *warned; /* CP__REDIS_REFUSED_* that were already logged, kept by the
                       owner from link to link */
  const cp__redis_link_events *events;
  void *ctx;
} cp__redis_link_options;

/* Begin to connect. Returns 0, CP_E_NOMEM, CP_E_INVALID (tls_host) or a libuv
 * code; after an error there is no link and nothing is called. */
int cp__redis_link_open(cp__redis_link **link,
                        const cp__redis_link_options *options);

/* End it, in any state; a peer behind TLS is told, if that doesn't take
 * waiting. Nothing but on_closed is called any more, and that never before this
 * returned. A host name that is being looked up by the system delays it until
 * the system gives up. */
void cp__redis_link_close(cp__redis_link *link);

/* What was learned; complete when ready. Borrowed until on_closed. */
const cp__redis_info *cp__redis_link_info(const cp__redis_link *link);

/* Begin a command, on a ready link: append it, whole, to what this returns, by
 * the cp__resp_ functions; then call end. */
cp__buf *cp__redis_link_begin(cp__redis_link *link);

/* End a command that is answered by `n` > 0 replies. `kind` (0..255) and a
 * token each are handed to on_reply. Returns 0, or CP_E_NOMEM: then it is as if
 * begin had never been called. */
int cp__redis_link_end(cp__redis_link *link, int kind, void *const *tokens,
                       size_t n);

/* Write what was ended so far: once a turn of the loop, it is one system call.
 * What the system doesn't take at once is written as soon as it does. */
void cp__redis_link_flush(cp__redis_link *link);

/* Somebody waits for whatever is not answered yet. */
void cp__redis_link_hurry(cp__redis_link *link);

/* Bytes of all commands that are not answered, written or not. */
size_t cp__redis_link_queued(const cp__redis_link *link);

/* Number of replies awaited. */
size_t cp__redis_link_pending(const cp__redis_link *link);

/* Bytes of all commands that were ever answered: it grows. */
uint64_t cp__redis_link_answered(const cp__redis_link *link);

/* A reply that will never come. */
typedef struct cp__redis_unanswered {
  int kind;
  void *token;
  bool written;     /* Redis may have run the command; if not, it did not */
  cp_bytes command; /* as it was, with options.keep and if there was memory for
                       it; borrowed until the link is touched again */
} cp__redis_unanswered;

/* Take the oldest one out of the ring: on a broken link, or right before the
 * close. False: none is left. */
bool cp__redis_link_take(cp__redis_link *link, cp__redis_unanswered *reply);

#endif
