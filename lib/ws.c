/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The receiver pulls: wslay's frame layer asks for bytes through a callback
 * that hands it what was fed, and gives back pieces of unmasked payload. A
 * piece goes where its frame belongs, to the message that is being assembled or
 * to the 125 bytes of the control frame, and a finished one becomes an event.
 *
 * wslay judges opcode-independent framing (lengths, fragmented control frames).
 * All else is judged here, once a frame's head is known: mask, reserved bits
 * and opcodes, continuation order, size, UTF-8 piece by piece, close payload as
 * a whole. After an error the receiver says nothing more. wslay shows a head
 * only with the first bytes of its payload, so of one that comes without any
 * the bytes are kept and read here as well: nobody may hold a connection with
 * the mere promise of a frame that is forbidden.
 *
 * A compressed message (RSV1 on its first frame, where that was negotiated)
 * takes one step more: a piece is inflated onto the message, and what that
 * appended is the piece of which all else is asked. The inflater, 40 KB, is
 * borrowed from that head to the message's end. How long a frame may be is its
 * matter too: a payload may be longer than what becomes of it, within bounds.
 *
 * Whether it is at rest can't be asked of wslay, so bytes are counted: those
 * fed, against those that the completed frames took on the wire. */

#include "ws.h"

#include <assert.h>
#include <string.h>
#include <wslay/wslay.h>

#include "bytes.h"

#define MAX_CONTROL 125
#define MASK_LEN    4
#define MAX_HEAD    (2 + 8 + MASK_LEN)
/* A message's memory up to this stays with the receiver when it is returned. */
#define KEEP_MESSAGE 4096
#define MAX_FREE     64
/* What is unfinished costs at least that, most of it wslay's. */
#define RECEIVER_SIZE 5120

struct cp__ws {
  cp__ws_pool *pool;
  cp__ws *next; /* in pool->free */
  void *owner;
  cp__list
      unfinished;     /* in pool->unfinished since its message or frame began */
  cp__list inflating; /* in pool->inflating while it has an inflater */
  wslay_frame_context_ptr frame_ctx;
  const uint8_t *in; /* fed and not yet taken by wslay */
  size_t in_len;
  uint64_t n_fed;
  uint64_t n_framed; /* bytes of completed frames */
  uint64_t n_heads;  /* frames that began, since it was borrowed */
  size_t n_held;     /* what it has in pool->n_held */

  uint8_t head[MAX_HEAD]; /* of a frame that has not been judged yet */
  uint8_t head_len;
  uint64_t frame_off; /* payload bytes of the current frame seen so far */
  bool in_frame;      /* its head has been judged */
  bool in_message;    /* fragments came, the last one did not */
  bool deflate;       /* RSV1 may be set */
  bool failed;
  bool delivered; /* `message` was handed out and is dropped at the next call */
  cp_type message_type;
  cp__utf8_state utf8;
  cp__inflater *inflater; /* of the message; NULL: it is not compressed */
  cp__buf message;
  uint8_t control[MAX_CONTROL];
};

/* Pool. ------------------------------------------------------------------- */

static ssize_t take_fed(uint8_t *buf, size_t len, int flags, void *user_data) {
  cp__ws *ws = user_data;
  size_t n = ws->in_len < len ? ws->in_len : len;

  (void)flags;
  if (n == 0)
    return -1;
  memcpy(buf, ws->in, n);
  ws->in += n;
  ws->in_len -= n;
  return (ssize_t)n;
}

static cp__ws *ws_create(cp__ws_pool *pool) {
  const struct wslay_frame_callbacks callbacks = {NULL, take_fed, NULL};
  cp__ws *ws = cp__calloc(pool->alloc, sizeof *ws);

  if (ws == NULL)
    return NULL;
  ws->pool = pool;
  cp__list_init(&ws->unfinished);
  cp__list_init(&ws->inflating);
  cp__buf_init(&ws->message, pool->alloc);
  if (wslay_frame_context_init(&ws->frame_ctx, &callbacks, ws) != 0) {
    cp__free(pool->alloc, ws);
    return NULL;
  }
  return ws;
}

