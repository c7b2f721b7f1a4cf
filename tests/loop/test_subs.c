/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "alloc.h"
#include "fake_transport.h"
#include "subs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define N_MANY 1300 /* more than two batches */
#define N_FEW  8

typedef struct item {
  cp__sub sub;
  unsigned n_confirmed;
  bool idle;
} item;

typedef struct fixture {
  uv_loop_t loop;
  fake_transport fake;
  cp_transport_host host;
  cp__subs subs;
  item items[N_MANY];
  bool synced;
  unsigned n_synced; /* calls of on_synced */
} fixture;

/* The subs' host. */

static size_t channel_of(void *ctx, const cp__sub *sub,
                         char out[CP__CHANNEL_MAX]) {
  fixture *f = ctx;
  const item *it = cp__container_of(sub, const item, sub);

  return (size_t)snprintf(out, CP__CHANNEL_MAX, "c%d", (int)(it - f->items));
}

static void on_confirmed(void *ctx, cp__sub *sub) {
  fixture *f = ctx;

  assert_true(cp__subs_is_confirmed(&f->subs, sub));
  cp__container_of(sub, item, sub)->n_confirmed++;
}

static void on_idle(void *ctx, cp__sub *sub) {
  item *it = cp__container_of(sub, item, sub);

  (void)ctx;
  assert_false(it->idle);
  assert_true(cp__list_empty(&sub->link));
  it->idle = true;
}

static void on_synced(void *ctx, bool synced) {
  fixture *f = ctx;

  assert_true(synced != f->synced);
  f->synced = synced;
  f->n_synced++;
}

static const cp__subs_host subs_host = {channel_of, on_confirmed, on_idle,
                                        on_synced};

/* The transport's host. */

static void on_linked(void *ctx, int settle) {
  (void)settle;
  cp__subs_on_linked(&((fixture *)ctx)->subs);
}

static void on_unlinked(void *ctx, int err, const char *reason) {
  (void)err;
  (void)reason;
  cp__subs_on_unlinked(&((fixture *)ctx)->subs);
}

static void on_command_confirmed(void *ctx, void *token, int status) {
  cp__subs_on_confirmed(&((fixture *)ctx)->subs, token, status);
}

static void on_transport_closed(void *ctx) {
  (void)ctx;
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  size_t i;

  uv_loop_init(&f->loop);
  f->host.size = sizeof f->host;
  f->host.ctx = f;
  f->host.loop = &f->loop;
  f->host.allocator = &cp__default_allocator;
  f->host.on_linked = on_linked;
  f->host.on_unlinked = on_unlinked;
  f->host.on_confirmed = on_command_confirmed;
  f->host.on_closed = on_transport_closed;
  fake_transport_init(&f->fake);
  f->fake.base.ops->start(&f->fake.base, &f->host);
  cp__subs_init(&f->subs, &f->fake.base, &subs_host, f);
  for (i = 0; i < N_MANY; i++)
    cp__sub_init(&f->items[i].sub, CP__SUB_USER);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;

  if (f->subs.linked)
    fake_transport_unlink(&f->fake, "the end");
  cp__subs_close(&f->subs);
  f->fake.base.ops->close(&f->fake.base, &f->host, 0);
  uv_run(&f->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&f->loop), 0);
  free(f);
  return 0;
}

/* Words for the tests. */

static void join(fixture *f, size_t i) {
  f->items[i].idle = false;
  cp__subs_join(&f->subs, &f->items[i].sub);
}

static void leave(fixture *f, size_t i) {
  cp__subs_leave(&f->subs, &f->items[i].sub);
}

static void link_up(fixture *f) {
  fake_transport_link(&f->fake, 0);
  cp__subs_pump(&f->subs);
}

static void confirm(fixture *f, int status) {
  assert_true(fake_transport_confirm(&f->fake, status));
}

static bool is_confirmed(const fixture *f, size_t i) {
  return cp__subs_is_confirmed(&f->subs, &f->items[i].sub);
}

static void assert_asked(fixture *f, const char *words) {
  assert_string_equal(f->fake.asked, words);
  fake_transport_forget(&f->fake);
}

