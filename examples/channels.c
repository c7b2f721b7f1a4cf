/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* channels: listen to "channel:demo" and to every "channel:*", and publish what
 * comes in lines on the standard input to "channel:demo". Try it with
 *
 *   redis-cli PUBLISH channel:demo hello
 *
 * usage: channels [REDIS_URL [NAME-OR-PATTERN...]] */

#include <clusterpush/clusterpush.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

typedef struct listener {
  const char *name; /* as it was subscribed */
  cp_subscription *subscription;
} listener;

static char line[4096];
static size_t line_len;

static void on_message(void *data, cp_bytes channel, cp_bytes pattern,
                       cp_bytes body) {
  listener *self = data;

  (void)pattern; /* that is self->name, or empty */
  printf("[%s] %.*s: %.*s\n", self->name, (int)channel.len,
         (const char *)channel.data, (int)body.len, (const char *)body.data);
  if (body.len == 4 && memcmp(body.data, "stop", 4) == 0)
    cp_unsubscribe(self->subscription);
}

static void on_status(void *data, int status) {
  listener *self = data;

  printf("[%s] %s\n", self->name,
         status == 0 ? "subscribed" : cp_strerror(status));
}

static void on_published(void *data, const cp_result *result) {
  (void)data;
  if (result->state == CP_DROPPED || result->state == CP_UNKNOWN)
    printf("not published: %s\n", cp_strerror(result->error));
  else
    printf("published to %u\n", (unsigned)result->subscribers);
}

static int listen_to(cp_server *server, listener *self) {
  cp_subscribe_options options;
  int has_wildcard = strpbrk(self->name, "*?[") != NULL;

  cp_subscribe_options_init(&options);
  options.on_status = on_status;
  return (has_wildcard ? cp_psubscribe
                       : cp_subscribe)(server, cp_str(self->name), on_message,
                                       self, &options, &self->subscription);
}

static void publish_line(cp_server *server) {
  cp_send_options options;
  int rc;

  cp_send_options_init(&options);
  options.cb = on_published;
  rc = cp_publish(server, cp_str("channel:demo"), cp_bytes_of(line, line_len),
                  &options);
  if (rc != 0)
    printf("not published: %s\n", cp_strerror(rc));
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  (void)handle;
  (void)size;
  *buf = uv_buf_init(line + line_len, 1);
}

/* A byte at a time: this is not what the example is about. */
static void on_input(uv_stream_t *input, ssize_t n, const uv_buf_t *buf) {
  (void)buf;
  if (n < 0) {
    uv_close((uv_handle_t *)input, NULL);
    cp_server_close(input->data, 1000, NULL);
  } else if (n > 0 && line[line_len] != '\n') {
    line_len = (line_len + 1) % sizeof line;
  } else if (n > 0) {
    publish_line(input->data);
    line_len = 0;
  }
}

int main(int argc, char **argv) {
  static listener defaults[] = {{"channel:demo", NULL}, {"channel:*", NULL}};
  static listener named[16];
  int n = argc > 2 ? argc - 2 : 2;
  cp_server_options options;
  cp_server *server;
  uv_pipe_t input;
  int i, rc;

  setvbuf(stdout, NULL, _IOLBF, 0);
  cp_server_options_init(&options);
  options.redis = argc > 1 ? argv[1] : NULL;
  rc = cp_server_create(&server, uv_default_loop(), &options);
  for (i = 0; rc == 0 && i < n && i < 16; i++) {
    named[i] = defaults[i % 2];
    if (argc > 2)
      named[i].name = argv[2 + i];
    rc = listen_to(server, &named[i]);
  }
  if (rc != 0) {
    fprintf(stderr, "%s\n", cp_strerror(rc));
    return 1;
  }
  uv_pipe_init(uv_default_loop(), &input, 0);
  input.data = server;
  uv_pipe_open(&input, 0);
  uv_read_start((uv_stream_t *)&input, on_alloc, on_input);
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
