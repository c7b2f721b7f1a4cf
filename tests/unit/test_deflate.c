/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* RFC 7692. zlib itself stands in for the other side. Payloads are fed from
 * blocks of exactly their size; the small ones in every way they can be cut. */

#include "deflate.h"

#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#define MAX_BITS 15
#define LIMIT    4096 /* max_message, where nothing else is said */

/* A literal without its NUL. */
#define BYTES(literal) cp_bytes_of("" literal, sizeof literal - 1)

static void assert_bytes_equal(cp_bytes a, cp_bytes b) {
  assert_int_equal(a.len, b.len);
  if (a.len > 0)
    assert_memory_equal(a.data, b.data, a.len);
}

/* Terms. ------------------------------------------------------------------- */

#define BOTH \
  "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
#define PMD "permessage-deflate"
#define NO  "" /* nothing is accepted */
#define BAD NULL

typedef struct negotiation {
  const char *offers; /* of one header; '\n' begins another */
  const char *answer;
  int window_bits; /* that were agreed */
} negotiation;

/* From blocks of exactly the values' sizes. */
static int negotiate(cp__deflate_terms *terms, const char *offers,
                     int window_bits) {
  cp__header headers[8] = {{{NULL, 0}, {NULL, 0}}};
  char *values[8];
  size_t n = 0;
  size_t i;
  int err;

  while (offers != NULL) {
    size_t len = strcspn(offers, "\n");
    assert_true(n < 8);
    values[n] = malloc(len > 0 ? len : 1);
    memcpy(values[n], offers, len);
    headers[n].name = cp_str("sec-webSocket-extensions");
    headers[n].value = cp_bytes_of(values[n], len);
    offers = offers[len] == '\n' ? offers + len + 1 : NULL;
    n++;
  }
  memset(terms, 0xAA, sizeof *terms); /* nothing may be left unset */
  err = cp__deflate_negotiate(terms, headers, n, window_bits);
  for (i = 0; i < n; i++)
    free(values[i]);
  return err;
}

static void check_negotiation(const negotiation *c, int ours) {
  cp__deflate_terms terms;
  int err = negotiate(&terms, c->offers, ours);
  const char *answer = c->answer != BAD ? c->answer : "";

  if (err != (c->answer != BAD ? 0 : CP_E_PROTOCOL) ||
      strcmp(terms.answer, answer) != 0 || terms.window_bits != c->window_bits)
    fail_msg("%s\n  returns %d, %s (%d)", c->offers, err, terms.answer,
             terms.window_bits);
}

static void check_negotiations(const negotiation *cases, size_t n, int ours) {
  size_t i;

  for (i = 0; i < n; i++)
    check_negotiation(&cases[i], ours);
}

#define CHECK_NEGOTIATIONS(cases, ours) \
  check_negotiations((cases), sizeof(cases) / sizeof(cases)[0], (ours))

static void test_offers_accepted(void **state) {
  static const negotiation cases[] = {
      {PMD, BOTH, 15},
      {PMD "; server_no_context_takeover", BOTH, 15},
      {PMD "; client_no_context_takeover", BOTH, 15},
      {BOTH, BOTH, 15},
      {PMD "; client_max_window_bits", BOTH, 15}, /* as browsers do */
      {PMD "; client_max_window_bits=8", BOTH, 15},
      {PMD "; client_max_window_bits=15", BOTH, 15},
      {PMD "; server_max_window_bits=15", BOTH "; server_max_window_bits=15",
       15},
      {PMD "; server_max_window_bits=10", BOTH "; server_max_window_bits=10",
       10},
      {PMD "; server_max_window_bits=9", BOTH "; server_max_window_bits=9", 9},
      {PMD "; server_max_window_bits=8", BOTH "; server_max_window_bits=8", 8},
      {PMD "; server_max_window_bits=12; client_max_window_bits=11"
           "; client_no_context_takeover; server_no_context_takeover",
       BOTH "; server_max_window_bits=12", 12},
  };

  (void)state;
  CHECK_NEGOTIATIONS(cases, MAX_BITS);
}

static void test_offers_passed_over(void **state) {
  static const negotiation cases[] = {
      {PMD "; server_no_context_takeover=1", NO, 0},
      {PMD "; client_no_context_takeover=\"true\"", NO, 0},
      {PMD "; server_max_window_bits", NO, 0},
      {PMD "; server_max_window_bits=7", NO, 0},
      {PMD "; server_max_window_bits=16", NO, 0},
      {PMD "; server_max_window_bits=08", NO, 0},
      {PMD "; server_max_window_bits=010", NO, 0},
      {PMD "; server_max_window_bits=+9", NO, 0},
      {PMD "; server_max_window_bits=-9", NO, 0},
      {PMD "; server_max_window_bits=1", NO, 0},
      {PMD "; server_max_window_bits=1x", NO, 0},
      {PMD "; server_max_window_bits=20", NO, 0},
      {PMD "; server_max_window_bits=0x9", NO, 0},
      {PMD "; server_max_window_bits=9.0", NO, 0},
      {PMD "; server_max_window_bits=100000000000000000010", NO, 0},
      {PMD "; client_max_window_bits=7", NO, 0},
      {PMD "; client_max_window_bits=16", NO, 0},
      {PMD "; client_max_window_bits=015", NO, 0},
      {PMD "; client_no_context_takeover; client_no_context_takeover", NO, 0},
      {PMD "; server_no_context_takeover; server_no_context_takeover", NO, 0},
      {PMD "; server_max_window_bits=9; server_max_window_bits=9", NO, 0},
      {PMD "; client_max_window_bits; client_max_window_bits=9", NO, 0},
      {PMD "; unknown", NO, 0},
      {PMD "; server_max_window_bits=10; unknown=10", NO, 0},
      {PMD "; unknown; server_max_window_bits=10", NO, 0},
      {PMD "; Server_Max_Window_Bits=10", NO, 0},
      {PMD "; permessage-deflate", NO, 0},
      {"Permessage-Deflate", NO, 0},
      {"permessage-deflate2", NO, 0},
      {"permessage-deflat", NO, 0},
      {"x-webkit-deflate-frame", NO, 0},
      {"permessage-bzip2; client_max_window_bits", NO, 0},
  };

  (void)state;
  CHECK_NEGOTIATIONS(cases, MAX_BITS);
}

static void test_first_good_offer_counts(void **state) {
  static const negotiation cases[] = {
      {PMD "," PMD "; server_max_window_bits=9", BOTH, 15},
      {PMD "; server_max_window_bits=9, " PMD,
       BOTH "; server_max_window_bits=9", 9},
      {PMD "; server_max_window_bits=99, " PMD "; server_max_window_bits=9",
       BOTH "; server_max_window_bits=9", 9},
      {PMD "; unknown, " PMD, BOTH, 15},
      {"permessage-bzip2; a=b; c, " PMD ", x", BOTH, 15},
      {"a;b=c\n" PMD "\n" PMD "; server_max_window_bits=9", BOTH, 15},
      {PMD "; unknown\n" PMD "; server_max_window_bits=9",
       BOTH "; server_max_window_bits=9", 9},
      {PMD "\n", BOTH, 15},
      {"\n" PMD, BOTH, 15},
  };

  (void)state;
  CHECK_NEGOTIATIONS(cases, MAX_BITS);
}

