/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_RUN_UNTIL_H
#define CP_TEST_RUN_UNTIL_H

/* Run until: a loop that is run until something is so, instead of for a while.
 * What is not so within the deadline fails the test. */

#include <stdbool.h>
#include <uv.h>

#define RUN_DEADLINE_MS 20000

typedef struct test_loop {
  uv_loop_t loop;
  uv_timer_t deadline;
  bool expired;
} test_loop;

static inline void test_loop_on_deadline(uv_timer_t *timer) {
  test_loop *self = timer->data;
  self->expired = true;
}

static inline void test_loop_init(test_loop *self) {
  uv_loop_init(&self->loop);
  uv_timer_init(&self->loop, &self->deadline);
  uv_unref((uv_handle_t *)&self->deadline);
  self->deadline.data = self;
  self->expired = false;
}

/* Run one turn; it waits for an event. */
static inline void test_loop_turn(test_loop *self) {
  uv_run(&self->loop, UV_RUN_ONCE);
}

/* Returns what uv_loop_close does: 0 if nothing was left open. */
static inline int test_loop_finish(test_loop *self) {
  uv_close((uv_handle_t *)&self->deadline, NULL);
  uv_run(&self->loop, UV_RUN_DEFAULT);
  return uv_loop_close(&self->loop);
}

#define run_until(self, condition)                                            \
  do {                                                                        \
    uv_update_time(&(self)->loop);                                            \
    uv_timer_start(&(self)->deadline, test_loop_on_deadline, RUN_DEADLINE_MS, \
                   0);                                                        \
    while (!(condition)) {                                                    \
      if ((self)->expired)                                                    \
        fail_msg("line %d: it never came to: %s", __LINE__, #condition);      \
      test_loop_turn(self);                                                   \
    }                                                                         \
    uv_timer_stop(&(self)->deadline);                                         \
  } while (0)

#endif
