/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The application's answers to requests: who comes in, as whom, and what the
 * others are told. */

#include "observed_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include <cmocka.h>

typedef struct fixture {
  observed_node node;
  simple_client a, b, c;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);

  observed_node_init(&f->node);
  f->node.hold = true;
  *state = f;
  return 0;
}

static cp_stats stats_of(const fixture *f) {
  return observed_stats(&f->node);
}

static cp_request *pop_request(fixture *f) {
  assert_true(f->node.n_held > 0);
  return f->node.held[--f->node.n_held];
}

/* The request of an upgrade by this client, to be answered. */
static cp_request *upgrade(fixture *f, simple_client *client,
                           const char *headers) {
  simple_client_open(client, &f->node.loop.loop, f->node.port, "/", headers);
  node_await(&f->node, f->node.n_held > 0 || client->gone);
  return pop_request(f);
}

static cp_request *get(fixture *f, simple_client *client) {
  simple_client_get(client, &f->node.loop.loop, f->node.port, "/");
  node_await(&f->node, f->node.n_held > 0);
  return pop_request(f);
}

/* The client gets this status; its connection ends, but for a 101. */
static void assert_status(fixture *f, simple_client *client, int status) {
  node_await(&f->node,
             client->gone || (status == 101 && client->status == 101));
  assert_int_equal(client->status, status);
}

static bool has_line(const simple_client *client, const char *line) {
  char text[256];

  snprintf(text, sizeof text, "\r\n%s\r\n", line);
  return strstr(client->head, text) != NULL;
}

/* Accept. ----------------------------------------------------------------- */

static void test_accept(void **state) {
  fixture *f = *state;
  cp_header headers[] = {{"Set-Cookie", "a=b; Secure"}, {"X-Empty", ""}};
  cp_accept_options options;
  cp_request *request;
  int mine;

  observed_node_start(&f->node);
  request = upgrade(f, &f->a, "Sec-WebSocket-Protocol: chat, superchat\r\n");
  cp_accept_options_init(&options);
  options.data = &mine;
  options.protocol = "superchat";
  options.headers = headers;
  options.n_headers = 2;
  assert_int_equal(cp_request_accept(request, cp_str("alice"), &options), 0);
  assert_status(f, &f->a, 101);
  assert_true(has_line(&f->a, "Sec-WebSocket-Protocol: superchat"));
  assert_true(has_line(&f->a, "Set-Cookie: a=b; Secure"));
  assert_true(has_line(&f->a, "X-Empty: "));
  assert_non_null(f->node.conn);
  assert_ptr_equal(cp_conn_data(f->node.conn), &mine);
  assert_int_equal(cp_conn_user(f->node.conn).len, 5);
  assert_memory_equal(cp_conn_user(f->node.conn).data, "alice", 5);
}

static void test_accept_in_any_order(void **state) {
  fixture *f = *state;
  cp_request *one, *two;

  observed_node_start(&f->node);
  one = upgrade(f, &f->a, NULL);
  two = upgrade(f, &f->b, NULL);
  assert_int_equal(cp_request_accept(two, cp_str("two"), NULL), 0);
  assert_status(f, &f->b, 101);
  assert_int_equal(cp_request_accept(one, cp_str("one"), NULL), 0);
  assert_status(f, &f->a, 101);
  assert_true(observed_node_heard(&f->node, "open!two open!one "));
}

static void assert_accept_fails(fixture *f, cp_bytes user,
                                const cp_accept_options *options) {
  cp_request *request = upgrade(f, &f->a, "Sec-WebSocket-Protocol: chat\r\n");

  f->node.log_text[0] = '\0';
  assert_int_equal(cp_request_accept(request, user, options), CP_E_INVALID);
  assert_status(f, &f->a, 500);
  assert_string_not_equal(f->node.log_text, "");
  assert_true(observed_node_heard(&f->node, ""));
}

static void test_bad_users(void **state) {
  fixture *f = *state;
  char user[256];

  observed_node_start(&f->node);
  memset(user, 'u', sizeof user);
  assert_accept_fails(f, cp_str(""), NULL);
  assert_accept_fails(f, cp_bytes_of(NULL, 0), NULL);
  assert_accept_fails(f, cp_str("}alice"), NULL);
  assert_accept_fails(f, cp_bytes_of(user, 256), NULL);
}

