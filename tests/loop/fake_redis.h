/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_FAKE_REDIS_H
#define CP_TEST_FAKE_REDIS_H

/* Fake Redis: a server in the test's own loop that follows a script, for what a
 * real one doesn't do on demand.
 *
 *   static const fake_step script[] = {
 *     EXPECT("PING"), SEND("+PONG\r\n"), CLOSE, END,
 *   };
 *
 * The n-th connection follows the n-th script, those beyond the last one follow
 * the last. A command that was not expected is noted in `wrong`. Behind its END
 * a connection swallows everything and says nothing.
 *
 * Where nobody can tell which connection comes when, because some are given up
 * before they are made, a script goes by rules instead of by an order. */

#include "resp.h"

#include <stdbool.h>
#include <uv.h>

#define FAKE_MAX_CONNS 64

typedef enum fake_action {
  FAKE_END,
  FAKE_EXPECT,
  FAKE_SEND,
  FAKE_TRICKLE,
  FAKE_CLOSE,
  FAKE_PAUSE,
  FAKE_RULES
} fake_action;

typedef struct fake_step {
  fake_action action;
  const void *text;
  size_t len;
} fake_step;

/* How a command is answered, that begins so. */
typedef struct fake_rule {
  const char *command; /* NULL behind the last one */
  const char *answer;
  unsigned *n_used; /* NULL, or counts */
} fake_rule;

/* Wait for a command: its words with blanks in between. A '*' at the end stands
 * for any rest. */
#define EXPECT(text) \
  { FAKE_EXPECT, text, sizeof(text) - 1 }
#define SEND(text) \
  { FAKE_SEND, text, sizeof(text) - 1 }
/* Send each byte in a turn of its own. */
#define TRICKLE(text) \
  { FAKE_TRICKLE, text, sizeof(text) - 1 }
#define CLOSE \
  { FAKE_CLOSE, NULL, 0 }
/* Read nothing until fake_redis_resume(). */
#define PAUSE \
  { FAKE_PAUSE, NULL, 0 }
#define END \
  { FAKE_END, NULL, 0 }
/* From here on follow the first of these rules that fits; without one, say
 * nothing. */
#define RULES(rules) \
  { FAKE_RULES, rules, 0 }

/* Answers to the greeting. A run id has 16 digits here, an uptime two. */
#define FAKE_OK "+OK\r\n"
#define FAKE_INFO(run_id, uptime)                              \
  "$102\r\n# Server\r\nredis_version:7.0.15\r\nrun_id:" run_id \
  "\r\nredis_mode:standalone\r\nuptime_in_seconds:" uptime "\r\n\r\n"
#define FAKE_RUN_ID "0123456789abcdef"
#define FAKE_MASTER "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
#define FAKE_SLAVE                                                   \
  "*5\r\n$5\r\nslave\r\n$9\r\n10.1.2.34\r\n:6379\r\n$9\r\nconnected" \
  "\r\n:0\r\n"

/* The greeting of a link without a password. */
#define GREETING_OF(run_id, uptime)                                           \
  EXPECT("CLIENT SETNAME clusterpush"), SEND(FAKE_OK), EXPECT("INFO server"), \
      SEND(FAKE_INFO(run_id, uptime)), EXPECT("ROLE"), SEND(FAKE_MASTER)
#define GREETING GREETING_OF(FAKE_RUN_ID, "99")

/* A confirmation, and what a subscriber hears. The lengths are those of the
 * strings, as text. */
#define SUBSCRIBED(len, channel, count) \
  "*3\r\n$9\r\nsubscribe\r\n$" len "\r\n" channel "\r\n:" count "\r\n"
#define UNSUBSCRIBED(len, channel, count) \
  "*3\r\n$11\r\nunsubscribe\r\n$" len "\r\n" channel "\r\n:" count "\r\n"
#define MESSAGE(channel_len, channel, len, payload)                 \
  "*3\r\n$7\r\nmessage\r\n$" channel_len "\r\n" channel "\r\n$" len \
  "\r\n" payload "\r\n"

typedef struct fake_redis fake_redis;

typedef struct fake_conn {
  fake_redis *redis;
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } io;
  const fake_step *step; /* the next one */
  size_t trickled;       /* bytes of the current step */
  bool closed;           /* by either side */
  bool paused;
  size_t n_commands;
  size_t n_bytes; /* read */
  cp__resp *resp;
  char in[65536];
} fake_conn;

struct fake_redis {
  uv_loop_t *loop;
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } listener;
  bool is_tcp;
  uv_idle_t trickle; /* active while a connection is at a TRICKLE */
  const fake_step *const *scripts;
  size_t n_scripts;
  int port;     /* TCP */
  char dir[32]; /* Unix */
  char path[64];
  char url[96];
  fake_conn *conns[FAKE_MAX_CONNS];
  size_t n_conns;
  char wrong[256]; /* "" while everything was as expected */
};

/* Listen on a port of 127.0.0.1, or at a Unix socket, where connections are
 * accepted in the order of the connects. */
void fake_redis_start_tcp(fake_redis *redis, uv_loop_t *loop,
                          const fake_step *const *scripts, size_t n);
void fake_redis_start_unix(fake_redis *redis, uv_loop_t *loop,
                           const fake_step *const *scripts, size_t n);

/* Has this connection come, and its script run to the end? */
bool fake_redis_is_done(const fake_redis *redis, size_t conn);
void fake_redis_resume(fake_redis *redis, size_t conn);
/* Say something outside of the script. */
void fake_redis_send(fake_redis *redis, size_t conn, const void *data,
                     size_t len);
void fake_redis_hang_up(fake_redis *redis, size_t conn);

/* Begin to close everything: where there are several, all of them before the
 * first is stopped, which runs the loop. */
void fake_redis_shut(fake_redis *redis);
/* Close everything, and run the loop until that is done. */
void fake_redis_stop(fake_redis *redis);

#endif
