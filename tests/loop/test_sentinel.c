/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Scripted sentinels: those that lie, hang, or know nothing. The first
 * connection to one is the asker, the second the follower. */
#include "sentinel.h"

#include "../unit/failing_alloc.h"
#include "fake_redis.h"
#include "run_until.h"
#include "transport_host.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define N_FAKES 3
#define LONG_MS 600000

#define SENTINEL_GREETING                                                     \
  EXPECT("CLIENT SETNAME clusterpush"), SEND(FAKE_OK), EXPECT("INFO server"), \
      SEND(FAKE_INFO(FAKE_RUN_ID, "99"))
#define QUESTION                                                             \
  EXPECT("SENTINEL MASTER m"), EXPECT("SENTINEL GET-MASTER-ADDR-BY-NAME m"), \
      EXPECT("SENTINEL SENTINELS m")
#define EPOCH(epoch) \
  "*4\r\n$4\r\nname\r\n$1\r\nm\r\n$12\r\nconfig-epoch\r\n$1\r\n" epoch "\r\n"
#define UNKNOWN "-ERR No such master with that name\r\n"
#define ADDRESS(len, host, port) \
  "*2\r\n$" len "\r\n" host "\r\n$4\r\n" port "\r\n"
#define NOBODY_ELSE "*0\r\n"
#define ANSWER(port) \
  SEND(EPOCH("1") ADDRESS("9", "127.0.0.1", port) NOBODY_ELSE)

static const fake_step follower[] = {SENTINEL_GREETING,
                                     EXPECT("SUBSCRIBE +switch-master"), END};
static const fake_step names_7000[] = {SENTINEL_GREETING, QUESTION,
                                       ANSWER("7000"), END};
static const fake_step names_7001[] = {SENTINEL_GREETING, QUESTION,
                                       ANSWER("7001"), END};
static const fake_step knows_nothing[] = {SENTINEL_GREETING, QUESTION,
                                          SEND(UNKNOWN "*-1\r\n" UNKNOWN), END};
static const fake_step hangs[] = {SENTINEL_GREETING, END};

typedef struct fixture {
  test_loop loop;
  failing_alloc memory;
  cp__log log;
  char log_text[4096];
  fake_redis fakes[N_FAKES];
  const fake_step *scripts[N_FAKES][2];
  cp__redis_host hosts[N_FAKES];
  cp__redis_identity identity;
  cp__sentinel_options options;
  cp__sentinel *sentinel;
  char heard[1024];
  char reason[1024];
  int err;
  bool closed;
} fixture;

static void note(fixture *f, const char *word) {
  size_t len = strlen(f->heard);
  snprintf(f->heard + len, sizeof f->heard - len, "%s ", word);
}

static void on_master(void *ctx, const cp__endpoint *master) {
  char name[CP__ENDPOINT_SIZE];
  note(ctx, cp__endpoint_name(master, name));
}

static void on_failed(void *ctx, int err, const char *reason) {
  fixture *f = ctx;

  f->err = err;
  snprintf(f->reason, sizeof f->reason, "%s", reason);
  note(f, "failed");
}

static void on_moved(void *ctx, const char *reason) {
  fixture *f = ctx;

  snprintf(f->reason, sizeof f->reason, "%s", reason);
  note(f, "moved");
}

static void on_closed(void *ctx) {
  fixture *f = ctx;

  f->closed = true;
  f->sentinel = NULL;
}

static void on_log(void *ctx, cp_log_level level, const char *text) {
  fixture *f = ctx;
  size_t len = strlen(f->log_text);

  if (level <= CP_LOG_WARN)
    snprintf(f->log_text + len, sizeof f->log_text - len, "%s\n", text);
}

/* The n-th sentinel follows the n-th script; NULL: no more of them. */
static void init(fixture *f, const fake_step *first, const fake_step *second,
                 const fake_step *third) {
  static const cp__sentinel_events events = {on_master, on_failed, on_moved,
                                             on_closed};
  const fake_step *const askers[N_FAKES] = {first, second, third};
  size_t i;

  memset(f, 0, sizeof *f);
  test_loop_init(&f->loop);
  failing_alloc_init(&f->memory, 0);
  f->log = (cp__log){on_log, f, CP_LOG_DEBUG};
  f->identity.client_name = "clusterpush";
  f->identity.any_role = true;
  for (i = 0; i < N_FAKES && askers[i] != NULL; i++) {
    f->scripts[i][0] = askers[i];
    f->scripts[i][1] = follower;
    fake_redis_start_tcp(&f->fakes[i], &f->loop.loop, f->scripts[i], 2);
    f->hosts[i].name = "127.0.0.1";
    f->hosts[i].port = f->fakes[i].port;
    f->options.n_hosts++;
  }
  f->options.loop = &f->loop.loop;
  f->options.alloc = &f->memory.alloc;
  f->options.log = &f->log;
  f->options.hosts = f->hosts;
  f->options.master = "m";
  f->options.identity = &f->identity;
  f->options.timeout_ms = LONG_MS;
  f->options.interval_ms = LONG_MS;
  f->options.events = &events;
  f->options.ctx = f;
}

