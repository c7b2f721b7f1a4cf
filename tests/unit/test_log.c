/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "log.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct sink {
  int n_lines;
  cp_log_level level;
  char text[2048];
} sink;

static void take_line(void *data, cp_log_level level, const char *text) {
  sink *taken = data;

  assert_true(strlen(text) < sizeof taken->text);
  taken->n_lines++;
  taken->level = level;
  strcpy(taken->text, text);
}

static void test_line(void **state) {
  sink taken = {0};
  cp__log log = {take_line, &taken, CP_LOG_DEBUG};

  (void)state;
  cp__logf(&log, CP_LOG_INFO, "%s is %d", "six", 6);
  assert_int_equal(taken.n_lines, 1);
  assert_int_equal(taken.level, CP_LOG_INFO);
  assert_string_equal(taken.text, "six is 6");
}

static void test_level(void **state) {
  sink taken = {0};
  cp__log log = {take_line, &taken, CP_LOG_WARN};

  (void)state;
  cp__logf(&log, CP_LOG_DEBUG, "no");
  cp__logf(&log, CP_LOG_INFO, "no");
  assert_int_equal(taken.n_lines, 0);
  cp__logf(&log, CP_LOG_WARN, "yes");
  cp__logf(&log, CP_LOG_ERROR, "yes");
  assert_int_equal(taken.n_lines, 2);
}

static void test_no_sink(void **state) {
  cp__log log = {NULL, NULL, CP_LOG_DEBUG};

  (void)state;
  cp__logf(&log, CP_LOG_ERROR, "nobody hears %s", "this");
}

/* A peer can't start a line of its own or talk to the terminal. */
static void test_control_characters(void **state) {
  sink taken = {0};
  cp__log log = {take_line, &taken, CP_LOG_DEBUG};

  (void)state;
  cp__logf(&log, CP_LOG_INFO, "a\nb\rc\td\x1b[1me\x7f f\xc3\xa9");
  assert_string_equal(taken.text, "a?b?c?d?[1me? f\xc3\xa9");
}

static void test_long_line_is_cut(void **state) {
  sink taken = {0};
  cp__log log = {take_line, &taken, CP_LOG_DEBUG};
  char text[1500];

  (void)state;
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  cp__logf(&log, CP_LOG_INFO, "%s", text);
  assert_int_equal(strlen(taken.text), 1023);
  assert_memory_equal(taken.text, text, 1023);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_line),
      cmocka_unit_test(test_level),
      cmocka_unit_test(test_no_sink),
      cmocka_unit_test(test_control_characters),
      cmocka_unit_test(test_long_line_is_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