static void test_spelling_of_offers(void **state) {
  static const negotiation cases[] = {
      {"", NO, 0},
      {" \t ", NO, 0},
      {",", NO, 0},
      {", ,\t, " PMD " ,, ", BOTH, 15},
      {" \t" PMD "\t ; \t server_max_window_bits \t=\t 9 \t",
       BOTH "; server_max_window_bits=9", 9},
      {PMD ";server_max_window_bits=9;client_max_window_bits,x",
       BOTH "; server_max_window_bits=9", 9},
      {PMD "; server_max_window_bits=\"9\"", BOTH "; server_max_window_bits=9",
       9},
      {PMD "; server_max_window_bits=\"1\\0\"",
       BOTH "; server_max_window_bits=10", 10},
      {PMD "; client_max_window_bits=\"16\"", NO, 0},
      {"x; y=\"a\\b\"; z=\"long-and-longer\", " PMD, BOTH, 15},
      {"!#$%&'*+-.^_`|~; !=~, " PMD, BOTH, 15},
  };

  (void)state;
  CHECK_NEGOTIATIONS(cases, MAX_BITS);
}

static void test_headers_that_are_no_list(void **state) {
  static const negotiation cases[] = {
      {";", BAD, 0},
      {"=", BAD, 0},
      {"\"" PMD "\"", BAD, 0},
      {PMD ";", BAD, 0},
      {PMD "; ", BAD, 0},
      {PMD ";, " PMD, BAD, 0},
      {PMD "; ; client_max_window_bits", BAD, 0},
      {PMD "=1", BAD, 0},
      {PMD " " PMD, BAD, 0},
      {PMD "; server_max_window_bits=", BAD, 0},
      {PMD "; server_max_window_bits=;", BAD, 0},
      {PMD "; server_max_window_bits==9", BAD, 0},
      {PMD "; server_max_window_bits=9 9", BAD, 0},
      {PMD "; server_max_window_bits=\"", BAD, 0},
      {PMD "; server_max_window_bits=\"9", BAD, 0},
      {PMD "; server_max_window_bits=\"9\\", BAD, 0},
      {PMD "; server_max_window_bits=\"9\\\"", BAD, 0},
      {PMD "; server_max_window_bits=\"\"", BAD, 0},
      {PMD "; server_max_window_bits=\" 9\"", BAD, 0},
      {PMD "; server_max_window_bits=\"9,\"", BAD, 0},
      {PMD "; server_max_window_bits=\"9\"9", BAD, 0},
      {PMD "; server_max_window_bits=9\"9\"", BAD, 0},
      {PMD "; x=(", BAD, 0},
      {PMD "; =9", BAD, 0},
      {PMD "; x=\xC3\xA9", BAD, 0},
      {"per message", BAD, 0},
      {"a/b", BAD, 0},
      {"a\x01", BAD, 0},
      {PMD ", a;", BAD, 0}, /* behind one that was accepted */
      {PMD "\na;", BAD, 0},
      {"a;\n" PMD, BAD, 0},
  };

  (void)state;
  CHECK_NEGOTIATIONS(cases, MAX_BITS);
  CHECK_NEGOTIATIONS(cases, 0);
}

static void test_a_smaller_window_of_ours(void **state) {
  static const negotiation cases[] = {
      {PMD, BOTH "; server_max_window_bits=12", 12},
      {PMD "; server_max_window_bits=15", BOTH "; server_max_window_bits=12",
       12},
      {PMD "; server_max_window_bits=13", BOTH "; server_max_window_bits=12",
       12},
      {PMD "; server_max_window_bits=12", BOTH "; server_max_window_bits=12",
       12},
      {PMD "; server_max_window_bits=11", BOTH "; server_max_window_bits=11",
       11},
      {PMD "; server_max_window_bits=8", BOTH "; server_max_window_bits=8", 8},
  };
  static const negotiation off = {PMD "; server_max_window_bits=9, " PMD, NO,
                                  0};

  (void)state;
  CHECK_NEGOTIATIONS(cases, 12);
  check_negotiation(&off, 0);
}

static void test_only_the_header_of_that_name(void **state) {
  const cp__header headers[] = {
      {cp_str("Sec-WebSocket-Protocol"), cp_str(PMD)},
      {cp_str("Sec-WebSocket-Extension"), cp_str(";;;")},
      {cp_str("X-Sec-WebSocket-Extensions"), cp_str(PMD)},
  };
  cp__deflate_terms terms;

  (void)state;
  assert_int_equal(cp__deflate_negotiate(&terms, headers, 3, MAX_BITS), 0);
  assert_int_equal(terms.window_bits, 0);
  assert_int_equal(cp__deflate_negotiate(&terms, NULL, 0, MAX_BITS), 0);
  assert_string_equal(terms.answer, "");
}

/* As many offers as a request head can hold. */
static void test_many_offers(void **state) {
  enum { N = 16384 };
  char *offers = malloc(N + 1);
  cp__deflate_terms terms;
  size_t i;

  (void)state;
  for (i = 0; i < N; i++)
    offers[i] = "a;"[i % 2];
  offers[N] = '\0';
  assert_int_equal(negotiate(&terms, offers, MAX_BITS), CP_E_PROTOCOL);
  offers[N - 1] = '\0'; /* an extension with 8,191 parameters */
  assert_int_equal(negotiate(&terms, offers, MAX_BITS), 0);
  memset(offers, ',', N);
  memcpy(offers + N - strlen(PMD), PMD, strlen(PMD));
  assert_int_equal(negotiate(&terms, offers, MAX_BITS), 0);
  assert_int_equal(terms.window_bits, MAX_BITS);
  free(offers);
}

/* Data. -------------------------------------------------------------------- */

static uint32_t random_state;

static uint32_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

enum { ZEROS, TEXT, NOISE, N_KINDS };

/* `len` bytes, the same each time; freed by the caller. */
static uint8_t *make_data(int kind, size_t len) {
  uint8_t *data = calloc(1, len > 0 ? len : 1);
  size_t i;

  assert_non_null(data);
  random_state = 0x2545F491;
  for (i = 0; i < len && kind != ZEROS; i++)
    data[i] = kind == NOISE ? (uint8_t)next_random()
              : next_random() % 8 > 0 && i >= 40
                  ? data[i - 40]
                  : (uint8_t) "etaoin \n"[next_random() % 8];
  return data;
}

