/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Any bytes as what a client compressed, as a message of ours, and as its
 * offers. The first byte of the input says which of these (INFLATE, DEFLATE,
 * NEGOTIATE), the second chooses a limit, a level or a window. */

#include "deflate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX_LEN   8192
#define MAX_LIMIT 16384

static void assert_same(cp_bytes a, cp_bytes b) {
  assert(a.len == b.len);
  assert(a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Inflate. ------------------------------------------------------------------
 */

/* A second reader: it has all the bytes and all the room at once. */
typedef struct model {
  z_stream z;
  uint8_t out[MAX_LIMIT + 1];
  bool whole;
} model;

static int model_read(model *m, const uint8_t *data, size_t len) {
  int result = Z_OK;

  m->z.next_in = (Bytef *)data;
  m->z.avail_in = (uInt)len;
  while (m->z.avail_in > 0 && m->z.avail_out > 0) {
    result = inflate(&m->z, Z_SYNC_FLUSH);
    m->whole = result == Z_STREAM_END || m->z.data_type == 128;
    if (result == Z_STREAM_END)
      inflateReset(&m->z);
    else if (result != Z_OK)
      return m->z.avail_out == 0 ? CP_E_TOOBIG : CP_E_PROTOCOL;
  }
  return m->z.avail_out == 0 ? CP_E_TOOBIG : 0;
}

static int model_run(model *m, size_t limit, const uint8_t *data, size_t len,
                     cp_bytes *message) {
  size_t max_in = 2 * limit + 1024;
  int err;

  memset(&m->z, 0, sizeof m->z);
  assert(inflateInit2(&m->z, -15) == Z_OK);
  m->z.next_out = m->out;
  m->z.avail_out = (uInt)limit + 1;
  m->whole = true;
  err = model_read(m, data, len < max_in ? len : max_in);
  if (err == 0 && len > max_in)
    err = CP_E_TOOBIG;
  if (err == 0 && !m->whole)
    err = model_read(m, (const uint8_t *)"\0\0\xFF\xFF", 4);
  if (err == 0 && !m->whole)
    err = CP_E_PROTOCOL;
  *message = cp_bytes_of(m->out, (size_t)(m->z.next_out - m->out));
  inflateEnd(&m->z);
  return err;
}

static int inflate_pieces(cp__inflate_pool *pool, const uint8_t *data,
                          size_t len, size_t piece, cp__buf *out) {
  cp__inflater *inflater = cp__inflater_borrow(pool);
  size_t i, n;
  int err = 0;
  bool fits;

  assert(inflater != NULL);
  for (i = 0; i < len && err == 0; i += n) {
    n = len - i < piece ? len - i : piece;
    fits = cp__inflater_has_room(inflater, n);
    err = cp__inflater_feed(inflater, cp_bytes_of(data + i, n), out);
    assert(fits || err != 0);
  }
  if (err == 0)
    err = cp__inflater_end(inflater, out);
  cp__inflater_return(inflater);
  return err;
}

/* The pool is used again and again: nothing may be left of the last run. */
static void check_inflate(size_t limit, const uint8_t *data, size_t len) {
  static const size_t pieces[] = {MAX_LEN, 1, 2, 7, 61};
  model *m = malloc(sizeof *m);
  cp__inflate_pool pool;
  cp_bytes expected;
  cp__buf out;
  size_t i;
  int err;

  assert(m != NULL);
  err = model_run(m, limit, data, len, &expected);
  cp__inflate_pool_init(&pool, &cp__default_allocator, limit);
  cp__buf_init(&out, &cp__default_allocator);
  for (i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    assert(inflate_pieces(&pool, data, len, pieces[i], &out) == err);
    assert(cp__buf_len(&out) <= limit);
    if (err != CP_E_TOOBIG)
      assert_same(cp__buf_bytes(&out), expected);
    cp__buf_reset(&out, 0);
  }
  assert(pool.n_free == 1);
  cp__buf_finish(&out);
  cp__inflate_pool_finish(&pool);
  free(m);
}

/* Deflate. ----------------------------------------------------------------- */

/* A client with a window of so many bits, a byte at a time. */
static void check_window(const cp__deflated *deflated, cp_bytes message) {
  uint8_t *out = malloc(message.len + 1);
  const uint8_t *payload = deflated->payload.data;
  z_stream z;
  size_t i;

  assert(out != NULL);
  memset(&z, 0, sizeof z);
  assert(inflateInit2(&z, -(int)deflated->window_bits) == Z_OK);
  z.next_out = out;
  z.avail_out = (uInt)message.len + 1;
  for (i = 0; i < deflated->payload.len; i++) {
    z.next_in = (Bytef *)payload + i;
    z.avail_in = 1;
    assert(inflate(&z, Z_SYNC_FLUSH) == Z_OK);
  }
  assert_same(cp_bytes_of(out, (size_t)(z.next_out - out)), message);
  inflateEnd(&z);
  free(out);
}

static void check_round_trip(const cp__deflated *deflated, cp_bytes message) {
  cp__inflate_pool pool;
  cp__buf out;

  assert(deflated->payload.len < message.len);
  check_window(deflated, message);
  cp__inflate_pool_init(&pool, &cp__default_allocator, message.len);
  cp__buf_init(&out, &cp__default_allocator);
  assert(inflate_pieces(&pool, deflated->payload.data, deflated->payload.len,
                        MAX_LEN, &out) == 0);
  assert_same(cp__buf_bytes(&out), message);
  cp__buf_finish(&out);
  cp__inflate_pool_finish(&pool);
}

/* Twice with the same deflater, and half of it in between. */
static void check_deflate(unsigned choice, cp_bytes message) {
  cp_bytes half = cp_bytes_of(message.data, message.len / 2);
  cp__deflate_options options;
  cp__deflater *deflater;
  cp__deflated deflated;
  size_t len = 0;
  bool first;

  cp__deflate_options_init(&options);
  options.min_len = 0;
  options.level = (int)(1 + choice % 9);
  options.window_bits = (int)(9 + choice % 7);
  options.mem_level = (int)(1 + choice / 9 % 9);
  assert(cp__deflate_options_valid(&options));
  deflater = cp__deflater_create(&cp__default_allocator, &options);
  assert(deflater != NULL);
  first = cp__deflater_run(deflater, message, &deflated);
  if (first) {
    check_round_trip(&deflated, message);
    len = deflated.payload.len;
  }
  if (cp__deflater_run(deflater, half, &deflated))
    check_round_trip(&deflated, half);
  assert(cp__deflater_run(deflater, message, &deflated) == first);
  assert(!first || deflated.payload.len == len);
  cp__deflater_destroy(deflater);
}

/* Negotiate. --------------------------------------------------------------- */

/* An answer is a good offer, too, and comes to the same. */
static void check_answer(const cp__deflate_terms *terms) {
  cp__header header = {cp_str("Sec-WebSocket-Extensions"),
                       cp_str(terms->answer)};
  cp__deflate_terms again;

  assert(terms->window_bits >= 8 && terms->window_bits <= 15);
  assert(cp__deflate_negotiate(&again, &header, 1, 15) == 0);
  assert(again.window_bits == terms->window_bits);
  assert(strcmp(again.answer, terms->answer) == 0);
}

/* The input in two headers. */
static void check_negotiate(int window_bits, const uint8_t *data, size_t len) {
  const uint8_t *border = len > 0 ? memchr(data, '\n', len) : NULL;
  size_t first = border != NULL ? (size_t)(border - data) : len;
  cp__header headers[2] = {
      {cp_str("Sec-WebSocket-Extensions"), cp_bytes_of(data, first)},
      {cp_str("sec-websocket-extensions"),
       cp_bytes_of(data + first, len - first)}};
  cp__deflate_terms terms, largest, none;
  int err;

  if (border != NULL)
    headers[1].value = cp_bytes_of(border + 1, len - first - 1);
  err = cp__deflate_negotiate(&terms, headers, 2, window_bits);
  assert(err == 0 || err == CP_E_PROTOCOL);
  assert(cp__deflate_negotiate(&largest, headers, 2, 15) == err);
  assert(cp__deflate_negotiate(&none, headers, 2, 0) == err);
  assert(none.window_bits == 0 && none.answer[0] == '\0');
  assert((terms.window_bits == 0) == (largest.window_bits == 0));
  assert((terms.window_bits == 0) == (terms.answer[0] == '\0'));
  assert(terms.window_bits == largest.window_bits ||
         (terms.window_bits == window_bits &&
          terms.window_bits < largest.window_bits));
  if (terms.window_bits != 0) {
    assert(err == 0);
    check_answer(&terms);
    check_answer(&largest);
  }
}

enum { INFLATE, DEFLATE, NEGOTIATE };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static const size_t limits[] = {0, 5, 100, 1024, 4096, 5000, MAX_LIMIT};
  unsigned mode, choice;

  if (len < 2 || len > MAX_LEN)
    return 0;
  mode = data[0] % 3u;
  choice = data[1];
  data += 2;
  len -= 2;
  if (mode == INFLATE)
    check_inflate(limits[choice % (sizeof limits / sizeof limits[0])], data,
                  len);
  else if (mode == DEFLATE)
    check_deflate(choice, cp_bytes_of(data, len));
  else
    check_negotiate(9 + (int)(choice % 7), data, len);
  return 0;
}