static void ask(fixture *f) {
  if (f->sentinel == NULL)
    f->sentinel = cp__sentinel_create(&f->options);
  assert_non_null(f->sentinel);
  cp__sentinel_ask(f->sentinel);
}

static void run_until_heard(fixture *f, const char *words) {
  run_until(&f->loop, strcmp(f->heard, words) == 0);
}

static void finish(fixture *f) {
  size_t i;

  if (f->sentinel != NULL) {
    cp__sentinel_close(f->sentinel);
    assert_false(f->closed);
    run_until(&f->loop, f->closed);
  }
  for (i = 0; i < f->options.n_hosts; i++)
    fake_redis_shut(&f->fakes[i]);
  for (i = 0; i < f->options.n_hosts; i++) {
    fake_redis_stop(&f->fakes[i]);
    assert_string_equal(f->fakes[i].wrong, "");
  }
  assert_int_equal(f->memory.n_live, 0);
  assert_int_equal(test_loop_finish(&f->loop), 0);
}

static void expect_reason(const fixture *f, const char *part) {
  if (strstr(f->reason, part) == NULL)
    fail_msg("'%s' is not in '%s'", part, f->reason);
}

/* Answers. ---------------------------------------------------------------- */

static void test_the_first_is_asked(void **state) {
  fixture f;

  (void)state;
  init(&f, names_7000, names_7001, NULL);
  ask(&f);
  run_until_heard(&f, "127.0.0.1:7000 ");
  assert_int_equal(f.fakes[1].n_conns, 0);
  finish(&f);
}

/* The only sentinel is of no use, for this reason. */
static void expect_failure(const fake_step *script, int err,
                           const char *reason_part) {
  fixture f;

  init(&f, script, NULL, NULL);
  ask(&f);
  run_until_heard(&f, "failed ");
  assert_int_equal(f.err, err);
  expect_reason(&f, "'m'");
  expect_reason(&f, reason_part);
  finish(&f);
}

#define REPLIES(text) \
  SENTINEL_GREETING, QUESTION, SEND(EPOCH("1") text NOBODY_ELSE), END

static void test_answers_that_are_none(void **state) {
  static const fake_step no_sentinel[] = {
      REPLIES("-ERR unknown command 'SENTINEL', with args\r\n")};
  static const fake_step refuses[] = {REPLIES("-NOPERM no way\r\n")};
  static const fake_step number[] = {REPLIES(":7000\r\n")};
  static const fake_step three[] = {REPLIES("*3\r\n:1\r\n:2\r\n:3\r\n")};
  static const fake_step numbers[] = {REPLIES("*2\r\n:1\r\n:2\r\n")};
  static const fake_step no_host[] = {REPLIES(ADDRESS("0", "", "7000"))};
  static const fake_step bad_host[] = {REPLIES(ADDRESS("3", "a b", "7000"))};
  static const fake_step bad_port[] = {REPLIES(ADDRESS("1", "h", "70x0"))};
  static const fake_step port_0[] = {REPLIES(ADDRESS("1", "h", "0000"))};
  static const fake_step wrong_password[] = {
      EXPECT("CLIENT SETNAME clusterpush"), SEND("-NOAUTH first\r\n"), END};
  static const fake_step hangs_up[] = {SENTINEL_GREETING, QUESTION, CLOSE, END};

  (void)state;
  expect_failure(knows_nothing, CP_E_NOTFOUND, "knows no such master");
  expect_failure(no_sentinel, CP_E_REDIS, "is no sentinel");
  expect_failure(refuses, CP_E_REDIS, "NOPERM");
  expect_failure(number, CP_E_PROTOCOL, "no address");
  expect_failure(three, CP_E_PROTOCOL, "no address");
  expect_failure(numbers, CP_E_PROTOCOL, "no address");
  expect_failure(no_host, CP_E_PROTOCOL, "no address");
  expect_failure(bad_host, CP_E_PROTOCOL, "no address");
  expect_failure(bad_port, CP_E_PROTOCOL, "no address");
  expect_failure(port_0, CP_E_PROTOCOL, "no address");
  expect_failure(wrong_password, CP_E_AUTH, "NOAUTH");
  expect_failure(hangs_up, UV_EOF, "closed the connection");
}

