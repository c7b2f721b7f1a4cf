/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "redis_link.h"

#include "../unit/failing_alloc.h"
#include "fake_redis.h"
#include "run_until.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

/* An owner, and everything it heard. */
typedef struct owner {
  test_loop loop;
  fake_redis redis;
  cp__redis_identity identity;
  cp__redis_link_options options;
  cp__log log;
  cp__redis_link *link; /* NULL: closed */
  unsigned warned;

  int n_ready;
  int n_broken;
  int err;
  char reason[512];
  int n_closed;
  int n_warnings;
  char heard[4096]; /* replies and messages, as text */
  int close_in;     /* one of the CLOSE_IN_... */
} owner;

enum { NOWHERE, IN_READY, IN_REPLY, IN_BROKEN };

static void note(owner *self, const char *text) {
  assert_true(strlen(self->heard) + strlen(text) < sizeof self->heard);
  strcat(self->heard, text);
}

static void close_link(owner *self) {
  cp__redis_link_close(self->link);
}

static void maybe_close(owner *self, int where) {
  if (self->close_in == where)
    close_link(self);
}

static void on_ready(void *ctx) {
  owner *self = ctx;

  self->n_ready++;
  maybe_close(self, IN_READY);
}

static void on_reply(void *ctx, int kind, void *token,
                     const cp__resp_reply *reply) {
  const cp__resp_node *node = &reply->nodes[0];
  owner *self = ctx;
  char text[256];

  snprintf(text, sizeof text, "%d:%s:%.*s%lld(%zu) ", kind, (char *)token,
           (int)node->text.len, (const char *)node->text.data, node->integer,
           reply->n_nodes);
  note(self, text);
  maybe_close(self, IN_REPLY);
}

static void on_message(void *ctx, cp_bytes channel, cp_bytes payload) {
  char text[256];

  snprintf(text, sizeof text, "<%.*s|%.*s> ", (int)channel.len,
           (const char *)channel.data, (int)payload.len,
           (const char *)payload.data);
  note(ctx, text);
}

static void on_broken(void *ctx, int err, const char *reason) {
  owner *self = ctx;

  self->n_broken++;
  self->err = err;
  snprintf(self->reason, sizeof self->reason, "%s", reason);
  maybe_close(self, IN_BROKEN);
}

static void on_closed(void *ctx) {
  owner *self = ctx;

  self->n_closed++;
  self->link = NULL;
}

static void on_log(void *ctx, cp_log_level level, const char *text) {
  owner *self = ctx;

  (void)text;
  if (level == CP_LOG_WARN)
    self->n_warnings++;
}

static const cp__redis_link_events events = {
    on_ready, on_reply, on_message, on_broken, on_closed, NULL,
};

/* An owner without a server. */
static void init_owner(owner *self) {
  memset(self, 0, sizeof *self);
  test_loop_init(&self->loop);
  self->log = (cp__log){on_log, self, CP_LOG_DEBUG};
  self->identity.client_name = "clusterpush";
  self->options = (cp__redis_link_options){
      .loop = &self->loop.loop,
      .alloc = &cp__default_allocator,
      .log = &self->log,
      .endpoint = {.host = "127.0.0.1"},
      .identity = &self->identity,
      .connect_timeout_ms = RUN_DEADLINE_MS,
      .max_reply = 1 << 20,
      .messages = true,
      .warned = &self->warned,
      .events = &events,
      .ctx = self,
  };
}

static void init(owner *self, const fake_step *script) {
  static const fake_step *scripts[1];

  scripts[0] = script;
  init_owner(self);
  fake_redis_start_tcp(&self->redis, &self->loop.loop, scripts, 1);
  self->options.endpoint.port = self->redis.port;
}

static void open_link(owner *self) {
  assert_int_equal(cp__redis_link_open(&self->link, &self->options), 0);
  assert_int_equal(self->n_ready + self->n_broken, 0);
}

static void finish_owner(owner *self) {
  if (self->link != NULL && self->n_closed == 0 && self->close_in == NOWHERE)
    close_link(self);
  run_until(&self->loop, self->link == NULL);
  assert_true(self->n_broken <= 1);
}

static void finish(owner *self) {
  finish_owner(self);
  fake_redis_stop(&self->redis);
  assert_string_equal(self->redis.wrong, "");
  assert_int_equal(test_loop_finish(&self->loop), 0);
}

static void open_ready(owner *self, const fake_step *script) {
  init(self, script);
  open_link(self);
  run_until(&self->loop, self->n_ready || self->n_broken);
  assert_string_equal(self->reason, "");
}