/* A linked one on which item 0 is confirmed. */
static void link_with_one(fixture *f) {
  join(f, 0);
  link_up(f);
  confirm(f, 0);
  assert_asked(f, "+c0 ");
  assert_true(is_confirmed(f, 0));
}

/* The first link. */

static void test_waits_for_the_link(void **state) {
  fixture *f = *state;

  join(f, 0);
  join(f, 1);
  cp__subs_pump(&f->subs);
  assert_asked(f, "");
  fake_transport_link(&f->fake, 0);
  assert_asked(f, ""); /* not from inside on_linked */
  assert_false(f->synced);
  cp__subs_pump(&f->subs);
  assert_asked(f, "+c0 +c1 ");
  confirm(f, 0);
  assert_true(is_confirmed(f, 0));
  assert_false(is_confirmed(f, 1));
  assert_false(f->synced);
  confirm(f, 0);
  assert_true(is_confirmed(f, 1));
  assert_true(f->synced);
}

static void test_nothing_wanted_is_synced(void **state) {
  fixture *f = *state;

  fake_transport_link(&f->fake, 0);
  assert_true(f->synced);
  fake_transport_unlink(&f->fake, "");
  assert_false(f->synced);
}

static void test_asks_at_once_while_linked(void **state) {
  fixture *f = *state;

  link_with_one(f);
  join(f, 1);
  assert_asked(f, "+c1 ");
  assert_true(f->synced); /* a new user unsettles nobody */
  assert_false(is_confirmed(f, 1));
  confirm(f, 0);
  assert_int_equal(f->items[1].n_confirmed, 1);
}

static void test_confirmed_during_the_call(void **state) {
  fixture *f = *state;

  f->fake.confirm_at_once = true;
  join(f, 0);
  join(f, 1);
  link_up(f);
  join(f, 2);
  assert_true(f->synced);
  assert_int_equal(f->items[0].n_confirmed, 1);
  assert_int_equal(f->items[2].n_confirmed, 1);
  leave(f, 2);
  assert_true(f->items[2].idle);
  assert_asked(f, "+c0 +c1 +c2 -c2 ");
}

/* Batches. */

static void confirm_n(fixture *f, size_t n) {
  while (n-- > 0)
    confirm(f, 0);
}

static void test_replays_in_batches(void **state) {
  fixture *f = *state;
  size_t i;

  for (i = 0; i < N_MANY; i++)
    join(f, i);
  link_up(f);
  assert_int_equal(f->fake.n_subscribed, 512);
  confirm_n(f, 511);
  cp__subs_pump(&f->subs);
  assert_int_equal(f->fake.n_subscribed, 512);
  confirm(f, 0);
  cp__subs_pump(&f->subs);
  assert_int_equal(f->fake.n_subscribed, 1024);
  confirm_n(f, 512);
  assert_false(f->synced);
  cp__subs_pump(&f->subs);
  assert_int_equal(f->fake.n_subscribed, N_MANY);
  confirm_n(f, N_MANY - 1024);
  assert_true(f->synced);
  assert_int_equal(f->n_synced, 1);
  for (i = 0; i < N_MANY; i++)
    assert_true(is_confirmed(f, i));
}

static void test_new_ones_come_before_the_replay(void **state) {
  fixture *f = *state;
  size_t i;

  for (i = 0; i < N_MANY - 1; i++)
    join(f, i);
  link_up(f);
  fake_transport_forget(&f->fake);
  join(f, N_MANY - 1);
  assert_asked(f, "+c1299 ");
  /* It is no part of a batch: the next one goes out without its answer. */
  confirm_n(f, 512);
  cp__subs_pump(&f->subs);
  assert_int_equal(f->fake.n_subscribed, 1025);
}

static void test_leaving_during_the_replay(void **state) {
  fixture *f = *state;

  join(f, 0);
  join(f, 1);
  link_up(f);
  leave(f, 0);
  assert_asked(f, "+c0 +c1 -c0 ");
  confirm(f, 0);
  assert_false(f->items[0].idle);
  confirm(f, 0);
  assert_false(f->synced);
  confirm(f, 0);
  assert_true(f->items[0].idle);
  assert_int_equal(f->items[0].n_confirmed, 0);
  assert_true(f->synced);
}