/* One after the other; who was of use stays in use. */
static void test_in_turn(void **state) {
  static const fake_step twice[] = {SENTINEL_GREETING, QUESTION,
                                    ANSWER("7000"),    QUESTION,
                                    ANSWER("7000"),    END};
  fixture f;

  (void)state;
  init(&f, knows_nothing, hangs, twice);
  f.options.timeout_ms = 30;
  ask(&f);
  run_until_heard(&f, "127.0.0.1:7000 ");
  cp__sentinel_praise(f.sentinel);
  ask(&f);
  run_until_heard(&f, "127.0.0.1:7000 127.0.0.1:7000 ");
  assert_int_equal(f.fakes[0].n_conns, 1);
  finish(&f);
}

static void test_all_fail(void **state) {
  fixture f;

  (void)state;
  init(&f, knows_nothing, knows_nothing, hangs);
  f.options.timeout_ms = 30;
  ask(&f);
  run_until_heard(&f, "failed ");
  assert_int_equal(f.err, CP_E_TIMEOUT);
  expect_reason(&f, "in time");
  finish(&f);
}

/* What it named was no master: the next one may know better. */
static void test_an_answer_that_did_not_serve(void **state) {
  fixture f;

  (void)state;
  init(&f, names_7000, names_7001, NULL);
  ask(&f);
  run_until_heard(&f, "127.0.0.1:7000 ");
  ask(&f);
  run_until_heard(&f, "127.0.0.1:7000 127.0.0.1:7001 ");
  finish(&f);
}

/* Following. -------------------------------------------------------------- */

static const fake_step moves[] = {
    SENTINEL_GREETING, QUESTION, ANSWER("7000"), QUESTION, ANSWER("7001"), END};

static void test_asked_again(void **state) {
  fixture f;

  (void)state;
  init(&f, moves, NULL, NULL);
  f.options.interval_ms = 1;
  ask(&f);
  run_until_heard(&f, "127.0.0.1:7000 moved ");
  expect_reason(&f, "127.0.0.1:7001");
  finish(&f);
}

static void expect_move(const char *message) {
  fixture f;

  init(&f, moves, NULL, NULL);
  ask(&f);
  run_until(&f.loop,
            f.fakes[0].n_conns > 1 && fake_redis_is_done(&f.fakes[0], 1));
  assert_string_equal(f.heard, "127.0.0.1:7000 ");
  fake_redis_send(&f.fakes[0], 1, message, strlen(message));
  run_until_heard(&f, "127.0.0.1:7000 moved ");
  finish(&f);
}

/* Whatever it says of the new address: it is asked. */
static void test_switch_master(void **state) {
  (void)state;
  expect_move(SUBSCRIBED("14", "+switch-master", "1")
                  MESSAGE("14", "+switch-master", "15", "m 1 2 elsewhere"));
  expect_move(SUBSCRIBED("14", "+switch-master", "1")
                  MESSAGE("14", "+switch-master", "11", "n some-text")
                      MESSAGE("14", "+switch-master", "1", "m"));
}

static void test_a_refused_subscription(void **state) {
  fixture f;

  (void)state;
  init(&f, names_7000, NULL, NULL);
  ask(&f);
  run_until(&f.loop,
            f.fakes[0].n_conns > 1 && fake_redis_is_done(&f.fakes[0], 1));
  fake_redis_send(&f.fakes[0], 1, "-NOPERM no\r\n", 12);
  run_until(&f.loop, f.log_text[0] != '\0');
  assert_non_null(strstr(f.log_text, "noticed later"));
  finish(&f);
}

/* A sentinel that goes is replaced at the next question. */
static void test_a_lost_sentinel(void **state) {
  fixture f;

  (void)state;
  init(&f, names_7000, names_7000, NULL);
  ask(&f);
  run_until(&f.loop,
            f.fakes[0].n_conns > 1 && fake_redis_is_done(&f.fakes[0], 1));
  cp__sentinel_praise(f.sentinel);
  fake_redis_shut(&f.fakes[0]);
  ask(&f); /* the break is not seen yet */
  run_until_heard(&f, "127.0.0.1:7000 127.0.0.1:7000 ");
  assert_true(f.fakes[1].n_conns > 0);
  finish(&f);
}