/* Append a command that is answered by `n` replies. */
static void ask(owner *self, const char *command, int kind, size_t n) {
  static char token[] = "t";
  void *const tokens[] = {token, token, token, token};
  cp_bytes word = cp_str(command);

  cp__resp_command(cp__redis_link_begin(self->link), &word, 1);
  assert_int_equal(cp__redis_link_end(self->link, kind, tokens, n), 0);
}

/* The script breaks the link so. */
static void expect_broken(const fake_step *script, int err,
                          const char *reason_part) {
  owner self;

  init(&self, script);
  open_link(&self);
  run_until(&self.loop, self.n_ready || self.n_broken);
  assert_int_equal(self.n_ready, 0);
  assert_int_equal(self.err, err);
  if (strstr(self.reason, reason_part) == NULL)
    fail_msg("'%s' is not in '%s'", reason_part, self.reason);
  finish(&self);
}

/* The greeting. ----------------------------------------------------------- */

static void test_introduces_itself_and_learns(void **state) {
  static const fake_step script[] = {
      EXPECT("AUTH jo secret"),
      EXPECT("SELECT 3"),
      EXPECT("CLIENT SETNAME clusterpush"),
      EXPECT("INFO server"),
      EXPECT("ROLE"),
      SEND(FAKE_OK FAKE_OK FAKE_OK FAKE_INFO(FAKE_RUN_ID, "42") FAKE_MASTER),
      END,
  };
  const cp__redis_info *info;
  owner self;

  (void)state;
  init(&self, script);
  self.identity = (cp__redis_identity){"jo", "secret", 3, "clusterpush", false};
  open_link(&self);
  run_until(&self.loop, self.n_ready);
  info = cp__redis_link_info(self.link);
  assert_string_equal(info->run_id, FAKE_RUN_ID);
  assert_string_equal(info->version, "7.0.15");
  assert_int_equal(info->uptime_s, 42);
  assert_true(info->is_master);
  assert_false(info->is_cluster);
  assert_int_equal(cp__redis_link_queued(self.link), 0);
  assert_int_equal(cp__redis_link_pending(self.link), 0);
  finish(&self);
  assert_int_equal(self.n_broken, 0);
}

#define LIMITS                                                            \
  "*2\r\n$26\r\nclient-output-buffer-limit\r\n$67\r\nnormal 0 0 0 slave " \
  "268435456 67108864 60 pubsub 33554432 8388608 60\r\n"

static void learn_limit(owner *self, const fake_step *script) {
  init(self, script);
  self->options.ask_limit = true;
  open_link(self);
  run_until(&self->loop, self->n_ready || self->n_broken);
  assert_string_equal(self->reason, "");
}

static void test_learns_how_much_may_wait(void **state) {
  static const fake_step script[] = {
      GREETING, EXPECT("CONFIG GET client-output-buffer-limit"), SEND(LIMITS),
      END};
  owner self;

  (void)state;
  learn_limit(&self, script);
  assert_int_equal(cp__redis_link_info(self.link)->subscriber_limit, 8388608);
  finish(&self);
}

/* Few may ask, so that is nothing to talk about. */
static void test_how_much_may_wait_is_a_secret(void **state) {
  static const fake_step script[] = {
      GREETING, EXPECT("CONFIG GET client-output-buffer-limit"),
      SEND("-NOPERM this user has no permissions\r\n"), END};
  owner self;

  (void)state;
  learn_limit(&self, script);
  assert_int_equal(cp__redis_link_info(self.link)->subscriber_limit, 0);
  assert_int_equal(self.n_warnings, 0);
  finish(&self);
}

static void test_password_alone(void **state) {
  static const fake_step script[] = {EXPECT("AUTH secret"), SEND(FAKE_OK),
                                     GREETING, END};
  owner self;

  (void)state;
  init(&self, script);
  self.identity.password = "secret";
  open_link(&self);
  run_until(&self.loop, self.n_ready);
  finish(&self);
}

static void test_answers_byte_by_byte(void **state) {
  static const fake_step script[] = {EXPECT("CLIENT SETNAME clusterpush"),
                                     TRICKLE(FAKE_OK),
                                     EXPECT("INFO server"),
                                     TRICKLE(FAKE_INFO(FAKE_RUN_ID, "42")),
                                     EXPECT("ROLE"),
                                     TRICKLE(FAKE_MASTER),
                                     END};
  owner self;

  (void)state;
  open_ready(&self, script);
  assert_string_equal(cp__redis_link_info(self.link)->run_id, FAKE_RUN_ID);
  finish(&self);
}

static void test_refused_password(void **state) {
  static const fake_step script[] = {
      EXPECT("AUTH secret"), SEND("-WRONGPASS invalid username-password\r\n"),
      END};
  owner self;

  (void)state;
  init(&self, script);
  self.identity.password = "secret";
  open_link(&self);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, CP_E_AUTH);
  assert_non_null(strstr(self.reason, "WRONGPASS invalid"));
  assert_null(strstr(self.reason, "secret"));
  finish(&self);
}

