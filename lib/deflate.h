/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_DEFLATE_H
#define CP_DEFLATE_H

/* Deflate: permessage-deflate (RFC 7692). A client's offers in, terms out;
 * messages in, compressed payloads out; compressed payloads in, messages out.
 * No I/O, no clock. deflate.c is the only file that knows zlib.
 *
 * No message depends on the one before it, in either direction: the answer
 * always holds server_no_context_takeover and client_no_context_takeover, which
 * a server may demand of anybody. So a message is compressed once for all its
 * recipients, by the one deflater of a server, and a connection owns nothing
 * but while a compressed message of its client is arriving.
 *
 * Windows: a client may limit the server's window (server_max_window_bits), and
 * yet there is one compressed form. No offer is declined for that, not even one
 * of 8 bits, with which zlib can't compress: no back-reference leaves its
 * message, so a short message suits a small window whatever made it. Each
 * compressed message says what window it needs, the terms what window the
 * client has; where the first is larger, the message goes out uncompressed,
 * which section 6 allows for every message. What clients send is decompressed
 * with the largest window, so their client_max_window_bits is never answered.
 */

#include "buf.h"
#include "handshake.h"

typedef struct cp__deflate_options {
  size_t min_len;  /* shorter messages are not compressed: 256 */
  int level;       /* 1 (fast) .. 9 (small): 6 */
  int mem_level;   /* 1 .. 9; each message clears 2^(mem_level + 8) bytes: 6 */
  int window_bits; /* 9 .. 15; a client holds 2^window_bits bytes: 15 */
} cp__deflate_options;

/* Set every field to the default that stands behind it. */
void cp__deflate_options_init(cp__deflate_options *options);
/* Is each number in its range? */
bool cp__deflate_options_valid(const cp__deflate_options *options);

/* Negotiation: deflate_terms.c. -------------------------------------------- */

/* The longest answer and a NUL. */
#define CP__DEFLATE_ANSWER_SIZE 104

/* What a handshake came to. A connection needs to keep window_bits only. */
typedef struct cp__deflate_terms {
  uint8_t window_bits; /* that the client has, 8..15; 0: no compression, and
                          RSV1 is a protocol error as ever */
  char answer[CP__DEFLATE_ANSWER_SIZE]; /* for Sec-WebSocket-Extensions in the
                                           101; "" if there is nothing to say */
} cp__deflate_terms;

/* Accept the first offer that can be, in all headers named
 * Sec-WebSocket-Extensions. One with an unknown or doubled parameter, or with a
 * value out of its range, is passed over; so are other extensions.
 * `window_bits` is that of the options; 0 accepts none. Returns 0, or
 * CP_E_PROTOCOL: a header that is no list of extensions, for which the whole
 * handshake is to be refused (RFC 6455 section 9.1), with 400. */
int cp__deflate_negotiate(cp__deflate_terms *terms, const cp__header *headers,
                          size_t n, int window_bits);

/* Compression. ------------------------------------------------------------- */

typedef struct cp__deflater cp__deflater;

typedef struct cp__deflated {
  cp_bytes payload;    /* to be framed with RSV1; borrowed until the next call
                          with the same deflater */
  uint8_t window_bits; /* clients whose terms have less can't read it */
} cp__deflated;

/* One for each server: 2^(window_bits + 2) + 2^(mem_level + 9) bytes, and some
 * for the longest message of late. `options` is copied and must be valid. NULL:
 * no memory. */
cp__deflater *cp__deflater_create(const cp_allocator *alloc,
                                  const cp__deflate_options *options);
/* NULL is accepted. */
void cp__deflater_destroy(cp__deflater *deflater);

/* Compress one message. False: send it as it is, since it is shorter than
 * min_len or would not get shorter, or since there is no memory. */
bool cp__deflater_run(cp__deflater *deflater, cp_bytes message,
                      cp__deflated *deflated);

/* Decompression. ----------------------------------------------------------- */

typedef struct cp__inflater cp__inflater;

/* What one takes, about. */
#define CP__INFLATER_SIZE 45000

/* The inflaters at rest of one server. */
typedef struct cp__inflate_pool {
  const cp_allocator *alloc;
  cp__inflater *free; /* at most max_free, 40 KB each; the others are freed */
  size_t n_free;
  size_t max_free;
  size_t n_borrowed;
  size_t max_borrowed; /* 0: no limit */
  size_t max_message;  /* longer ones end in CP_E_TOOBIG */
} cp__inflate_pool;

void cp__inflate_pool_init(cp__inflate_pool *pool, const cp_allocator *alloc,
                           size_t max_message);
/* Every inflater must have been given back. */
void cp__inflate_pool_finish(cp__inflate_pool *pool);

/* Is all borrowed that may be? */
static inline bool cp__inflate_pool_is_full(const cp__inflate_pool *pool) {
  return pool->max_borrowed > 0 && pool->n_borrowed >= pool->max_borrowed;
}

/* Ready for a message. The pool must not be full. NULL: no memory. */
cp__inflater *cp__inflater_borrow(cp__inflate_pool *pool);
/* In any state. NULL is accepted. */
void cp__inflater_return(cp__inflater *inflater);

/* May `len` more bytes of payload follow? A frame that announces more can be
 * refused with 1009 by its head. */
bool cp__inflater_has_room(const cp__inflater *inflater, uint64_t len);

/* Decompress the next piece of a message's payload, up to 1 GiB of it, onto the
 * end of `out`; what was appended is final, so UTF-8 can be judged at once.
 * After an error the inflater can only be returned, and `out` holds what came
 * before. The errors, and the code to close with:
 *   CP_E_PROTOCOL  1007  not DEFLATE
 *   CP_E_TOOBIG    1009  the message is longer than max_message, or its payload
 *                        than twice that and 1 KiB, so that a row of empty
 *                        blocks ends, too. `out` grew by max_message at most
 *   CP_E_NOMEM     1011
 * They don't depend on how the payload was cut. */
int cp__inflater_feed(cp__inflater *inflater, cp_bytes piece, cp__buf *out);

/* The message's last piece was fed: append what still is inside. Returns 0, and
 * the next message may begin, or an error as above; CP_E_PROTOCOL also if the
 * payload stops within a block. (Section 7.2.2 has 00 00 FF FF appended. A
 * payload that ends where a block does is whole without it: senders leave such
 * ones behind that end a message with an empty fragment, or by BFINAL.) */
int cp__inflater_end(cp__inflater *inflater, cp__buf *out);

#endif
