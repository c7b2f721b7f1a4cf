/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_WS_H
#define CP_WS_H

/* WebSocket: bytes of a client in, events out; messages in, frames out. No I/O,
 * no clock. This is the only file that knows wslay, of which it uses the frame
 * layer; messages, control frames, UTF-8 and close codes are judged here
 * (RFC 6455 sections 5, 7 and 8), and so is where compressed payload may stand
 * (RFC 7692 section 6).
 *
 * A receiver is borrowed from its pool only while bytes of an unfinished frame
 * or message are inside: 5 KB that an idle connection doesn't own. */

#include "blob.h"
#include "buf.h"
#include "deflate.h"
#include "list.h"
#include "utf8.h"

/* Close codes, RFC 6455 section 7.4.1. */
enum {
  CP__WS_NORMAL = 1000,
  CP__WS_GOING_AWAY = 1001,
  CP__WS_PROTOCOL_ERROR = 1002,
  CP__WS_NO_STATUS = 1005,
  CP__WS_ABNORMAL = 1006,
  CP__WS_BAD_DATA = 1007,
  CP__WS_POLICY = 1008,
  CP__WS_TOO_BIG = 1009,
  CP__WS_INTERNAL = 1011,
  CP__WS_TRY_AGAIN = 1013
};

enum { CP__WS_OP_CLOSE = 8, CP__WS_OP_PING = 9, CP__WS_OP_PONG = 10 };

typedef enum cp__ws_event_type {
  CP__WS_NOTHING, /* all bytes are used up */
  CP__WS_MESSAGE, /* type, body */
  CP__WS_PING,    /* body */
  CP__WS_PONG,    /* body */
  CP__WS_CLOSE,   /* code (NO_STATUS if none came), body: the reason */
  CP__WS_ERROR    /* code: close with it; nothing can follow */
} cp__ws_event_type;

/* `body` is borrowed until the next call with the same receiver. */
typedef struct cp__ws_event {
  cp__ws_event_type type;
  cp_type message_type;
  uint16_t code;
  cp_bytes body;
} cp__ws_event;

typedef struct cp__ws cp__ws;

/* The receivers at rest of one server. */
typedef struct cp__ws_pool {
  const cp_allocator *alloc;
  cp__ws *free; /* at most max_free, the others are freed */
  size_t n_free;
  size_t max_free;
  size_t n_borrowed;
  size_t max_message;         /* longer ones end in TOO_BIG */
  cp__list unfinished;        /* cp__ws.unfinished, who began first is first */
  cp__list inflating;         /* cp__ws.inflating, likewise */
  size_t n_held;              /* bytes, of all that is unfinished */
  size_t max_held;            /* see cp__ws_pool_choose */
  cp__inflate_pool inflaters; /* one a compressed message that is arriving */
} cp__ws_pool;

void cp__ws_pool_init(cp__ws_pool *pool, const cp_allocator *alloc,
                      size_t max_message);
/* Every receiver must have been given back. */
void cp__ws_pool_finish(cp__ws_pool *pool);

/* What is unfinished is above max_held, or takes all inflaters so that the next
 * compressed message would end in TRY_AGAIN: returns the owner of what has been
 * unfinished for longest, once, but never `latest`'s: or else whoever holds on
 * to much would lock out all others. NULL: all is well, or there is no other.
 */
void *cp__ws_pool_choose(cp__ws_pool *pool, const cp__ws *latest);

/* `deflate`: permessage-deflate was negotiated, messages may be compressed.
 * NULL: no memory. */
cp__ws *cp__ws_borrow(cp__ws_pool *pool, bool deflate, void *owner);
/* NULL is accepted. One that is not at rest is freed instead of kept. */
void cp__ws_return(cp__ws *ws);

/* Hand over the next bytes; they must live until cp__ws_next said NOTHING. */
void cp__ws_feed(cp__ws *ws, const void *data, size_t len);
/* The next event in them. CP__WS_ERROR with INTERNAL: no memory. */
void cp__ws_next(cp__ws *ws, cp__ws_event *event);
/* Frames that have begun since it was borrowed, control frames too. */
uint64_t cp__ws_n_frames(const cp__ws *ws);
/* No frame or message is unfinished: the receiver may go back. */
bool cp__ws_at_rest(const cp__ws *ws);

/* Encodes the frames of a server. */
typedef struct cp__ws_encoder {
  const cp_allocator *alloc;
  void *frame_ctx; /* wslay's */
  uint8_t *out;
} cp__ws_encoder;

/* Returns 0 or CP_E_NOMEM. */
int cp__ws_encoder_init(cp__ws_encoder *encoder, const cp_allocator *alloc);
void cp__ws_encoder_finish(cp__ws_encoder *encoder);

/* One whole unmasked frame as a blob, the same for every recipient. `opcode`
 * is a cp_type or a control opcode. NULL: no memory, or a control payload above
 * 125 bytes. */
cp__blob *cp__ws_encode(cp__ws_encoder *encoder, int opcode, cp_bytes body);
/* The same of a message's compressed payload. NULL: no memory. */
cp__blob *cp__ws_encode_deflated(cp__ws_encoder *encoder, cp_type type,
                                 cp_bytes payload);
/* A close frame; the reason is cut at a character's border to 123 bytes. With
 * NO_STATUS the frame is empty. */
cp__blob *cp__ws_encode_close(cp__ws_encoder *encoder, uint16_t code,
                              cp_bytes reason);

/* The length of a whole frame of a server, by its head. */
uint64_t cp__ws_frame_len(const uint8_t *frame);

/* May this code stand in a close frame (sections 7.4.1 and 7.4.2)? */
bool cp__ws_close_code_valid(uint16_t code);

#endif