static void test_password_for_a_server_without_one(void **state) {
  static const fake_step script[] = {
      EXPECT("AUTH secret"),
      SEND("-ERR AUTH <password> called without any password configured\r\n"),
      END};
  owner self;

  (void)state;
  init(&self, script);
  self.identity.password = "secret";
  open_link(&self);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, CP_E_AUTH);
  finish(&self);
}

static void test_password_missing(void **state) {
  static const fake_step script[] = {
      EXPECT("CLIENT*"), SEND("-NOAUTH Authentication required.\r\n"), END};

  (void)state;
  expect_broken(script, CP_E_AUTH, "NOAUTH Authentication required.");
}

static void test_refused_database(void **state) {
  static const fake_step script[] = {
      EXPECT("SELECT 99"), SEND("-ERR DB index is out of range\r\n"), END};
  owner self;

  (void)state;
  init(&self, script);
  self.identity.db = 99;
  open_link(&self);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, CP_E_REDIS);
  assert_string_equal(self.reason,
                      "Redis refused SELECT: ERR DB index is out of range");
  finish(&self);
}

static void test_goes_on_without_what_is_refused(void **state) {
  static const fake_step script[] = {EXPECT("CLIENT*"),
                                     SEND("-NOPERM no permissions\r\n"),
                                     EXPECT("INFO*"),
                                     SEND("-ERR unknown command 'INFO'\r\n"),
                                     EXPECT("ROLE"),
                                     SEND("-NOPERM no permissions\r\n"),
                                     END};
  owner self;
  int i;

  (void)state;
  init(&self, script);
  for (i = 0; i < 2; i++) {
    self.n_ready = self.n_closed = 0;
    open_link(&self);
    run_until(&self.loop, self.n_ready);
    assert_string_equal(cp__redis_link_info(self.link)->run_id, "");
    assert_int_equal(cp__redis_link_info(self.link)->uptime_s, -1);
    assert_false(cp__redis_link_info(self.link)->is_master);
    finish_owner(&self);
  }
  assert_int_equal(self.n_warnings, 3); /* not six */
  finish(&self);
}

static void test_not_a_master(void **state) {
  static const fake_step replica[] = {EXPECT("CLIENT*"),
                                      SEND(FAKE_OK),
                                      EXPECT("INFO*"),
                                      SEND(FAKE_INFO(FAKE_RUN_ID, "42")),
                                      EXPECT("ROLE"),
                                      SEND(FAKE_SLAVE),
                                      END};
  static const fake_step sentinel[] = {
      EXPECT("CLIENT*"),
      SEND(FAKE_OK),
      EXPECT("INFO*"),
      SEND(FAKE_INFO(FAKE_RUN_ID, "42")),
      EXPECT("ROLE"),
      SEND("*2\r\n$8\r\nsentinel\r\n*1\r\n$8\r\nmymaster\r\n"),
      END};

  (void)state;
  expect_broken(replica, CP_E_REDIS, "a replica of 10.1.2.34");
  expect_broken(sentinel, CP_E_REDIS, "'sentinel'");
}

static void test_server_that_is_not_ready(void **state) {
  static const char *const answers[] = {
      "-LOADING Redis is loading the dataset in memory\r\n",
      "-MASTERDOWN Link with MASTER is down\r\n",
      "-ERR max number of clients reached\r\n",
      "-DENIED Redis is running in protected mode\r\n",
  };
  size_t i;

  (void)state;
  for (i = 0; i < LEN(answers); i++) {
    const fake_step script[] = {
        {FAKE_SEND, answers[i], strlen(answers[i])}, CLOSE, END};
    char part[16];

    snprintf(part, sizeof part, "%s", answers[i] + 1);
    expect_broken(script, CP_E_REDIS, part);
  }
}

