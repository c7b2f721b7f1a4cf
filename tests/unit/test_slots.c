/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "slots.h"

#include "alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* Slots. ------------------------------------------------------------------ */

/* The vector in the specification of Redis Cluster. */
static void test_crc16(void **state) {
  (void)state;
  assert_int_equal(cp__crc16(cp_str("123456789")), 0x31C3);
  assert_int_equal(cp__crc16(cp_str("")), 0);
  assert_int_equal(cp__crc16(cp_bytes_of("\0\0", 2)), 0);
  assert_int_equal(cp__crc16(cp_bytes_of("\xff", 1)), 0x1EF0);
}

/* What CLUSTER KEYSLOT says. */
static void test_slots(void **state) {
  static const struct {
    const char *name;
    uint16_t slot;
  } cases[] = {
      {"", 0},
      {"foo", 12182},
      {"bar", 5061},
      {"foo{bar}", 5061},
      {"{bar}{foo}", 5061},
      {"a{bar", 15394},
      {"cp:u:{alice}", 749},
      {"alice", 749},
      {"123456789", 12739},
  };
  size_t i;

  (void)state;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
    assert_int_equal(cp__slot_of(cp_str(cases[i].name)), cases[i].slot);
}

static uint16_t whole(const char *name) {
  return cp__crc16(cp_str(name)) % CP__N_SLOTS;
}

/* The examples of the specification. */
static void test_hash_tags(void **state) {
  (void)state;
  assert_int_equal(cp__slot_of(cp_str("{user1000}.following")),
                   whole("user1000"));
  assert_int_equal(cp__slot_of(cp_str("foo{}{bar}")), whole("foo{}{bar}"));
  assert_int_equal(cp__slot_of(cp_str("foo{{bar}}zap")), whole("{bar"));
  assert_int_equal(cp__slot_of(cp_str("foo{bar}{zap}")), whole("bar"));
  assert_int_equal(cp__slot_of(cp_str("{")), whole("{"));
  assert_int_equal(cp__slot_of(cp_str("}{")), whole("}{"));
}

/* CLUSTER SLOTS. ---------------------------------------------------------- */

#define ID "$40\r\n0123456789012345678901234567890123456789\r\n"
#define GOOD                                                                 \
  "*5\r\n"                                                                   \
  "*4\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:7001\r\n" ID               \
  "*2\r\n$8\r\nhostname\r\n$1\r\nh\r\n*3\r\n$9\r\n127.0.0.1\r\n:7004\r\n" ID \
  "*3\r\n:5461\r\n:5461\r\n*3\r\n$-1\r\n:7002\r\n" ID                        \
  "*3\r\n:5462\r\n:5470\r\n*3\r\n$1\r\n?\r\n:7003\r\n" ID                    \
  "*3\r\n:5471\r\n:5480\r\n*3\r\n$0\r\n\r\n:0\r\n" ID                        \
  "*3\r\n:16383\r\n:16383\r\n*2\r\n$3\r\n::1\r\n:7003\r\n"

/* What was read, as text. */
static int read_text(const char *wire, size_t len, size_t step, char out[512]) {
  cp__resp *resp = cp__resp_create(&cp__default_allocator, 65536, NULL, NULL);
  cp__slots_reader reader;
  cp__slot_range range;
  cp__resp_reply reply;
  size_t at;
  int rc = 0;

  out[0] = '\0';
  for (at = 0; at < len && rc == 0; at += step) {
    cp__resp_feed(resp, wire + at, len - at < step ? len - at : step);
    rc = cp__resp_next(resp, &reply);
  }
  assert_true(at >= len);
  if (rc == 1)
    rc = cp__slots_read(&reader, &reply);
  else
    rc = 1;
  while (rc == 0 && cp__slots_next(&reader, &range))
    sprintf(out + strlen(out), "%d-%d=%.*s:%d ", range.first, range.last,
            (int)range.host.len, (const char *)range.host.data, range.port);
  cp__resp_destroy(resp);
  return rc;
}

static void test_answer(void **state) {
  char text[512];

  (void)state;
  assert_int_equal(read_text(GOOD, strlen(GOOD), sizeof GOOD, text), 0);
  assert_string_equal(text, "0-5460=127.0.0.1:7001 5461-5461=:7002 "
                            "16383-16383=::1:7003 ");
  assert_int_equal(read_text("*0\r\n", 4, 4, text), 0);
  assert_string_equal(text, "");
}