static void test_leaving_before_its_batch(void **state) {
  fixture *f = *state;
  size_t i;

  for (i = 0; i < 513; i++)
    join(f, i);
  link_up(f);
  leave(f, 512);
  assert_true(f->items[512].idle);
  assert_int_equal(f->fake.n_unsubscribed, 0);
  confirm_n(f, 512);
  assert_true(f->synced);
}

/* Leaving and returning. */

static void test_leave(void **state) {
  fixture *f = *state;

  link_with_one(f);
  leave(f, 0);
  assert_asked(f, "-c0 ");
  assert_false(is_confirmed(f, 0));
  assert_false(f->items[0].idle);
  confirm(f, 0);
  assert_true(f->items[0].idle);
  assert_true(f->synced);
}

static void test_returns_before_unsubscribe_is_confirmed(void **state) {
  fixture *f = *state;

  link_with_one(f);
  leave(f, 0);
  join(f, 0);
  assert_asked(f, "-c0 +c0 ");
  confirm(f, 0); /* the UNSUBSCRIBE */
  assert_false(is_confirmed(f, 0));
  assert_int_equal(f->items[0].n_confirmed, 1);
  confirm(f, 0);
  assert_true(is_confirmed(f, 0));
  assert_int_equal(f->items[0].n_confirmed, 2);
  assert_false(f->items[0].idle);
}

static void test_leaves_before_subscribe_is_confirmed(void **state) {
  fixture *f = *state;

  link_with_one(f);
  join(f, 1);
  leave(f, 1);
  join(f, 1);
  leave(f, 1);
  assert_asked(f, "+c1 -c1 +c1 -c1 ");
  confirm_n(f, 3);
  assert_false(f->items[1].idle);
  confirm(f, 0);
  assert_true(f->items[1].idle);
  assert_int_equal(f->items[1].n_confirmed, 0);
}

/* What is confirmed then is the UNSUBSCRIBE, not what it waits for. */
static void test_returns_and_cannot_ask(void **state) {
  fixture *f = *state;

  link_with_one(f);
  leave(f, 0);
  f->fake.fail_subscribe = CP_E_FULL;
  join(f, 0);
  assert_asked(f, "-c0 ");
  assert_false(f->synced);
  confirm(f, 0);
  assert_false(is_confirmed(f, 0));
  assert_int_equal(f->items[0].n_confirmed, 1);
  f->fake.fail_subscribe = 0;
  cp__subs_pump(&f->subs);
  assert_asked(f, "+c0 ");
  confirm(f, 0);
  assert_true(is_confirmed(f, 0));
  assert_true(f->synced);
}

static void test_cannot_ask_to_leave(void **state) {
  fixture *f = *state;

  link_with_one(f);
  f->fake.fail_unsubscribe = CP_E_NOMEM;
  leave(f, 0);
  assert_true(f->items[0].idle);
  assert_asked(f, "");
  join(f, 0);
  assert_asked(f, "+c0 ");
}

static void test_never_more_commands_than_can_be_counted(void **state) {
  fixture *f = *state;
  int i;

  link_with_one(f);
  f->items[0].sub.n_ops = UINT16_MAX - 2; /* as if they were on their way */
  for (i = 0; i < 3; i++) {
    leave(f, 0);
    join(f, 0);
  }
  assert_asked(f, "-c0 +c0 ");
  assert_int_equal(f->items[0].sub.n_ops, UINT16_MAX);
  assert_false(f->items[0].idle);
  f->items[0].sub.n_ops = 2;
  confirm_n(f, 2);
  assert_int_equal(f->items[0].n_confirmed, 1); /* still to be asked for */
  cp__subs_pump(&f->subs);
  confirm(f, 0);
  assert_true(is_confirmed(f, 0));
}

/* Refusal. */

static void test_refused(void **state) {
  fixture *f = *state;

  link_with_one(f);
  join(f, 1);
  confirm(f, CP_E_REDIS);
  assert_false(is_confirmed(f, 1));
  assert_false(f->synced);
  assert_false(cp__list_empty(&f->subs.refused));
  fake_transport_forget(&f->fake);
  cp__subs_pump(&f->subs);
  assert_asked(f, ""); /* not again and again */
  cp__subs_retry(&f->subs);
  assert_asked(f, "+c1 ");
  confirm(f, 0);
  assert_true(is_confirmed(f, 1));
  assert_true(f->synced);
}