static void test_peer_that_is_no_redis(void **state) {
  static const fake_step http[] = {
      EXPECT("CLIENT*"),
      SEND("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), END};
  static const fake_step ssh[] = {SEND("SSH-2.0-OpenSSH_9.2\r\n"), END};
  static const fake_step binary[] = {SEND("\x15\x03\x01\x00\x02\x02\x32"), END};

  (void)state;
  expect_broken(http, CP_E_PROTOCOL, "no Redis");
  expect_broken(ssh, CP_E_PROTOCOL, "no Redis");
  expect_broken(binary, CP_E_PROTOCOL, "no Redis");
}

static void test_answers_of_another_kind(void **state) {
  static const fake_step name[] = {EXPECT("CLIENT*"), SEND(":1\r\n"), END};
  static const fake_step info[] = {EXPECT("CLIENT*"), SEND(FAKE_OK),
                                   EXPECT("INFO*"), SEND("*0\r\n"), END};
  static const fake_step role[] = {
      EXPECT("CLIENT*"), SEND(FAKE_OK "$0\r\n\r\n"),
      EXPECT("INFO*"),   EXPECT("ROLE"),
      SEND(FAKE_OK),     END};
  static const fake_step empty[] = {EXPECT("CLIENT*"),
                                    SEND(FAKE_OK "$0\r\n\r\n*0\r\n"), END};

  (void)state;
  expect_broken(name, CP_E_PROTOCOL, "CLIENT SETNAME");
  expect_broken(info, CP_E_PROTOCOL, "INFO");
  expect_broken(role, CP_E_PROTOCOL, "ROLE");
  expect_broken(empty, CP_E_REDIS, "no master");
}

static void test_more_answers_than_questions(void **state) {
  static const fake_step script[] = {GREETING, SEND("+EXTRA\r\n"), END};
  owner self;

  (void)state;
  init(&self, script);
  open_link(&self);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, CP_E_PROTOCOL);
  assert_non_null(strstr(self.reason, "EXTRA"));
  finish(&self);
}

static void test_closed_at_every_step(void **state) {
  const fake_step whole[] = {GREETING};
  fake_step script[LEN(whole) + 2];
  size_t i;

  (void)state;
  for (i = 0; i < LEN(whole); i++) {
    owner self;

    memcpy(script, whole, sizeof whole);
    script[i] = (fake_step)CLOSE;
    script[i + 1] = (fake_step)END;
    init(&self, script);
    open_link(&self);
    run_until(&self.loop, self.n_broken);
    assert_int_equal(self.n_ready, 0);
    assert_true(self.err == UV_EOF || self.err == UV_ECONNRESET);
    finish(&self);
  }
}

static void test_silence(void **state) {
  static const fake_step script[] = {EXPECT("CLIENT*"), SEND(FAKE_OK), END};
  owner self;

  (void)state;
  init(&self, script);
  self.options.connect_timeout_ms = 50;
  open_link(&self);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, CP_E_TIMEOUT);
  assert_non_null(strstr(self.reason, "127.0.0.1"));
  finish(&self);
}

/* Connecting. ------------------------------------------------------------- */

/* A port of 127.0.0.1 on which nobody listens. */
static int unused_port(uv_loop_t *loop) {
  static const fake_step *const none[1];
  fake_redis redis;

  fake_redis_start_tcp(&redis, loop, none, 1);
  fake_redis_stop(&redis);
  return redis.port;
}

static void test_nobody_listens(void **state) {
  owner self;

  (void)state;
  init_owner(&self);
  self.options.endpoint.port = unused_port(&self.loop.loop);
  open_link(&self);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, UV_ECONNREFUSED);
  assert_non_null(strstr(self.reason, "127.0.0.1:"));
  finish_owner(&self);
  assert_int_equal(test_loop_finish(&self.loop), 0);
}

static void test_no_such_socket(void **state) {
  owner self;

  (void)state;
  init_owner(&self);
  self.options.endpoint = (cp__endpoint){.path = "/nonexistent/redis.sock"};
  open_link(&self);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, UV_ENOENT);
  assert_non_null(strstr(self.reason, "/nonexistent/redis.sock"));
  finish_owner(&self);
  assert_int_equal(test_loop_finish(&self.loop), 0);
}

/* A label of 64 letters: no resolver has to be asked. */
static void test_no_such_host(void **state) {
  owner self;
  int rc;

  (void)state;
  init_owner(&self);
  self.options.endpoint.host = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test";
  rc = cp__redis_link_open(&self.link, &self.options);
  if (rc == 0) {
    run_until(&self.loop, self.n_broken);
    rc = self.err;
    assert_non_null(strstr(self.reason, "look up aaaa"));
    finish_owner(&self);
  }
  assert_true(rc < 0);
  assert_int_equal(test_loop_finish(&self.loop), 0);
}

/* On most systems ::1 comes first, and nobody listens there. */
static void test_tries_every_address(void **state) {
  static const fake_step script[] = {GREETING, END};
  owner self;

  (void)state;
  init(&self, script);
  self.options.endpoint.host = "localhost";
  open_link(&self);
  run_until(&self.loop, self.n_ready);
  finish(&self);
}

/* Closing. ---------------------------------------------------------------- */

