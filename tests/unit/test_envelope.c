/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* The worked example of docs/wire-format.md: keep the two the same. */
static const uint8_t worked_example[] = {
    0xC1, 0x01, 0x01, 0x01,                         /* form, kind, flags */
    0x8F, 0x1D, 0x2C, 0x3B, 0x4A, 0x59, 0x68, 0x77, /* instance */
    0x00, 0x00, 0x00, 0x03,                         /* incarnation */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02, /* sequence */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2A, /* serial */
    0x68, 0xC3, 0xA9, 0x21                          /* "hé!" */
};

/* All there are. */
#define KINDS                                                          \
  CP__KIND_BINARY, CP__KIND_TEXT, CP__KIND_PROBE, CP__KIND_RECEIPT,    \
      CP__KIND_HELLO, CP__KIND_WELCOME, CP__KIND_CLOSE, CP__KIND_JOIN, \
      CP__KIND_LEAVE

static const cp__envelope worked_fields = {.kind = CP__KIND_TEXT,
                                           .flags = CP__FIELD_SERIAL,
                                           .instance = 0x8F1D2C3B4A596877,
                                           .incarnation = 3,
                                           .sequence = 258,
                                           .serial = 42,
                                           .body = {"h\xC3\xA9!", 4}};

static void assert_bytes_equal(cp_bytes a, cp_bytes b) {
  assert_int_equal(a.len, b.len);
  if (a.len > 0)
    assert_memory_equal(a.data, b.data, a.len);
}

static void assert_same(const cp__envelope *a, const cp__envelope *b) {
  assert_int_equal(a->kind, b->kind);
  assert_int_equal(a->flags, b->flags);
  assert_int_equal(a->instance, b->instance);
  assert_int_equal(a->incarnation, b->incarnation);
  assert_int_equal(a->sequence, b->sequence);
  assert_int_equal(a->serial, b->serial);
  assert_int_equal(a->request, b->request);
  assert_bytes_equal(a->body, b->body);
}

/* Writes the whole payload; returns its length. */
static size_t write_whole(uint8_t *out, const cp__envelope *envelope) {
  size_t len = cp__envelope_write_head(out, envelope);

  assert_true(len <= CP__ENVELOPE_HEAD_MAX);
  if (envelope->body.len > 0)
    memcpy(out + len, envelope->body.data, envelope->body.len);
  return len + envelope->body.len;
}

static int read_bytes(cp__envelope *envelope, const char *bytes, size_t len) {
  memset(envelope, 0xAA, sizeof *envelope); /* nothing may be left unset */
  return cp__envelope_read(envelope, cp_bytes_of(bytes, len));
}

static void test_worked_example(void **ctx) {
  uint8_t out[64];
  cp__envelope envelope;
  size_t len = write_whole(out, &worked_fields);

  (void)ctx;
  assert_bytes_equal(cp_bytes_of(out, len),
                     cp_bytes_of(worked_example, sizeof worked_example));
  assert_int_equal(read_bytes(&envelope, (const char *)worked_example,
                              sizeof worked_example),
                   0);
  assert_same(&envelope, &worked_fields);
}

static void assert_foreign(const char *bytes, size_t len, cp__kind kind,
                           size_t skipped) {
  cp__envelope expected = {.kind = kind,
                           .body = {bytes + skipped, len - skipped}};
  cp__envelope envelope;

  assert_int_equal(read_bytes(&envelope, bytes, len), 0);
  assert_same(&envelope, &expected);
  assert_ptr_equal(envelope.body.data, bytes + skipped);
}

static void test_foreign(void **ctx) {
  (void)ctx;
  assert_foreign("", 0, CP__KIND_TEXT, 0);
  assert_foreign("hello", 5, CP__KIND_TEXT, 0);
  assert_foreign("{\"a\":\"\xE2\x82\xAC\"}", 11, CP__KIND_TEXT, 0);
  assert_foreign("a\0b", 3, CP__KIND_TEXT, 0);
  assert_foreign("hello \xFF", 7, CP__KIND_BINARY, 0);
  assert_foreign("\xC2", 1, CP__KIND_BINARY, 0);
  assert_foreign("\xAC\xED\x00\x05", 4, CP__KIND_BINARY, 0);
  assert_foreign("\xC1\x00", 2, CP__KIND_BINARY, 2);
  assert_foreign("\xC1\x00text", 6, CP__KIND_BINARY, 2);
  assert_foreign("\xC1\x00\xC1\x01", 4, CP__KIND_BINARY, 2);
}

static void test_empty_without_data(void **ctx) {
  cp__envelope envelope;

  (void)ctx;
  assert_int_equal(read_bytes(&envelope, NULL, 0), 0);
  assert_int_equal(envelope.kind, CP__KIND_TEXT);
  assert_int_equal(envelope.body.len, 0);
}

