/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* In place of tls.c and tls_context.c where libssl is missing. As no context
 * can be created, nothing behind it is ever called. */

#include "tls.h"

#include <stdio.h>

int cp__tls_context_create(cp__tls_context **context,
                           const cp__tls_options *options,
                           const cp_allocator *alloc,
                           char text[CP__TLS_TEXT_SIZE]) {
  (void)context;
  (void)options;
  (void)alloc;
  snprintf(text, CP__TLS_TEXT_SIZE, "this build has no TLS");
  return CP_E_UNSUPPORTED;
}

cp__tls_context *cp__tls_context_ref(cp__tls_context *context) {
  return context;
}

void cp__tls_context_unref(cp__tls_context *context) {
  (void)context;
}

int cp__tls_create(cp__tls **tls, cp__tls_context *context, const char *host) {
  (void)tls;
  (void)context;
  (void)host;
  return CP_E_UNSUPPORTED;
}

void cp__tls_destroy(cp__tls *tls) {
  (void)tls;
}

void cp__tls_feed(cp__tls *tls, const void *data, size_t len) {
  (void)tls;
  (void)data;
  (void)len;
}

cp__tls_event cp__tls_next(cp__tls *tls, void *data, size_t size, size_t *len,
                           cp__buf *out) {
  (void)tls;
  (void)data;
  (void)size;
  (void)out;
  *len = 0;
  return CP__TLS_ERROR;
}

cp__tls_event cp__tls_eof(cp__tls *tls) {
  (void)tls;
  return CP__TLS_ERROR;
}

int cp__tls_write(cp__tls *tls, const cp_bytes *parts, size_t n, cp__buf *out) {
  (void)tls;
  (void)parts;
  (void)n;
  (void)out;
  return CP_E_UNSUPPORTED;
}

int cp__tls_close(cp__tls *tls, cp__buf *out) {
  (void)tls;
  (void)out;
  return CP_E_UNSUPPORTED;
}

bool cp__tls_is_ready(const cp__tls *tls) {
  (void)tls;
  return false;
}

int cp__tls_error(const cp__tls *tls) {
  (void)tls;
  return CP_E_UNSUPPORTED;
}

const char *cp__tls_error_text(const cp__tls *tls,
                               char text[CP__TLS_TEXT_SIZE]) {
  (void)tls;
  text[0] = '\0';
  return text;
}

const char *cp__tls_version(const cp__tls *tls) {
  (void)tls;
  return "";
}