/* What a client sends: `data` in blocks of `block` bytes. The tail is left out.
 * Appended to `payload`. */
static void reference_deflate(cp__buf *payload, cp_bytes data, size_t block,
                              int level, int strategy) {
  z_stream z;
  size_t at = 0;
  size_t n;

  memset(&z, 0, sizeof z);
  assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, -MAX_BITS, 8, strategy),
                   Z_OK);
  do {
    n = data.len - at < block ? data.len - at : block;
    z.next_in = (Bytef *)data.data + at;
    z.avail_in = (uInt)n;
    z.avail_out = (uInt)(2 * n + 64);
    z.next_out = cp__buf_reserve(payload, z.avail_out);
    assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
    assert_int_equal(z.avail_in, 0);
    cp__buf_commit(payload, 2 * n + 64 - z.avail_out);
    at += n;
  } while (at < data.len);
  deflateEnd(&z);
  assert_memory_equal(payload->data + payload->end - 4, "\0\0\xFF\xFF", 4);
  payload->end -= 4;
}

/* What a client with a window of `bits` makes of a payload and its tail, if it
 * gets one byte at a time. */
static void reference_inflate(cp_bytes payload, int bits, cp_bytes message) {
  uint8_t *out = malloc(message.len + 1);
  uint8_t *in = malloc(payload.len + 4);
  z_stream z;
  size_t i;

  memcpy(in, payload.data, payload.len);
  memcpy(in + payload.len, "\0\0\xFF\xFF", 4);
  memset(&z, 0, sizeof z);
  assert_int_equal(inflateInit2(&z, -bits), Z_OK);
  z.next_out = out;
  z.avail_out = (uInt)message.len + 1;
  for (i = 0; i < payload.len + 4; i++) {
    z.next_in = in + i;
    z.avail_in = 1;
    assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
  }
  assert_int_equal(z.data_type, 128); /* at the end of a block */
  assert_bytes_equal(cp_bytes_of(out, z.total_out), message);
  inflateEnd(&z);
  free(in);
  free(out);
}

/* Compression. ------------------------------------------------------------- */

static cp__deflater *deflater_with(const cp_allocator *alloc, size_t min_len,
                                   int level, int window_bits) {
  cp__deflate_options options;
  cp__deflater *deflater;

  cp__deflate_options_init(&options);
  options.min_len = min_len;
  options.level = level;
  options.window_bits = window_bits;
  deflater = cp__deflater_create(alloc, &options);
  assert_non_null(deflater);
  return deflater;
}

static void test_options(void **state) {
  cp__deflate_options options, other;

  (void)state;
  cp__deflate_options_init(&options);
  assert_true(cp__deflate_options_valid(&options));
  assert_int_equal(options.window_bits, MAX_BITS);
#define CHECK_RANGE(field, min, max)               \
  other = options;                                 \
  other.field = (min)-1;                           \
  assert_false(cp__deflate_options_valid(&other)); \
  other.field = (min);                             \
  assert_true(cp__deflate_options_valid(&other));  \
  other.field = (max);                             \
  assert_true(cp__deflate_options_valid(&other));  \
  other.field = (max) + 1;                         \
  assert_false(cp__deflate_options_valid(&other))
  CHECK_RANGE(level, 1, 9);
  CHECK_RANGE(mem_level, 1, 9);
  CHECK_RANGE(window_bits, 9, 15);
#undef CHECK_RANGE
}

static void test_threshold(void **state) {
  cp__deflater *deflater =
      deflater_with(&cp__default_allocator, 100, 6, MAX_BITS);
  uint8_t *data = make_data(ZEROS, 100);
  cp__deflated deflated;

  (void)state;
  assert_false(cp__deflater_run(deflater, cp_bytes_of(data, 99), &deflated));
  assert_true(cp__deflater_run(deflater, cp_bytes_of(data, 100), &deflated));
  assert_true(deflated.payload.len < 10);
  free(data);
  cp__deflater_destroy(deflater);
}

static void test_noise_does_not_get_shorter(void **state) {
  cp__deflater *deflater =
      deflater_with(&cp__default_allocator, 0, 9, MAX_BITS);
  cp__deflated deflated;
  uint8_t *noise = make_data(NOISE, 100000);
  size_t len;

  (void)state;
  assert_false(cp__deflater_run(deflater, cp_bytes_of(NULL, 0), &deflated));
  assert_false(cp__deflater_run(deflater, cp_str("Hello"), &deflated));
  for (len = 1; len <= 100000; len = len * 3 + 1)
    assert_false(
        cp__deflater_run(deflater, cp_bytes_of(noise, len), &deflated));
  free(noise);
  cp__deflater_destroy(deflater);
}

/* It is compressed if that saves as much as one byte. */
static void test_shorter_by_a_byte(void **state) {
  enum { N = 60 };
  cp__deflater *deflater =
      deflater_with(&cp__default_allocator, 0, 9, MAX_BITS);
  uint8_t *data = make_data(TEXT, N);
  bool saved[2] = {false, false}; /* nothing, one byte */
  cp__deflated deflated;
  cp__buf expected;
  size_t len;

  (void)state;
  cp__buf_init(&expected, &cp__default_allocator);
  for (len = 1; len <= N; len++) {
    cp_bytes message = cp_bytes_of(data, len);
    cp__buf_reset(&expected, N);
    reference_deflate(&expected, message, SIZE_MAX, 9, Z_DEFAULT_STRATEGY);
    if (cp__buf_len(&expected) < len) {
      assert_true(cp__deflater_run(deflater, message, &deflated));
      assert_bytes_equal(deflated.payload, cp__buf_bytes(&expected));
    } else {
      assert_false(cp__deflater_run(deflater, message, &deflated));
    }
    if (len - cp__buf_len(&expected) < 2)
      saved[len - cp__buf_len(&expected)] = true;
  }
  assert_true(saved[0] && saved[1]); /* the border was looked at */
  cp__buf_finish(&expected);
  free(data);
  cp__deflater_destroy(deflater);
}

/* The smallest window, in bits, that holds the message, but for ours. */
static int window_needed(size_t len, int ours) {
  int bits;

  for (bits = 8; bits < ours; bits++)
    if (len <= (size_t)1 << bits)
      break;
  return bits;
}

static void check_deflater(int kind, size_t len, int level, int window_bits) {
  cp__deflater *deflater =
      deflater_with(&cp__default_allocator, 1, level, window_bits);
  uint8_t *data = make_data(kind, len);
  cp_bytes message = cp_bytes_of(data, len);
  cp__deflated deflated;

  assert_true(cp__deflater_run(deflater, message, &deflated));
  assert_true(deflated.payload.len < len);
  assert_int_equal(deflated.window_bits, window_needed(len, window_bits));
  reference_inflate(deflated.payload, deflated.window_bits, message);
  free(data);
  cp__deflater_destroy(deflater);
}

