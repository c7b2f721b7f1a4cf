/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CLUSTERPUSH_BASE_H
#define CLUSTERPUSH_BASE_H

/* Base: the words that every other header uses: bytes, message types, results,
 * error codes, allocator, log sink. Read the Conventions chapter in
 * clusterpush.h first. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define CP_EXTERN __attribute__((visibility("default")))
#else
#define CP_EXTERN
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes. --------------------------------------------------------------- */

/* A run of bytes, by value. Never NUL-terminated unless a function says so;
 * `data` may be NULL if `len` is 0. */
typedef struct cp_bytes {
  const void *data;
  size_t len;
} cp_bytes;

/* The bytes at `data`, borrowed. */
static inline cp_bytes cp_bytes_of(const void *data, size_t len) {
  cp_bytes b;
  b.data = data;
  b.len = len;
  return b;
}

/* The bytes of a C string, without its NUL, borrowed. NULL gives none. */
static inline cp_bytes cp_str(const char *s) {
  return cp_bytes_of(s, s != NULL ? strlen(s) : 0);
}

/* Messages. ------------------------------------------------------------- */

/* What a WebSocket message holds. The numbers are the opcodes of RFC 6455. */
typedef enum cp_type {
  CP_TEXT = 1,  /* UTF-8; the library checks it in both directions */
  CP_BINARY = 2 /* any bytes */
} cp_type;

/* Names one connection in the whole cluster, for ever: a value that is never
 * used again once its connection is gone. {0, 0} names none. */
typedef struct cp_conn_id {
  uint64_t instance; /* the start of the node that owns the connection */
  uint64_t serial;   /* not 0; unique within that instance */
} cp_conn_id;

/* Results. -------------------------------------------------------------- */

/* What a send came to. */
typedef enum cp_state {
  CP_REACHED = 0, /* Redis handed it to `subscribers` nodes */
  CP_NONE = 1,    /* nobody subscribed, and the cluster was settled, for all the
                     sender knows: a node whose link to Redis has just gone
                     is not subscribed, and says what it missed by on_gap */
  CP_UNSURE = 2,  /* published (or delivered here alone) while a link or a
                     peer was not settled, or twice, since a link broke before
                     Redis answered, or to a user of this node whom Redis didn't
                     count, or more than a second after the call: somebody may
                     have missed it */
  CP_UNKNOWN = 3, /* written to Redis, the answer never came */
  CP_DROPPED = 4, /* not published: `error` says why */
  CP_CANCELED = 5 /* not published: the server or publisher was closed */
} cp_state;

typedef struct cp_result {
  size_t size;          /* of this struct, set by the library */
  cp_state state;       /* see above */
  int error;            /* 0, or the CP_E code behind it: always for DROPPED
                           (CP_E_TIMEOUT and CP_E_FULL: it waited too long for
                           Redis, or with too many others), CANCELED and
                           UNKNOWN; CP_E_DOWN for an UNSURE that never left
                           this node */
  uint32_t subscribers; /* PUBLISH's own count of nodes: it includes a node the
                           user left within the last leave_delay_ms, and any
                           foreign observer of the channel; without a publish 1
                           if this node delivered it, else 0 */
  uint32_t connections; /* with CP_RECEIPT: on how many connections it was
                           queued, by the nodes that answered */
  int partial;          /* with CP_RECEIPT, nonzero: `connections` may be too
                           low. Not all of the `subscribers` answered before the
                           deadline (a foreign observer never does), or nodes
                           were not reached, or Redis didn't say how many */
} cp_result;

/* Tells what a send came to: exactly once, on the loop thread, never before
 * the send call returned, and not at all if that call returned an error. (What
 * another thread sends may be done while the call is returning there: `data`
 * must be ready before the call.) `result` is borrowed until the callback
 * returns. */
typedef void (*cp_send_cb)(void *data, const cp_result *result);

/* A flag of a send: every node that got the message says on how many
 * connections it queued it. The callback waits until as many nodes have
 * answered as PUBLISH counted, or for the deadline. It costs a small publish
 * for every node that answers and turn of its loop. (Queued is not read: see
 * the README.) It needs a callback, and a server: a publisher hears nobody. The
 * application's own channels (cp_publish) have none. */
