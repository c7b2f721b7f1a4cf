/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "real_redis.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#define START_TIMEOUT_MS 10000

static void exec_server(const real_redis *redis, int out) {
#ifdef __linux__
  /* A test that fails doesn't come to its end. */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
         redis->path, "--dir", redis->dir, "--save", "", "--appendonly", "no",
         (char *)NULL);
  _exit(127);
}

/* Read its log until it says that it is ready. */
static bool await_ready(int log) {
  char text[16384] = "";
  size_t len = 0;

  while (strstr(text, "eady to accept connections") == NULL) {
    struct pollfd event = {.fd = log, .events = POLLIN};
    ssize_t n;

    if (len == sizeof text - 1 || poll(&event, 1, START_TIMEOUT_MS) != 1)
      return false;
    n = read(log, text + len, sizeof text - 1 - len);
    if (n <= 0)
      return false;
    len += (size_t)n;
    text[len] = '\0';
  }
  return true;
}

bool real_redis_restart(real_redis *redis) {
  int log[2];
  bool ready;

  if (pipe(log) != 0)
    return false;
  unlink(redis->path);
  redis->pid = fork();
  if (redis->pid == 0)
    exec_server(redis, log[1]);
  close(log[1]);
  ready = redis->pid > 0 && await_ready(log[0]);
  /* What it logs from now on goes nowhere, and its write fails: SIGPIPE is
   * ignored by redis-server. */
  close(log[0]);
  if (!ready)
    real_redis_kill(redis);
  return ready;
}

bool real_redis_start(real_redis *redis) {
  memset(redis, 0, sizeof *redis);
  strcpy(redis->dir, "/tmp/cp-redis-XXXXXX");
  if (mkdtemp(redis->dir) == NULL)
    return false;
  snprintf(redis->path, sizeof redis->path, "%s/redis.sock", redis->dir);
  snprintf(redis->url, sizeof redis->url, "unix://%s", redis->path);
  if (real_redis_restart(redis))
    return true;
  real_redis_stop(redis);
  return false;
}

void real_redis_kill(real_redis *redis) {
  if (redis->pid <= 0)
    return;
  kill(redis->pid, SIGKILL);
  waitpid(redis->pid, NULL, 0);
  redis->pid = 0;
}

void real_redis_pause(real_redis *redis) {
  kill(redis->pid, SIGSTOP);
}

void real_redis_continue(real_redis *redis) {
  kill(redis->pid, SIGCONT);
}

long long real_redis_run(real_redis *redis, const char *command) {
  const struct timeval timeout = {10, 0};
  redisContext *context = redisConnectUnixWithTimeout(redis->path, timeout);
  redisReply *reply = NULL;
  long long number = -1;

  if (context != NULL && context->err == 0) {
    redisSetTimeout(context, timeout);
    reply = redisCommand(context, command);
  }
  if (reply != NULL && reply->type != REDIS_REPLY_ERROR)
    number = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
  if (reply != NULL)
    freeReplyObject(reply);
  if (context != NULL)
    redisFree(context);
  return number;
}

void real_redis_stop(real_redis *redis) {
  real_redis_kill(redis);
  unlink(redis->path);
  rmdir(redis->dir);
}