/* After every number of turns, from the lookup to ready and beyond. */
static void test_close_after_every_turn(void **state) {
  static const fake_step script[] = {GREETING, END};
  int n_turns = 0;
  bool was_ready;

  (void)state;
  do {
    owner self;
    int i;

    init(&self, script);
    open_link(&self);
    for (i = 0; i < n_turns; i++)
      test_loop_turn(&self.loop);
    was_ready = self.n_ready > 0;
    close_link(&self);
    assert_int_equal(self.n_closed, 0);
    self.close_in = IN_READY; /* closed already */
    self.n_ready = self.n_broken = 0;
    run_until(&self.loop, self.link == NULL);
    assert_int_equal(self.n_closed, 1);
    assert_int_equal(self.n_ready + self.n_broken, 0);
    fake_redis_stop(&self.redis);
    assert_int_equal(test_loop_finish(&self.loop), 0);
    n_turns++;
  } while (!was_ready);
}

static void test_close_in_callbacks(void **state) {
  static const fake_step good[] = {GREETING, EXPECT("A"),
                                   SEND("+1\r\n+2\r\n+3\r\n"), END};
  static const fake_step bad[] = {CLOSE, END};
  owner self;

  (void)state;
  init(&self, good);
  self.close_in = IN_READY;
  open_link(&self);
  run_until(&self.loop, self.link == NULL);
  finish(&self);

  open_ready(&self, good);
  self.close_in = IN_REPLY;
  ask(&self, "A", 0, 3);
  cp__redis_link_flush(self.link);
  run_until(&self.loop, self.link == NULL);
  assert_string_equal(self.heard, "0:t:10(1) ");
  finish(&self);

  init(&self, bad);
  self.close_in = IN_BROKEN;
  open_link(&self);
  run_until(&self.loop, self.link == NULL);
  assert_int_equal(self.n_broken, 1);
  finish(&self);
}

/* Commands. --------------------------------------------------------------- */

static void test_replies_in_order(void **state) {
  static const fake_step script[] = {
      GREETING,
      EXPECT("A"),
      EXPECT("B"),
      EXPECT("C"),
      SEND("+x\r\n:5\r\n*2\r\n*2\r\n:1\r\n*1\r\n:2\r\n$-1\r\n"),
      END};
  owner self;

  (void)state;
  open_ready(&self, script);
  ask(&self, "A", 7, 1);
  ask(&self, "B", 8, 1);
  ask(&self, "C", 255, 1);
  assert_int_equal(cp__redis_link_pending(self.link), 3);
  assert_int_equal(cp__redis_link_queued(self.link), 3 * 11);
  cp__redis_link_flush(self.link);
  run_until(&self.loop, cp__redis_link_pending(self.link) == 0);
  assert_string_equal(self.heard, "7:t:x0(1) 8:t:5(1) 255:t:2(6) ");
  assert_int_equal(cp__redis_link_queued(self.link), 0);
  finish(&self);
}

static void test_an_error_answers_a_whole_command(void **state) {
  static const fake_step script[] = {GREETING,
                                     EXPECT("A"),
                                     EXPECT("B"),
                                     EXPECT("C"),
                                     SEND("-no\r\n+b\r\n:1\r\n:2\r\n"),
                                     END};
  owner self;

  (void)state;
  open_ready(&self, script);
  ask(&self, "A", 1, 3);
  ask(&self, "B", 2, 1);
  ask(&self, "C", 3, 2);
  cp__redis_link_flush(self.link);
  run_until(&self.loop, cp__redis_link_pending(self.link) == 0);
  assert_string_equal(
      self.heard,
      "1:t:no0(1) 1:t:no0(1) 1:t:no0(1) 2:t:b0(1) 3:t:1(1) 3:t:2(1) ");
  finish(&self);
}

static void test_queue_falls_with_whole_commands(void **state) {
  static const fake_step script[] = {GREETING, EXPECT("A"), SEND(":1\r\n"),
                                     END};
  owner self;

  (void)state;
  open_ready(&self, script);
  ask(&self, "A", 1, 2);
  cp__redis_link_flush(self.link);
  run_until(&self.loop, cp__redis_link_pending(self.link) == 1);
  assert_int_equal(cp__redis_link_queued(self.link), 11);
  fake_redis_send(&self.redis, 0, ":2\r\n", 4);
  run_until(&self.loop, cp__redis_link_pending(self.link) == 0);
  assert_int_equal(cp__redis_link_queued(self.link), 0);
  finish(&self);
}

/* Patience. --------------------------------------------------------------- */

static char nobodys[] = "-";

static void ask_calmly(owner *self, const char *command) {
  void *const token[] = {nobodys};
  cp_bytes word = cp_str(command);

  cp__resp_command(cp__redis_link_begin(self->link), &word, 1);
  assert_int_equal(cp__redis_link_end(self->link, 1, token, 1), 0);
}