static void test_answer_byte_by_byte(void **state) {
  char whole_text[512];
  char text[512];
  size_t step;

  (void)state;
  read_text(GOOD, strlen(GOOD), sizeof GOOD, whole_text);
  for (step = 1; step < strlen(GOOD); step++) {
    assert_int_equal(read_text(GOOD, strlen(GOOD), step, text), 0);
    assert_string_equal(text, whole_text);
  }
}

static void test_bad_answers(void **state) {
  static const char *const answers[] = {
      "+OK\r\n",
      "$1\r\nx\r\n",
      ":1\r\n",
      "$-1\r\n",
      "-ERR This instance has cluster support disabled\r\n",
      "*1\r\n:1\r\n",
      "*1\r\n*0\r\n",
      "*1\r\n*2\r\n:0\r\n:1\r\n",
      "*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
      "*1\r\n*3\r\n:0\r\n:1\r\n*0\r\n",
      "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\nh\r\n",
      "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nh\r\n$1\r\n1\r\n",
      "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:1\r\n",
      "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\nh\r\n:1\r\n",
      "*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n",
      "*1\r\n*3\r\n:2\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n",
      "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nh\r\n:65536\r\n",
      "*2\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n:1\r\n",
  };
  char text[512];
  size_t i;

  (void)state;
  for (i = 0; i < sizeof answers / sizeof answers[0]; i++)
    if (read_text(answers[i], strlen(answers[i]), 1000, text) != CP_E_PROTOCOL)
      fail_msg("accepted: %s", answers[i]);
}

/* Errors. ----------------------------------------------------------------- */

static void check_redirect(const char *error, cp__redirect_kind kind, int slot,
                           const char *host, int port) {
  cp__redirect redirect;

  cp__redirect_read(&redirect, cp_str(error));
  if (redirect.kind != kind)
    fail_msg("%s: %d", error, redirect.kind);
  if (kind != CP__REDIRECT_MOVED && kind != CP__REDIRECT_ASK)
    return;
  assert_int_equal(redirect.slot, slot);
  assert_int_equal(redirect.port, port);
  assert_int_equal(redirect.host.len, strlen(host));
  assert_memory_equal(redirect.host.data, host, strlen(host));
}

static void test_redirects(void **state) {
  static const char *const nothing[] = {"",
                                        "ERR",
                                        "MOVED",
                                        "MOVED ",
                                        "MOVED 1",
                                        "MOVED 1 ",
                                        "MOVED 1 h",
                                        "MOVED 1 h:",
                                        "MOVED 1 h:0",
                                        "MOVED 1 h:65536",
                                        "MOVED 1 h:x",
                                        "MOVED 16384 h:1",
                                        "MOVED x h:1",
                                        "MOVED -1 h:1",
                                        "MOVED 1 ?:1",
                                        "MOVED 999999999999 h:1",
                                        "MOVED 1 h:999999999999",
                                        "MOVEDX 1 h:1",
                                        "moved 1 h:1",
                                        "ASKING 1 h:1",
                                        "NOPERM no",
                                        "CLUSTERDOWNX"};
  size_t i;

  (void)state;
  check_redirect("MOVED 3999 127.0.0.1:6381", CP__REDIRECT_MOVED, 3999,
                 "127.0.0.1", 6381);
  check_redirect("ASK 16383 ::1:65535", CP__REDIRECT_ASK, 16383, "::1", 65535);
  check_redirect("MOVED 0 :6381", CP__REDIRECT_MOVED, 0, "", 6381);
  check_redirect("TRYAGAIN Multiple keys", CP__REDIRECT_LATER, 0, "", 0);
  check_redirect("CLUSTERDOWN Hash slot not served", CP__REDIRECT_LATER, 0, "",
                 0);
  check_redirect("CLUSTERDOWN", CP__REDIRECT_LATER, 0, "", 0);
  check_redirect("LOADING Redis is loading", CP__REDIRECT_LATER, 0, "", 0);
  for (i = 0; i < sizeof nothing / sizeof nothing[0]; i++)
    check_redirect(nothing[i], CP__REDIRECT_NONE, 0, "", 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_crc16),
      cmocka_unit_test(test_slots),
      cmocka_unit_test(test_hash_tags),
      cmocka_unit_test(test_answer),
      cmocka_unit_test(test_answer_byte_by_byte),
      cmocka_unit_test(test_bad_answers),
      cmocka_unit_test(test_redirects),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