static void test_bad_protocols(void **state) {
  static const char *const bad[] = {"other", "Chat", "chat\r\nX-Bad: 1", "cha"};
  fixture *f = *state;
  cp_accept_options options;
  size_t i;

  observed_node_start(&f->node);
  cp_accept_options_init(&options);
  for (i = 0; i < sizeof bad / sizeof *bad; i++) {
    options.protocol = bad[i];
    assert_accept_fails(f, cp_str("alice"), &options);
  }
}

static const cp_header bad_headers[] = {{"X-Good", "value\r\nX-Bad: 1"},
                                        {"X-Good", "value\nX-Bad: 1"},
                                        {"X-Good", "value\r"},
                                        {"X-Good", "\x7f"},
                                        {"X-Good", "\x01"},
                                        {"X-Bad: 1\r\nX", "v"},
                                        {"X Bad", "v"},
                                        {"X-Bad:", "v"},
                                        {"", "v"},
                                        {NULL, "v"},
                                        {"X-B\xc3\xa4", "v"},
                                        {"Content-Length", "1"},
                                        {"transfer-encoding", "chunked"},
                                        {"Connection", "keep-alive"},
                                        {"Upgrade", "h2c"},
                                        {"Sec-WebSocket-Accept", "Bad"},
                                        {"sec-websocket-protocol", "Bad"}};

#define N_BAD_HEADERS (sizeof bad_headers / sizeof *bad_headers)

static void test_headers_cannot_inject(void **state) {
  fixture *f = *state;
  cp_accept_options options;
  size_t i;

  observed_node_start(&f->node);
  cp_accept_options_init(&options);
  options.n_headers = 1;
  for (i = 0; i < N_BAD_HEADERS; i++) {
    options.headers = &bad_headers[i];
    assert_accept_fails(f, cp_str("alice"), &options);
    assert_null(strstr(f->a.head, "Bad"));
  }
}

static void test_accept_options_without_init(void **state) {
  cp_accept_options options = {.data = NULL};
  fixture *f = *state;

  observed_node_start(&f->node);
  assert_accept_fails(f, cp_str("alice"), &options);
  assert_non_null(strstr(f->node.log_text, "cp_accept_options_init()"));
}

static void test_accept_of_a_plain_request(void **state) {
  fixture *f = *state;

  observed_node_start(&f->node);
  assert_int_equal(cp_request_accept(get(f, &f->a), cp_str("alice"), NULL),
                   CP_E_STATE);
  assert_status(f, &f->a, 500);
}

/* The client left before the answer. */
static void test_answers_to_nobody(void **state) {
  fixture *f = *state;
  cp_request *requests[4];
  cp_header bad = {"X\r\n", "v"};
  size_t i;

  observed_node_start(&f->node);
  for (i = 0; i < 4; i++) {
    requests[i] = upgrade(f, &f->a, NULL);
    simple_client_hang_up(&f->a);
    node_await(&f->node, f->a.gone);
  }
  /* Reading stops at a complete head, so nobody knows it before the write. */
  cp_server_close(f->node.server, 0, NULL);
  f->node.server = NULL;
  observed_node_poll(&f->node);
  assert_int_equal(cp_request_accept(requests[0], cp_str("alice"), NULL),
                   CP_E_CLOSED);
  assert_int_equal(cp_request_refuse(requests[1], 401, "no"), CP_E_CLOSED);
  assert_int_equal(
      cp_request_respond(requests[2], 200, "text/html", cp_str("x"), NULL, 0),
      CP_E_CLOSED);
  assert_int_equal(
      cp_request_respond(requests[3], 200, NULL, cp_str("x"), &bad, 1),
      CP_E_INVALID);
}

static void test_too_late(void **state) {
  fixture *f = *state;
  cp_request *request;

  f->node.options.handshake_timeout_ms = 50;
  observed_node_start(&f->node);
  request = upgrade(f, &f->a, NULL);
  assert_status(f, &f->a, 503);
  assert_int_equal(cp_request_accept(request, cp_str("alice"), NULL),
                   CP_E_CLOSED);
  assert_int_equal(stats_of(f).refused, 1);
}