static void find_patient(uv_handle_t *handle, void *n) {
  int low_water = 0;
  socklen_t len = sizeof low_water;
  uv_os_fd_t fd;

  if (handle->type == UV_TCP && uv_fileno(handle, &fd) == 0 &&
      getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, &len) == 0 &&
      low_water > 1)
    ++*(int *)n;
}

static bool is_patient(owner *self) {
  int n = 0;

  uv_walk(&self->loop.loop, find_patient, &n);
  return n > 0;
}

/* A link that has become patient; nothing is unanswered. */
static void open_patient(owner *self) {
  static const fake_step script[] = {GREETING, END};
  int i;

  init(self, script);
  self->options.unhurried = nobodys;
  open_link(self);
  run_until(&self->loop, self->n_ready || self->n_broken);
  for (i = 0; i < 64; i++) {
    assert_false(is_patient(self));
    ask_calmly(self, "A");
    cp__redis_link_flush(self->link);
  }
  assert_true(is_patient(self));
  for (i = 0; i < 64; i++)
    fake_redis_send(&self->redis, 0, ":1\r\n", 4);
  run_until(&self->loop, cp__redis_link_pending(self->link) == 0);
}

static void test_patience_brings_every_answer(void **state) {
  owner self;

  (void)state;
  open_patient(&self);
  ask_calmly(&self, "A");
  cp__redis_link_flush(self.link);
  fake_redis_send(&self.redis, 0, ":1\r\n", 4);
  run_until(&self.loop, cp__redis_link_pending(self.link) == 0);
  assert_int_equal(cp__redis_link_queued(self.link), 0);
  finish(&self);
}

static void test_patience_ends_when_somebody_waits(void **state) {
  owner self;

  (void)state;
  open_patient(&self);
  ask_calmly(&self, "A");
  cp__redis_link_flush(self.link);
  assert_true(is_patient(&self));
  ask(&self, "B", 1, 2);
  cp__redis_link_flush(self.link);
  assert_false(is_patient(&self));
  fake_redis_send(&self.redis, 0, ":1\r\n-no\r\n", 9);
  run_until(&self.loop, cp__redis_link_pending(self.link) == 0);

  /* Not before there was peace for a while. */
  ask_calmly(&self, "A");
  cp__redis_link_flush(self.link);
  assert_false(is_patient(&self));
  finish(&self);
}

static void test_patience_ends_by_order(void **state) {
  owner self;

  (void)state;
  open_patient(&self);
  ask_calmly(&self, "A");
  cp__redis_link_flush(self.link);
  assert_true(is_patient(&self));
  cp__redis_link_hurry(self.link);
  assert_false(is_patient(&self));
  finish(&self);
}

static void test_patience_has_a_limit(void **state) {
  static char big[65536 + 1];
  owner self;

  (void)state;
  open_patient(&self);
  memset(big, 'x', sizeof big - 1);
  ask_calmly(&self, big);
  cp__redis_link_flush(self.link);
  assert_false(is_patient(&self));
  finish(&self);
}

static void test_patience_hears_the_end(void **state) {
  owner self;
  size_t n;

  (void)state;
  open_patient(&self);
  ask_calmly(&self, "A");
  cp__redis_link_flush(self.link);
  assert_true(is_patient(&self));
  n = self.redis.conns[0]->n_bytes;
  run_until(&self.loop, self.redis.conns[0]->n_bytes > n);
  fake_redis_hang_up(&self.redis, 0);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, UV_EOF);
  finish(&self);
}

static void test_messages_among_replies(void **state) {
  static const fake_step script[] = {
      GREETING, EXPECT("A"),
      TRICKLE(MESSAGE("1", "c", "5", "hello") "+a\r\n" MESSAGE(
          "2", "cc", "0", "") MESSAGE("1", "d", "1", "x")),
      END};
  owner self;

  (void)state;
  open_ready(&self, script);
  ask(&self, "A", 1, 1);
  cp__redis_link_flush(self.link);
  run_until(&self.loop, strstr(self.heard, "<d|x>") != NULL);
  assert_string_equal(self.heard, "<c|hello> 1:t:a0(1) <cc|> <d|x> ");
  finish(&self);
}

/* The server sends so much and closes. */
static void expect_end_after(size_t len, int err) {
  static const fake_step script[] = {GREETING, SEND("+"), END};
  static char rest[1 << 18];
  owner self;

  memset(rest, 'x', sizeof rest);
  open_ready(&self, script);
  fake_redis_send(&self.redis, 0, rest, len);
  fake_redis_hang_up(&self.redis, 0);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, err);
  finish(&self);
}

static void test_end_with_little_to_read(void **state) {
  (void)state;
  expect_end_after(1000, UV_EOF);
}

