/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "patience.h"

#include <sys/socket.h>

/* Bytes: 64 answers of the shortest kind, ":1\r\n". */
#define MANY 256
/* So many in a row, or the changes would cost more than they gain. */
#define CALM 64

void cp__patience_asked(cp__patience *patience, bool awaited) {
  patience->n_awaited += awaited;
  if (awaited)
    patience->n_calm = 0;
  else if (patience->n_calm < CALM)
    patience->n_calm++;
}

void cp__patience_answered(cp__patience *patience, bool awaited) {
  patience->n_awaited -= awaited;
}

bool cp__patience_is_due(const cp__patience *patience) {
  return patience->n_awaited == 0 && patience->n_calm >= CALM;
}

void cp__patience_set(cp__patience *patience, uv_stream_t *stream, bool on) {
  int low_water = on ? MANY : 1;
  uv_os_fd_t fd;

  /* Unix sockets know no low water. */
  if (patience->on == on || stream->type != UV_TCP ||
      uv_fileno((uv_handle_t *)stream, &fd) != 0)
    return;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water) ==
      0)
    patience->on = on;
}
