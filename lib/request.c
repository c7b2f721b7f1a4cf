/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "request.h"

#include <string.h>

/* One decoded query value. */
struct cp__decoded {
  cp__list link; /* in cp_request.decoded */
  cp__buf value;
};

cp_request *cp__request_create(cp_conn *conn, const cp_allocator *alloc) {
  cp_request *request = cp__calloc(alloc, sizeof *request);

  if (request == NULL)
    return NULL;
  request->alloc = alloc;
  request->conn = conn;
  cp__buf_init(&request->bytes, alloc);
  cp__list_init(&request->decoded);
  return request;
}

void cp__request_destroy(cp_request *request) {
  cp__list *link;

  if (request == NULL)
    return;
  while ((link = cp__list_pop(&request->decoded)) != NULL) {
    struct cp__decoded *d = cp__container_of(link, struct cp__decoded, link);
    cp__buf_finish(&d->value);
    cp__free(request->alloc, d);
  }
  cp__blob_unref(request->response);
  cp__buf_finish(&request->bytes);
  cp__free(request->alloc, request);
}

int cp__request_feed(cp_request *request, const void *data, size_t len,
                     size_t limit) {
  long n;
  int status;

  cp__buf_append(&request->bytes, data, len);
  if (request->bytes.failed)
    return -503;
  n = cp__head_scan_feed(&request->scan, request->bytes.data,
                         cp__buf_len(&request->bytes), limit);
  if (n <= 0)
    return (int)n;
  request->head_len = (size_t)n;
  status = cp__request_head_parse(&request->head, request->bytes.data,
                                  request->head_len);
  return status == 0 ? 1 : -status;
}

cp_bytes cp__request_rest(const cp_request *request) {
  cp_bytes all = cp__buf_bytes(&request->bytes);
  return cp_bytes_of((const uint8_t *)all.data + request->head_len,
                     all.len - request->head_len);
}

cp_bytes cp_request_method(const cp_request *request) {
  return request->head.method;
}

cp_bytes cp_request_path(const cp_request *request) {
  return request->head.path;
}

cp_bytes cp_request_header(const cp_request *request, const char *name) {
  return cp__request_head_header(&request->head, cp_str(name));
}

int cp_request_query(cp_request *request, const char *name, cp_bytes *value) {
  struct cp__decoded *d = cp__malloc(request->alloc, sizeof *d);
  int rc;

  *value = cp_bytes_of(NULL, 0);
  if (d == NULL)
    return CP_E_NOMEM;
  cp__buf_init(&d->value, request->alloc);
  rc = cp__query_decode(request->head.query, cp_str(name), &d->value);
  if (rc != 0) {
    cp__buf_finish(&d->value);
    cp__free(request->alloc, d);
    return rc;
  }
  cp__list_push_back(&request->decoded, &d->link);
  *value = cp__buf_bytes(&d->value);
  return 0;
}

static void name_address(cp_request *request) {
  struct sockaddr_storage peer;
  int len = sizeof peer;

  strcpy(request->address, "unknown");
  if (request->conn == NULL)
    return;
  if (request->conn->is_unix) {
    strcpy(request->address, "unix");
    return;
  }
  if (uv_tcp_getpeername(&request->conn->uv.tcp, (struct sockaddr *)&peer,
                         &len) != 0)
    return;
  if (peer.ss_family == AF_INET6)
    uv_ip6_name((struct sockaddr_in6 *)&peer, request->address,
                sizeof request->address);
  else
    uv_ip4_name((struct sockaddr_in *)&peer, request->address,
                sizeof request->address);
}

const char *cp_request_address(cp_request *request) {
  if (request->address[0] == '\0')
    name_address(request);
  return request->address;
}
