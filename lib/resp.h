/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_RESP_H
#define CP_RESP_H

/* RESP: the Redis protocol, version 2. Commands out, replies in. No I/O. This
 * is the only file that knows hiredis, of which it uses the reader (0.14 and
 * 1.x) with object functions of our own: no allocation per element, and a
 * message's payload is handed on where hiredis parsed it, without a copy. */

#include "buf.h"

#include <stdbool.h>

typedef enum cp__resp_type {
  CP__RESP_STRING,
  CP__RESP_STATUS, /* +OK */
  CP__RESP_ERROR,  /* -ERR ... */
  CP__RESP_INTEGER,
  CP__RESP_NIL,
  CP__RESP_ARRAY
} cp__resp_type;

/* One element of a reply. */
typedef struct cp__resp_node {
  cp__resp_type type;
  long long integer; /* INTEGER: its value; ARRAY: its number of elements */
  cp_bytes text;     /* STRING, STATUS, ERROR */
} cp__resp_node;

/* A reply, depth first: nodes[0] is the reply itself, an array's elements
 * follow it, each with its own elements behind it. Borrowed until the next call
 * with the same reader. */
typedef struct cp__resp_reply {
  const cp__resp_node *nodes;
  size_t n_nodes;
} cp__resp_reply;

typedef struct cp__resp cp__resp;

/* A published message ("message" or "smessage": `pattern` is empty; or
 * "pmessage"). All three are borrowed until it returns. It runs inside the
 * parser: it must not call into this reader, nor run user code. */
typedef void (*cp__resp_message_cb)(void *ctx, cp_bytes pattern,
                                    cp_bytes channel, cp_bytes payload);

/* `max_reply` is the limit for one reply in bytes of the wire. With
 * `on_message` NULL, messages are returned like any other reply. NULL: no
 * memory. */
cp__resp *cp__resp_create(const cp_allocator *alloc, size_t max_reply,
                          cp__resp_message_cb on_message, void *ctx);
/* NULL is accepted. Not to be called from on_message. */
void cp__resp_destroy(cp__resp *resp);

/* Hand over what was read, at best in slices of at most 16 KiB, and call
 * cp__resp_next until it returns 0 before the next slice: what waits here is
 * not limited. Returns 0, CP_E_NOMEM, or what the reader has failed with. */
int cp__resp_feed(cp__resp *resp, const void *data, size_t len);

/* Parse on. Returns 1 and the next reply; 0 when all that was fed is used up
 * (messages went to on_message on the way). CP_E_PROTOCOL (not RESP2, or arrays
 * more than 8 deep), CP_E_TOOBIG (a reply passed max_reply) or CP_E_NOMEM: the
 * reader is of no use any more, and goes on returning it. */
int cp__resp_next(cp__resp *resp, cp__resp_reply *reply);

/* What went wrong, in a few words; "" if nothing did. Static or owned by the
 * reader. */
const char *cp__resp_error(const cp__resp *resp);

/* Read one whole command of `n` words that was written as below; `words` point
 * into it. False: it isn't one. */
bool cp__resp_read_command(cp_bytes command, cp_bytes *words, size_t n);

/* Append one command of `n` words. */
void cp__resp_command(cp__buf *out, const cp_bytes *words, size_t n);
/* Append the head of a command of `n` words, to be followed by its words. */
void cp__resp_command_head(cp__buf *out, size_t n);
/* Append one word that is the concatenation of `n` parts. */
void cp__resp_word(cp__buf *out, const cp_bytes *parts, size_t n);

#endif