static void test_refused_and_left(void **state) {
  fixture *f = *state;

  link_with_one(f);
  join(f, 1);
  confirm(f, CP_E_REDIS);
  fake_transport_forget(&f->fake);
  leave(f, 1);
  assert_asked(f, "");
  assert_true(f->items[1].idle);
  assert_true(f->synced);
}

static void test_refused_while_leaving(void **state) {
  fixture *f = *state;

  link_with_one(f);
  join(f, 1);
  leave(f, 1);
  confirm(f, CP_E_REDIS);
  confirm(f, 0);
  assert_true(f->items[1].idle);
  assert_true(f->synced);
}

static void test_only_the_last_answer_counts(void **state) {
  fixture *f = *state;

  link_with_one(f);
  join(f, 1);
  leave(f, 1);
  join(f, 1);
  confirm(f, CP_E_REDIS);
  confirm(f, 0);
  confirm(f, 0);
  assert_true(is_confirmed(f, 1));
}

/* One that fails each call during the call must not be asked for ever. */
static void test_failures_during_the_call_end(void **state) {
  fixture *f = *state;
  size_t i;

  f->fake.confirm_at_once = true;
  f->fake.confirm_status = CP_E_NOMEM;
  for (i = 0; i < N_FEW; i++)
    join(f, i);
  link_up(f);
  assert_int_equal(f->fake.n_subscribed, N_FEW);
  cp__subs_pump(&f->subs);
  assert_int_equal(f->fake.n_subscribed, N_FEW);
  f->fake.confirm_status = 0;
  cp__subs_retry(&f->subs);
  assert_true(f->synced);
}

static void test_a_full_transport_is_asked_again(void **state) {
  fixture *f = *state;
  size_t i;

  for (i = 0; i < N_FEW; i++)
    join(f, i);
  f->fake.fail_subscribe = CP_E_FULL;
  link_up(f);
  assert_int_equal(f->subs.n_replaying, 0);
  assert_false(f->synced);
  f->fake.fail_subscribe = 0;
  cp__subs_pump(&f->subs);
  assert_int_equal(f->fake.n_subscribed, N_FEW);
  confirm_n(f, N_FEW);
  assert_true(f->synced);
}

/* Breaks. */

static void test_break_in_every_state(void **state) {
  fixture *f = *state;

  link_with_one(f); /* 0: confirmed */
  join(f, 1);
  confirm(f, CP_E_REDIS); /* 1: refused */
  join(f, 2);
  confirm(f, 0);
  leave(f, 2); /* 2: leaving */
  join(f, 3);
  leave(f, 3); /* 3: leaving, never confirmed */
  join(f, 4);
  confirm_n(f, 4);
  leave(f, 4);
  join(f, 4); /* 4: returned */
  join(f, 5); /* 5: asked for */
  f->fake.fail_subscribe = CP_E_FULL;
  join(f, 6); /* 6: could not be asked for */
  f->fake.fail_subscribe = 0;
  fake_transport_unlink(&f->fake, "break");
  assert_false(f->synced);
  assert_true(f->items[2].idle && f->items[3].idle);
  assert_false(is_confirmed(f, 0));
  join(f, 7); /* 7: new */
  fake_transport_forget(&f->fake);
  link_up(f);
  assert_int_equal(f->fake.n_unsubscribed, 3);
  assert_int_equal(fake_transport_n_unconfirmed(&f->fake), 6);
  assert_null(strstr(f->fake.asked, "c2"));
  assert_null(strstr(f->fake.asked, "c3"));
  confirm_n(f, 6);
  assert_true(f->synced);
  assert_true(is_confirmed(f, 0) && is_confirmed(f, 1) && is_confirmed(f, 4) &&
              is_confirmed(f, 5) && is_confirmed(f, 6) && is_confirmed(f, 7));
}

static void test_break_during_the_replay(void **state) {
  fixture *f = *state;
  size_t i;

  for (i = 0; i < N_MANY; i++)
    join(f, i);
  link_up(f);
  confirm_n(f, 100);
  fake_transport_unlink(&f->fake, "break");
  assert_int_equal(f->subs.n_replaying, 0);
  f->fake.n_subscribed = 0;
  link_up(f);
  for (i = 0; i < 3; i++) {
    fake_transport_confirm_all(&f->fake);
    cp__subs_pump(&f->subs);
  }
  assert_int_equal(f->fake.n_subscribed, N_MANY);
  assert_true(f->synced);
}