/* Nobody waits for an answer, so nobody is told; but the log. */
static void test_silence(void **state) {
  fixture f;

  (void)state;
  init(&f, names_7000, NULL, NULL);
  f.options.interval_ms = 1;
  f.options.timeout_ms = 30;
  ask(&f);
  run_until(&f.loop, f.log_text[0] != '\0');
  assert_non_null(strstr(f.log_text, "staying with"));
  assert_string_equal(f.heard, "127.0.0.1:7000 ");
  finish(&f);
}

/* Whom to ask. ------------------------------------------------------------ */

/* A sentinel by rules instead of a script, which survives its connections. What
 * it says may be changed at any time. */
typedef struct sage {
  char epoch[128];
  char master[64];
  char others[1024];
  unsigned n_asked;
  fake_rule rules[6];
  fake_step script[1];
} sage;

/* One digit. */
static void sage_dates(sage *self, int epoch) {
  snprintf(self->epoch, sizeof self->epoch, EPOCH("%d"), epoch);
}

static void sage_names(sage *self, int port) {
  snprintf(self->master, sizeof self->master,
           "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n%d\r\n", port);
}

/* Another one, among what teaches nothing. */
static void sage_knows(sage *self, const fake_redis *other, const char *flags) {
  snprintf(self->others, sizeof self->others,
           "*3\r\n*4\r\n$4\r\nport\r\n$1\r\n9\r\n$2\r\nip\r\n$3\r\nx y\r\n"
           "*8\r\n$4\r\nname\r\n$2\r\nip\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n"
           "$4\r\nport\r\n$5\r\n%05d\r\n$5\r\nflags\r\n$%zu\r\n%s\r\n"
           "*1\r\n:1\r\n",
           other->port, strlen(flags), flags);
}

static void sage_init(sage *self, int port) {
  const fake_rule rules[] = {
      {"CLIENT SETNAME", FAKE_OK, NULL},
      {"INFO", FAKE_INFO(FAKE_RUN_ID, "99"), NULL},
      {"SENTINEL MASTER m", self->epoch, NULL},
      {"SENTINEL GET-MASTER-ADDR-BY-NAME m", self->master, &self->n_asked},
      {"SENTINEL SENTINELS m", self->others, NULL},
      {NULL, NULL, NULL},
  };
  const fake_step script[] = {RULES(self->rules)};

  memset(self, 0, sizeof *self);
  memcpy(self->rules, rules, sizeof rules);
  memcpy(self->script, script, sizeof script);
  sage_dates(self, 1);
  sage_names(self, port);
  strcpy(self->others, NOBODY_ELSE);
}

/* Three of them, that name 7000, 7001 and 7002; the first `n_hosts` are in the
 * options. */
static void init_sages(fixture *f, sage sages[N_FAKES], size_t n_hosts) {
  size_t i;

  for (i = 0; i < N_FAKES; i++)
    sage_init(&sages[i], 7000 + (int)i);
  init(f, sages[0].script, sages[1].script, sages[2].script);
  for (i = 0; i < N_FAKES; i++)
    f->scripts[i][1] = sages[i].script;
  f->options.n_hosts = n_hosts;
}

/* The fakes that were learned are to be stopped too. */
static void finish_sages(fixture *f) {
  f->options.n_hosts = N_FAKES;
  finish(f);
}

/* Those that were made connect, and hear nothing. */
static void sage_falls_silent(sage *self, fake_redis *redis) {
  size_t i;

  self->rules[0].command = "(nothing)";
  for (i = 0; i < redis->n_conns; i++)
    fake_redis_hang_up(redis, i);
}

/* Its connection ends, and that is seen. */
static void lose(fixture *f, size_t i) {
  int n;

  fake_redis_hang_up(&f->fakes[i], f->fakes[i].n_conns - 1);
  for (n = 0; n < 10; n++)
    uv_run(&f->loop.loop, UV_RUN_NOWAIT);
}

static void sage_speaks(sage *self) {
  self->rules[0].command = "CLIENT SETNAME";
}

/* What the last answer named did serve; of what comes now, the answer and what
 * it teaches arrive together. */