static void ws_destroy(cp__ws *ws) {
  wslay_frame_context_free(ws->frame_ctx);
  cp__buf_finish(&ws->message);
  cp__free(ws->pool->alloc, ws);
}

void cp__ws_pool_init(cp__ws_pool *pool, const cp_allocator *alloc,
                      size_t max_message) {
  memset(pool, 0, sizeof *pool);
  pool->alloc = alloc;
  pool->max_free = MAX_FREE;
  pool->max_message = max_message;
  pool->max_held = SIZE_MAX;
  cp__list_init(&pool->unfinished);
  cp__list_init(&pool->inflating);
  cp__inflate_pool_init(&pool->inflaters, alloc, max_message);
}

void cp__ws_pool_finish(cp__ws_pool *pool) {
  assert(pool->n_borrowed == 0);
  while (pool->free != NULL) {
    cp__ws *ws = pool->free;
    pool->free = ws->next;
    ws_destroy(ws);
  }
  pool->n_free = 0;
  cp__inflate_pool_finish(&pool->inflaters);
}

cp__ws *cp__ws_borrow(cp__ws_pool *pool, bool deflate, void *owner) {
  cp__ws *ws = pool->free;

  if (ws != NULL) {
    pool->free = ws->next;
    pool->n_free--;
  } else {
    ws = ws_create(pool);
    if (ws == NULL)
      return NULL;
  }
  ws->deflate = deflate;
  ws->owner = owner;
  pool->n_borrowed++;
  return ws;
}

static cp__list *first_but(const cp__list *list, const cp__list *latest) {
  cp__list *link = list->next;

  if (link == latest)
    link = link->next;
  return link != list ? link : NULL;
}

static cp__ws *oldest_inflating(const cp__ws_pool *pool, const cp__ws *latest) {
  cp__list *link = first_but(&pool->inflating, &latest->inflating);
  return link != NULL ? cp__container_of(link, cp__ws, inflating) : NULL;
}

static cp__ws *oldest_unfinished(const cp__ws_pool *pool,
                                 const cp__ws *latest) {
  cp__list *link = first_but(&pool->unfinished, &latest->unfinished);
  return link != NULL ? cp__container_of(link, cp__ws, unfinished) : NULL;
}

void *cp__ws_pool_choose(cp__ws_pool *pool, const cp__ws *latest) {
  cp__ws *ws = NULL;

  if (cp__inflate_pool_is_full(&pool->inflaters))
    ws = oldest_inflating(pool, latest);
  if (ws == NULL && pool->n_held > pool->max_held)
    ws = oldest_unfinished(pool, latest);
  if (ws == NULL)
    return NULL;
  cp__list_remove(&ws->inflating);
  cp__list_remove(&ws->unfinished);
  return ws->owner;
}

/* Its part of what all hold is so much now. */
static void hold(cp__ws *ws, size_t n) {
  ws->pool->n_held += n - ws->n_held;
  ws->n_held = n;
}

static void return_inflater(cp__ws *ws) {
  cp__list_remove(&ws->inflating);
  cp__inflater_return(ws->inflater);
  ws->inflater = NULL;
}

void cp__ws_return(cp__ws *ws) {
  cp__ws_pool *pool;

  if (ws == NULL)
    return;
  pool = ws->pool;
  pool->n_borrowed--;
  hold(ws, 0);
  cp__list_remove(&ws->unfinished);
  return_inflater(ws);
  if (!cp__ws_at_rest(ws) || pool->n_free >= pool->max_free) {
    ws_destroy(ws);
    return;
  }
  cp__buf_reset(&ws->message, KEEP_MESSAGE);
  ws->delivered = false;
  ws->n_fed = ws->n_framed = ws->n_heads = 0;
  ws->head_len = 0;
  ws->next = pool->free;
  pool->free = ws;
  pool->n_free++;
}

/* Receive. ---------------------------------------------------------------- */

