/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The TLS codec: handshake, data, end, failure; what it keeps in memory. See
 * test_tls_context.c for certificates and rules. OpenSSL's memory is counted
 * from the start of the program. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "failing_alloc.h"
#include "tls_side.h"

#define RECORD 16384

static const size_t pieces[] = {1, 2, 3, 7, 100, 1460, TLS_ALL};
static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* OpenSSL's memory. -------------------------------------------------------- */

typedef union openssl_block {
  size_t size;
  max_align_t align;
} openssl_block;

static size_t openssl_live; /* bytes */
static size_t openssl_peak;

static void *openssl_malloc(size_t size, const char *file, int line) {
  openssl_block *block = malloc(sizeof *block + size);

  (void)file;
  (void)line;
  if (block == NULL)
    return NULL;
  block->size = size;
  openssl_live += size;
  if (openssl_live > openssl_peak)
    openssl_peak = openssl_live;
  return block + 1;
}

static void openssl_free(void *ptr, const char *file, int line) {
  openssl_block *block = ptr;

  (void)file;
  (void)line;
  if (ptr == NULL)
    return;
  block--;
  openssl_live -= block->size;
  free(block);
}

static void *openssl_realloc(void *ptr, size_t size, const char *file,
                             int line) {
  size_t old = ptr != NULL ? ((openssl_block *)ptr - 1)->size : 0;
  void *block = size > 0 ? openssl_malloc(size, file, line) : NULL;

  if (block == NULL && size > 0)
    return NULL;
  if (block != NULL && ptr != NULL)
    memcpy(block, ptr, old < size ? old : size);
  openssl_free(ptr, file, line);
  return block;
}

/* Handshake and data. ------------------------------------------------------ */