static void ask_anew(fixture *f, const char *words) {
  f->heard[0] = '\0';
  if (f->sentinel != NULL)
    cp__sentinel_praise(f->sentinel);
  ask(f);
  run_until_heard(f, words);
}

#define MASTER_0 "127.0.0.1:7000 "
#define MASTER_1 "127.0.0.1:7001 "
#define MASTER_2 "127.0.0.1:7002 "

/* The second is not in the options; once it is asked, it is kept, though no
 * other one names it. */
static void test_learning(void **state) {
  sage sages[N_FAKES];
  fixture f;

  (void)state;
  init_sages(&f, sages, 1);
  sage_knows(&sages[0], &f.fakes[1], "sentinel");
  ask_anew(&f, MASTER_0);
  fake_redis_shut(&f.fakes[0]);
  ask_anew(&f, MASTER_1);
  lose(&f, 1);
  ask_anew(&f, MASTER_1);
  finish_sages(&f);
}

static void test_learned_ones_are_replaced(void **state) {
  sage sages[N_FAKES];
  fixture f;

  (void)state;
  init_sages(&f, sages, 1);
  sage_knows(&sages[0], &f.fakes[1], "sentinel");
  ask_anew(&f, MASTER_0);
  sage_knows(&sages[0], &f.fakes[2], "sentinel");
  ask_anew(&f, MASTER_0);
  fake_redis_shut(&f.fakes[0]);
  ask_anew(&f, MASTER_2);
  assert_int_equal(f.fakes[1].n_conns, 0);
  finish_sages(&f);
}

static void expect_learned(const char *flags, const char *words) {
  sage sages[N_FAKES];
  fixture f;

  init_sages(&f, sages, 1);
  sage_knows(&sages[0], &f.fakes[1], flags);
  ask_anew(&f, MASTER_0);
  fake_redis_shut(&f.fakes[0]);
  ask_anew(&f, words);
  finish_sages(&f);
}

static void test_who_is_down_is_not_learned(void **state) {
  (void)state;
  expect_learned("s_down,sentinel", "failed ");
  expect_learned("o_down", "failed ");
  expect_learned("sentinel,disconnected", "failed ");
  expect_learned("", MASTER_1);
}

/* Who answered is asked again, whether the break is seen before the question or
 * behind it, and not those that may be dead. */
static void test_a_connection_that_ends(void **state) {
  sage sages[N_FAKES];
  fixture f;

  (void)state;
  init_sages(&f, sages, 2);
  sage_falls_silent(&sages[0], &f.fakes[0]);
  sage_falls_silent(&sages[2], &f.fakes[2]);
  sage_knows(&sages[1], &f.fakes[2], "sentinel");
  f.options.timeout_ms = 200;
  ask_anew(&f, MASTER_1);
  assert_int_equal(f.fakes[0].n_conns, 1);
  fake_redis_hang_up(&f.fakes[1], 0);
  ask_anew(&f, MASTER_1);
  lose(&f, 1);
  ask_anew(&f, MASTER_1);
  assert_int_equal(f.fakes[0].n_conns, 1);
  assert_int_equal(f.fakes[2].n_conns, 0);
  finish_sages(&f);
}

/* The third, which was learned, did not fail yet; of the others the first one's
 * failure is longer ago. */
static void test_who_failed_comes_last(void **state) {
  sage sages[N_FAKES];
  fixture f;

  (void)state;
  init_sages(&f, sages, 2);
  f.options.timeout_ms = 100;
  sage_falls_silent(&sages[0], &f.fakes[0]);
  sage_knows(&sages[1], &f.fakes[2], "sentinel");
  ask_anew(&f, MASTER_1);
  sage_speaks(&sages[0]);
  sage_falls_silent(&sages[1], &f.fakes[1]);
  ask_anew(&f, MASTER_2);
  sage_speaks(&sages[1]);
  sage_falls_silent(&sages[2], &f.fakes[2]);
  ask_anew(&f, MASTER_0);
  finish_sages(&f);
}

/* None of them serves: all are heard in turn. */
static void test_all_lie(void **state) {
  sage sages[N_FAKES];
  fixture f;
  int i;

  (void)state;
  init_sages(&f, sages, 3);
  for (i = 1; i <= 9; i++) {
    ask(&f);
    run_until(&f.loop, strlen(f.heard) == (size_t)i * strlen(MASTER_0));
  }
  assert_string_equal(f.heard, MASTER_0 MASTER_1 MASTER_2 MASTER_0 MASTER_1
                                   MASTER_2 MASTER_0 MASTER_1 MASTER_2);
  finish_sages(&f);
}