uint64_t cp__ws_n_frames(const cp__ws *ws) {
  return ws->n_heads;
}

bool cp__ws_at_rest(const cp__ws *ws) {
  return !ws->failed && !ws->in_message && ws->n_fed == ws->n_framed;
}

void cp__ws_feed(cp__ws *ws, const void *data, size_t len) {
  assert(ws->in_len == 0);
  ws->in = data;
  ws->in_len = len;
  ws->n_fed += len;
}

uint64_t cp__ws_frame_len(const uint8_t *frame) {
  uint64_t len = frame[1];
  int n_more = len < 126 ? 0 : len == 126 ? 2 : 8;
  int i;

  if (n_more > 0)
    len = 0;
  for (i = 0; i < n_more; i++)
    len = len << 8 | frame[2 + i];
  return 2 + (uint64_t)n_more + len;
}

bool cp__ws_close_code_valid(uint16_t code) {
  if (code >= 3000 && code <= 4999)
    return true;
  return code >= 1000 && code <= 1014 && code != 1004 &&
         code != CP__WS_NO_STATUS && code != CP__WS_ABNORMAL;
}

static bool is_control(uint8_t opcode) {
  return (opcode & 0x8) != 0;
}

static uint64_t wire_len(uint64_t payload) {
  uint64_t head = payload < 126 ? 2 : payload <= UINT16_MAX ? 4 : 10;
  return head + MASK_LEN + payload;
}

/* Only a message's first frame may say that it is compressed. */
static bool rsv_is_allowed(const cp__ws *ws,
                           const struct wslay_frame_iocb *frame) {
  if (frame->rsv == 0)
    return true;
  return frame->rsv == WSLAY_RSV1_BIT && ws->deflate &&
         frame->opcode != WSLAY_CONTINUATION_FRAME &&
         !is_control(frame->opcode);
}

/* Returns 0 or the code to close with. */
static uint16_t begin_message(cp__ws *ws,
                              const struct wslay_frame_iocb *frame) {
  ws->in_message = true;
  ws->message_type = (cp_type)frame->opcode;
  ws->utf8 = 0;
  if (frame->rsv == 0)
    return 0;
  if (cp__inflate_pool_is_full(&ws->pool->inflaters))
    return CP__WS_TRY_AGAIN;
  ws->inflater = cp__inflater_borrow(&ws->pool->inflaters);
  if (ws->inflater == NULL)
    return CP__WS_INTERNAL;
  cp__list_push_back(&ws->pool->inflating, &ws->inflating);
  return 0;
}

/* May the message have `len` more bytes of payload? */
static bool has_room(const cp__ws *ws, uint64_t len) {
  if (ws->inflater != NULL)
    return cp__inflater_has_room(ws->inflater, len);
  return len <= ws->pool->max_message - cp__buf_len(&ws->message);
}

static void begin_frame(cp__ws *ws) {
  ws->n_heads++;
  ws->in_frame = true;
  ws->frame_off = 0;
  ws->head_len = 0;
}

/* Returns 0 or the code to close with. */
static uint16_t judge_head(cp__ws *ws, const struct wslay_frame_iocb *frame) {
  uint16_t code = 0;

  if (!frame->mask || !rsv_is_allowed(ws, frame))
    return CP__WS_PROTOCOL_ERROR;
  switch (frame->opcode) {
  case WSLAY_CONTINUATION_FRAME:
    if (!ws->in_message)
      return CP__WS_PROTOCOL_ERROR;
    break;
  case WSLAY_TEXT_FRAME:
  case WSLAY_BINARY_FRAME:
    if (ws->in_message)
      return CP__WS_PROTOCOL_ERROR;
    code = begin_message(ws, frame);
    break;
  case WSLAY_CONNECTION_CLOSE:
  case WSLAY_PING:
  case WSLAY_PONG:
    return 0;
  default:
    return CP__WS_PROTOCOL_ERROR;
  }
  if (code != 0)
    return code;
  return has_room(ws, frame->payload_length) ? 0 : CP__WS_TOO_BIG;
}