static void test_end_with_much_to_read(void **state) {
  (void)state;
  expect_end_after(1 << 18, CP_E_LAGGED);
}

static void test_message_before_it_is_ready(void **state) {
  static const fake_step script[] = {SEND(MESSAGE("1", "c", "5", "hello")),
                                     GREETING, END};
  owner self;

  (void)state;
  open_ready(&self, script);
  assert_string_equal(self.heard, "");
  finish(&self);
}

static void test_reply_above_the_limit(void **state) {
  static const fake_step script[] = {GREETING, SEND("$2000000\r\nxxx"), END};
  static char rest[2000000];
  owner self;

  (void)state;
  init(&self, script);
  open_link(&self);
  run_until(&self.loop, fake_redis_is_done(&self.redis, 0));
  fake_redis_send(&self.redis, 0, rest, sizeof rest);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, CP_E_TOOBIG);
  finish(&self);
}

/* More than any socket takes at once, while the server doesn't read; commands
 * that are appended meanwhile wait behind it. */
static void test_writes_of_any_size(void **state) {
  static const fake_step script[] = {
      GREETING,       PAUSE, EXPECT("AAAA*"), SEND("+a\r\n"), EXPECT("B"),
      SEND("+b\r\n"), END};
  static char big[20 * 1000 * 1000];
  cp_bytes word = cp_bytes_of(big, sizeof big);
  void *const token[] = {"t"};
  owner self;

  (void)state;
  open_ready(&self, script);
  memset(big, 'A', sizeof big);
  cp__resp_command(cp__redis_link_begin(self.link), &word, 1);
  assert_int_equal(cp__redis_link_end(self.link, 1, token, 1), 0);
  cp__redis_link_flush(self.link);
  ask(&self, "B", 2, 1);
  cp__redis_link_flush(self.link);
  assert_int_equal(cp__redis_link_pending(self.link), 2);
  fake_redis_resume(&self.redis, 0);
  run_until(&self.loop, cp__redis_link_pending(self.link) == 0);
  assert_string_equal(self.heard, "1:t:a0(1) 2:t:b0(1) ");
  assert_true(self.redis.conns[0]->n_bytes > sizeof big);
  finish(&self);
}

/* What is unanswered. ----------------------------------------------------- */

static void expect_unanswered(owner *self, int kind, bool written) {
  cp__redis_unanswered lost;

  assert_true(cp__redis_link_take(self->link, &lost));
  assert_int_equal(lost.kind, kind);
  assert_int_equal(lost.written, written);
  assert_string_equal(lost.token, "t");
}

static void expect_no_more_unanswered(owner *self) {
  cp__redis_unanswered lost;
  assert_false(cp__redis_link_take(self->link, &lost));
}

static void test_knows_what_was_written(void **state) {
  static const fake_step script[] = {GREETING,    EXPECT("A"), SEND("+a\r\n"),
                                     EXPECT("B"), CLOSE,       END};
  owner self;

  (void)state;
  open_ready(&self, script);
  ask(&self, "A", 1, 1);
  ask(&self, "B", 2, 1);
  cp__redis_link_flush(self.link);
  ask(&self, "C", 3, 1);
  run_until(&self.loop, self.n_broken);
  assert_int_equal(self.err, UV_EOF);
  assert_string_equal(self.heard, "1:t:a0(1) ");
  expect_unanswered(&self, 2, true);
  expect_unanswered(&self, 3, false);
  expect_no_more_unanswered(&self);
  finish(&self);
}

static void test_half_a_command_was_not_written(void **state) {
  static const fake_step script[] = {GREETING, PAUSE, END};
  static char big[20 * 1000 * 1000];
  cp_bytes word = cp_bytes_of(big, sizeof big);
  void *const token[] = {"t"};
  owner self;

  (void)state;
  open_ready(&self, script);
  ask(&self, "A", 1, 1);
  cp__resp_command(cp__redis_link_begin(self.link), &word, 1);
  assert_int_equal(cp__redis_link_end(self.link, 2, token, 1), 0);
  cp__redis_link_flush(self.link);
  ask(&self, "C", 3, 1);
  expect_unanswered(&self, 1, true);
  expect_unanswered(&self, 2, false);
  expect_unanswered(&self, 3, false);
  expect_no_more_unanswered(&self);
  finish(&self);
}

static void test_the_greeting_is_nobodys_business(void **state) {
  static const fake_step script[] = {EXPECT("CLIENT*"), CLOSE, END};
  owner self;

  (void)state;
  init(&self, script);
  open_link(&self);
  run_until(&self.loop, self.n_broken);
  expect_no_more_unanswered(&self);
  finish(&self);
}

/* Memory. ----------------------------------------------------------------- */