/* Old news. --------------------------------------------------------------- */

/* Three in the options, with these epochs; the first was heard, and asks itself
 * again all the time. */
static void init_dated(fixture *f, sage sages[N_FAKES], int first, int second,
                       int third) {
  init_sages(f, sages, N_FAKES);
  sage_dates(&sages[0], first);
  sage_dates(&sages[1], second);
  sage_dates(&sages[2], third);
  f->options.interval_ms = 1;
  ask_anew(f, MASTER_0);
  cp__sentinel_praise(f->sentinel);
}

static int n_warnings(const fixture *f) {
  const char *at = f->log_text;
  int n = 0;

  for (; (at = strchr(at, '\n')) != NULL; at++)
    n++;
  return n;
}

/* Those that are left have not heard of the failover, until one does. */
static void test_old_news_moves_nobody(void **state) {
  sage sages[N_FAKES];
  fixture f;

  (void)state;
  init_dated(&f, sages, 2, 1, 0);
  fake_redis_shut(&f.fakes[0]);
  run_until(&f.loop, sages[1].n_asked > 4 && sages[2].n_asked > 4);
  assert_string_equal(f.heard, MASTER_0);
  assert_non_null(strstr(f.log_text, "old news, of epoch"));
  assert_non_null(strstr(f.log_text, "staying with"));
  assert_int_equal(n_warnings(&f), 2);
  sage_dates(&sages[2], 3);
  run_until_heard(&f, MASTER_0 "moved ");
  expect_reason(&f, "127.0.0.1:7002");
  finish_sages(&f);
}

/* Who knows better is found at once, and kept. */
static void test_old_news_is_passed_over(void **state) {
  sage sages[N_FAKES];
  unsigned n_passed, n;
  fixture f;

  (void)state;
  init_dated(&f, sages, 2, 1, 2);
  sage_names(&sages[2], 7000);
  fake_redis_shut(&f.fakes[0]);
  run_until(&f.loop, sages[2].n_asked > 2);
  n_passed = sages[1].n_asked;
  lose(&f, 2);
  n = sages[2].n_asked;
  run_until(&f.loop, sages[2].n_asked > n + 2);
  assert_int_equal(sages[1].n_asked, n_passed);
  assert_string_equal(f.heard, MASTER_0);
  assert_int_equal(n_warnings(&f), 1);
  finish_sages(&f);
}

/* Without a master others are preferred, the newest of them if all are old. */
static void test_old_news_is_better_than_none(void **state) {
  sage sages[N_FAKES];
  fixture f;

  (void)state;
  init_dated(&f, sages, 5, 1, 5);
  fake_redis_shut(&f.fakes[0]);
  ask_anew(&f, MASTER_2);
  assert_int_equal(n_warnings(&f), 0);
  sage_dates(&sages[1], 3);
  sage_dates(&sages[2], 2);
  ask_anew(&f, MASTER_1);
  assert_non_null(strstr(f.log_text, "epoch 5 of the master 'm' any more"));
  ask_anew(&f, MASTER_1);
  fake_redis_shut(&f.fakes[1]);
  ask_anew(&f, MASTER_2);
  assert_int_equal(n_warnings(&f), 2);
  finish_sages(&f);
}

/* They begin at epoch 0, but name the same. */
static void test_sentinels_set_up_anew(void **state) {
  sage sages[N_FAKES];
  uint64_t agreed_ms;
  fixture f;

  (void)state;
  init_dated(&f, sages, 5, 5, 5);
  sage_dates(&sages[0], 0);
  agreed_ms = cp__sentinel_agreed_ms(f.sentinel);
  run_until(&f.loop, cp__sentinel_agreed_ms(f.sentinel) > agreed_ms + 2);
  assert_int_equal(sages[1].n_asked + sages[2].n_asked, 0);
  assert_string_equal(f.heard, MASTER_0);
  assert_int_equal(n_warnings(&f), 0);
  finish_sages(&f);
}