static bool is_good_text(cp__ws *ws, cp_bytes piece) {
  if (ws->message_type == CP_TEXT)
    ws->utf8 = cp__utf8_feed(ws->utf8, piece);
  return ws->utf8 != CP__UTF8_BAD;
}

static uint16_t code_of_inflater(int err) {
  switch (err) {
  case 0:
    return 0;
  case CP_E_PROTOCOL:
    return CP__WS_BAD_DATA;
  case CP_E_TOOBIG:
    return CP__WS_TOO_BIG;
  default:
    return CP__WS_INTERNAL;
  }
}

/* The inflater did what it could: judge what it appended to the `old_len` bytes
 * of the message before its error, which lies behind that. */
static uint16_t judge_inflated(cp__ws *ws, size_t old_len, int err) {
  cp_bytes message = cp__buf_bytes(&ws->message);

  if (message.len > old_len &&
      !is_good_text(ws, cp__bytes_behind(message, old_len)))
    return CP__WS_BAD_DATA;
  return code_of_inflater(err);
}

static uint16_t inflate_piece(cp__ws *ws, cp_bytes piece) {
  size_t old_len = cp__buf_len(&ws->message);
  int err = cp__inflater_feed(ws->inflater, piece, &ws->message);

  return judge_inflated(ws, old_len, err);
}

static uint16_t end_inflating(cp__ws *ws) {
  size_t old_len = cp__buf_len(&ws->message);
  int err = cp__inflater_end(ws->inflater, &ws->message);

  return_inflater(ws);
  return judge_inflated(ws, old_len, err);
}

static uint16_t take_message_piece(cp__ws *ws, cp_bytes piece) {
  if (ws->inflater != NULL)
    return inflate_piece(ws, piece);
  if (!is_good_text(ws, piece))
    return CP__WS_BAD_DATA;
  cp__buf_append_bytes(&ws->message, piece);
  return ws->message.failed ? CP__WS_INTERNAL : 0;
}

static uint16_t take_piece(cp__ws *ws, const struct wslay_frame_iocb *frame) {
  cp_bytes piece = cp_bytes_of(frame->data, frame->data_length);

  if (!is_control(frame->opcode))
    return take_message_piece(ws, piece);
  if (piece.len > 0)
    memcpy(ws->control + ws->frame_off, piece.data, piece.len);
  return 0;
}

static uint16_t read_close(const uint8_t *payload, size_t len,
                           cp__ws_event *event) {
  event->type = CP__WS_CLOSE;
  event->code = CP__WS_NO_STATUS;
  if (len == 0)
    return 0;
  if (len == 1)
    return CP__WS_PROTOCOL_ERROR;
  event->code = (uint16_t)(payload[0] << 8 | payload[1]);
  event->body = cp_bytes_of(payload + 2, len - 2);
  if (!cp__ws_close_code_valid(event->code))
    return CP__WS_PROTOCOL_ERROR;
  return cp__utf8_valid(event->body) ? 0 : CP__WS_BAD_DATA;
}

/* The last fragment is complete. Returns 0 or the code to close with. */
static uint16_t finish_message(cp__ws *ws, cp__ws_event *event) {
  uint16_t code = ws->inflater != NULL ? end_inflating(ws) : 0;

  ws->in_message = false;
  cp__list_remove(&ws->unfinished);
  if (code != 0)
    return code;
  if (ws->utf8 != 0)
    return CP__WS_BAD_DATA;
  event->type = CP__WS_MESSAGE;
  event->message_type = ws->message_type;
  event->body = cp__buf_bytes(&ws->message);
  ws->delivered = true;
  return 0;
}

/* A frame is complete: `event` says so, unless more fragments must follow.
 * Returns 0 or the code to close with. */
