/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors
 *
 * Compressing, a message gets as much room as it has itself: what doesn't fit
 * there isn't worth sending, and zlib stops.
 *
 * Decompressing, zlib writes straight onto the message's buffer, in pieces that
 * never pass the limit; a last byte beside it tells whether there would be
 * more. A block with BFINAL ends a DEFLATE stream but not the message (RFC 7692
 * section 7.2.1): the next byte begins a new stream, which can't refer to the
 * old one. Whether the payload ends where a block does is known from zlib's
 * data_type. */
#include "deflate.h"

#include <assert.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#define MIN_BITS 8
#define MAX_BITS 15
/* A deflater's output memory up to this stays from message to message. */
#define KEEP_OUT (64 * 1024)
/* What inflate() may append at a time: it grows the buffer by that. */
#define OUT_PIECE 4096
#define MAX_PIECE ((size_t)1 << 30) /* zlib counts in unsigned ints */
#define MAX_FREE  8
/* zlib's data_type: a block just ended, and with it the last byte. */
#define AT_BLOCK_END 128

/* What ends each message at a byte's border, and isn't sent (section 7.2.1). */
static const uint8_t tail[] = {0x00, 0x00, 0xFF, 0xFF};

struct cp__deflater {
  const cp_allocator *alloc;
  cp__deflate_options options;
  cp__buf out;
  z_stream z;
};

struct cp__inflater {
  cp__inflate_pool *pool;
  cp__inflater *next; /* in pool->free */
  size_t n_in;        /* bytes of this message's payload so far */
  size_t n_out;       /* bytes of this message so far */
  bool whole;         /* the payload may end here */
  z_stream z;
};

/* Memory of zlib's. -------------------------------------------------------- */

static void *z_allocate(void *opaque, uInt n, uInt size) {
  return cp__malloc(opaque, (size_t)n * size);
}

static void z_release(void *opaque, void *ptr) {
  cp__free(opaque, ptr);
}

static void z_stream_prepare(z_stream *z, const cp_allocator *alloc) {
  memset(z, 0, sizeof *z);
  z->zalloc = z_allocate;
  z->zfree = z_release;
  z->opaque = (void *)alloc;
}

/* Compression. ------------------------------------------------------------- */

void cp__deflate_options_init(cp__deflate_options *options) {
  options->min_len = 256;
  options->level = 6;
  options->mem_level = 6;
  options->window_bits = MAX_BITS;
}

static bool is_in(int number, int min, int max) {
  return number >= min && number <= max;
}

bool cp__deflate_options_valid(const cp__deflate_options *options) {
  return is_in(options->level, 1, 9) && is_in(options->mem_level, 1, 9) &&
         is_in(options->window_bits, MIN_BITS + 1, MAX_BITS);
}

cp__deflater *cp__deflater_create(const cp_allocator *alloc,
                                  const cp__deflate_options *options) {
  cp__deflater *deflater = cp__malloc(alloc, sizeof *deflater);

  assert(cp__deflate_options_valid(options));
  if (deflater == NULL)
    return NULL;
  deflater->alloc = alloc;
  deflater->options = *options;
  cp__buf_init(&deflater->out, alloc);
  z_stream_prepare(&deflater->z, alloc);
  if (deflateInit2(&deflater->z, options->level, Z_DEFLATED,
                   -options->window_bits, options->mem_level,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    cp__free(alloc, deflater);
    return NULL;
  }
  return deflater;
}

void cp__deflater_destroy(cp__deflater *deflater) {
  if (deflater == NULL)
    return;
  deflateEnd(&deflater->z);
  cp__buf_finish(&deflater->out);
  cp__free(deflater->alloc, deflater);
}

/* Of the smallest window that reaches over the whole message, or of ours. */
static uint8_t window_bits_for(const cp__deflater *deflater, size_t len) {
  int bits = MIN_BITS;

  while (bits < deflater->options.window_bits && len > (size_t)1 << bits)
    bits++;
  return (uint8_t)bits;
}

bool cp__deflater_run(cp__deflater *deflater, cp_bytes message,
                      cp__deflated *deflated) {
  z_stream *z = &deflater->z;
  uint8_t *out;

  if (message.len < deflater->options.min_len || message.len > MAX_PIECE)
    return false;
  cp__buf_reset(&deflater->out, KEEP_OUT);
  out = cp__buf_reserve(&deflater->out, message.len + sizeof tail);
  if (out == NULL || deflateReset(z) != Z_OK)
    return false;
  z->next_in = message.data;
  z->avail_in = (uInt)message.len;
  z->next_out = out;
  z->avail_out = (uInt)(message.len + sizeof tail);
  /* With no room left it may be unfinished, and isn't shorter anyway. */
  if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_out == 0)
    return false;
  deflated->payload = cp_bytes_of(out, message.len - z->avail_out);
  deflated->window_bits = window_bits_for(deflater, message.len);
  return true;
}

/* Pool. -------------------------------------------------------------------- */

static cp__inflater *inflater_create(cp__inflate_pool *pool) {
  cp__inflater *inflater = cp__malloc(pool->alloc, sizeof *inflater);

  if (inflater == NULL)
    return NULL;
  inflater->pool = pool;
  z_stream_prepare(&inflater->z, pool->alloc);
  if (inflateInit2(&inflater->z, -MAX_BITS) != Z_OK) {
    cp__free(pool->alloc, inflater);
    return NULL;
  }
  return inflater;
}

