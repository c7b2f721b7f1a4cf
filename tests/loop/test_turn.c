/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "turn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

typedef struct owner {
  cp__turn turn;
  uv_loop_t loop;
  uv_timer_t timer; /* keeps the loop alive */
  int n_runs;
  int n_more; /* so often there is more to do */
  uint64_t n_work;
  bool closed;
} owner;

static void on_turn_closed(void *ctx) {
  ((owner *)ctx)->closed = true;
}

static bool run(void *ctx) {
  owner *self = ctx;

  self->n_runs++;
  cp__turn_note_work(&self->turn, self->n_work);
  return self->n_more-- > 0;
}

static void on_timer(uv_timer_t *timer) {
  (void)timer;
}

static void start(owner *self) {
  *self = (owner){.n_runs = 0};
  assert_int_equal(uv_loop_init(&self->loop), 0);
  uv_timer_init(&self->loop, &self->timer);
  uv_timer_start(&self->timer, on_timer, 3600 * 1000, 0);
  cp__turn_start(&self->turn, &self->loop, run, self);
}

static void finish(owner *self) {
  uv_close((uv_handle_t *)&self->timer, NULL);
  cp__turn_close(&self->turn, on_turn_closed);
  uv_run(&self->loop, UV_RUN_DEFAULT);
  assert_true(self->closed);
  assert_int_equal(uv_loop_close(&self->loop), 0);
}

/* With more to do the poll doesn't block, or this would take an hour. */
static void test_more_to_do_keeps_the_loop_awake(void **state) {
  owner self;

  (void)state;
  start(&self);
  self.n_more = 5;
  uv_run(&self.loop, UV_RUN_ONCE);
  assert_int_equal(self.n_runs, 2); /* before the poll, and after it */
  uv_run(&self.loop, UV_RUN_ONCE);
  assert_int_equal(self.n_runs, 4);
  finish(&self);
}

static void test_several_messages_make_a_busy_turn(void **state) {
  owner self;

  (void)state;
  start(&self);
  cp__turn_note_work(&self.turn, 3);
  assert_false(self.turn.busy);
  cp__turn_note_work(&self.turn, 6);
  assert_false(self.turn.busy);
  cp__turn_note_work(&self.turn, 10);
  assert_true(self.turn.busy);
  cp__turn_note_work(&self.turn, 10);
  assert_true(self.turn.busy); /* until the next poll */
  self.n_work = 10;
  uv_run(&self.loop, UV_RUN_NOWAIT);
  assert_false(self.turn.busy);
  finish(&self);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_more_to_do_keeps_the_loop_awake),
      cmocka_unit_test(test_several_messages_make_a_busy_turn),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