/* Refuse and respond. ----------------------------------------------------- */

static void test_refuse(void **state) {
  fixture *f = *state;

  observed_node_start(&f->node);
  assert_int_equal(cp_request_refuse(upgrade(f, &f->a, NULL), 401, "who?\n"),
                   0);
  assert_status(f, &f->a, 401);
  assert_string_equal(f->a.in, "who?\n");
  assert_true(has_line(&f->a, "Content-Type: text/plain; charset=utf-8"));
  assert_true(has_line(&f->a, "Connection: close"));
  assert_int_equal(cp_request_refuse(upgrade(f, &f->a, NULL), 302, NULL), 0);
  assert_status(f, &f->a, 302);
  assert_int_equal(stats_of(f).refused, 1);
}

static void test_bad_statuses(void **state) {
  static const int refuse[] = {-1, 0, 101, 200, 299, 600};
  static const int respond[] = {-1, 0, 100, 101, 199, 600};
  fixture *f = *state;
  size_t i;

  observed_node_start(&f->node);
  for (i = 0; i < sizeof refuse / sizeof *refuse; i++) {
    assert_int_equal(cp_request_refuse(upgrade(f, &f->a, NULL), refuse[i], "x"),
                     CP_E_INVALID);
    assert_status(f, &f->a, 500);
  }
  for (i = 0; i < sizeof respond / sizeof *respond; i++) {
    assert_int_equal(cp_request_respond(get(f, &f->a), respond[i], NULL,
                                        cp_str("x"), NULL, 0),
                     CP_E_INVALID);
    assert_status(f, &f->a, 500);
  }
}

static void test_respond(void **state) {
  fixture *f = *state;
  cp_header header = {"Cache-Control", "no-store"};

  observed_node_start(&f->node);
  assert_int_equal(cp_request_respond(get(f, &f->a), 200, "application/json",
                                      cp_str("{}"), &header, 1),
                   0);
  assert_status(f, &f->a, 200);
  assert_true(has_line(&f->a, "Content-Type: application/json"));
  assert_true(has_line(&f->a, "Content-Length: 2"));
  assert_true(has_line(&f->a, "Cache-Control: no-store"));
  assert_string_equal(f->a.in, "{}");
  assert_int_equal(stats_of(f).refused, 0);
}

static void test_respond_to_an_upgrade(void **state) {
  fixture *f = *state;
  cp_header header = {"Location", "https://elsewhere.example/"};

  observed_node_start(&f->node);
  assert_int_equal(cp_request_respond(upgrade(f, &f->a, NULL), 307, "",
                                      cp_str(NULL), &header, 1),
                   0);
  assert_status(f, &f->a, 307);
  assert_true(has_line(&f->a, "Location: https://elsewhere.example/"));
}

static size_t count_headers(const simple_client *client, const char *name) {
  size_t n = 0;
  const char *at;

  for (at = client->head; (at = strstr(at, "\r\n")) != NULL; at += 2)
    n += strncasecmp(at + 2, name, strlen(name)) == 0;
  return n;
}

static void assert_own_header(fixture *f, int status, const char *name,
                              const char *value) {
  cp_header header = {name, value};
  char line[128];

  assert_int_equal(
      cp_request_respond(get(f, &f->a), status, NULL, cp_str("x"), &header, 1),
      0);
  assert_status(f, &f->a, status);
  snprintf(line, sizeof line, "%s: %s", name, value);
  assert_true(has_line(&f->a, line));
  assert_int_equal(count_headers(&f->a, name), 1);
}

/* What the application says goes out instead of what the library would. */
static void test_own_headers(void **state) {
  fixture *f = *state;

  observed_node_start(&f->node);
  assert_own_header(f, 503, "Retry-After", "120");
  assert_own_header(f, 503, "retry-after", "120");
  assert_int_equal(count_headers(&f->a, "Content-Type:"), 1);
  assert_own_header(f, 405, "ALLOW", "GET");
  assert_own_header(f, 200, "content-type", "application/json");
  assert_own_header(f, 503, "X-Retry-After", "120");
  assert_true(has_line(&f->a, "Retry-After: 5"));
}