static void test_what_an_old_link_confirmed_is_not_confirmed(void **state) {
  fixture *f = *state;

  link_with_one(f);
  fake_transport_unlink(&f->fake, "break");
  fake_transport_link(&f->fake, 0);
  assert_false(is_confirmed(f, 0));
  leave(f, 0); /* nothing to take back on this link */
  assert_asked(f, "");
  assert_true(f->items[0].idle);
}

/* One channel, while the link stands. */
static void test_lost(void **state) {
  fixture *f = *state;

  link_with_one(f);
  cp__subs_on_lost(&f->subs, &f->items[0].sub);
  assert_asked(f, ""); /* not from inside on_lost */
  assert_false(is_confirmed(f, 0));
  assert_false(f->synced);
  cp__subs_pump(&f->subs);
  assert_asked(f, "+c0 ");
  confirm(f, 0);
  assert_true(is_confirmed(f, 0));
  assert_true(f->synced);
}

/* What is under way tells what became of it. */
static void test_lost_while_a_command_is_under_way(void **state) {
  fixture *f = *state;

  link_with_one(f);
  leave(f, 0);
  join(f, 0);
  cp__subs_on_lost(&f->subs, &f->items[0].sub);
  cp__subs_pump(&f->subs);
  assert_asked(f, "-c0 +c0 ");
  confirm(f, 0);
  confirm(f, 0);
  assert_true(is_confirmed(f, 0));
  leave(f, 0);
  cp__subs_on_lost(&f->subs, &f->items[0].sub);
  confirm(f, 0);
  cp__subs_on_lost(&f->subs, &f->items[0].sub);
  cp__subs_pump(&f->subs);
  assert_asked(f, "-c0 ");
  assert_true(f->items[0].idle);
  assert_true(f->synced);
}

static void test_changed(void **state) {
  fixture *f = *state;

  join(f, 0);
  join(f, 1);
  link_up(f);
  confirm(f, CP_E_DOWN);
  confirm(f, 0);
  assert_asked(f, "+c0 +c1 ");
  cp__subs_pump(&f->subs);
  assert_asked(f, ""); /* it would be in vain */
  cp__subs_on_changed(&f->subs);
  assert_asked(f, "");
  assert_false(f->synced);
  cp__subs_pump(&f->subs);
  assert_asked(f, "+c0 ");
  confirm(f, 0);
  assert_true(f->synced);
}

static void test_join_and_leave_while_unlinked(void **state) {
  fixture *f = *state;

  join(f, 0);
  leave(f, 0);
  assert_true(f->items[0].idle);
  join(f, 1);
  link_up(f);
  assert_asked(f, "+c1 ");
}

static void test_no_commands_after_close(void **state) {
  fixture *f = *state;

  link_with_one(f);
  join(f, 1);
  fake_transport_forget(&f->fake);
  cp__subs_close(&f->subs);
  join(f, 2);
  leave(f, 0);
  leave(f, 1);
  cp__subs_pump(&f->subs);
  cp__subs_retry(&f->subs);
  assert_asked(f, "");
  assert_true(f->items[0].idle);
  fake_transport_unlink(&f->fake, "closed");
  assert_true(f->items[1].idle);
}

/* At random, against a model of Redis: commands take effect in their order. */

typedef struct model {
  fixture *f;
  uint32_t random;
  bool subscribed[N_FEW];
} model;

static uint32_t random_below(model *m, uint32_t bound) {
  m->random = m->random * 1664525u + 1013904223u;
  return (m->random >> 8) % bound;
}

static void model_confirm(model *m) {
  const fake_pending *first = &m->f->fake.pending[0];
  bool refuse = random_below(m, 6) == 0;
  item *it;

  if (m->f->fake.n_pending == 0)
    return;
  it = cp__container_of((cp__sub *)first->token, item, sub);
  if (!refuse)
    m->subscribed[it - m->f->items] = first->kind == '+';
  confirm(m->f, refuse ? CP_E_REDIS : 0);
}

