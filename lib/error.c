/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "clusterpush/base.h"

#include <errno.h>
#include <stdbool.h>
#include <uv.h>

/* uv_err_name allocates for a number it doesn't know: those stay out. */
static bool is_uv_code(int err) {
#define CP__UV_CASE(name, text) case UV_##name:
  switch (err) {
    UV_ERRNO_MAP(CP__UV_CASE)
    return true;
  default:
    return false;
  }
#undef CP__UV_CASE
}

#define CP__ERRORS(X)                                      \
  X(CLOSED, "closed")                                      \
  X(FULL, "queue is full")                                 \
  X(INVALID, "invalid argument")                           \
  X(NOMEM, "out of memory")                                \
  X(TOOBIG, "larger than the limit")                       \
  X(UTF8, "text is not valid UTF-8")                       \
  X(PROTOCOL, "protocol error")                            \
  X(DOWN, "Redis can't be reached")                        \
  X(CANCELED, "canceled by a close")                       \
  X(TIMEOUT, "no answer in time")                          \
  X(REDIS, "Redis answered with an error")                 \
  X(AUTH, "Redis refused the user or password")            \
  X(URL, "not a usable Redis URL")                         \
  X(UNSUPPORTED, "not supported by this build or version") \
  X(NOTFOUND, "not found")                                 \
  X(STATE, "not allowed in this state")                    \
  X(LAGGED, "too much waited at Redis for this node")

const char *cp_strerror(int err) {
#define CP__TEXT_CASE(name, text) \
  case CP_E_##name:               \
    return text;
  switch (err) {
    CP__ERRORS(CP__TEXT_CASE)
  case 0:
    return "success";
  default:
    return is_uv_code(err) ? uv_strerror(err) : "unknown error";
  }
#undef CP__TEXT_CASE
}

const char *cp_err_name(int err) {
#define CP__NAME_CASE(name, text) \
  case CP_E_##name:               \
    return "CP_E_" #name;
  switch (err) {
    CP__ERRORS(CP__NAME_CASE)
  case 0:
    return "OK";
  default:
    return is_uv_code(err) ? uv_err_name(err) : "CP_E_?";
  }
#undef CP__NAME_CASE
}
