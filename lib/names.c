/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "names.h"

#include <stdio.h>
#include <string.h>

bool cp__user_is_valid(cp_bytes user) {
  return user.data != NULL && user.len >= 1 && user.len <= CP__USER_MAX &&
         *(const char *)user.data != '}';
}

bool cp__prefix_is_valid(const char *prefix) {
  size_t len = strlen(prefix);
  size_t i;

  for (i = 0; i < len; i++) {
    unsigned char c = (unsigned char)prefix[i];
    if (c <= ' ' || c == 0x7f || c == '{' || c == '}')
      return false;
  }
  return len >= 1 && len <= CP__PREFIX_MAX;
}

static size_t put(char *out, size_t at, const void *data, size_t len) {
  memcpy(out + at, data, len);
  return at + len;
}

static size_t put_name(const char *prefix, const char kind[4], cp_bytes name,
                       char out[CP__CHANNEL_MAX]) {
  size_t n = put(out, 0, prefix, strlen(prefix));
  n = put(out, n, kind, 4);
  n = put(out, n, name.data, name.len);
  return put(out, n, "}", 1);
}

size_t cp__channel_of_user(const char *prefix, cp_bytes user,
                           char out[CP__CHANNEL_MAX]) {
  return put_name(prefix, ":u:{", user, out);
}

size_t cp__channel_of_group(const char *prefix, cp_bytes group,
                            char out[CP__CHANNEL_MAX]) {
  return put_name(prefix, ":g:{", group, out);
}

size_t cp__channel_of_node(const char *prefix, uint64_t instance,
                           char out[CP__CHANNEL_MAX]) {
  return (size_t)snprintf(out, CP__CHANNEL_MAX, "%s:n:{%016llx}", prefix,
                          (unsigned long long)instance);
}

size_t cp__channel_of_all(const char *prefix, char out[CP__CHANNEL_MAX]) {
  size_t n = put(out, 0, prefix, strlen(prefix));
  return put(out, n, ":all", 4);
}