static uint16_t finish_frame(cp__ws *ws, const struct wslay_frame_iocb *frame,
                             cp__ws_event *event) {
  size_t len = (size_t)frame->payload_length;

  switch (frame->opcode) {
  case WSLAY_PING:
  case WSLAY_PONG:
    event->type = frame->opcode == WSLAY_PING ? CP__WS_PING : CP__WS_PONG;
    event->body = cp_bytes_of(ws->control, len);
    return 0;
  case WSLAY_CONNECTION_CLOSE:
    return read_close(ws->control, len, event);
  default:
    break;
  }
  return frame->fin ? finish_message(ws, event) : 0;
}

static void fail(cp__ws *ws, uint16_t code, cp__ws_event *event) {
  ws->failed = true;
  event->type = CP__WS_ERROR;
  event->code = code;
  event->body = cp_bytes_of(NULL, 0);
}

/* Keep what came of the next frame's head: all that was fed since the last
 * frame's end. */
static void keep_head(cp__ws *ws) {
  size_t len = (size_t)(ws->n_fed - ws->n_framed);
  size_t n_new = len - ws->head_len;

  assert(len <= MAX_HEAD);
  if (n_new > 0)
    memcpy(ws->head + ws->head_len, ws->in - n_new, n_new);
  ws->head_len = (uint8_t)len;
}

/* False: it is not complete. */
static bool read_head(const cp__ws *ws, struct wslay_frame_iocb *frame) {
  const uint8_t *head = ws->head;
  size_t n_len, i;

  if (ws->head_len < 2)
    return false;
  memset(frame, 0, sizeof *frame);
  frame->fin = head[0] >> 7;
  frame->rsv = head[0] >> 4 & 7;
  frame->opcode = head[0] & 0xf;
  frame->mask = head[1] >> 7;
  frame->payload_length = head[1] & 0x7f;
  n_len = frame->payload_length < 126    ? 0
          : frame->payload_length == 126 ? 2
                                         : 8;
  if (ws->head_len < 2 + n_len + (frame->mask ? MASK_LEN : 0))
    return false;
  if (n_len > 0)
    frame->payload_length = 0;
  for (i = 0; i < n_len; i++)
    frame->payload_length = frame->payload_length << 8 | head[2 + i];
  return true;
}

/* Everything was taken, and no frame's head has been judged. */
static uint16_t judge_head_alone(cp__ws *ws) {
  struct wslay_frame_iocb frame;

  keep_head(ws);
  if (!read_head(ws, &frame))
    return 0;
  begin_frame(ws);
  return judge_head(ws, &frame);
}

/* wslay has no more pieces. */
static bool end_of_fed(cp__ws *ws, cp__ws_event *event) {
  uint16_t code = ws->in_frame ? 0 : judge_head_alone(ws);

  if (code != 0)
    fail(ws, code, event);
  return code != 0;
}

/* One piece from wslay; false when it has none. */
static bool next_piece(cp__ws *ws, cp__ws_event *event) {
  struct wslay_frame_iocb frame;
  ssize_t n;
  uint16_t code = 0;

  memset(&frame, 0, sizeof frame);
  n = wslay_frame_recv(ws->frame_ctx, &frame);
  if (n == WSLAY_ERR_WANT_READ)
    return end_of_fed(ws, event);
  if (n < 0) {
    fail(ws, CP__WS_PROTOCOL_ERROR, event);
    return true;
  }
  if (!ws->in_frame) {
    begin_frame(ws);
    code = judge_head(ws, &frame);
  }
  if (code == 0)
    code = take_piece(ws, &frame);
  ws->frame_off += (uint64_t)n;
  if (code == 0 && ws->frame_off == frame.payload_length) {
    ws->in_frame = false;
    ws->n_framed += wire_len(frame.payload_length);
    code = finish_frame(ws, &frame, event);
  }
  if (code != 0)
    fail(ws, code, event);
  return true;
}

/* All that came was taken. */
static void settle(cp__ws *ws) {
  bool at_rest = cp__ws_at_rest(ws);

  hold(ws, at_rest ? 0 : RECEIVER_SIZE + ws->message.cap);
  if (at_rest)
    cp__list_remove(&ws->unfinished);
  else if (cp__list_empty(&ws->unfinished))
    cp__list_push_back(&ws->pool->unfinished, &ws->unfinished);
}