static void test_bad_responses(void **state) {
  fixture *f = *state;
  size_t i;

  observed_node_start(&f->node);
  assert_int_equal(cp_request_respond(get(f, &f->a), 200,
                                      "text/html\r\nX-Bad: 1", cp_str("x"),
                                      NULL, 0),
                   CP_E_INVALID);
  assert_status(f, &f->a, 500);
  assert_int_equal(
      cp_request_respond(get(f, &f->a), 200, NULL, cp_str("x"), NULL, 1),
      CP_E_INVALID);
  assert_status(f, &f->a, 500);
  for (i = 0; i < N_BAD_HEADERS; i++) {
    assert_int_equal(cp_request_respond(get(f, &f->a), 200, NULL, cp_str("x"),
                                        &bad_headers[i], 1),
                     CP_E_INVALID);
    assert_status(f, &f->a, 500);
    assert_null(strstr(f->a.head, "Bad"));
  }
}

/* Without hooks. ---------------------------------------------------------- */

static void test_no_hooks(void **state) {
  fixture *f = *state;

  f->node.options.on_upgrade = NULL;
  f->node.options.on_http = NULL;
  observed_node_start(&f->node);
  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/", NULL);
  assert_status(f, &f->a, 403);
  simple_client_get(&f->a, &f->node.loop.loop, f->node.port, "/");
  assert_status(f, &f->a, 426);
  assert_int_equal(stats_of(f).refused, 2);
}

/* Origins. ---------------------------------------------------------------- */

/* Returns whether on_upgrade was asked. */
static bool is_let_in(fixture *f, const char *origin) {
  char header[256] = "";

  if (origin != NULL)
    snprintf(header, sizeof header, "Origin: %s\r\n", origin);
  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/", header);
  node_await(&f->node, f->node.n_held > 0 || f->a.gone);
  if (f->node.n_held == 0) {
    assert_int_equal(f->a.status, 403);
    return false;
  }
  cp_request_refuse(pop_request(f), 404, "asked");
  assert_status(f, &f->a, 404);
  return true;
}

static void test_same_host_by_default(void **state) {
  fixture *f = *state;

  observed_node_start(&f->node); /* the client's Host is "test" */
  assert_true(is_let_in(f, NULL));
  assert_true(is_let_in(f, "http://test"));
  assert_true(is_let_in(f, "http://TEST"));
  assert_false(is_let_in(f, "http://test.evil.example"));
  assert_false(is_let_in(f, "http://eviltest"));
  assert_false(is_let_in(f, "http://test:8080"));
  assert_false(is_let_in(f, "null"));
  assert_false(is_let_in(f, ""));
}

static void test_listed_origins(void **state) {
  static const char *const origins[] = {"https://one.example",
                                        "https://two.example:444", NULL};
  fixture *f = *state;

  f->node.options.origins = origins;
  observed_node_start(&f->node);
  assert_true(is_let_in(f, NULL));
  assert_true(is_let_in(f, "https://one.example"));
  assert_true(is_let_in(f, "https://ONE.example"));
  assert_true(is_let_in(f, "https://two.example:444"));
  assert_false(is_let_in(f, "https://two.example"));
  assert_false(is_let_in(f, "http://one.example"));
  assert_false(is_let_in(f, "https://one.example.evil"));
  assert_false(is_let_in(f, "http://test"));
}

static void test_every_origin(void **state) {
  static const char *const origins[] = {"*", NULL};
  fixture *f = *state;

  f->node.options.origins = origins;
  observed_node_start(&f->node);
  assert_true(is_let_in(f, "https://anywhere.example"));
  assert_true(is_let_in(f, "null"));
}

static void test_no_origin_at_all(void **state) {
  static const char *const origins[] = {NULL};
  fixture *f = *state;

  f->node.options.origins = origins;
  observed_node_start(&f->node);
  assert_false(is_let_in(f, "http://test"));
  assert_true(is_let_in(f, NULL));
}

