/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A connection stands at one step of its script. Reading a command moves it
 * over an EXPECT, and every other step is done as soon as it is reached, but
 * for a TRICKLE, which sends one byte a turn from an idle handle. */
#include "fake_redis.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void run_script(fake_conn *conn);

/* Connections. ------------------------------------------------------------ */

static void hang_up(fake_conn *conn) {
  if (conn->closed)
    return;
  conn->closed = true;
  uv_close(&conn->io.handle, NULL);
}

typedef struct fake_write {
  uv_write_t req;
  char data[];
} fake_write;

static void on_written(uv_write_t *req, int status) {
  (void)status;
  free(req);
}

static void say(fake_conn *conn, const void *data, size_t len) {
  fake_write *write;
  uv_buf_t buf;

  if (conn->closed || len == 0)
    return;
  write = malloc(sizeof *write + len);
  memcpy(write->data, data, len);
  buf = uv_buf_init(write->data, (unsigned)len);
  uv_write(&write->req, &conn->io.stream, &buf, 1, on_written);
}

/* Commands. --------------------------------------------------------------- */

static void words_of(char *out, size_t size, const cp__resp_reply *command) {
  size_t at = 0;
  size_t i;

  out[0] = '\0';
  for (i = 1; i < command->n_nodes && at < size; i++) {
    cp_bytes word = command->nodes[i].text;
    at += (size_t)snprintf(out + at, size - at, "%s%.*s", i > 1 ? " " : "",
                           (int)word.len, (const char *)word.data);
  }
}

static bool matches(const fake_step *step, const char *words) {
  const char *text = step->text;
  size_t len = step->len;

  if (len > 0 && text[len - 1] == '*')
    return strncmp(words, text, len - 1) == 0;
  return strcmp(words, text) == 0;
}

static void follow_rules(fake_conn *conn, const char *words) {
  const fake_rule *rule = conn->step->text;

  while (rule->command != NULL &&
         strncmp(words, rule->command, strlen(rule->command)) != 0)
    rule++;
  if (rule->command == NULL)
    return;
  if (rule->n_used != NULL)
    ++*rule->n_used;
  say(conn, rule->answer, strlen(rule->answer));
}

/* What every subscriber asks and no script is about: it has no limit. */
static bool is_about_limit(const fake_conn *conn, const char *words) {
  return strcmp(words, "CONFIG GET client-output-buffer-limit") == 0 &&
         !(conn->step->action == FAKE_EXPECT && matches(conn->step, words));
}

static void on_command(fake_conn *conn, const cp__resp_reply *command) {
  char *wrong = conn->redis->wrong;
  char words[8192];

  words_of(words, sizeof words, command);
  if (is_about_limit(conn, words)) {
    say(conn, "*0\r\n", 4);
    return;
  }
  conn->n_commands++;
  if (conn->step->action == FAKE_RULES)
    follow_rules(conn, words);
  if (conn->step->action != FAKE_EXPECT)
    return;
  if (!matches(conn->step, words) && *wrong == '\0')
    snprintf(wrong, sizeof conn->redis->wrong, "'%.100s' instead of '%.100s'",
             words, (const char *)conn->step->text);
  conn->step++;
  run_script(conn);
}

static void take_commands(fake_conn *conn) {
  cp__resp_reply command;

  /* While it trickles, the script is not there yet. */
  while (!conn->closed && !conn->paused && conn->step->action != FAKE_TRICKLE &&
         cp__resp_next(conn->resp, &command) == 1)
    on_command(conn, &command);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  fake_conn *conn = handle->data;

  (void)suggested;
  *buf = uv_buf_init(conn->in, sizeof conn->in);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  fake_conn *conn = stream->data;

  if (n < 0) {
    hang_up(conn);
    return;
  }
  conn->n_bytes += (size_t)n;
  cp__resp_feed(conn->resp, buf->base, (size_t)n);
  take_commands(conn);
}

/* The script. ------------------------------------------------------------- */

static void pause_reading(fake_conn *conn) {
  conn->paused = true;
  uv_read_stop(&conn->io.stream);
}

static void on_idle(uv_idle_t *idle);

/* Do one step. False: it takes longer. */
static bool run_step(fake_conn *conn) {
  const fake_step *step = conn->step;

  switch (step->action) {
  case FAKE_SEND:
    say(conn, step->text, step->len);
    break;
  case FAKE_CLOSE:
    hang_up(conn);
    break;
  case FAKE_PAUSE:
    pause_reading(conn);
    break;
  case FAKE_TRICKLE:
    uv_idle_start(&conn->redis->trickle, on_idle);
    return false;
  case FAKE_EXPECT:
  case FAKE_RULES:
  case FAKE_END:
    return false;
  }
  conn->step++;
  return true;
}

static void run_script(fake_conn *conn) {
  while (!conn->closed && !conn->paused && run_step(conn))
    continue;
}

/* Returns whether there is more to trickle. */
static bool trickle(fake_conn *conn) {
  if (conn->closed || conn->step->action != FAKE_TRICKLE)
    return false;
  say(conn, (const char *)conn->step->text + conn->trickled, 1);
  if (++conn->trickled < conn->step->len)
    return true;
  conn->trickled = 0;
  conn->step++;
  run_script(conn);
  take_commands(conn);
  return !conn->closed && conn->step->action == FAKE_TRICKLE;
}