static void model_toggle_link(model *m) {
  if (m->f->subs.linked) {
    fake_transport_unlink(&m->f->fake, "at random");
    memset(m->subscribed, 0, sizeof m->subscribed);
  } else {
    fake_transport_link(&m->f->fake, 0);
  }
}

static void model_step(model *m) {
  size_t i = random_below(m, N_FEW);
  item *it = &m->f->items[i];

  switch (random_below(m, 12)) {
  case 0:
  case 1:
  case 2:
    if (it->sub.want)
      leave(m->f, i);
    else
      join(m->f, i);
    break;
  case 3:
    m->f->fake.fail_subscribe = random_below(m, 3) == 0 ? CP_E_FULL : 0;
    m->f->fake.fail_unsubscribe = random_below(m, 3) == 0 ? CP_E_FULL : 0;
    break;
  case 4:
    if (random_below(m, 8) == 0)
      model_toggle_link(m);
    break;
  case 5:
    cp__subs_retry(&m->f->subs);
    break;
  case 6:
  case 7:
    cp__subs_pump(&m->f->subs);
    break;
  default:
    model_confirm(m);
  }
}

/* Whoever counts as confirmed is subscribed. */
static void model_check(const model *m) {
  size_t i;

  for (i = 0; i < N_FEW; i++) {
    const cp__sub *sub = &m->f->items[i].sub;
    if (is_confirmed(m->f, i))
      assert_true(m->subscribed[i]);
    if (m->f->synced && sub->want && sub->n_ops == 0)
      assert_true(is_confirmed(m->f, i));
  }
}

/* Left in peace, everything comes to what is wanted. */
static void model_settle(model *m) {
  size_t i;

  m->f->fake.fail_subscribe = m->f->fake.fail_unsubscribe = 0;
  if (!m->f->subs.linked)
    fake_transport_link(&m->f->fake, 0);
  for (i = 0; i < 3; i++) {
    cp__subs_retry(&m->f->subs);
    while (m->f->fake.n_pending > 0) {
      const fake_pending *first = &m->f->fake.pending[0];
      item *it = cp__container_of((cp__sub *)first->token, item, sub);
      m->subscribed[it - m->f->items] = first->kind == '+';
      confirm(m->f, 0);
    }
  }
  assert_true(m->f->synced);
  for (i = 0; i < N_FEW; i++) {
    assert_int_equal(is_confirmed(m->f, i), m->f->items[i].sub.want);
    assert_int_equal(m->f->items[i].sub.n_ops, 0);
  }
}

static void test_at_random(void **state) {
  model m;
  uint32_t seed;
  int i;

  memset(&m, 0, sizeof m);
  m.f = *state;
  for (seed = 0; seed < 200; seed++) {
    m.random = seed;
    for (i = 0; i < 300; i++) {
      model_step(&m);
      model_check(&m);
    }
    model_settle(&m);
    fake_transport_forget(&m.f->fake);
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_waits_for_the_link),
      TEST(test_nothing_wanted_is_synced),
      TEST(test_asks_at_once_while_linked),
      TEST(test_confirmed_during_the_call),
      TEST(test_replays_in_batches),
      TEST(test_new_ones_come_before_the_replay),
      TEST(test_leaving_during_the_replay),
      TEST(test_leaving_before_its_batch),
      TEST(test_leave),
      TEST(test_returns_before_unsubscribe_is_confirmed),
      TEST(test_leaves_before_subscribe_is_confirmed),
      TEST(test_returns_and_cannot_ask),
      TEST(test_cannot_ask_to_leave),
      TEST(test_never_more_commands_than_can_be_counted),
      TEST(test_refused),
      TEST(test_refused_and_left),
      TEST(test_refused_while_leaving),
      TEST(test_only_the_last_answer_counts),
      TEST(test_failures_during_the_call_end),
      TEST(test_a_full_transport_is_asked_again),
      TEST(test_break_in_every_state),
      TEST(test_break_during_the_replay),
      TEST(test_what_an_old_link_confirmed_is_not_confirmed),
      TEST(test_lost),
      TEST(test_lost_while_a_command_is_under_way),
      TEST(test_changed),
      TEST(test_join_and_leave_while_unlinked),
      TEST(test_no_commands_after_close),
      TEST(test_at_random),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
