/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "sweep.h"

/* The timer fires at most this often: what falls due together is done together.
 */
#define MIN_PAUSE_MS 10
/* Items a run; the rest waits for the next, so that a herd that connected in
 * one moment doesn't block the loop. */
#define BUDGET 1000

static uint32_t clock_ms(const cp__sweep *sweep) {
  return (uint32_t)uv_now(sweep->timer.loop);
}

static uint32_t age_ms(const cp__sweep *sweep, const cp__timed *item) {
  return clock_ms(sweep) - item->since;
}

static void on_timer(uv_timer_t *timer);

static void arm(cp__sweep *sweep, uint64_t pause_ms) {
  uint64_t when;

  if (pause_ms < MIN_PAUSE_MS)
    pause_ms = MIN_PAUSE_MS;
  when = uv_now(sweep->timer.loop) + pause_ms;
  if (sweep->armed_for != 0 && sweep->armed_for <= when)
    return;
  if (uv_timer_start(&sweep->timer, on_timer, pause_ms, 0) == 0)
    sweep->armed_for = when;
}

/* Returns what is left of the budget. */
static int run_list(cp__sweep *sweep, cp__sweep_list *list, int budget) {
  cp__list *first;

  while (budget > 0 && (first = cp__list_first(&list->items)) != NULL) {
    cp__timed *item = cp__container_of(first, cp__timed, link);
    if (age_ms(sweep, item) < list->timeout_ms)
      break;
    cp__list_remove(first);
    budget--;
    list->on_due(list, item);
  }
  return budget;
}

static void rearm(cp__sweep *sweep) {
  cp__list *it;

  for (it = sweep->lists.next; it != &sweep->lists; it = it->next) {
    cp__sweep_list *list = cp__container_of(it, cp__sweep_list, link);
    cp__list *first = cp__list_first(&list->items);
    uint32_t age;
    if (first == NULL)
      continue;
    age = age_ms(sweep, cp__container_of(first, cp__timed, link));
    arm(sweep, age < list->timeout_ms ? list->timeout_ms - age : 0);
  }
}

static void on_timer(uv_timer_t *timer) {
  cp__sweep *sweep = timer->data;
  int budget = BUDGET;
  cp__list *it;

  sweep->armed_for = 0;
  for (it = sweep->lists.next; it != &sweep->lists; it = it->next) {
    cp__sweep_list *list = cp__container_of(it, cp__sweep_list, link);
    budget = run_list(sweep, list, budget);
  }
  if (!uv_is_closing((uv_handle_t *)timer))
    rearm(sweep);
}

void cp__sweep_init(cp__sweep *sweep) {
  cp__list_init(&sweep->lists);
  sweep->armed_for = 0;
}

void cp__sweep_start(cp__sweep *sweep, uv_loop_t *loop) {
  uv_timer_init(loop, &sweep->timer);
  sweep->timer.data = sweep;
}

void cp__sweep_add_list(cp__sweep *sweep, cp__sweep_list *list,
                        uint32_t timeout_ms,
                        void (*on_due)(cp__sweep_list *, cp__timed *)) {
  cp__list_init(&list->items);
  list->sweep = sweep;
  list->timeout_ms = timeout_ms;
  list->on_due = on_due;
  cp__list_push_back(&sweep->lists, &list->link);
}

static void on_timer_closed(uv_handle_t *handle) {
  cp__sweep *sweep = handle->data;
  sweep->on_closed(sweep->ctx);
}

void cp__sweep_close(cp__sweep *sweep, void (*on_closed)(void *ctx),
                     void *ctx) {
  sweep->on_closed = on_closed;
  sweep->ctx = ctx;
  uv_close((uv_handle_t *)&sweep->timer, on_timer_closed);
}

void cp__timed_start(cp__sweep_list *list, cp__timed *item) {
  cp__sweep *sweep = list->sweep;

  cp__list_remove(&item->link);
  item->since = clock_ms(sweep);
  cp__list_push_back(&list->items, &item->link);
  if (!uv_is_closing((uv_handle_t *)&sweep->timer))
    arm(sweep, list->timeout_ms);
}

void cp__timed_start_for(cp__sweep_list *list, cp__timed *item, uint32_t ms) {
  cp__sweep *sweep = list->sweep;
  cp__list *place = &list->items;

  cp__list_remove(&item->link);
  item->since = clock_ms(sweep) - (list->timeout_ms - ms);
  while (place->prev != &list->items &&
         (int32_t)(cp__container_of(place->prev, cp__timed, link)->since -
                   item->since) > 0)
    place = place->prev;
  cp__list_insert_before(place, &item->link);
  if (!uv_is_closing((uv_handle_t *)&sweep->timer))
    arm(sweep, ms);
}