static void test_clients_can_read_it(void **state) {
  static const size_t lens[] = {64,   255,  256,  257,   512,   513,   1025,
                                4096, 4097, 8193, 32768, 32769, 100000};
  size_t i;
  int bits, kind;

  (void)state;
  for (i = 0; i < sizeof lens / sizeof lens[0]; i++)
    for (kind = ZEROS; kind <= TEXT; kind++)
      for (bits = 9; bits <= MAX_BITS; bits++)
        check_deflater(kind, lens[i], bits % 9 + 1, bits);
}

/* Made with the largest window, read with the smallest, which zlib could not
 * have made it with. */
static void test_short_messages_suit_small_windows(void **state) {
  uint8_t *data = make_data(NOISE, 256);
  cp__deflater *deflater =
      deflater_with(&cp__default_allocator, 1, 9, MAX_BITS);
  cp__deflated deflated;

  (void)state;
  memcpy(data + 192, data, 64); /* as far back as it can be */
  assert_true(cp__deflater_run(deflater, cp_bytes_of(data, 256), &deflated));
  assert_int_equal(deflated.window_bits, 8);
  reference_inflate(deflated.payload, 8, cp_bytes_of(data, 256));
  free(data);
  cp__deflater_destroy(deflater);
}

static void test_longer_than_zlib_counts(void **state) {
  cp__deflater *deflater =
      deflater_with(&cp__default_allocator, 1, 6, MAX_BITS);
  cp__deflated deflated;

  (void)state;
  /* Refused by its length: none of it is read. */
  assert_false(cp__deflater_run(
      deflater, cp_bytes_of("", ((size_t)1 << 30) + 1), &deflated));
  cp__deflater_destroy(deflater);
  cp__deflater_destroy(NULL);
}

static void test_no_context_is_taken_over(void **state) {
  cp__deflater *deflater =
      deflater_with(&cp__default_allocator, 1, 6, MAX_BITS);
  uint8_t *text = make_data(TEXT, 3000);
  uint8_t *noise = make_data(NOISE, 3000);
  cp__deflated deflated;
  cp__buf first;
  int i;

  (void)state;
  cp__buf_init(&first, &cp__default_allocator);
  assert_true(cp__deflater_run(deflater, cp_bytes_of(text, 3000), &deflated));
  cp__buf_append_bytes(&first, deflated.payload);
  for (i = 0; i < 3; i++) {
    assert_true(cp__deflater_run(deflater, cp_bytes_of(text, 3000), &deflated));
    assert_bytes_equal(deflated.payload, cp__buf_bytes(&first));
    /* Given up in the midst. */
    assert_false(
        cp__deflater_run(deflater, cp_bytes_of(noise, 3000), &deflated));
  }
  cp__buf_finish(&first);
  free(text);
  free(noise);
  cp__deflater_destroy(deflater);
}

static void compress_once(failing_alloc *memory) {
  uint8_t *data = make_data(TEXT, 3000);
  cp__deflate_options options;
  cp__deflater *deflater;
  cp__deflated deflated;
  bool compressed;

  cp__deflate_options_init(&options);
  deflater = cp__deflater_create(&memory->alloc, &options);
  assert_true(deflater != NULL || memory->failed);
  if (deflater != NULL) {
    compressed = cp__deflater_run(deflater, cp_bytes_of(data, 3000), &deflated);
    assert_int_equal(compressed, !memory->failed);
    /* There is memory again. */
    assert_true(cp__deflater_run(deflater, cp_bytes_of(data, 3000), &deflated));
  }
  cp__deflater_destroy(deflater);
  free(data);
}

static void test_compression_without_memory(void **state) {
  failing_alloc memory;
  size_t n = 0;

  (void)state;
  do {
    failing_alloc_init(&memory, ++n);
    compress_once(&memory);
    assert_int_equal(memory.n_live, 0);
  } while (memory.failed);
  assert_true(n > 5); /* zlib's own went through it, too */
}

/* Decompression. ----------------------------------------------------------- */

/* One message, cut behind every byte whose bit in `cuts` is set; a longer one
 * also behind every `piece` bytes. Returns the first error. */
static int inflate_cut(cp__inflate_pool *pool, cp_bytes payload, uint32_t cuts,
                       size_t piece, cp__buf *out) {
  cp__inflater *inflater = cp__inflater_borrow(pool);
  size_t from = 0;
  size_t i;
  int err = 0;

  assert_non_null(inflater);
  for (i = 1; i <= payload.len && err == 0; i++) {
    size_t n = i - from;
    uint8_t *copy;
    if (i < payload.len && n < piece && !(i <= 32 && (cuts >> (i - 1)) & 1))
      continue;
    copy = malloc(n);
    memcpy(copy, (const uint8_t *)payload.data + from, n);
    err = cp__inflater_feed(inflater, cp_bytes_of(copy, n), out);
    free(copy);
    from = i;
  }
  if (err == 0)
    err = cp__inflater_end(inflater, out);
  cp__inflater_return(inflater);
  return err;
}

static void check_inflate(size_t max_message, cp_bytes payload, uint32_t cuts,
                          size_t piece, int err, cp_bytes message) {
  cp__inflate_pool pool;
  cp__buf out;

  cp__inflate_pool_init(&pool, &cp__default_allocator, max_message);
  cp__buf_init(&out, &cp__default_allocator);
  assert_int_equal(inflate_cut(&pool, payload, cuts, piece, &out), err);
  assert_true(cp__buf_len(&out) <= max_message);
  if (err == 0)
    assert_bytes_equal(cp__buf_bytes(&out), message);
  cp__buf_finish(&out);
  cp__inflate_pool_finish(&pool);
}

/* In every way it can be cut. */
static void check_every_cut(cp_bytes payload, int err, cp_bytes message) {
  uint32_t n_cuts;
  uint32_t cuts;

  assert_true(payload.len <= 14);
  n_cuts = payload.len > 1 ? 1u << (payload.len - 1) : 1;
  for (cuts = 0; cuts < n_cuts; cuts++)
    check_inflate(LIMIT, payload, cuts, SIZE_MAX, err, message);
}

#define INFLATES(payload, message) \
  check_every_cut(BYTES(payload), 0, BYTES(message))
#define FAILS(payload) check_every_cut(BYTES(payload), CP_E_PROTOCOL, BYTES(""))

static void test_examples_of_the_rfc(void **state) {
  (void)state;
  /* 7.2.3.1: one block */
  INFLATES("\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");
  /* 7.2.3.2: the second message refers to the first, which it must not */
  FAILS("\xf2\x00\x11\x00\x00");
  /* 7.2.3.3: a block without compression */
  INFLATES("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello");
  /* 7.2.3.4: a block with BFINAL */
  INFLATES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello");
  /* 7.2.3.5: two blocks */
  INFLATES("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello");
  /* 7.2.3.6: an empty message */
  INFLATES("\x00", "");
}