#define CP_RECEIPT 0x01u

/* How to send, where the default does not fit. NULL stands for all zero. */
typedef struct cp_send_options {
  size_t size;    /* sizeof(cp_send_options), set by cp_send_options_init() */
  cp_send_cb cb;  /* NULL: nobody wants to know */
  void *data;     /* handed to `cb` */
  unsigned flags; /* CP_RECEIPT, or 0 */
  unsigned deadline_ms; /* how long CP_RECEIPT waits for the nodes, once Redis
                           has answered, at most 60,000. 0: 2,000 */
} cp_send_options;

/* Set every field to its default (zero), and the size. */
#define cp_send_options_init(options)       \
  (memset((options), 0, sizeof *(options)), \
   (void)((options)->size = sizeof *(options)))

/* Errors. --------------------------------------------------------------- */

/* Functions return 0 or a negative int: one of these, or a libuv code, which
 * passes through. */
#define CP_E_CLOSED      (-10001) /* the object is closing, closed or gone */
#define CP_E_FULL        (-10002) /* a queue, or the server, is at its limit */
#define CP_E_INVALID     (-10003) /* an argument breaks its documented shape */
#define CP_E_NOMEM       (-10004) /* no memory */
#define CP_E_TOOBIG      (-10005) /* larger than a limit */
#define CP_E_UTF8        (-10006) /* text that is not valid UTF-8 */
#define CP_E_PROTOCOL    (-10007) /* a peer or Redis sent malformed bytes */
#define CP_E_DOWN        (-10008) /* Redis can't be reached now */
#define CP_E_CANCELED    (-10009) /* ended by a close before it was done */
#define CP_E_TIMEOUT     (-10010) /* no answer in time */
#define CP_E_REDIS       (-10011) /* Redis answered with an error */
#define CP_E_AUTH        (-10012) /* Redis refused user or password */
#define CP_E_URL         (-10013) /* not a usable Redis URL */
#define CP_E_UNSUPPORTED (-10014) /* not in this build or version */
#define CP_E_NOTFOUND    (-10015) /* no such thing */
#define CP_E_STATE       (-10016) /* not allowed now (answered already, ...) */
#define CP_E_LAGGED      (-10017) /* too much waited at Redis for this node */

/* Describe an error code in a few English words. Never NULL; static. Codes
 * that are not the library's own are described as libuv does. */
CP_EXTERN const char *cp_strerror(int err);

/* Name an error code: "CP_E_CLOSED", "ECONNREFUSED". Never NULL; static.
 * "OK" for 0, "CP_E_?" for a number that is no code. */
CP_EXTERN const char *cp_err_name(int err);

/* Memory. --------------------------------------------------------------- */

/* Where the library takes its memory from. `ctx` is handed to each function.
 * All three are called from any thread that calls a cp_send function. The
 * shape is that of malloc, realloc and free. OpenSSL, wslay, hiredis and libuv
 * go on using malloc. */
typedef struct cp_allocator {
  void *(*allocate)(void *ctx, size_t size);
  void *(*resize)(void *ctx, void *ptr, size_t size);
  void (*release)(void *ctx, void *ptr);
  void *ctx;
} cp_allocator;

/* Log. ------------------------------------------------------------------ */

typedef enum cp_log_level {
  CP_LOG_ERROR = 1, /* something is broken and stays so until you act */
  CP_LOG_WARN = 2,  /* something went wrong and the library goes on */
  CP_LOG_INFO = 3,  /* links come up and go */
  CP_LOG_DEBUG = 4  /* each attempt to link, each TLS handshake that failed */
} cp_log_level;

/* Takes one line of log, without a newline. `text` is borrowed. It is called
 * from the midst of the library's work: no cp_ call is allowed in it. */
typedef void (*cp_log_cb)(void *data, cp_log_level level, const char *text);

#ifdef __cplusplus
}
#endif

#endif