/* The greetings share a piece with the end of the handshake. */
static void check_session(int version, size_t piece, size_t read_size) {
  tls_pair p;

  tls_pair_open(&p, version);
  p.client.greeting = "hello, server";
  p.server.greeting = "hello, client";
  p.client.read_size = p.server.read_size = read_size;
  tls_pair_run(&p, piece);
  tls_assert_ready(&p);
  assert_string_equal(cp__tls_version(p.client.tls),
                      version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
  tls_assert_plain(&p.client, "hello, client");
  tls_assert_plain(&p.server, "hello, server");
  assert_int_equal(tls_side_write(&p.client, "one"), 0);
  assert_int_equal(tls_side_write(&p.client, "two"), 0);
  assert_int_equal(tls_side_write(&p.server, "three"), 0);
  tls_pair_run(&p, piece);
  tls_assert_plain(&p.server, "onetwo");
  tls_assert_plain(&p.client, "three");
  assert_int_equal(cp__tls_error(p.client.tls), 0);
  assert_int_equal(cp__tls_error(p.server.tls), 0);
  tls_pair_end(&p);
}

static void test_segmentation(void **ctx) {
  size_t v, i;

  (void)ctx;
  for (v = 0; v < ARRAY_LEN(versions); v++)
    for (i = 0; i < ARRAY_LEN(pieces); i++)
      check_session(versions[v], pieces[i], 1000);
}

static void test_small_reads(void **ctx) {
  (void)ctx;
  check_session(TLS1_3_VERSION, TLS_ALL, 1);
  check_session(TLS1_3_VERSION, 1, 1);
  check_session(TLS1_2_VERSION, TLS_ALL, 5);
}

/* A cut in every record of every flight, and in the heads of some. */
static void test_cuts(void **ctx) {
  size_t v, piece;

  (void)ctx;
  for (v = 0; v < ARRAY_LEN(versions); v++)
    for (piece = 5; piece < 600; piece += 23)
      check_session(versions[v], piece, 1000);
}

static void test_feed_of_nothing(void **ctx) {
  tls_pair p;

  (void)ctx;
  tls_pair_open(&p, 0);
  tls_side_feed(&p.server, "", 0);
  assert_int_equal(p.server.event, CP__TLS_NOTHING);
  tls_pair_run(&p, TLS_ALL);
  tls_side_feed(&p.server, "", 0);
  assert_int_equal(p.server.event, CP__TLS_NOTHING);
  tls_assert_ready(&p);
  tls_pair_end(&p);
}

static uint8_t *random_bytes(size_t len) {
  uint8_t *data = malloc(len);
  uint32_t x = 12345;
  size_t i;

  assert_non_null(data);
  for (i = 0; i < len; i++) {
    x = x * 1664525 + 1013904223;
    data[i] = (uint8_t)(x >> 24);
  }
  return data;
}

static size_t cut(const uint8_t *data, size_t len, size_t piece,
                  cp_bytes *parts) {
  size_t n = 0, at;

  for (at = 0; at < len; at += piece)
    parts[n++] = cp_bytes_of(data + at, len - at < piece ? len - at : piece);
  return n;
}

/* 1 MiB, in parts that don't fit records. */
static void check_large(int version, size_t part, size_t piece) {
  enum { TOTAL = 1 << 20, N_RECORDS = TOTAL / RECORD };
  uint8_t *data = random_bytes(TOTAL);
  cp_bytes *parts = calloc(TOTAL / part + 1, sizeof *parts);
  size_t n;
  tls_pair p;

  assert_non_null(parts);
  n = cut(data, TOTAL, part, parts);
  tls_pair_open(&p, version);
  p.client.read_size = 20000;
  tls_pair_run(&p, TLS_ALL);
  assert_int_equal(cp__tls_write(p.server.tls, parts, n, &p.server.out), 0);
  assert_true(cp__buf_len(&p.server.out) > TOTAL);
  assert_true(cp__buf_len(&p.server.out) < TOTAL + (N_RECORDS + 9) * 30);
  assert_true(tls_deliver(&p.server, &p.client, piece));
  assert_int_equal(cp__buf_len(&p.client.plain), TOTAL);
  assert_memory_equal(cp__buf_begin(&p.client.plain), data, TOTAL);
  tls_pair_end(&p);
  free(parts);
  free(data);
}

static void test_large(void **ctx) {
  size_t v;

  (void)ctx;
  for (v = 0; v < ARRAY_LEN(versions); v++) {
    check_large(versions[v], 1 << 20, 65536);
    check_large(versions[v], 131, 65536);
    check_large(versions[v], 131071, 1460);
    check_large(versions[v], RECORD, TLS_ALL);
  }
}

/* A record is announced by 5 bytes. */
static size_t n_records(const cp__buf *out) {
  const uint8_t *data = cp__buf_begin(out);
  size_t len = cp__buf_len(out);
  size_t n = 0, at = 0;

  for (; at + 5 <= len; n++)
    at += 5 + ((size_t)data[at + 3] << 8 | data[at + 4]);
  assert_int_equal(at, len);
  return n;
}

static void check_records(tls_pair *p, const cp_bytes *parts, size_t n,
                          size_t expected) {
  assert_int_equal(cp__tls_write(p->server.tls, parts, n, &p->server.out), 0);
  assert_int_equal(n_records(&p->server.out), expected);
  tls_deliver(&p->server, &p->client, TLS_ALL);
}

static void test_parts_share_records(void **ctx) {
  uint8_t *data = random_bytes(3 * RECORD);
  const cp_bytes mixed[] = {
      {NULL, 0},
      {data, 10},
      {NULL, 0},
      {data + 10, 2 * RECORD},
      {data + 10 + 2 * RECORD, RECORD - 10},
  };
  cp_bytes small[500];
  tls_pair p;

  (void)ctx;
  cut(data, 3 * RECORD, 100, small);
  tls_pair_open(&p, 0);
  tls_pair_run(&p, TLS_ALL);
  check_records(&p, small, 0, 0);
  check_records(&p, mixed, 1, 0);
  check_records(&p, small, 1, 1);
  check_records(&p, small, RECORD / 100, 1);
  check_records(&p, small, RECORD / 100 + 1, 2);
  cp__buf_reset(&p.client.plain, 0);
  check_records(&p, mixed, ARRAY_LEN(mixed), 4);
  assert_int_equal(cp__buf_len(&p.client.plain), 3 * RECORD);
  assert_memory_equal(cp__buf_begin(&p.client.plain), data, 3 * RECORD);
  tls_pair_end(&p);
  free(data);
}

/* One buf takes what many connections have to say, and need not be empty. */
static void test_fan_out(void **ctx) {
  enum { N = 10 };
  cp_bytes part = cp_str("news");
  tls_pair pairs[N];
  tls_side all;
  size_t i;

  (void)ctx;
  memset(&all, 0, sizeof all);
  cp__buf_init(&all.out, &cp__default_allocator);
  for (i = 0; i < N; i++) {
    tls_pair_open(&pairs[i], 0);
    tls_pair_run(&pairs[i], TLS_ALL);
    cp__buf_append_str(&all.out, "before");
    assert_int_equal(cp__tls_write(pairs[i].server.tls, &part, 1, &all.out), 0);
    assert_memory_equal(cp__buf_begin(&all.out), "before", 6);
    cp__buf_consume(&all.out, 6);
    tls_deliver(&all, &pairs[i].client, TLS_ALL);
    tls_assert_plain(&pairs[i].client, "news");
  }
  for (i = 0; i < N; i++)
    tls_pair_end(&pairs[i]);
}

static void test_write_too_early(void **ctx) {
  tls_pair p;

  (void)ctx;
  tls_pair_open(&p, 0);
  assert_int_equal(tls_side_write(&p.client, "x"), CP_E_STATE);
  assert_int_equal(tls_side_write(&p.server, "x"), CP_E_STATE);
  assert_int_equal(cp__tls_close(p.client.tls, &p.client.out), 0);
  assert_int_equal(cp__buf_len(&p.client.out), 0);
  tls_pair_run(&p, TLS_ALL);
  tls_assert_ready(&p);
  assert_int_equal(tls_side_write(&p.client, "x"), 0);
  tls_pair_run(&p, TLS_ALL);
  tls_assert_plain(&p.server, "x");
  tls_pair_end(&p);
}

/* End. --------------------------------------------------------------------- */

static void check_half_closed(tls_pair *p, size_t piece) {
  assert_int_equal(tls_side_write(&p->client, "last words"), 0);
  assert_int_equal(cp__tls_close(p->client.tls, &p->client.out), 0);
  assert_int_equal(cp__tls_close(p->client.tls, &p->client.out), 0);
  assert_int_equal(tls_side_write(&p->client, "no"), CP_E_STATE);
  tls_pair_run(p, piece);
  tls_assert_plain(&p->server, "last words");
  assert_int_equal(p->server.event, CP__TLS_END);
  assert_int_equal(p->client.event, CP__TLS_NOTHING);
  assert_int_equal(cp__tls_eof(p->server.tls), CP__TLS_END);
}

static void check_other_direction(tls_pair *p, size_t piece) {
  assert_int_equal(tls_side_write(&p->server, "answer"), 0);
  assert_int_equal(cp__tls_close(p->server.tls, &p->server.out), 0);
  cp__buf_append_str(&p->server.out, "never read");
  tls_pair_run(p, piece);
  tls_assert_plain(&p->client, "answer");
  assert_int_equal(p->client.event, CP__TLS_END);
  tls_side_feed(&p->client, "garbage", 7);
  assert_int_equal(p->client.event, CP__TLS_END);
  assert_int_equal(cp__tls_eof(p->client.tls), CP__TLS_END);
}

static void test_close(void **ctx) {
  size_t v, i;
  tls_pair p;

  (void)ctx;
  for (v = 0; v < ARRAY_LEN(versions); v++) {
    for (i = 0; i < ARRAY_LEN(pieces); i++) {
      tls_pair_open(&p, versions[v]);
      tls_pair_run(&p, pieces[i]);
      check_half_closed(&p, pieces[i]);
      check_other_direction(&p, pieces[i]);
      assert_int_equal(cp__tls_error(p.client.tls), 0);
      assert_int_equal(cp__tls_error(p.server.tls), 0);
      tls_pair_end(&p);
    }
  }
}

static void test_cut_off(void **ctx) {
  size_t v;
  tls_pair p;

  (void)ctx;
  for (v = 0; v < ARRAY_LEN(versions); v++) {
    tls_pair_open(&p, versions[v]);
    p.client.greeting = "half of it";
    tls_pair_run(&p, TLS_ALL);
    assert_int_equal(cp__tls_eof(p.server.tls), CP__TLS_ERROR);
    tls_side_pump(&p.server);
    tls_assert_failed(&p.server, "unexpected eof");
    assert_int_equal(cp__tls_eof(p.server.tls), CP__TLS_ERROR);
    assert_int_equal(tls_side_write(&p.server, "x"), CP_E_PROTOCOL);
    assert_int_equal(cp__tls_close(p.server.tls, &p.server.out), CP_E_PROTOCOL);
    assert_int_equal(cp__buf_len(&p.server.out), 0);
    tls_pair_end(&p);
  }
}

static void test_cut_off_in_handshake(void **ctx) {
  size_t len = 1, at;
  tls_pair p;

  (void)ctx;
  for (at = 0; at < len; at += 13) {
    tls_pair_open(&p, 0);
    tls_side_pump(&p.client);
    len = cp__buf_len(&p.client.out);
    tls_side_feed(&p.server, cp__buf_begin(&p.client.out), at);
    assert_int_equal(cp__buf_len(&p.server.out), 0);
    assert_int_equal(cp__tls_eof(p.server.tls), CP__TLS_ERROR);
    tls_side_pump(&p.server);
    tls_assert_failed(&p.server, "unexpected eof");
    tls_pair_end(&p);
  }
}

/* Bad bytes. --------------------------------------------------------------- */

static void check_garbage(bool server, cp_bytes garbage, size_t piece,
                          const char *part) {
  const tls_names *names = server ? &tls_server_names : &tls_client_names;
  cp__tls_context *context = tls_context_of(server, names, 0);
  tls_side other, side;

  memset(&other, 0, sizeof other);
  cp__buf_init(&other.out, &cp__default_allocator);
  cp__buf_append_bytes(&other.out, garbage);
  tls_side_start(&side, context, NULL);
  tls_side_pump(&side);
  tls_deliver(&other, &side, piece);
  tls_assert_failed(&side, part);
  assert_int_equal(cp__buf_len(&side.plain), 0);
  tls_side_end(&side);
  cp__tls_context_unref(context);
}

static void test_garbage(void **ctx) {
  uint8_t *noise = random_bytes(1000);
  size_t i;

  (void)ctx;
  for (i = 0; i < ARRAY_LEN(pieces); i++) {
    cp_bytes random = cp_bytes_of(noise, 1000);
    check_garbage(true, cp_str("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), pieces[i],
                  "http request");
    check_garbage(true, random, pieces[i], "");
    check_garbage(false, random, pieces[i], "");
    check_garbage(false, cp_str("-DENIED Redis is running in protected mode"),
                  pieces[i], "");
  }
  free(noise);
}

/* Anybody can put an alert into a handshake that has no keys yet. */
static void test_close_notify_in_handshake(void **ctx) {
  static const uint8_t alert[] = {21, 3, 3, 0, 2, 1, 0};
  size_t i;

  (void)ctx;
  for (i = 0; i < ARRAY_LEN(pieces); i++) {
    cp_bytes bytes = cp_bytes_of(alert, sizeof alert);
    check_garbage(false, bytes, pieces[i], "unexpected eof");
    check_garbage(true, bytes, pieces[i], "");
  }
}

/* A record that was tampered with. */
static void test_forged_record(void **ctx) {
  size_t v;
  tls_pair p;

  (void)ctx;
  for (v = 0; v < ARRAY_LEN(versions); v++) {
    tls_pair_open(&p, versions[v]);
    tls_pair_run(&p, TLS_ALL);
    assert_int_equal(tls_side_write(&p.client, "good"), 0);
    assert_int_equal(tls_side_write(&p.client, "forged"), 0);
    p.client.out.data[p.client.out.end - 1] ^= 1;
    tls_pair_run(&p, TLS_ALL);
    tls_assert_plain(&p.server, "good");
    tls_assert_failed(&p.server, "bad record mac");
    tls_assert_failed(&p.client, "alert bad record mac");
    tls_pair_end(&p);
  }
}

/* A ClientHello that announces 128 KiB and goes on coming. */
static void test_endless_handshake(void **ctx) {
  static const uint8_t head[] = {22, 3, 1, 2, 0, 1, 2, 0, 0, 3, 3};
  uint8_t record[5 + 512] = {22, 3, 1, 2, 0};
  cp__tls_context *context = tls_context_of(true, &tls_server_names, 0);
  size_t n_fed = 0;
  tls_side side;

  (void)ctx;
  tls_side_start(&side, context, NULL);
  memcpy(record, head, sizeof head);
  do {
    tls_side_feed(&side, record, sizeof record);
    n_fed += sizeof record;
    memset(record + 5, 0, 512);
    assert_true(n_fed <= CP__TLS_MAX_HANDSHAKE + 2 * sizeof record);
  } while (side.event == CP__TLS_NOTHING);
  assert_true(n_fed > CP__TLS_MAX_HANDSHAKE);
  tls_assert_failed(&side, "excessive message size");
  tls_side_end(&side);
  cp__tls_context_unref(context);
}

/* What the host's own use of OpenSSL left behind is no error of ours. */
static void test_foreign_errors(void **ctx) {
  tls_pair p;

  (void)ctx;
  tls_pair_open(&p, 0);
  ERR_raise(ERR_LIB_USER, 1);
  tls_pair_run(&p, TLS_ALL);
  tls_assert_ready(&p);
  ERR_raise(ERR_LIB_USER, 1);
  assert_int_equal(tls_side_write(&p.client, "x"), 0);
  ERR_raise(ERR_LIB_USER, 1);
  assert_int_equal(cp__tls_close(p.client.tls, &p.client.out), 0);
  ERR_raise(ERR_LIB_USER, 1);
  tls_pair_run(&p, TLS_ALL);
  tls_assert_plain(&p.server, "x");
  assert_int_equal(p.server.event, CP__TLS_END);
  assert_int_equal(p.client.event, CP__TLS_NOTHING);
  tls_pair_end(&p);
}

/* Memory. ------------------------------------------------------------------ */

/* What OpenSSL takes for a record, the call that needs it must find to be
 * missing, and give back. */
static void assert_borrowed_record(size_t rest) {
  assert_true(openssl_peak > rest + RECORD);
  assert_int_equal(openssl_live, rest);
  openssl_peak = rest;
}

/* A session ticket leaves the client with a buffer until its next write. */
static void send_both_ways(tls_pair *p) {
  assert_int_equal(tls_side_write(&p->client, "x"), 0);
  assert_int_equal(tls_side_write(&p->server, "x"), 0);
  tls_pair_run(p, TLS_ALL);
  tls_assert_plain(&p->client, "x");
  tls_assert_plain(&p->server, "x");
}

static void check_exchange(tls_side *from, tls_side *to, const uint8_t *data,
                           size_t len) {
  size_t rest = openssl_live;
  cp_bytes part = cp_bytes_of(data, len);

  openssl_peak = rest;
  assert_int_equal(cp__tls_write(from->tls, &part, 1, &from->out), 0);
  assert_borrowed_record(rest);
  tls_deliver(from, to, TLS_ALL);
  assert_borrowed_record(rest);
  assert_int_equal(cp__buf_len(&to->plain), len);
  cp__buf_reset(&to->plain, 0);
}

/* Whatever passed, a connection at rest holds what it held before. The first
 * pair fills OpenSSL's own caches. */
static void check_rest(int version) {
  cp__tls_context *client = tls_context_of(false, &tls_client_names, version);
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  uint8_t *data = random_bytes(100000);
  size_t before, i;
  tls_pair first, p;

  tls_pair_start(&first, client, server);
  tls_pair_run(&first, TLS_ALL);
  before = openssl_live;
  tls_pair_start(&p, client, server);
  tls_pair_run(&p, TLS_ALL);
  send_both_ways(&p);
  for (i = 0; i < 3; i++) {
    check_exchange(&p.client, &p.server, data, i == 0 ? 1 : 100000);
    check_exchange(&p.server, &p.client, data, i == 0 ? 1 : 100000);
  }
  tls_pair_end(&p);
  assert_int_equal(openssl_live, before);
  tls_pair_end(&first);
  cp__tls_context_unref(client);
  cp__tls_context_unref(server);
  free(data);
}

static void test_memory_at_rest(void **ctx) {
  size_t v;

  (void)ctx;
  for (v = 0; v < ARRAY_LEN(versions); v++)
    check_rest(versions[v]);
}

/* An unfinished record keeps its buffer, and only until it is finished. */
static void test_memory_of_an_unfinished_record(void **ctx) {
  size_t rest, len;
  tls_pair p;

  (void)ctx;
  tls_pair_open(&p, 0);
  tls_pair_run(&p, TLS_ALL);
  send_both_ways(&p);
  rest = openssl_live;
  assert_int_equal(tls_side_write(&p.client, "two halves"), 0);
  len = cp__buf_len(&p.client.out);
  tls_side_feed(&p.server, cp__buf_begin(&p.client.out), len / 2);
  assert_true(openssl_live > rest + RECORD);
  assert_true(openssl_live < rest + RECORD + 2000);
  cp__buf_consume(&p.client.out, len / 2);
  tls_pair_run(&p, TLS_ALL);
  tls_assert_plain(&p.server, "two halves");
  assert_int_equal(openssl_live, rest);
  tls_pair_end(&p);
}

/* Who connects and says nothing costs less than a record's buffer. */
static void test_memory_of_a_mute_client(void **ctx) {
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  size_t before = openssl_live;
  tls_side side;

  (void)ctx;
  tls_side_start(&side, server, NULL);
  tls_side_feed(&side, "", 0);
  assert_int_equal(side.event, CP__TLS_NOTHING);
  assert_true(openssl_live < before + RECORD);
  tls_side_end(&side);
  assert_int_equal(openssl_live, before);
  cp__tls_context_unref(server);
}

static void test_nothing_of_the_allocator_per_message(void **ctx) {
  failing_alloc memory;
  cp__tls_context *client, *server;
  size_t n_live;
  tls_pair p;

  (void)ctx;
  failing_alloc_init(&memory, 0);
  client = tls_context_on(&memory.alloc, false, &tls_client_names, 0);
  server = tls_context_on(&memory.alloc, true, &tls_server_names, 0);
  tls_pair_start(&p, client, server);
  n_live = memory.n_live;
  p.client.greeting = p.server.greeting = "hello";
  tls_pair_run(&p, 50);
  assert_int_equal(memory.n_live, n_live);
  tls_pair_end(&p);
  cp__tls_context_unref(client);
  cp__tls_context_unref(server);
  assert_int_equal(memory.n_live, 0);
}

/* Out of memory. ----------------------------------------------------------- */

/* Take all events; false if the memory ran out. */
static bool pump(cp__tls *tls, cp__buf *out, cp__buf *plain) {
  uint8_t data[100];
  cp__tls_event event;
  size_t len;

  do {
    event = cp__tls_next(tls, data, sizeof data, &len, out);
    cp__buf_append(plain, data, len);
  } while (event == CP__TLS_READY || event == CP__TLS_DATA);
  assert_int_equal(ERR_peek_error(), 0);
  if (event == CP__TLS_ERROR)
    assert_int_equal(cp__tls_error(tls), CP_E_NOMEM);
  return event != CP__TLS_ERROR;
}

/* Everything from the client's hello to its close_notify, with a server whose
 * memory never fails. Returns what the client came to. */
static int run_client(cp__tls *client, cp__tls *server, cp__buf *out) {
  cp_bytes part = cp_str("hello");
  cp__buf answer, plain;
  int rc = 0;

  cp__buf_init(&answer, &cp__default_allocator);
  cp__buf_init(&plain, &cp__default_allocator);
  while (pump(client, out, &plain) && cp__buf_len(out) > 0) {
    cp__buf_reset(&answer, 0);
    cp__tls_feed(server, cp__buf_begin(out), cp__buf_len(out));
    assert_true(pump(server, &answer, &plain));
    cp__buf_reset(out, 0);
    cp__tls_feed(client, cp__buf_begin(&answer), cp__buf_len(&answer));
  }
  if (cp__tls_error(client) == 0) {
    rc = cp__tls_write(client, &part, 1, out);
    cp__buf_reset(out, 0);
    if (rc == 0)
      rc = cp__tls_close(client, out);
  }
  cp__buf_finish(&answer);
  cp__buf_finish(&plain);
  return rc != 0 ? rc : cp__tls_error(client);
}

static void check_out_of_memory(failing_alloc *memory, cp__tls *server) {
  cp__tls_options options = tls_options_of(false, &tls_client_names);
  cp__tls_context *context;
  char text[CP__TLS_TEXT_SIZE];
  cp__tls *tls = NULL;
  cp__buf out;
  int rc;

  cp__buf_init(&out, &memory->alloc);
  rc = cp__tls_context_create(&context, &options, &memory->alloc, text);
  if (rc == 0) {
    rc = cp__tls_create(&tls, context, "localhost");
    cp__tls_context_unref(context);
  }
  if (rc == 0) {
    rc = run_client(tls, server, &out);
    cp__tls_error_text(tls, text);
  }
  assert_int_equal(rc, memory->failed ? CP_E_NOMEM : 0);
  if (tls != NULL || rc != 0)
    assert_string_equal(text, memory->failed ? "out of memory" : "");
  cp__tls_destroy(tls);
  cp__buf_finish(&out);
}

static void test_out_of_memory(void **ctx) {
  cp__tls_context *context = tls_context_of(true, &tls_server_names, 0);
  failing_alloc memory;
  size_t n = 0;

  (void)ctx;
  do {
    cp__tls *server;
    assert_int_equal(cp__tls_create(&server, context, NULL), 0);
    failing_alloc_init(&memory, ++n);
    check_out_of_memory(&memory, server);
    assert_int_equal(memory.n_live, 0);
    cp__tls_destroy(server);
  } while (memory.failed);
  assert_true(n > 5);
  cp__tls_context_unref(context);
}

static void test_destroy(void **ctx) {
  cp__tls_context *context = tls_context_of(true, &tls_server_names, 0);
  cp__tls *tls;

  (void)ctx;
  cp__tls_destroy(NULL);
  cp__tls_context_unref(NULL);
  assert_int_equal(cp__tls_create(&tls, context, NULL), 0);
  cp__tls_context_unref(context);
  cp__tls_destroy(tls);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_segmentation),
      cmocka_unit_test(test_small_reads),
      cmocka_unit_test(test_cuts),
      cmocka_unit_test(test_feed_of_nothing),
      cmocka_unit_test(test_large),
      cmocka_unit_test(test_parts_share_records),
      cmocka_unit_test(test_fan_out),
      cmocka_unit_test(test_write_too_early),
      cmocka_unit_test(test_close),
      cmocka_unit_test(test_cut_off),
      cmocka_unit_test(test_cut_off_in_handshake),
      cmocka_unit_test(test_garbage),
      cmocka_unit_test(test_close_notify_in_handshake),
      cmocka_unit_test(test_forged_record),
      cmocka_unit_test(test_endless_handshake),
      cmocka_unit_test(test_foreign_errors),
      cmocka_unit_test(test_memory_at_rest),
      cmocka_unit_test(test_memory_of_an_unfinished_record),
      cmocka_unit_test(test_memory_of_a_mute_client),
      cmocka_unit_test(test_nothing_of_the_allocator_per_message),
      cmocka_unit_test(test_out_of_memory),
      cmocka_unit_test(test_destroy),
  };

  CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
  return cmocka_run_group_tests(tests, tls_create_files, tls_remove_files);
}