static void on_idle(uv_idle_t *idle) {
  fake_redis *redis = idle->data;
  bool more = false;
  size_t i;

  for (i = 0; i < redis->n_conns; i++)
    more = trickle(redis->conns[i]) || more;
  if (!more)
    uv_idle_stop(idle);
}

/* Listening. -------------------------------------------------------------- */

static void on_connection(uv_stream_t *listener, int status) {
  fake_redis *redis = listener->data;
  size_t n = redis->n_conns;
  fake_conn *conn = calloc(1, sizeof *conn);

  assert(status == 0 && n < FAKE_MAX_CONNS);
  (void)status;
  conn->redis = redis;
  conn->step = redis->scripts[n < redis->n_scripts ? n : redis->n_scripts - 1];
  conn->resp = cp__resp_create(&cp__default_allocator, SIZE_MAX, NULL, NULL);
  if (redis->is_tcp)
    uv_tcp_init(redis->loop, &conn->io.tcp);
  else
    uv_pipe_init(redis->loop, &conn->io.pipe, 0);
  conn->io.handle.data = conn;
  uv_accept(listener, &conn->io.stream);
  if (redis->is_tcp)
    uv_tcp_nodelay(&conn->io.tcp, 1);
  redis->conns[redis->n_conns++] = conn;
  uv_read_start(&conn->io.stream, on_alloc, on_read);
  run_script(conn);
}

static void init(fake_redis *redis, uv_loop_t *loop,
                 const fake_step *const *scripts, size_t n) {
  memset(redis, 0, sizeof *redis);
  redis->loop = loop;
  redis->scripts = scripts;
  redis->n_scripts = n;
  uv_idle_init(loop, &redis->trickle);
  redis->trickle.data = redis;
}

static void listen_now(fake_redis *redis) {
  int rc;

  redis->listener.handle.data = redis;
  rc = uv_listen(&redis->listener.stream, 16, on_connection);
  assert(rc == 0);
  (void)rc;
}

void fake_redis_start_tcp(fake_redis *redis, uv_loop_t *loop,
                          const fake_step *const *scripts, size_t n) {
  struct sockaddr_in address;
  int len = sizeof address;

  init(redis, loop, scripts, n);
  redis->is_tcp = true;
  uv_tcp_init(loop, &redis->listener.tcp);
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_tcp_bind(&redis->listener.tcp, (struct sockaddr *)&address, 0);
  listen_now(redis);
  uv_tcp_getsockname(&redis->listener.tcp, (struct sockaddr *)&address, &len);
  redis->port = ntohs(address.sin_port);
  snprintf(redis->url, sizeof redis->url, "redis://127.0.0.1:%d", redis->port);
}

void fake_redis_start_unix(fake_redis *redis, uv_loop_t *loop,
                           const fake_step *const *scripts, size_t n) {
  init(redis, loop, scripts, n);
  strcpy(redis->dir, "/tmp/cp-fake-XXXXXX");
  if (mkdtemp(redis->dir) == NULL)
    abort();
  snprintf(redis->path, sizeof redis->path, "%s/redis.sock", redis->dir);
  snprintf(redis->url, sizeof redis->url, "unix://%s", redis->path);
  uv_pipe_init(loop, &redis->listener.pipe, 0);
  uv_pipe_bind(&redis->listener.pipe, redis->path);
  listen_now(redis);
}

/* Control. ---------------------------------------------------------------- */

bool fake_redis_is_done(const fake_redis *redis, size_t conn) {
  return conn < redis->n_conns &&
         (redis->conns[conn]->closed ||
          redis->conns[conn]->step->action == FAKE_END);
}

void fake_redis_resume(fake_redis *redis, size_t conn) {
  fake_conn *paused = redis->conns[conn];

  paused->paused = false;
  run_script(paused);
  take_commands(paused);
  if (!paused->closed && !paused->paused)
    uv_read_start(&paused->io.stream, on_alloc, on_read);
}

void fake_redis_send(fake_redis *redis, size_t conn, const void *data,
                     size_t len) {
  say(redis->conns[conn], data, len);
}

void fake_redis_hang_up(fake_redis *redis, size_t conn) {
  hang_up(redis->conns[conn]);
}

void fake_redis_shut(fake_redis *redis) {
  size_t i;

  if (uv_is_closing(&redis->listener.handle))
    return;
  uv_close(&redis->listener.handle, NULL);
  uv_close((uv_handle_t *)&redis->trickle, NULL);
  for (i = 0; i < redis->n_conns; i++)
    hang_up(redis->conns[i]);
}

void fake_redis_stop(fake_redis *redis) {
  size_t i;

  fake_redis_shut(redis);
  uv_run(redis->loop, UV_RUN_DEFAULT);
  for (i = 0; i < redis->n_conns; i++) {
    cp__resp_destroy(redis->conns[i]->resp);
    free(redis->conns[i]);
  }
  if (!redis->is_tcp) {
    unlink(redis->path);
    rmdir(redis->dir);
  }
}