static void inflater_destroy(cp__inflater *inflater) {
  inflateEnd(&inflater->z);
  cp__free(inflater->pool->alloc, inflater);
}

/* Whatever it was fed, a new message may begin. */
static void inflater_reset(cp__inflater *inflater) {
  inflateReset(&inflater->z);
  inflater->n_in = 0;
  inflater->n_out = 0;
  inflater->whole = true;
}

void cp__inflate_pool_init(cp__inflate_pool *pool, const cp_allocator *alloc,
                           size_t max_message) {
  memset(pool, 0, sizeof *pool);
  pool->alloc = alloc;
  pool->max_free = MAX_FREE;
  pool->max_message = max_message;
}

void cp__inflate_pool_finish(cp__inflate_pool *pool) {
  assert(pool->n_borrowed == 0);
  while (pool->free != NULL) {
    cp__inflater *inflater = pool->free;
    pool->free = inflater->next;
    inflater_destroy(inflater);
  }
  pool->n_free = 0;
}

cp__inflater *cp__inflater_borrow(cp__inflate_pool *pool) {
  cp__inflater *inflater = pool->free;

  if (inflater != NULL) {
    pool->free = inflater->next;
    pool->n_free--;
  } else {
    inflater = inflater_create(pool);
    if (inflater == NULL)
      return NULL;
  }
  inflater_reset(inflater);
  pool->n_borrowed++;
  return inflater;
}

void cp__inflater_return(cp__inflater *inflater) {
  cp__inflate_pool *pool;

  if (inflater == NULL)
    return;
  pool = inflater->pool;
  pool->n_borrowed--;
  if (pool->n_free >= pool->max_free) {
    inflater_destroy(inflater);
    return;
  }
  inflater->next = pool->free;
  pool->free = inflater;
  pool->n_free++;
}

/* Decompression. ----------------------------------------------------------- */

static int judge_result(cp__inflater *inflater, int result) {
  switch (result) {
  case Z_OK:
    /* Unused bits, in the lower half, would be part of the next block. */
    inflater->whole = (inflater->z.data_type & 0xFF) == AT_BLOCK_END;
    return 0;
  case Z_BUF_ERROR: /* nothing could be done, so nothing has changed */
    return 0;
  case Z_STREAM_END:
    inflateReset(&inflater->z);
    inflater->whole = true;
    return 0;
  case Z_MEM_ERROR:
    return CP_E_NOMEM;
  default:
    return CP_E_PROTOCOL;
  }
}

static int inflate_onto(cp__inflater *inflater, cp__buf *out, size_t room) {
  z_stream *z = &inflater->z;
  int result;

  if (room > OUT_PIECE)
    room = OUT_PIECE;
  z->next_out = cp__buf_reserve(out, room);
  if (z->next_out == NULL)
    return CP_E_NOMEM;
  z->avail_out = (uInt)room;
  result = inflate(z, Z_SYNC_FLUSH);
  cp__buf_commit(out, room - z->avail_out);
  inflater->n_out += room - z->avail_out;
  return judge_result(inflater, result);
}

/* The message is as long as it may be. */
static int inflate_beyond(cp__inflater *inflater) {
  z_stream *z = &inflater->z;
  uint8_t byte;
  int result;

  z->next_out = &byte;
  z->avail_out = 1;
  result = inflate(z, Z_SYNC_FLUSH);
  return z->avail_out == 0 ? CP_E_TOOBIG : judge_result(inflater, result);
}

static int inflate_all(cp__inflater *inflater, const void *data, size_t len,
                       cp__buf *out) {
  z_stream *z = &inflater->z;
  size_t room;
  int err;

  z->next_in = data;
  z->avail_in = (uInt)len;
  do {
    room = inflater->pool->max_message - inflater->n_out;
    err =
        room > 0 ? inflate_onto(inflater, out, room) : inflate_beyond(inflater);
    /* Without room left there may be output that needs no more input. */
  } while (err == 0 && (z->avail_in > 0 || z->avail_out == 0));
  return err;
}

/* Bytes of payload that may yet come. */
static size_t payload_room(const cp__inflater *inflater) {
  size_t max = inflater->pool->max_message;

  max = max > (SIZE_MAX - 1024) / 2 ? SIZE_MAX : max * 2 + 1024;
  return max - inflater->n_in;
}

bool cp__inflater_has_room(const cp__inflater *inflater, uint64_t len) {
  return len <= payload_room(inflater);
}

int cp__inflater_feed(cp__inflater *inflater, cp_bytes piece, cp__buf *out) {
  size_t room = payload_room(inflater);
  bool fits = piece.len <= room;
  size_t len = fits ? piece.len : room;
  int err;

  assert(piece.len <= MAX_PIECE);
  if (len > 0) {
    inflater->n_in += len;
    err = inflate_all(inflater, piece.data, len, out);
    if (err != 0)
      return err;
  }
  return fits ? 0 : CP_E_TOOBIG;
}

int cp__inflater_end(cp__inflater *inflater, cp__buf *out) {
  int err = 0;

  if (!inflater->whole)
    err = inflate_all(inflater, tail, sizeof tail, out);
  if (err == 0 && !inflater->whole)
    err = CP_E_PROTOCOL;
  if (err == 0)
    inflater_reset(inflater);
  return err;
}