static void test_no_context_comes_from_the_message_before(void **state) {
  cp__inflate_pool pool;
  cp__inflater *inflater;
  cp__buf out;

  (void)state;
  cp__inflate_pool_init(&pool, &cp__default_allocator, LIMIT);
  cp__buf_init(&out, &cp__default_allocator);
  inflater = cp__inflater_borrow(&pool);
  assert_int_equal(
      cp__inflater_feed(inflater, BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"), &out),
      0);
  assert_int_equal(cp__inflater_end(inflater, &out), 0);
  assert_int_equal(
      cp__inflater_feed(inflater, BYTES("\xf2\x00\x11\x00\x00"), &out),
      CP_E_PROTOCOL);
  assert_bytes_equal(cp__buf_bytes(&out), BYTES("HelloH"));
  cp__inflater_return(inflater);
  cp__inflate_pool_finish(&pool);
  cp__buf_finish(&out);
}

static void test_blocks_with_bfinal(void **state) {
  (void)state;
  /* More blocks behind it. */
  INFLATES("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00",
           "HelloHello");
  INFLATES("\x03\x00\x03\x00\x4b\x04\x00\x4b\x04\x00\x03\x00\x00", "aa");
  /* Stored. */
  INFLATES("\x01\x05\x00\xfa\xffHello\x00", "Hello");
  /* The octet behind it is missing. */
  INFLATES("\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello");
  INFLATES("\x03\x00", "");
  INFLATES("\x01\x00\x00\xff\xff", "");
  /* The message's tail may complete it. */
  INFLATES("\x01", "");
  /* A new stream can't refer to the old one. */
  FAILS("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00");
}

/* Some senders, told to compress nothing behind a flush, send nothing: the last
 * fragment is empty, and the tail still there. */
static void test_tails_left_in_place(void **state) {
  (void)state;
  INFLATES("", "");
  INFLATES("\x00\x00\x00\xff\xff", "");
  INFLATES("\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", "Hello");
}

/* Also where the message just fills the room that zlib was given. */
static void test_tails_left_in_place_everywhere(void **state) {
  uint8_t *data = make_data(NOISE, 3 * LIMIT);
  cp__buf payload;
  size_t len;

  (void)state;
  cp__buf_init(&payload, &cp__default_allocator);
  for (len = LIMIT - 2; len <= 3 * LIMIT; len += len % LIMIT == 2 ? 4092 : 1) {
    cp__buf_reset(&payload, 4 * LIMIT);
    reference_deflate(&payload, cp_bytes_of(data, len), SIZE_MAX, 6,
                      Z_DEFAULT_STRATEGY);
    cp__buf_append_bytes(&payload, BYTES("\x00\x00\xff\xff"));
    check_inflate(len, cp__buf_bytes(&payload), 0, SIZE_MAX, 0,
                  cp_bytes_of(data, len));
    check_inflate(4 * LIMIT, cp__buf_bytes(&payload), 0, 1000, 0,
                  cp_bytes_of(data, len));
  }
  cp__buf_finish(&payload);
  free(data);
}

static void test_what_is_no_deflate(void **state) {
  (void)state;
  FAILS("\x06"); /* block type 3 */
  FAILS("\x07");
  FAILS("\x00\x05\x00\xfa\xfeHello\x00");        /* length and complement */
  FAILS("\xf2\x48\xcd\xc9\xc9\x07\x00\x06");     /* behind a good block */
  FAILS("\x78\x9c\xf2\x48\xcd\xc9\xc9\x07\x00"); /* zlib's own head */
  FAILS("\x1f\x8b\x08\x00");                     /* gzip's */
  FAILS("Hello");
  FAILS("\xff\xff\xff\xff");
  FAILS("\x04\x00\x00\x00\x00\x00\x00\x00"); /* codes that make no tree */
  FAILS("\x02\x02\x00");                     /* back beyond the beginning */
}

static void test_what_is_cut_off(void **state) {
  static const uint8_t dynamic[] = {
      0x14, 0xC9, 0x41, 0x12, 0x80, 0x20, 0x0C, 0xC0, 0xC0, 0xB7, 0x26,
      0x05, 0x45, 0x40, 0x85, 0xFF, 0x5F, 0xAC, 0xB7, 0x9D, 0x04, 0x42,
      0x4B, 0x60, 0x45, 0xF0, 0x48, 0xE2, 0x99, 0x91, 0x46, 0x8A, 0xEB,
      0xFF, 0xBD, 0x0C, 0xE6, 0x8D, 0xF1, 0xC0, 0xEB, 0xC2, 0xFD, 0x01};
  size_t len;

  (void)state;
  FAILS("\xf2");
  FAILS("\xf2\x48");
  FAILS("\xf2\x48\xcd");
  FAILS("\xf2\x48\xcd\xc9");
  FAILS("\xf2\x48\xcd\xc9\xc9");
  FAILS("\xf2\x48\xcd\xc9\xc9\x07");
  FAILS("\x00\x05");
  FAILS("\x00\x05\x00\xfa\xff");
  FAILS("\x00\x05\x00\xfa\xffHell");
  /* At the end of a block, but not of a byte: two bits are left over. */
  FAILS("\x9a\x30\x61\xc2\x04\x00");
  for (len = 1; len < sizeof dynamic; len++)
    check_inflate(LIMIT, cp_bytes_of(dynamic, len), 0, len % 3 + 1,
                  CP_E_PROTOCOL, BYTES(""));
  check_inflate(
      LIMIT, cp_bytes_of(dynamic, len), 0, 5, 0,
      BYTES("aacbbdcabeabaabfdcaabgacbahaaabaiacbbjdkalmabcnaaobpabq"));
}

static void check_round_trip(cp_bytes message, size_t block, int level,
                             int strategy) {
  static const size_t pieces[] = {SIZE_MAX, 1, 2, 3, 7, 61, 4096};
  cp__buf payload;
  size_t i;

  cp__buf_init(&payload, &cp__default_allocator);
  reference_deflate(&payload, message, block, level, strategy);
  for (i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
    check_inflate(message.len, cp__buf_bytes(&payload), 0, pieces[i], 0,
                  message);
  cp__buf_finish(&payload);
}

/* The limit is each message's own length. */
static void test_round_trips(void **state) {
  static const size_t lens[] = {1, 257, 4095, 4096, 4097, 70000};
  size_t i;
  int kind;

  (void)state;
  for (i = 0; i < sizeof lens / sizeof lens[0]; i++)
    for (kind = 0; kind < N_KINDS; kind++) {
      uint8_t *data = make_data(kind, lens[i]);
      cp_bytes message = cp_bytes_of(data, lens[i]);
      check_round_trip(message, SIZE_MAX, 9, Z_DEFAULT_STRATEGY);
      check_round_trip(message, 1000, 1, Z_DEFAULT_STRATEGY);
      check_round_trip(message, 64, 6, Z_HUFFMAN_ONLY);
      check_round_trip(message, SIZE_MAX, 6, Z_FIXED);
      check_round_trip(message, 300, 0, Z_DEFAULT_STRATEGY); /* stored */
      free(data);
    }
}

/* What we compress we can read. */
static void test_both_ways(void **state) {
  cp__deflater *deflater = deflater_with(&cp__default_allocator, 1, 6, 9);
  uint8_t *data = make_data(TEXT, 50000);
  cp__deflated deflated;
  size_t len;

  (void)state;
  for (len = 100; len <= 50000; len = len * 2 + 7) {
    cp_bytes message = cp_bytes_of(data, len);
    assert_true(cp__deflater_run(deflater, message, &deflated));
    check_inflate(len, deflated.payload, 0, 100, 0, message);
  }
  free(data);
  cp__deflater_destroy(deflater);
}

/* How much of the message zlib has once it was given all this. */
static size_t reference_progress(const uint8_t *payload, size_t len,
                                 size_t max) {
  uint8_t *out = malloc(max);
  size_t progress;
  z_stream z;

  memset(&z, 0, sizeof z);
  assert_int_equal(inflateInit2(&z, -MAX_BITS), Z_OK);
  z.next_in = (Bytef *)payload;
  z.avail_in = (uInt)len;
  z.next_out = out;
  z.avail_out = (uInt)max;
  assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
  progress = z.total_out;
  inflateEnd(&z);
  free(out);
  return progress;
}

/* Whatever a piece tells is there as soon as it was fed. */
static void test_nothing_is_held_back(void **state) {
  enum { N = 20000 };
  uint8_t *data = make_data(ZEROS, N);
  cp__inflate_pool pool;
  cp__inflater *inflater;
  cp__buf payload, out;
  size_t len;

  (void)state;
  cp__buf_init(&payload, &cp__default_allocator);
  cp__buf_init(&out, &cp__default_allocator);
  cp__inflate_pool_init(&pool, &cp__default_allocator, 2 * N);
  reference_deflate(&payload, cp_bytes_of(data, N), SIZE_MAX, 6,
                    Z_DEFAULT_STRATEGY);
  for (len = 1; len <= payload.end; len++) {
    inflater = cp__inflater_borrow(&pool);
    assert_int_equal(
        cp__inflater_feed(inflater, cp_bytes_of(payload.data, len), &out), 0);
    assert_int_equal(cp__buf_len(&out),
                     reference_progress(payload.data, len, 2 * N));
    cp__buf_reset(&out, 0);
    cp__inflater_return(inflater);
  }
  cp__inflate_pool_finish(&pool);
  cp__buf_finish(&payload);
  cp__buf_finish(&out);
  free(data);
}

static void test_message_is_appended(void **state) {
  cp__inflate_pool pool;
  cp__buf out;

  (void)state;
  cp__inflate_pool_init(&pool, &cp__default_allocator, 5);
  cp__buf_init(&out, &cp__default_allocator);
  cp__buf_append_str(&out, "What was there. ");
  assert_int_equal(
      inflate_cut(&pool, BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"), 0, 2, &out), 0);
  assert_bytes_equal(cp__buf_bytes(&out), BYTES("What was there. Hello"));
  cp__buf_finish(&out);
  cp__inflate_pool_finish(&pool);
}

/* Limits. ------------------------------------------------------------------ */

static void check_limit(int kind, size_t len, int level) {
  static const size_t pieces[] = {SIZE_MAX, 1, 1000};
  uint8_t *data = make_data(kind, len);
  cp_bytes message = cp_bytes_of(data, len);
  cp__buf payload;
  size_t i;

  cp__buf_init(&payload, &cp__default_allocator);
  reference_deflate(&payload, message, SIZE_MAX, level, Z_DEFAULT_STRATEGY);
  for (i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    check_inflate(len, cp__buf_bytes(&payload), 0, pieces[i], 0, message);
    check_inflate(len - 1, cp__buf_bytes(&payload), 0, pieces[i], CP_E_TOOBIG,
                  message);
    check_inflate(len / 2, cp__buf_bytes(&payload), 0, pieces[i], CP_E_TOOBIG,
                  message);
  }
  cp__buf_finish(&payload);
  free(data);
}

static void test_max_message(void **state) {
  static const size_t lens[] = {2, 258, 4096, 4097, 8192, 50000};
  size_t i;
  int kind;

  (void)state;
  for (i = 0; i < sizeof lens / sizeof lens[0]; i++)
    for (kind = 0; kind < N_KINDS; kind++) {
      check_limit(kind, lens[i], 9);
      check_limit(kind, lens[i], 0);
    }
  INFLATES("\x00", "");
  check_inflate(0, BYTES("\x00"), 0, 1, 0, BYTES(""));
  check_inflate(0, BYTES("\x4b\x04\x00"), 0, 1, CP_E_TOOBIG, BYTES(""));
}

/* An allocator that knows the most bytes that were ever in use. */
typedef struct meter {
  cp_allocator alloc;
  size_t in_use;
  size_t peak;
} meter;

#define METER_HEAD 16 /* holds the block's size */

static void *meter_resize(void *ctx, void *ptr, size_t size) {
  meter *m = ctx;
  uint8_t *block = ptr != NULL ? (uint8_t *)ptr - METER_HEAD : NULL;

  if (block != NULL)
    m->in_use -= *(size_t *)(void *)block;
  block = realloc(block, METER_HEAD + size);
  *(size_t *)(void *)block = size;
  m->in_use += size;
  if (m->peak < m->in_use)
    m->peak = m->in_use;
  return block + METER_HEAD;
}

static void *meter_allocate(void *ctx, size_t size) {
  return meter_resize(ctx, NULL, size);
}

static void meter_release(void *ctx, void *ptr) {
  meter *m = ctx;
  uint8_t *block = (uint8_t *)ptr - METER_HEAD;

  m->in_use -= *(size_t *)(void *)block;
  free(block);
}

static void meter_init(meter *m) {
  memset(m, 0, sizeof *m);
  m->alloc.allocate = meter_allocate;
  m->alloc.resize = meter_resize;
  m->alloc.release = meter_release;
  m->alloc.ctx = m;
}

/* 16 MiB in 16 KiB, and then more of the same for ever. */
static void test_bomb(void **state) {
  enum { FULL = 16 * 1024 * 1024, MAX = 64 * 1024 };
  uint8_t *zeros = make_data(ZEROS, FULL);
  cp__inflate_pool pool;
  cp__buf payload, out;
  meter m;

  (void)state;
  meter_init(&m);
  cp__inflate_pool_init(&pool, &m.alloc, MAX);
  cp__buf_init(&out, &m.alloc);
  cp__buf_init(&payload, &cp__default_allocator);
  reference_deflate(&payload, cp_bytes_of(zeros, FULL), SIZE_MAX, 9,
                    Z_DEFAULT_STRATEGY);
  assert_true(cp__buf_len(&payload) * 1000 < FULL);
  assert_int_equal(
      inflate_cut(&pool, cp__buf_bytes(&payload), 0, SIZE_MAX, &out),
      CP_E_TOOBIG);
  assert_int_equal(cp__buf_len(&out), MAX);
  assert_true(m.peak <= MAX + 48 * 1024);
  cp__buf_finish(&out);
  cp__inflate_pool_finish(&pool);
  assert_int_equal(m.in_use, 0);
  cp__buf_finish(&payload);
  free(zeros);
}

/* Of what may be. */
static void test_a_short_message_takes_little(void **state) {
  cp__inflate_pool pool;
  cp__buf out;
  meter m;

  (void)state;
  meter_init(&m);
  cp__inflate_pool_init(&pool, &m.alloc, 16 * 1024 * 1024);
  cp__buf_init(&out, &m.alloc);
  assert_int_equal(inflate_cut(&pool, BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"), 0,
                               SIZE_MAX, &out),
                   0);
  assert_true(m.peak <= 48 * 1024);
  cp__buf_finish(&out);
  cp__inflate_pool_finish(&pool);
}

/* Feeds `block` again and again; returns the bytes that were accepted. */
static size_t feed_for_ever(size_t max_message, cp_bytes block) {
  cp__inflate_pool pool;
  cp__inflater *inflater;
  cp__buf out;
  size_t n = 0;
  int err;

  cp__inflate_pool_init(&pool, &cp__default_allocator, max_message);
  cp__buf_init(&out, &cp__default_allocator);
  inflater = cp__inflater_borrow(&pool);
  while ((err = cp__inflater_feed(inflater, block, &out)) == 0) {
    n += block.len;
    assert_true(n < 100 * 1024 * 1024);
  }
  assert_int_equal(err, CP_E_TOOBIG);
  assert_false(cp__inflater_has_room(inflater, block.len));
  assert_int_equal(cp__buf_len(&out), 0);
  cp__inflater_return(inflater);
  cp__inflate_pool_finish(&pool);
  cp__buf_finish(&out);
  return n;
}

static void test_empty_blocks_end(void **state) {
  static const uint8_t bad[2000] = {0x06};

  (void)state;
  assert_int_equal(feed_for_ever(0, BYTES("\x03\x00")), 1024);
  assert_int_equal(feed_for_ever(1000, BYTES("\x03\x00")), 3024);
  assert_int_equal(feed_for_ever(1000, BYTES("\x00\x00\x00\xff\xff")), 3020);
  /* What is wrong before the limit counts, wherever the cuts are. */
  check_inflate(0, cp_bytes_of(bad, sizeof bad), 0, SIZE_MAX, CP_E_PROTOCOL,
                BYTES(""));
  check_inflate(0, cp_bytes_of(bad, sizeof bad), 0, 1, CP_E_PROTOCOL,
                BYTES(""));
}

static void test_room(void **state) {
  cp__inflate_pool pool;
  cp__inflater *inflater;
  cp__buf out;

  (void)state;
  cp__inflate_pool_init(&pool, &cp__default_allocator, LIMIT);
  cp__buf_init(&out, &cp__default_allocator);
  inflater = cp__inflater_borrow(&pool);
  assert_true(cp__inflater_has_room(inflater, 2 * LIMIT + 1024));
  assert_false(cp__inflater_has_room(inflater, 2 * LIMIT + 1025));
  assert_false(cp__inflater_has_room(inflater, UINT64_MAX));
  assert_int_equal(cp__inflater_feed(inflater, BYTES("\x00"), &out), 0);
  assert_false(cp__inflater_has_room(inflater, 2 * LIMIT + 1024));
  assert_int_equal(cp__inflater_end(inflater, &out), 0);
  assert_true(cp__inflater_has_room(inflater, 2 * LIMIT + 1024));
  pool.max_message = SIZE_MAX;
  assert_true(cp__inflater_has_room(inflater, INT64_MAX));
  cp__inflater_return(inflater);
  cp__inflate_pool_finish(&pool);
  cp__buf_finish(&out);
}

static void check_garbage(cp_bytes payload) {
  cp__inflate_pool pool;
  cp__buf whole, bytes;
  int err;

  cp__inflate_pool_init(&pool, &cp__default_allocator, LIMIT);
  cp__buf_init(&whole, &cp__default_allocator);
  cp__buf_init(&bytes, &cp__default_allocator);
  err = inflate_cut(&pool, payload, 0, SIZE_MAX, &whole);
  assert_true(err == 0 || err == CP_E_PROTOCOL || err == CP_E_TOOBIG);
  assert_int_equal(inflate_cut(&pool, payload, 0, 1, &bytes), err);
  assert_bytes_equal(cp__buf_bytes(&bytes), cp__buf_bytes(&whole));
  cp__buf_finish(&whole);
  cp__buf_finish(&bytes);
  cp__inflate_pool_finish(&pool);
}

/* Noise, and good payloads with a byte changed: the verdict doesn't depend on
 * the cuts. */
static void test_garbage(void **state) {
  enum { N = 300 };
  uint8_t *data = make_data(TEXT, 2 * LIMIT);
  uint8_t noise[64];
  cp__buf payload;
  size_t i, j;

  (void)state;
  cp__buf_init(&payload, &cp__default_allocator);
  reference_deflate(&payload, cp_bytes_of(data, LIMIT), 1000, 6,
                    Z_DEFAULT_STRATEGY);
  for (i = 0; i < N; i++) {
    uint8_t *byte = payload.data + next_random() % payload.end;
    uint8_t kept = *byte;
    for (j = 0; j < sizeof noise; j++)
      noise[j] = (uint8_t)next_random();
    check_garbage(cp_bytes_of(noise, sizeof noise));
    *byte = (uint8_t)next_random();
    check_garbage(cp__buf_bytes(&payload));
    *byte = kept;
  }
  cp__buf_finish(&payload);
  free(data);
}

static int inflate_on(failing_alloc *memory, cp_bytes payload,
                      cp_bytes message) {
  cp__inflate_pool pool;
  cp__inflater *inflater;
  cp__buf out;
  int err = CP_E_NOMEM;

  cp__inflate_pool_init(&pool, &memory->alloc, message.len);
  cp__buf_init(&out, &memory->alloc);
  inflater = cp__inflater_borrow(&pool);
  if (inflater != NULL)
    err = cp__inflater_feed(inflater, payload, &out);
  if (err == 0)
    err = cp__inflater_end(inflater, &out);
  if (err == 0)
    assert_bytes_equal(cp__buf_bytes(&out), message);
  cp__inflater_return(inflater);
  assert_int_equal(pool.n_borrowed, 0);
  /* With memory again, the one in the pool is as good as new. */
  memory->fail_at = 0;
  cp__buf_reset(&out, 0);
  assert_int_equal(inflate_cut(&pool, payload, 0, SIZE_MAX, &out), 0);
  assert_bytes_equal(cp__buf_bytes(&out), message);
  cp__buf_finish(&out);
  cp__inflate_pool_finish(&pool);
  return err;
}

static void test_decompression_without_memory(void **state) {
  uint8_t *data = make_data(TEXT, 20000);
  cp_bytes message = cp_bytes_of(data, 20000);
  failing_alloc memory;
  cp__buf payload;
  size_t n = 0;
  int err;

  (void)state;
  cp__buf_init(&payload, &cp__default_allocator);
  reference_deflate(&payload, message, SIZE_MAX, 6, Z_DEFAULT_STRATEGY);
  do {
    failing_alloc_init(&memory, ++n);
    err = inflate_on(&memory, cp__buf_bytes(&payload), message);
    assert_int_equal(memory.n_live, 0);
    assert_true(err == 0 || err == CP_E_NOMEM);
  } while (err != 0);
  assert_true(n > 4); /* zlib's own went through it, too */
  cp__buf_finish(&payload);
  free(data);
}

/* Pool. -------------------------------------------------------------------- */

static void test_pool_is_bounded(void **state) {
  enum { N = 20 };
  cp__inflate_pool pool;
  cp__inflater *all[N];
  failing_alloc memory;
  int i;

  (void)state;
  failing_alloc_init(&memory, 0);
  cp__inflate_pool_init(&pool, &memory.alloc, LIMIT);
  cp__inflater_return(NULL);
  for (i = 0; i < N; i++)
    all[i] = cp__inflater_borrow(&pool);
  assert_int_equal(pool.n_borrowed, N);
  for (i = 0; i < N; i++)
    cp__inflater_return(all[i]);
  assert_int_equal(pool.n_borrowed, 0);
  assert_true(pool.max_free < N);
  assert_int_equal(pool.n_free, pool.max_free);
  assert_int_equal(memory.n_live, 2 * pool.max_free); /* each with zlib's */
  cp__inflate_pool_finish(&pool);
  assert_int_equal(memory.n_live, 0);
}

/* At rest an inflater is as large as the header says. */
static void test_pool_keeps_what_it_lent(void **state) {
  uint8_t *data = make_data(TEXT, 40000);
  cp__inflate_pool pool;
  cp__buf payload, out;
  meter m;
  int i;

  (void)state;
  meter_init(&m);
  cp__inflate_pool_init(&pool, &m.alloc, 40000);
  cp__buf_init(&out, &cp__default_allocator);
  cp__buf_init(&payload, &cp__default_allocator);
  reference_deflate(&payload, cp_bytes_of(data, 40000), SIZE_MAX, 6,
                    Z_DEFAULT_STRATEGY);
  for (i = 0; i < 3; i++) {
    assert_int_equal(
        inflate_cut(&pool, cp__buf_bytes(&payload), 0, SIZE_MAX, &out), 0);
    assert_int_equal(pool.n_free, 1);
    assert_true(m.peak <= 41 * 1024);
    cp__buf_reset(&out, 0);
  }
  cp__inflate_pool_finish(&pool);
  cp__buf_finish(&payload);
  cp__buf_finish(&out);
  free(data);
}

/* Whatever it was fed before. */
static void test_pool_lends_what_is_as_new(void **state) {
  static const char *const before[] = {"\x06", "\xf2\x48", "\x01\x05", "",
                                       "\xf2\x48\xcd\xc9\xc9\x07"};
  cp__inflate_pool pool;
  cp__inflater *inflater;
  cp__buf out;
  size_t i;

  (void)state;
  cp__inflate_pool_init(&pool, &cp__default_allocator, 5);
  cp__buf_init(&out, &cp__default_allocator);
  for (i = 0; i < sizeof before / sizeof before[0]; i++) {
    inflater = cp__inflater_borrow(&pool);
    cp__inflater_feed(inflater, cp_str(before[i]), &out);
    cp__inflater_return(inflater);
    cp__buf_reset(&out, 0);
    assert_int_equal(inflate_cut(&pool, BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"),
                                 0, SIZE_MAX, &out),
                     0);
    assert_bytes_equal(cp__buf_bytes(&out), BYTES("Hello"));
    assert_int_equal(pool.n_free, 1);
  }
  cp__buf_finish(&out);
  cp__inflate_pool_finish(&pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_offers_accepted),
      cmocka_unit_test(test_offers_passed_over),
      cmocka_unit_test(test_first_good_offer_counts),
      cmocka_unit_test(test_spelling_of_offers),
      cmocka_unit_test(test_headers_that_are_no_list),
      cmocka_unit_test(test_a_smaller_window_of_ours),
      cmocka_unit_test(test_only_the_header_of_that_name),
      cmocka_unit_test(test_many_offers),
      cmocka_unit_test(test_options),
      cmocka_unit_test(test_threshold),
      cmocka_unit_test(test_noise_does_not_get_shorter),
      cmocka_unit_test(test_shorter_by_a_byte),
      cmocka_unit_test(test_clients_can_read_it),
      cmocka_unit_test(test_short_messages_suit_small_windows),
      cmocka_unit_test(test_longer_than_zlib_counts),
      cmocka_unit_test(test_no_context_is_taken_over),
      cmocka_unit_test(test_compression_without_memory),
      cmocka_unit_test(test_examples_of_the_rfc),
      cmocka_unit_test(test_no_context_comes_from_the_message_before),
      cmocka_unit_test(test_blocks_with_bfinal),
      cmocka_unit_test(test_tails_left_in_place),
      cmocka_unit_test(test_tails_left_in_place_everywhere),
      cmocka_unit_test(test_what_is_no_deflate),
      cmocka_unit_test(test_what_is_cut_off),
      cmocka_unit_test(test_round_trips),
      cmocka_unit_test(test_both_ways),
      cmocka_unit_test(test_nothing_is_held_back),
      cmocka_unit_test(test_message_is_appended),
      cmocka_unit_test(test_max_message),
      cmocka_unit_test(test_bomb),
      cmocka_unit_test(test_a_short_message_takes_little),
      cmocka_unit_test(test_empty_blocks_end),
      cmocka_unit_test(test_room),
      cmocka_unit_test(test_garbage),
      cmocka_unit_test(test_decompression_without_memory),
      cmocka_unit_test(test_pool_is_bounded),
      cmocka_unit_test(test_pool_keeps_what_it_lent),
      cmocka_unit_test(test_pool_lends_what_is_as_new),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