/* Limits. ----------------------------------------------------------------- */

static void test_max_conns(void **state) {
  fixture *f = *state;
  cp_request *one, *two;

  f->node.options.max_conns = 1;
  observed_node_start(&f->node);
  one = upgrade(f, &f->a, NULL);
  two = upgrade(f, &f->b, NULL);
  assert_int_equal(cp_request_accept(one, cp_str("one"), NULL), 0);
  assert_int_equal(cp_request_accept(two, cp_str("two"), NULL), CP_E_FULL);
  assert_status(f, &f->b, 503);
  assert_status(f, &f->a, 101);
  simple_client_open(&f->c, &f->node.loop.loop, f->node.port, "/", NULL);
  assert_status(f, &f->c, 503);
  /* A plain request is still answered. */
  assert_int_equal(
      cp_request_respond(get(f, &f->c), 200, NULL, cp_str("ok"), NULL, 0), 0);
  assert_status(f, &f->c, 200);
  /* And there is room again when somebody left. */
  simple_client_hang_up(&f->a);
  node_await(&f->node, f->node.conn == NULL);
  assert_int_equal(
      cp_request_accept(upgrade(f, &f->c, NULL), cp_str("three"), NULL), 0);
  assert_status(f, &f->c, 101);
}

/* Connections. ------------------------------------------------------------ */

static void test_bad_closes(void **state) {
  static const uint16_t bad[] = {0,    999,  1002, 1003, 1004, 1005,
                                 1006, 1015, 1016, 2999, 5000, 65535};
  fixture *f = *state;
  char reason[124];
  size_t i;

  observed_node_start(&f->node);
  cp_request_accept(upgrade(f, &f->a, NULL), cp_str("alice"), NULL);
  assert_status(f, &f->a, 101);
  for (i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(cp_conn_close(f->node.conn, bad[i], cp_str("")),
                     CP_E_INVALID);
  memset(reason, 'r', sizeof reason);
  assert_int_equal(cp_conn_close(f->node.conn, 1000, cp_bytes_of(reason, 124)),
                   CP_E_INVALID);
  assert_int_equal(cp_conn_close(f->node.conn, 1000, cp_str("\xff")),
                   CP_E_INVALID);
  assert_int_equal(cp_conn_close(f->node.conn, 4999, cp_bytes_of(reason, 123)),
                   0);
  assert_int_equal(cp_conn_close(f->node.conn, 1000, cp_str("")), CP_E_CLOSED);
  node_await(&f->node, f->a.gone);
  assert_int_equal(f->a.close_code, 4999);
}

static void test_good_closes(void **state) {
  static const uint16_t good[] = {1000, 1001, 1007, 1014, 3000, 4999};
  fixture *f = *state;
  size_t i;

  observed_node_start(&f->node);
  for (i = 0; i < sizeof good / sizeof *good; i++) {
    cp_request_accept(upgrade(f, &f->a, NULL), cp_str("alice"), NULL);
    assert_status(f, &f->a, 101);
    assert_int_equal(cp_conn_close(f->node.conn, good[i], cp_str("")), 0);
    node_await(&f->node, f->a.gone);
    assert_int_equal(f->a.close_code, good[i]);
  }
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, setup, observed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_accept),
      TEST(test_accept_in_any_order),
      TEST(test_bad_users),
      TEST(test_bad_protocols),
      TEST(test_headers_cannot_inject),
      TEST(test_accept_options_without_init),
      TEST(test_accept_of_a_plain_request),
      TEST(test_answers_to_nobody),
      TEST(test_too_late),
      TEST(test_refuse),
      TEST(test_bad_statuses),
      TEST(test_respond),
      TEST(test_respond_to_an_upgrade),
      TEST(test_own_headers),
      TEST(test_bad_responses),
      TEST(test_no_hooks),
      TEST(test_same_host_by_default),
      TEST(test_listed_origins),
      TEST(test_every_origin),
      TEST(test_no_origin_at_all),
      TEST(test_max_conns),
      TEST(test_bad_closes),
      TEST(test_good_closes),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