void cp__ws_next(cp__ws *ws, cp__ws_event *event) {
  memset(event, 0, sizeof *event);
  event->type = CP__WS_NOTHING;
  if (ws->failed)
    return;
  if (ws->delivered) {
    cp__buf_reset(&ws->message, ws->pool->max_message);
    ws->delivered = false;
  }
  while (event->type == CP__WS_NOTHING && next_piece(ws, event))
    ;
  if (event->type == CP__WS_NOTHING)
    settle(ws);
}

/* Encode. ----------------------------------------------------------------- */

static ssize_t put_encoded(const uint8_t *data, size_t len, int flags,
                           void *user_data) {
  cp__ws_encoder *encoder = user_data;

  (void)flags;
  memcpy(encoder->out, data, len);
  encoder->out += len;
  return (ssize_t)len;
}

int cp__ws_encoder_init(cp__ws_encoder *encoder, const cp_allocator *alloc) {
  const struct wslay_frame_callbacks callbacks = {put_encoded, NULL, NULL};
  wslay_frame_context_ptr ctx;

  encoder->alloc = alloc;
  encoder->frame_ctx = NULL;
  encoder->out = NULL;
  if (wslay_frame_context_init(&ctx, &callbacks, encoder) != 0)
    return CP_E_NOMEM;
  encoder->frame_ctx = ctx;
  return 0;
}

void cp__ws_encoder_finish(cp__ws_encoder *encoder) {
  wslay_frame_context_free(encoder->frame_ctx);
  encoder->frame_ctx = NULL;
}

static cp__blob *encode(cp__ws_encoder *encoder, int opcode, uint8_t rsv,
                        cp_bytes body) {
  struct wslay_frame_iocb frame;
  cp__blob *blob =
      cp__blob_create(encoder->alloc, (size_t)wire_len(body.len) - MASK_LEN);
  if (blob == NULL)
    return NULL;
  memset(&frame, 0, sizeof frame);
  frame.fin = 1;
  frame.rsv = rsv;
  frame.opcode = (uint8_t)opcode;
  frame.payload_length = body.len;
  frame.data = body.data;
  frame.data_length = body.len;
  encoder->out = blob->data;
  wslay_frame_send(encoder->frame_ctx, &frame);
  assert(encoder->out == blob->data + blob->len);
  return blob;
}

cp__blob *cp__ws_encode(cp__ws_encoder *encoder, int opcode, cp_bytes body) {
  if (is_control((uint8_t)opcode) && body.len > MAX_CONTROL)
    return NULL;
  return encode(encoder, opcode, WSLAY_RSV_NONE, body);
}

cp__blob *cp__ws_encode_deflated(cp__ws_encoder *encoder, cp_type type,
                                 cp_bytes payload) {
  return encode(encoder, (int)type, WSLAY_RSV1_BIT, payload);
}

/* The longest prefix of at most `max` bytes that ends on a character's border.
 */
static size_t cut_utf8(const uint8_t *text, size_t len, size_t max) {
  if (len <= max)
    return len;
  while (max > 0 && (text[max] & 0xC0) == 0x80)
    max--;
  return max;
}

cp__blob *cp__ws_encode_close(cp__ws_encoder *encoder, uint16_t code,
                              cp_bytes reason) {
  uint8_t payload[MAX_CONTROL];
  size_t len;

  if (code == CP__WS_NO_STATUS)
    return cp__ws_encode(encoder, CP__WS_OP_CLOSE, cp_bytes_of(NULL, 0));
  payload[0] = (uint8_t)(code >> 8);
  payload[1] = (uint8_t)code;
  len = cut_utf8(reason.data, reason.len, MAX_CONTROL - 2);
  if (len > 0)
    memcpy(payload + 2, reason.data, len);
  return cp__ws_encode(encoder, CP__WS_OP_CLOSE, cp_bytes_of(payload, 2 + len));
}
