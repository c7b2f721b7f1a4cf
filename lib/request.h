/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_REQUEST_H
#define CP_REQUEST_H

/* Request: the head of a connection's HTTP request, from its first byte to the
 * answer. It belongs to the connection until the head is complete, then to
 * whoever must answer it, and outlives the connection if that goes first. */

#include "conn.h"
#include "deflate.h"
#include "handshake.h"

struct cp_request {
  const cp_allocator *alloc;
  cp_conn *conn; /* NULL: it left, or was answered for want of an answer */
  void *owner;   /* the server, held by a reference; NULL: not complete */
  cp__head_scan scan;
  cp__buf bytes;   /* the head, perhaps with what came behind it */
  size_t head_len; /* 0: not complete */
  cp__buf early;   /* what came behind the head; `head` points into `bytes`,
                      so nothing more may be appended to that */
  cp__deflate_terms deflate; /* what compression the client was granted */
  cp__list decoded; /* struct cp__decoded.link: what cp_request_query gave */
  char address[64];
  cp__request_head head; /* last, as its table of headers isn't zeroed */
};

/* NULL: no memory. */
cp_request *cp__request_create(cp_conn *conn, const cp_allocator *alloc);
/* NULL is accepted. */
void cp__request_destroy(cp_request *request);

/* Take more bytes. Returns 1 when the head is complete and well-formed, 0 when
 * more must come, or minus the HTTP status to refuse with. */
int cp__request_feed(cp_request *request, const void *data, size_t len,
                     size_t limit);

#endif
