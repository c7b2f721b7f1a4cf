/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_HANDSHAKE_H
#define CP_HANDSHAKE_H

/* Handshake: HTTP/1.1 request heads in, responses out (RFC 9112 and RFC 6455
 * section 4.2). No I/O, no clock. The owner collects the bytes of a head in one
 * buffer; the scan finds its end and rejects what can't become one; the parse
 * judges the whole. So the verdict never depends on how TCP cut the bytes. */

#include "buf.h"
#include "uri.h"

#define CP__MAX_HEADERS 64 /* more is answered with 431 */
#define CP__ACCEPT_LEN  28 /* of Sec-WebSocket-Accept's value */

typedef struct cp__header {
  cp_bytes name;
  cp_bytes value; /* without the white space around it */
} cp__header;

/* Progress through one head: zero it first. */
typedef struct cp__head_scan {
  size_t pos;      /* bytes already looked at */
  size_t line_len; /* of the line that is being read, without CR LF */
  size_t n_lines;  /* finished lines */
  bool after_cr;   /* the last byte was CR */
} cp__head_scan;

/* Everything in it is borrowed from the head's bytes, but for the path of an
 * absolute target that has none: a static "/". Of a head that was refused only
 * `head_only` counts. */
typedef struct cp__request_head {
  cp_bytes method;
  cp_bytes target; /* as it stood */
  cp_bytes path;   /* target from '/' up to '?', still percent-encoded */
  cp_bytes query;  /* behind '?', still percent-encoded; empty if none */
  size_t n_headers;
  bool head_only;  /* HEAD: answer without a body */
  bool upgrade;    /* a WebSocket handshake, valid in every point */
  cp_bytes host;   /* that of an absolute target, else of the Host header */
  cp_bytes origin; /* data NULL if there is none */
  cp_bytes key;    /* of an upgrade: 24 bytes of base64 */
  cp__header headers[CP__MAX_HEADERS]; /* n_headers of them are set */
} cp__request_head;

/* Look at what is new among the `len` bytes collected so far. Returns the
 * length of the head once it is complete, 0 while it is not, or minus the HTTP
 * status to refuse with: 400 (a control character, a CR or LF alone, a line
 * that starts the head or folds a header wrongly), 414 (request line longer
 * than limit / 2), 431 (head longer than `limit`). Not to be called again once
 * it returned anything but 0. */
long cp__head_scan_feed(cp__head_scan *scan, const uint8_t *data, size_t len,
                        size_t limit);

/* Judge a complete head. Returns 0, or the HTTP status to refuse with:
 *   400  malformed; Host missing, bad or twice; Origin twice; a body
 *        (Content-Length other than 0, or Transfer-Encoding); an upgrade whose
 *        Upgrade, Connection, Sec-WebSocket-Key or -Version is missing, doubled
 *        or bad
 *   405  method other than GET or HEAD; an upgrade by HEAD
 *   426  an upgrade with a well-formed version other than 13
 *   431  more than CP__MAX_HEADERS headers
 *   505  HTTP version other than 1.1 (1.0 is allowed for plain GET and HEAD)
 * A GET that names websocket in its Upgrade header or has a Sec-WebSocket-Key
 * is an upgrade, any other GET is plain. */
int cp__request_head_parse(cp__request_head *head, const uint8_t *data,
                           size_t len);

/* The value of the first header of this name (any case); data NULL if none. */
cp_bytes cp__request_head_header(const cp__request_head *head, cp_bytes name);

/* Is `token` (compared in any case) a member of the comma-separated list in
 * any header of this name? */
bool cp__request_head_has_token(const cp__request_head *head, cp_bytes name,
                                cp_bytes token);

/* Is `protocol` (in exactly this case) among those the client offers in
 * Sec-WebSocket-Protocol? */
bool cp__request_head_offers(const cp__request_head *head, cp_bytes protocol);

/* Is this a token of RFC 9110 section 5.6.2 (a header's name, a subprotocol)?
 */
bool cp__is_token(cp_bytes bytes);
/* May this stand as a header's value: no control characters but tab? */
bool cp__is_header_value(cp_bytes bytes);

/* SHA-1, looked up once: that costs OpenSSL more than to hash a key. For one
 * thread at a time. */
typedef struct evp_md_ctx_st cp__hash;

/* NULL: no memory, or OpenSSL is set up without SHA-1. */
cp__hash *cp__hash_create(void);
void cp__hash_destroy(cp__hash *hash); /* NULL: nothing */

/* Sec-WebSocket-Accept for a key. Returns 0, CP_E_INVALID (the key is not 16
 * bytes of base64) or CP_E_NOMEM. */
int cp__handshake_accept(cp__hash *hash, cp_bytes key,
                         char out[CP__ACCEPT_LEN + 1]);

/* Responses: http_response.c. */

/* Append the 101. `protocol` is the chosen subprotocol or empty; `headers` are
 * `n` more, already checked. Returns 0, CP_E_INVALID (the key) or CP_E_NOMEM.
 */
int cp__handshake_write_101(cp__buf *out, cp__hash *hash, cp_bytes key,
                            cp_bytes protocol, const cp__header *headers,
                            size_t n);

/* Append a whole response with Content-Length and "Connection: close". 426
 * adds Sec-WebSocket-Version and Upgrade, 405 adds Allow, 503 a Retry-After of
 * so many seconds. With `head_only` the body's length is told and the body left
 * out; 204 and 304 have neither. An empty `content_type` stands for
 * "text/plain; charset=utf-8". An Allow, Retry-After or Content-Type among the
 * `headers` goes out instead. `out->failed` tells of missing memory. */
void cp__http_write_response(cp__buf *out, int status, cp_bytes content_type,
                             const cp__header *headers, size_t n, cp_bytes body,
                             bool head_only, unsigned retry_after_s);

/* "Not Found" for 404; "Status" for one that it doesn't know. */
const char *cp__http_reason(int status);

#endif
