/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CLUSTERPUSH_PUBLISHER_H
#define CLUSTERPUSH_PUBLISHER_H

/* Publisher: sends without serving. For a batch job, a worker, a program that
 * has no WebSocket clients of its own. */

#include "base.h"
#include "redis.h"

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;
struct cp_transport;

typedef struct cp_publisher cp_publisher;

/* cp_publisher_options_init() sets the defaults that stand behind the fields.
 */
typedef struct cp_publisher_options {
  size_t size;
  void *data;                            /* yours, for the callbacks */
  const char *redis;                     /* as in cp_server_options */
  const cp_redis_options *redis_options; /* NULL: defaults */
  struct cp_transport *transport;        /* as in cp_server_options; this or
                                            redis is required. NULL */
  const char *prefix;                    /* "cp" */
  unsigned settle_ms;                    /* 3,000 */
  size_t max_message;                    /* 1 MiB */
  size_t max_thread_queue;               /* 16 MiB */
  int keep_sigpipe;                      /* as in cp_server_options */
  const cp_allocator *allocator;         /* NULL: malloc and friends */
  cp_log_level log_level;                /* CP_LOG_INFO */
  cp_log_cb on_log;                      /* as in cp_server_options */
  /* The link stands (`up` nonzero), or is gone or could not be made: `err`
   * and `reason` say why. Not called any more once cp_publisher_close() was. */
  void (*on_link)(void *data, int up, int err, const char *reason);
  size_t outbox_bytes;    /* as in cp_server_options: 8 MiB */
  unsigned outbox_age_ms; /* as in cp_server_options: 10,000 */
} cp_publisher_options;

#define cp_publisher_options_init(options) \
  cp_publisher_options_init_sized((options), sizeof *(options))
/* Behind the macro: `size` tells which fields the caller's version has. */
CP_EXTERN void cp_publisher_options_init_sized(cp_publisher_options *options,
                                               size_t size);

/* Create a publisher on a loop, as cp_server_create() does a server. A send
 * before the link stands waits for it, as one of a server does while Redis is
 * away. Returns as cp_server_create(). */
CP_EXTERN int cp_publisher_create(cp_publisher **publisher,
                                  struct uv_loop_s *loop,
                                  const cp_publisher_options *options);

/* Send to every connection of a user; as cp_send_to_user(), but that CP_RECEIPT
 * is CP_E_UNSUPPORTED. Thread: any. */
CP_EXTERN int cp_publisher_send_to_user(cp_publisher *publisher, cp_bytes user,
                                        cp_type type, cp_bytes body,
                                        const cp_send_options *options);

/* Send to every connection of a group; as cp_send_to_group(), with the same
 * exception. Thread: any. */
CP_EXTERN int cp_publisher_send_to_group(cp_publisher *publisher,
                                         cp_bytes group, cp_type type,
                                         cp_bytes body,
                                         const cp_send_options *options);

/* Send to every connection of every node; as cp_broadcast(), with the same
 * exception. Thread: any. */
CP_EXTERN int cp_publisher_broadcast(cp_publisher *publisher, cp_type type,
                                     cp_bytes body,
                                     const cp_send_options *options);

/* As cp_server_ref() and cp_server_unref(). Thread: any. */
CP_EXTERN cp_publisher *cp_publisher_ref(cp_publisher *publisher);
CP_EXTERN void cp_publisher_unref(cp_publisher *publisher);

/* Write and await what was sent, at most for `grace_ms`, then end; as
 * cp_server_close(), but that a second call does nothing. */
CP_EXTERN void cp_publisher_close(cp_publisher *publisher, uint64_t grace_ms,
                                  void (*cb)(void *data));

#ifdef __cplusplus
}
#endif

#endif