/* A large command with many replies. */
static int end_large_command(owner *self) {
  static char text[5000];
  cp_bytes word = cp_bytes_of(text, sizeof text);
  void *tokens[20];
  size_t i;

  memset(text, 'A', sizeof text);
  for (i = 0; i < LEN(tokens); i++)
    tokens[i] = "t";
  cp__resp_command(cp__redis_link_begin(self->link), &word, 1);
  return cp__redis_link_end(self->link, 1, tokens, LEN(tokens));
}

/* One that finds no memory leaves no trace. */
static void run_commands(owner *self, failing_alloc *memory) {
  int rc = end_large_command(self);

  if (rc != 0) {
    assert_int_equal(rc, CP_E_NOMEM);
    assert_true(memory->failed);
    assert_int_equal(cp__redis_link_pending(self->link), 0);
    assert_int_equal(cp__redis_link_queued(self->link), 0);
    assert_int_equal(end_large_command(self), 0);
  }
  assert_int_equal(cp__redis_link_pending(self->link), 20);
  cp__redis_link_flush(self->link);
  run_until(&self->loop, cp__redis_link_pending(self->link) == 0);
}

static void run_with_failing(failing_alloc *memory) {
  static const fake_step script[] = {GREETING, EXPECT("AAA*"), SEND("-a\r\n"),
                                     END};
  owner self;
  int rc;

  init(&self, script);
  self.options.alloc = &memory->alloc;
  rc = cp__redis_link_open(&self.link, &self.options);
  if (rc == 0)
    run_until(&self.loop, self.n_ready || self.n_broken);
  else
    assert_int_equal(rc, CP_E_NOMEM);
  if (self.n_broken)
    assert_int_equal(self.err, CP_E_NOMEM);
  if (self.n_ready)
    run_commands(&self, memory);
  finish(&self);
}

static void test_every_allocation_failing(void **state) {
  failing_alloc memory;
  size_t n = 0;

  (void)state;
  do {
    failing_alloc_init(&memory, ++n);
    run_with_failing(&memory);
    assert_int_equal(memory.n_live, 0);
  } while (memory.failed);
  assert_true(n > 5);
}

static int ignore_sigpipe(void **state) {
  (void)state;
  signal(SIGPIPE, SIG_IGN);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_introduces_itself_and_learns),
      cmocka_unit_test(test_learns_how_much_may_wait),
      cmocka_unit_test(test_how_much_may_wait_is_a_secret),
      cmocka_unit_test(test_password_alone),
      cmocka_unit_test(test_answers_byte_by_byte),
      cmocka_unit_test(test_refused_password),
      cmocka_unit_test(test_password_for_a_server_without_one),
      cmocka_unit_test(test_password_missing),
      cmocka_unit_test(test_refused_database),
      cmocka_unit_test(test_goes_on_without_what_is_refused),
      cmocka_unit_test(test_not_a_master),
      cmocka_unit_test(test_server_that_is_not_ready),
      cmocka_unit_test(test_peer_that_is_no_redis),
      cmocka_unit_test(test_answers_of_another_kind),
      cmocka_unit_test(test_more_answers_than_questions),
      cmocka_unit_test(test_closed_at_every_step),
      cmocka_unit_test(test_silence),
      cmocka_unit_test(test_nobody_listens),
      cmocka_unit_test(test_no_such_socket),
      cmocka_unit_test(test_no_such_host),
      cmocka_unit_test(test_tries_every_address),
      cmocka_unit_test(test_close_after_every_turn),
      cmocka_unit_test(test_close_in_callbacks),
      cmocka_unit_test(test_replies_in_order),
      cmocka_unit_test(test_an_error_answers_a_whole_command),
      cmocka_unit_test(test_queue_falls_with_whole_commands),
      cmocka_unit_test(test_patience_brings_every_answer),
      cmocka_unit_test(test_patience_ends_when_somebody_waits),
      cmocka_unit_test(test_patience_ends_by_order),
      cmocka_unit_test(test_patience_has_a_limit),
      cmocka_unit_test(test_patience_hears_the_end),
      cmocka_unit_test(test_messages_among_replies),
      cmocka_unit_test(test_end_with_little_to_read),
      cmocka_unit_test(test_end_with_much_to_read),
      cmocka_unit_test(test_message_before_it_is_ready),
      cmocka_unit_test(test_reply_above_the_limit),
      cmocka_unit_test(test_writes_of_any_size),
      cmocka_unit_test(test_knows_what_was_written),
      cmocka_unit_test(test_half_a_command_was_not_written),
      cmocka_unit_test(test_the_greeting_is_nobodys_business),
      cmocka_unit_test(test_every_allocation_failing),
  };

  return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