/* Who may not say, or does not know what an epoch is, is believed. */
static void test_unknown_epochs(void **state) {
  static const char *const texts[] = {
      "-NOPERM this user has no permissions\r\n", "*-1\r\n", "*0\r\n",
      "*2\r\n$12\r\nconfig-epoch\r\n$2\r\n-1\r\n",
      "*1\r\n$12\r\nconfig-epoch\r\n"};
  size_t i;

  (void)state;
  for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    sage sages[N_FAKES];
    fixture f;

    init_dated(&f, sages, 2, 2, 2);
    strcpy(sages[1].epoch, texts[i]);
    fake_redis_shut(&f.fakes[0]);
    run_until_heard(&f, MASTER_0 "moved ");
    expect_reason(&f, "127.0.0.1:7001");
    finish_sages(&f);
  }
}

/* Life. ------------------------------------------------------------------- */

static void test_close_at_any_turn(void **state) {
  int n_turns;

  (void)state;
  for (n_turns = 0; n_turns < 30; n_turns++) {
    fixture f;
    int i;

    init(&f, moves, knows_nothing, NULL);
    f.options.interval_ms = 1;
    f.options.timeout_ms = 20;
    ask(&f);
    for (i = 0; i < n_turns; i++)
      uv_run(&f.loop.loop, UV_RUN_NOWAIT);
    finish(&f);
  }
}

static void test_out_of_memory(void **state) {
  size_t n = 0;
  bool failed;

  (void)state;
  do {
    fixture f;

    init(&f, names_7000, names_7000, NULL);
    f.options.timeout_ms = 30;
    failing_alloc_init(&f.memory, ++n);
    f.sentinel = cp__sentinel_create(&f.options);
    if (f.sentinel != NULL) {
      cp__sentinel_ask(f.sentinel);
      run_until_heard(&f, "127.0.0.1:7000 "); /* from the one or the other */
      run_until(&f.loop,
                f.memory.failed || (fake_redis_is_done(&f.fakes[0], 1)));
    }
    assert_true(f.sentinel != NULL || f.memory.failed);
    failed = f.memory.failed;
    finish(&f);
  } while (failed);
  assert_true(n > 5);
}

/* The transport. ---------------------------------------------------------- */

#define NODE_SUBSCRIBER                        \
  GREETING, EXPECT("SUBSCRIBE " NODE_CHANNEL), \
      SEND(SUBSCRIBED("23", NODE_CHANNEL, "1")), END
#define NODE_COMMANDS                                             \
  GREETING, EXPECT("PUBLISH " NODE_CHANNEL " *"), EXPECT("ROLE"), \
      SEND(":1\r\n" FAKE_MASTER), END

typedef struct watched {
  transport_host host;
  fake_redis sentinels[2];
  fake_redis master;
  fake_redis replica;
  char answers[2][64];
  fake_step askers[2][16];
  const fake_step *scripts[2][2];
  char url[128];
  cp_redis_options options;
} watched;

static void script_asker(watched *w, int i, int port) {
  const fake_step script[] = {
      SENTINEL_GREETING, QUESTION, {FAKE_SEND, w->answers[i], 0}, END};

  assert_true(sizeof script <= sizeof w->askers[i]);
  memcpy(w->askers[i], script, sizeof script);
  snprintf(w->answers[i], sizeof w->answers[i],
           "*0\r\n*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%05d\r\n*0\r\n", port);
  w->askers[i][sizeof script / sizeof script[0] - 2].len =
      strlen(w->answers[i]);
  w->scripts[i][0] = w->askers[i];
  w->scripts[i][1] = follower;
  fake_redis_start_tcp(&w->sentinels[i], &w->host.loop.loop, w->scripts[i], 2);
}

/* The first sentinel names a replica, the second the master. */
static void init_watched(watched *w) {
  static const fake_step subscriber[] = {NODE_SUBSCRIBER};
  static const fake_step commands[] = {NODE_COMMANDS};
  static const fake_step demoted[] = {EXPECT("CLIENT SETNAME clusterpush"),
                                      SEND(FAKE_OK),
                                      EXPECT("INFO server"),
                                      SEND(FAKE_INFO(FAKE_RUN_ID, "99")),
                                      EXPECT("ROLE"),
                                      SEND(FAKE_SLAVE),
                                      END};
  static const fake_step *const masters[] = {subscriber, commands};
  static const fake_step *const replicas[] = {demoted, demoted};

  memset(w, 0, sizeof *w);
  transport_host_init(&w->host);
  fake_redis_start_tcp(&w->master, &w->host.loop.loop, masters, 2);
  fake_redis_start_tcp(&w->replica, &w->host.loop.loop, replicas, 2);
  script_asker(w, 0, w->replica.port);
  script_asker(w, 1, w->master.port);
  snprintf(w->url, sizeof w->url,
           "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d/m", w->sentinels[0].port,
           w->sentinels[1].port);
  cp_redis_options_init(&w->options);
  w->options.backoff_min_ms = 1;
}

