/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_SENTINEL_H
#define CP_SENTINEL_H

/* Sentinel: asks Redis Sentinels where a master is, and goes on watching
 * whether it stays there. */

#include "dial.h"
#include "log.h"
#include "redis_greeting.h"
#include "redis_url.h"
#include "tls.h"

typedef struct cp__sentinel cp__sentinel;

/* What it tells its owner. None of it runs before cp__sentinel_create or
 * cp__sentinel_ask returned, nor after close, but for on_closed. */
typedef struct cp__sentinel_events {
  /* The answer to an ask. `master` is borrowed until it returns. Whether a
   * master is there, only a link to it can tell. */
  void (*on_master)(void *ctx, const cp__endpoint *master);
  /* Every sentinel that is known was asked, and none named the master. `err` is
   * the last one's: CP_E_NOTFOUND (it knows no such master), CP_E_TIMEOUT,
   * CP_E_AUTH, CP_E_REDIS (it refused, or is no sentinel), CP_E_PROTOCOL, or a
   * libuv code. `reason` is text for people, borrowed until it returns. */
  void (*on_failed)(void *ctx, int err, const char *reason);
  /* Nobody asked, but the master is now somewhere else than on_master said. */
  void (*on_moved)(void *ctx, const char *reason);
  /* The end: it is freed already. */
  void (*on_closed)(void *ctx);
} cp__sentinel_events;

/* All of it is borrowed until on_closed. */
typedef struct cp__sentinel_options {
  uv_loop_t *loop;
  const cp_allocator *alloc;
  const cp__log *log;
  const cp__redis_host *hosts; /* the sentinels */
  size_t n_hosts;
  const char *master;                 /* its name there */
  const cp__redis_identity *identity; /* with `any_role` set */
  cp__tls_context *tls;               /* NULL: plain text */
  const char *tls_host;               /* NULL: the one that is dialed */
  uint64_t timeout_ms;  /* for one sentinel: to connect; and then to answer */
  uint64_t interval_ms; /* between questions that nobody asked for */
  const cp__sentinel_events *events;
  void *ctx;
} cp__sentinel_options;

/* Returns NULL if there is no memory. Nothing happens before the first ask. */
cp__sentinel *cp__sentinel_create(const cp__sentinel_options *options);

/* Where is the master? on_master or on_failed answers, once. Not to be called
 * again before that. If the last answer was of no use (cp__sentinel_praise was
 * not called), another sentinel is asked first. */
void cp__sentinel_ask(cp__sentinel *sentinel);

/* What on_master said last is indeed a master. */
void cp__sentinel_praise(cp__sentinel *sentinel);

/* At this time (uv_now()) the master was, for all that the sentinels knew, the
 * one that on_master named last. */
uint64_t cp__sentinel_agreed_ms(const cp__sentinel *sentinel);

/* End it, in any state. */
void cp__sentinel_close(cp__sentinel *sentinel);

#endif
