/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A program of somebody else's, C and C++ alike: a server without Redis is
 * opened and closed again. */

#include <clusterpush/clusterpush.h>

#include <stdio.h>
#include <uv.h>

static int check(const char *what, int err) {
  if (err != 0)
    fprintf(stderr, "%s: %s\n", what, cp_strerror(err));
  return err != 0;
}

static void on_closed(void *data) {
  *(int *)data = 1;
}

int main(void) {
  uv_loop_t *loop = uv_default_loop();
  cp_server_options options;
  cp_server *server;
  int closed = 0;

  cp_server_options_init(&options);
  options.data = &closed;
  if (check("create", cp_server_create(&server, loop, &options)))
    return 1;
  if (check("listen", cp_server_listen(server, "127.0.0.1:0")))
    return 1;
  cp_server_close(server, 0, on_closed);
  uv_run(loop, UV_RUN_DEFAULT);
  if (check("loop", uv_loop_close(loop)))
    return 1;
  printf("%s\n", cp_version());
  return closed ? 0 : 1;
}
