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
  cp_request *request = cp__malloc(alloc, sizeof *request);

  if (request == NULL)
    return NULL;
  memset(request, 0, offsetof(cp_request, head.headers));
  request->alloc = alloc;
  request->conn = conn;
  cp__buf_init(&request->bytes, alloc);
  cp__buf_init(&request->early, alloc);
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
  cp__buf_finish(&request->bytes);
  cp__buf_finish(&request->early);
  cp__free(request->alloc, request);
}

/* What came with the head's last bytes. */
static bool keep_rest(cp_request *request) {
  cp__buf_append(&request->early, request->bytes.data + request->head_len,
                 cp__buf_len(&request->bytes) - request->head_len);
  return !request->early.failed;
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
  if (status != 0)
    return -status;
  return keep_rest(request) ? 1 : -503;
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

/* An IPv4 client of a listener for both (::ffff:192.0.2.1) is named as such. */
static void name_ip(const struct sockaddr_storage *peer, char *out,
                    size_t size) {
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;

  if (peer->ss_family == AF_INET)
    uv_ip4_name((const struct sockaddr_in *)peer, out, size);
  else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
    uv_inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], out, size);
  else
    uv_ip6_name(v6, out, size);
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
                         &len) == 0)
    name_ip(&peer, request->address, sizeof request->address);
}

const char *cp_request_address(cp_request *request) {
  if (request->address[0] == '\0')
    name_address(request);
  return request->address;
}