static void test_round_trips(void **ctx) {
  static const cp_bytes bodies[] = {{"", 0}, {"\xFF\x00", 2}, {"text", 4}};
  static const size_t head_len[] = {24, 32, 32, 40};
  uint8_t out[64];
  static const cp__kind kinds[] = {KINDS};
  size_t k, flags, i;

  (void)ctx;
  for (k = 0; k < sizeof kinds / sizeof *kinds; k++)
    for (flags = 0; flags <= 3; flags++)
      for (i = 0; i < 3; i++) {
        cp__envelope in = {.kind = kinds[k],
                           .flags = (uint8_t)flags,
                           .instance = UINT64_MAX - 1,
                           .incarnation = UINT32_MAX - 1,
                           .sequence = UINT64_C(0x0102030405060708),
                           .body = bodies[i]};
        cp__envelope envelope;
        size_t len;

        in.serial = flags & CP__FIELD_SERIAL ? UINT64_MAX : 0;
        in.request = flags & CP__FIELD_REQUEST ? 7 : 0;
        len = write_whole(out, &in);
        assert_int_equal(len, head_len[flags] + in.body.len);
        if (kinds[k] == CP__KIND_TEXT && i == 1) { /* not UTF-8 */
          assert_int_equal(read_bytes(&envelope, (char *)out, len),
                           CP_E_PROTOCOL);
          continue;
        }
        assert_int_equal(read_bytes(&envelope, (char *)out, len), 0);
        assert_same(&envelope, &in);
      }
}

static void test_absent_fields_are_zero(void **ctx) {
  cp__envelope in = worked_fields, envelope;
  uint8_t out[64];
  size_t len;

  (void)ctx;
  in.flags = 0;
  in.request = 9;
  len = write_whole(out, &in);
  assert_int_equal(read_bytes(&envelope, (char *)out, len), 0);
  assert_int_equal(envelope.serial, 0);
  assert_int_equal(envelope.request, 0);
}

/* Every prefix is an envelope without body or nothing at all. */
static void test_every_prefix(void **ctx) {
  cp__envelope in = {.kind = CP__KIND_PROBE, .sequence = 1};
  uint8_t out[64];
  size_t flags, len, head;

  (void)ctx;
  for (flags = 0; flags <= 3; flags++) {
    in.flags = (uint8_t)flags;
    head = write_whole(out, &in);
    memset(out + head, 'x', 4);
    for (len = 1; len <= head + 4; len++) {
      /* A block of exactly this size, so that a read behind it is noticed. */
      char *copy = malloc(len);
      cp__envelope envelope;
      assert_non_null(copy);
      memcpy(copy, out, len);
      assert_int_equal(read_bytes(&envelope, copy, len),
                       len < head ? CP_E_PROTOCOL : 0);
      if (len >= head)
        assert_int_equal(envelope.body.len, len - head);
      free(copy);
    }
  }
}

static void test_second_byte(void **ctx) {
  char bytes[48] = {(char)0xC1};
  cp__envelope envelope;
  int second;

  (void)ctx;
  assert_int_equal(read_bytes(&envelope, bytes, 1), CP_E_PROTOCOL);
  for (second = 2; second < 256; second++) {
    bytes[1] = (char)second;
    assert_int_equal(read_bytes(&envelope, bytes, sizeof bytes), CP_E_PROTOCOL);
  }
}

static void test_reserved_flags(void **ctx) {
  char bytes[64] = {(char)0xC1, 1, CP__KIND_BINARY};
  cp__envelope envelope;
  int flags;

  (void)ctx;
  for (flags = 0; flags < 256; flags++) {
    bytes[3] = (char)flags;
    assert_int_equal(read_bytes(&envelope, bytes, sizeof bytes),
                     flags <= 3 ? 0 : CP_E_PROTOCOL);
  }
}

static bool is_known(int kind) {
  static const cp__kind known[] = {KINDS};
  size_t i;

  for (i = 0; i < sizeof known / sizeof *known; i++)
    if ((int)known[i] == kind)
      return true;
  return false;
}

static void test_unknown_kinds(void **ctx) {
  char bytes[24] = {(char)0xC1, 1};
  cp__envelope envelope;
  int kind;

  (void)ctx;
  for (kind = 0; kind < 256; kind++) {
    if (is_known(kind))
      continue;
    bytes[2] = (char)kind;
    bytes[3] = 0;
    assert_int_equal(read_bytes(&envelope, bytes, 24), CP_E_UNSUPPORTED);
    /* Malformed wins: the kind can't be trusted then. */
    assert_int_equal(read_bytes(&envelope, bytes, 23), CP_E_PROTOCOL);
    bytes[3] = 4;
    assert_int_equal(read_bytes(&envelope, bytes, 24), CP_E_PROTOCOL);
  }
}

static void test_text_is_judged(void **ctx) {
  uint8_t out[64];
  cp__envelope in = worked_fields, envelope;
  size_t len;

  (void)ctx;
  in.body = cp_bytes_of("\xED\xA0\x80", 3);
  len = write_whole(out, &in);
  assert_int_equal(read_bytes(&envelope, (char *)out, len), CP_E_PROTOCOL);
  out[2] = CP__KIND_BINARY;
  assert_int_equal(read_bytes(&envelope, (char *)out, len), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_worked_example),
      cmocka_unit_test(test_foreign),
      cmocka_unit_test(test_empty_without_data),
      cmocka_unit_test(test_round_trips),
      cmocka_unit_test(test_absent_fields_are_zero),
      cmocka_unit_test(test_every_prefix),
      cmocka_unit_test(test_second_byte),
      cmocka_unit_test(test_reserved_flags),
      cmocka_unit_test(test_unknown_kinds),
      cmocka_unit_test(test_text_is_judged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
