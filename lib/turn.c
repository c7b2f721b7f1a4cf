/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "turn.h"

#include <sched.h>

/* Messages in one turn that make it a busy one. */
#define BUSY 4

static void on_idle(uv_idle_t *idle) {
  (void)idle; /* being active is all it is for: the poll won't block */
}

static void run(cp__turn *turn) {
  bool more = turn->run(turn->ctx);

  if (uv_is_closing((uv_handle_t *)&turn->idle))
    return;
  if (more)
    uv_idle_start(&turn->idle, on_idle);
  else
    uv_idle_stop(&turn->idle);
}

/* Twice: once lets fewer others run, four times no more (bench/README.md). */
static void offer_core(void) {
  sched_yield();
  sched_yield();
}

static void on_prepare(uv_prepare_t *prepare) {
  cp__turn *turn = prepare->data;

  run(turn);
  if (turn->busy)
    offer_core();
  turn->busy = false;
}

static void on_check(uv_check_t *check) {
  run(check->data);
}

void cp__turn_note_work(cp__turn *turn, uint64_t n_work) {
  if (n_work - turn->n_work >= BUSY)
    turn->busy = true;
  turn->n_work = n_work;
}

void cp__turn_start(cp__turn *turn, uv_loop_t *loop, bool (*fn)(void *ctx),
                    void *ctx) {
  turn->run = fn;
  turn->ctx = ctx;
  turn->n_work = 0;
  turn->busy = false;
  turn->n_open = 3;
  uv_prepare_init(loop, &turn->prepare);
  uv_check_init(loop, &turn->check);
  uv_idle_init(loop, &turn->idle);
  turn->prepare.data = turn;
  turn->check.data = turn;
  turn->idle.data = turn;
  uv_prepare_start(&turn->prepare, on_prepare);
  uv_check_start(&turn->check, on_check);
  uv_unref((uv_handle_t *)&turn->prepare);
  uv_unref((uv_handle_t *)&turn->check);
}

static void on_handle_closed(uv_handle_t *handle) {
  cp__turn *turn = handle->data;

  if (--turn->n_open == 0)
    turn->on_closed(turn->ctx);
}

void cp__turn_close(cp__turn *turn, void (*on_closed)(void *ctx)) {
  turn->on_closed = on_closed;
  uv_close((uv_handle_t *)&turn->prepare, on_handle_closed);
  uv_close((uv_handle_t *)&turn->check, on_handle_closed);
  uv_close((uv_handle_t *)&turn->idle, on_handle_closed);
}