static void finish_watched(watched *w) {
  if (w->host.transport != NULL)
    transport_host_close(&w->host, 0);
  fake_redis_shut(&w->sentinels[0]);
  fake_redis_shut(&w->sentinels[1]);
  fake_redis_shut(&w->master);
  fake_redis_shut(&w->replica);
  fake_redis_stop(&w->sentinels[0]);
  fake_redis_stop(&w->sentinels[1]);
  fake_redis_stop(&w->master);
  fake_redis_stop(&w->replica);
  assert_string_equal(w->master.wrong, "");
  assert_string_equal(w->replica.wrong, "");
  transport_host_finish(&w->host);
}

static void test_a_sentinel_that_lies(void **state) {
  watched w;

  (void)state;
  init_watched(&w);
  transport_host_start(&w.host, w.url, &w.options);
  run_until(&w.host.loop, w.host.linked);
  assert_int_equal(w.host.n_unlinked, 1);
  assert_int_equal(w.host.err, CP_E_REDIS);
  assert_non_null(strstr(w.host.reason, "is a replica of"));
  finish_watched(&w);
}

static void test_close_the_transport_at_any_turn(void **state) {
  int n_turns;

  (void)state;
  for (n_turns = 0; n_turns < 40; n_turns++) {
    watched w;
    int i;

    init_watched(&w);
    transport_host_start(&w.host, w.url, &w.options);
    for (i = 0; i < n_turns; i++)
      uv_run(&w.host.loop.loop, UV_RUN_NOWAIT);
    finish_watched(&w);
  }
}

static void expect_refused(const char *url, const cp_redis_options *options,
                           const char *log_part) {
  transport_host host;

  transport_host_init(&host);
  assert_int_equal(cp__transport_redis_create(&host.transport, url, options,
                                              cp_str(NODE_CHANNEL), 1,
                                              &host.log, &host.memory.alloc),
                   CP_E_INVALID);
  assert_non_null(strstr(host.log_text, log_part));
  transport_host_finish(&host);
}

static void test_options(void **state) {
  cp_redis_options options;

  (void)state;
  cp_redis_options_init(&options);
  options.sentinel_password = "x";
  expect_refused("redis://h", &options, "redis+sentinel");
  options.sentinel_password = NULL;
  options.sentinel_tls = 1;
  expect_refused("redis://h", &options, "redis+sentinel");
  options.sentinel_tls = 2;
  expect_refused("redis+sentinel://h/m", &options, "sentinel_tls");
  options.sentinel_tls = 0;
  options.sentinel_user = "jo";
  expect_refused("redis+sentinel://h/m", &options, "sentinel_password");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_first_is_asked),
      cmocka_unit_test(test_answers_that_are_none),
      cmocka_unit_test(test_in_turn),
      cmocka_unit_test(test_all_fail),
      cmocka_unit_test(test_an_answer_that_did_not_serve),
      cmocka_unit_test(test_asked_again),
      cmocka_unit_test(test_switch_master),
      cmocka_unit_test(test_a_refused_subscription),
      cmocka_unit_test(test_a_lost_sentinel),
      cmocka_unit_test(test_silence),
      cmocka_unit_test(test_learning),
      cmocka_unit_test(test_learned_ones_are_replaced),
      cmocka_unit_test(test_who_is_down_is_not_learned),
      cmocka_unit_test(test_a_connection_that_ends),
      cmocka_unit_test(test_who_failed_comes_last),
      cmocka_unit_test(test_all_lie),
      cmocka_unit_test(test_old_news_moves_nobody),
      cmocka_unit_test(test_old_news_is_passed_over),
      cmocka_unit_test(test_old_news_is_better_than_none),
      cmocka_unit_test(test_sentinels_set_up_anew),
      cmocka_unit_test(test_unknown_epochs),
      cmocka_unit_test(test_close_at_any_turn),
      cmocka_unit_test(test_out_of_memory),
      cmocka_unit_test(test_a_sentinel_that_lies),
      cmocka_unit_test(test_close_the_transport_at_any_turn),
      cmocka_unit_test(test_options),
  };
  signal(SIGPIPE, SIG_IGN);
  /* Hosts are looked up one after the other: connections come in their order.
   */
  setenv("UV_THREADPOOL_SIZE", "1", 1);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
