/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The life of a server: options, listeners, and close, in every state and from
 * every hook. */

#include "observed_node.h"

#include "server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct fixture {
  observed_node node;
  simple_client a, b;
  observed_send send;
  char dir[32];
  char path[64];
} fixture;

static int setup(void **state) {
  return observed_setup(state, sizeof(fixture));
}

static int teardown(void **state) {
  fixture *f = *state;

  observed_node_finish(&f->node);
  if (f->dir[0] != '\0') {
    unlink(f->path);
    rmdir(f->dir);
  }
  free(f);
  return 0;
}

static int create(fixture *f) {
  return cp_server_create(&f->node.server, &f->node.loop.loop,
                          &f->node.options);
}

static void open_client(fixture *f, simple_client *client, const char *target) {
  simple_client_open(client, &f->node.loop.loop, f->node.port, target, NULL);
}

/* Options. ---------------------------------------------------------------- */

static void test_defaults(void **state) {
  cp_server_options o;

  (void)state;
  memset(&o, 0xff, sizeof o);
  cp_server_options_init(&o);
  assert_int_equal(o.size, sizeof o);
  assert_null(o.redis);
  assert_null(o.transport);
  assert_null(o.origins);
  assert_null(o.on_open);
  assert_string_equal(o.name, "node");
  assert_string_equal(o.prefix, "cp");
  assert_int_equal(o.leave_delay_ms, 2000);
  assert_int_equal(o.subscribe_wait_ms, 1000);
  assert_int_equal(o.settle_ms, 3000);
  assert_int_equal(o.compress, 0);
  assert_int_equal(o.compress_min, 256);
  assert_int_equal(o.max_conns, 0);
  assert_int_equal(o.max_conns_per_user, 32);
  assert_int_equal(o.handshake_timeout_ms, 10000);
  assert_int_equal(o.max_request, 16384);
  assert_int_equal(o.max_message, 1048576);
  assert_int_equal(o.max_send_queue, 1048576);
  assert_int_equal(o.max_receive_memory, 268435456);
  assert_int_equal(o.slow_policy, CP_SLOW_CLOSE);
  assert_int_equal(o.max_thread_queue, 16777216);
  assert_int_equal(o.ping_interval_ms, 25000);
  assert_int_equal(o.max_missed_pings, 2);
  assert_int_equal(o.close_timeout_ms, 5000);
  assert_int_equal(o.log_level, CP_LOG_INFO);
}

/* An older program knows fewer fields, a newer one more. */
static void test_sized_init(void **state) {
  struct {
    cp_server_options o;
    char later[16];
  } newer;
  struct {
    size_t size;
    void *data;
    char canary[8];
  } older;

  (void)state;
  memset(&older, 'x', sizeof older);
  cp_server_options_init_sized((cp_server_options *)(void *)&older,
                               offsetof(cp_server_options, redis));
  assert_int_equal(older.size, 16);
  assert_null(older.data);
  assert_memory_equal(older.canary, "xxxxxxxx", 8);
  memset(&newer, 'x', sizeof newer);
  cp_server_options_init_sized(&newer.o, sizeof newer);
  assert_int_equal(newer.o.size, sizeof newer);
  assert_int_equal(newer.later[15], 0);
}

static void test_newer_options_are_taken(void **state) {
  fixture *f = *state;
  struct {
    cp_server_options o;
    char later[16];
  } newer;

  memset(&newer, 'x', sizeof newer);
  newer.o = f->node.options;
  newer.o.size = sizeof newer;
  assert_int_equal(
      cp_server_create(&f->node.server, &f->node.loop.loop, &newer.o), 0);
}

static void assert_refused(fixture *f) {
  f->node.server = (cp_server *)f;
  assert_int_equal(create(f), CP_E_INVALID);
  assert_null(f->node.server);
  assert_int_equal(f->node.memory.n_live, 0);
}

#define REFUSED(field, value)                      \
  do {                                             \
    cp_server_options kept = f->node.options;      \
    f->node.options.field = value;                 \
    assert_refused(f);                             \
    assert_string_not_equal(f->node.log_text, ""); \
    f->node.log_text[0] = '\0';                    \
    f->node.options = kept;                        \
  } while (0)

static void test_bad_options(void **state) {
  static const char *const bad_origins[] = {"", "example.org", "https://",
                                            "://x"};
  fixture *f = *state;
  char prefix[66];
  size_t i;

  memset(prefix, 'p', 65);
  prefix[65] = '\0';
  REFUSED(name, NULL);
  REFUSED(prefix, NULL);
  REFUSED(prefix, "");
  REFUSED(prefix, "a b");
  REFUSED(prefix, "a{b");
  REFUSED(prefix, "a}b");
  REFUSED(prefix, "a\tb");
  REFUSED(prefix, prefix);
  REFUSED(redis, "redis://127.0.0.1"); /* and a transport */
  REFUSED(slow_policy, (cp_slow_policy)3);
  REFUSED(max_message, 0);
  REFUSED(max_message, (size_t)1 << 40);
  REFUSED(max_send_queue, 0);
  REFUSED(max_receive_memory, 0);
  REFUSED(max_request, 0);
  REFUSED(max_request, (size_t)1 << 40);
  REFUSED(max_thread_queue, 0);
  REFUSED(compress, 2);
  for (i = 0; i < sizeof bad_origins / sizeof *bad_origins; i++) {
    const char *origins[] = {"https://good.example", bad_origins[i], NULL};
    REFUSED(origins, origins);
  }
  REFUSED(compress, -1);
  REFUSED(handshake_timeout_ms, 0);
  REFUSED(close_timeout_ms, 0);
  REFUSED(max_missed_pings, 0);
  REFUSED(max_missed_pings, 256);
  f->node.options.prefix = prefix + 1;
  assert_int_equal(create(f), 0);
}

static void test_options_without_init(void **state) {
  fixture *f = *state;
  size_t size = f->node.options.size;

  f->node.options.size = 0;
  assert_refused(f);
  f->node.options.size = offsetof(cp_server_options, outbox_bytes) - 1;
  assert_refused(f);
  f->node.options.size = SIZE_MAX;
  assert_refused(f);
  assert_int_equal(cp_server_create(&f->node.server, &f->node.loop.loop, NULL),
                   CP_E_INVALID);
  f->node.options.size = size;
  assert_int_equal(cp_server_create(&f->node.server, NULL, &f->node.options),
                   CP_E_INVALID);
}

static void test_bad_urls(void **state) {
  fixture *f = *state;

  f->node.options.transport = NULL;
  f->node.options.redis = "nonsense";
  assert_int_equal(create(f), CP_E_URL);
  assert_string_not_equal(f->node.log_text, "");
  f->node.options.redis = "redis+cluster://127.0.0.1/1";
  assert_int_equal(create(f), CP_E_URL);
  assert_null(f->node.server);
}

static void test_strings_are_copied(void **state) {
  fixture *f = *state;
  char name[] = "Ada", prefix[] = "app", origin[] = "https://one.example";
  const char *origins[] = {origin, NULL};

  f->node.options.name = name;
  f->node.options.prefix = prefix;
  f->node.options.origins = origins;
  observed_node_start(&f->node);
  memset(name, 'x', 3);
  memset(prefix, 'x', 3);
  memset(origin, 'x', sizeof origin - 1);
  origins[0] = NULL;
  assert_string_equal(cp_server_name(f->node.server), "Ada");
  fake_transport_link(&f->node.fake, 0);
  observed_node_poll(&f->node);
  assert_non_null(strstr(f->node.fake.asked, "+app:all "));
  fake_transport_confirm_all(&f->node.fake);
  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/?user=alice",
                     "Origin: https://one.example\r\n");
  node_await(&f->node,
             (fake_transport_confirm_all(&f->node.fake), f->a.status != 0));
  assert_int_equal(f->a.status, 101);
}

static void test_getters(void **state) {
  fixture *f = *state;
  cp_server *server, *other;
  uint64_t instance;

  assert_int_equal(create(f), 0);
  server = f->node.server;
  assert_ptr_equal(cp_server_data(server), &f->node);
  assert_int_equal(cp_server_port(server), 0);
  instance = cp_server_instance(server);
  assert_true(instance != 0);
  f->node.options.transport = NULL;
  assert_int_equal(
      cp_server_create(&other, &f->node.loop.loop, &f->node.options), 0);
  assert_true(cp_server_instance(other) != instance);
  cp_server_close(other, 0, NULL);
}

static void test_older_stats(void **state) {
  fixture *f = *state;
  struct {
    size_t size;
    uint64_t conns;
    char canary[8];
  } older;

  assert_int_equal(create(f), 0);
  memset(&older, 'x', sizeof older);
  older.size = offsetof(cp_stats, users);
  cp_server_stats(f->node.server, (cp_stats *)(void *)&older);
  assert_int_equal(older.size, 16);
  assert_int_equal(older.conns, 0);
  assert_memory_equal(older.canary, "xxxxxxxx", 8);
}

static void test_log_of_the_transport(void **state) {
  fixture *f = *state;
  const cp_transport_host *host;

  f->node.options.log_level = CP_LOG_WARN;
  assert_int_equal(create(f), 0);
  host = f->node.fake.host;
  host->log(host->ctx, CP_LOG_INFO, "chatter");
  host->log(host->ctx, CP_LOG_WARN, "100%s\n");
  assert_string_equal(f->node.log_text, "100%s?\n");
}

/* SIGPIPE. */

static void on_signal(int number) {
  (void)number;
}

static void assert_sigpipe(void (*handler)(int)) {
  struct sigaction action;

  assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
  assert_true(action.sa_handler == handler);
}

static void test_sigpipe(void **state) {
  fixture *f = *state;

  signal(SIGPIPE, SIG_DFL);
  f->node.options.keep_sigpipe = 1;
  assert_int_equal(create(f), 0);
  assert_sigpipe(SIG_DFL);
  cp_server_close(f->node.server, 0, NULL);
  f->node.options.keep_sigpipe = 0;
  f->node.options.transport = NULL;
  signal(SIGPIPE, on_signal);
  assert_int_equal(create(f), 0);
  assert_sigpipe(on_signal);
  cp_server_close(f->node.server, 0, NULL);
  signal(SIGPIPE, SIG_DFL);
  assert_int_equal(create(f), 0);
  assert_sigpipe(SIG_IGN);
}

/* Create that fails half-way. */

static void test_transport_that_does_not_start(void **state) {
  fixture *f = *state;

  f->node.fake.fail_start = UV_ENETDOWN;
  assert_int_equal(create(f), UV_ENETDOWN);
  assert_null(f->node.server);
  assert_string_not_equal(f->node.log_text, "");
  f->node.log_text[0] = '\0';
  uv_run(&f->node.loop.loop, UV_RUN_DEFAULT);
  assert_int_equal(f->node.memory.n_live, 0);
  assert_true(observed_node_heard(&f->node, ""));
  assert_string_equal(f->node.log_text, "");
  /* It was not taken, so it can be used again. */
  assert_string_equal(f->node.fake.asked, "");
  f->node.fake.fail_start = 0;
  observed_node_start_linked(&f->node);
}

/* Listening. -------------------------------------------------------------- */

static void test_bad_addresses(void **state) {
  static const char *const bad[] = {
      "",           "8080",        "localhost",
      "127.0.0.1:", "127.0.0.1:x", ":65536",
      ":-1",        ":+1",         ": 1",
      "::1:80",     "[::1:80",     "[::1]80",
      "[]:80",      "[::1]",       ":80x",
      "unix:",      "unix:rel",    ":9999999999999999999999",
      "a:b:1"};
  fixture *f = *state;
  size_t i;

  assert_int_equal(create(f), 0);
  for (i = 0; i < sizeof bad / sizeof *bad; i++) {
    f->node.log_text[0] = '\0';
    assert_int_equal(cp_server_listen(f->node.server, bad[i]), CP_E_INVALID);
    assert_non_null(strstr(f->node.log_text, "this is no address"));
  }
}

static void test_addresses(void **state) {
  fixture *f = *state;
  char address[32], long_host[400];
  int port;

  assert_int_equal(create(f), 0);
  assert_int_equal(cp_server_listen(f->node.server, ":0"), 0);
  port = cp_server_port(f->node.server);
  assert_true(port > 0);
  assert_ptr_equal(f->node.server->listeners.next, /* that is all */
                   f->node.server->listeners.prev);
  snprintf(address, sizeof address, ":%d", port);
  assert_int_equal(cp_server_listen(f->node.server, address), UV_EADDRINUSE);
  assert_int_equal(cp_server_listen(f->node.server, "localhost:0"), 0);
  assert_int_equal(cp_server_listen(f->node.server, "127.0.0.1:0"), 0);
  assert_int_equal(cp_server_port(f->node.server), port);
  assert_true(cp_server_listen(f->node.server, "no.such.host.invalid:0") < 0);
  memset(long_host, 'h', sizeof long_host);
  strcpy(long_host + 300, ":0");
  assert_int_equal(cp_server_listen(f->node.server, long_host), CP_E_INVALID);
  f->node.port = port;
  open_client(f, &f->a, "/?user=alice");
  node_await(&f->node, f->a.status == 101);
}

/* As a name's addresses come. `port` 0: any. */
typedef struct address_list {
  struct sockaddr_in addresses[3];
  struct addrinfo infos[3];
} address_list;

static void add_address(address_list *list, size_t i, const char *ip,
                        int port) {
  uv_ip4_addr(ip, port, &list->addresses[i]);
  memset(&list->infos[i], 0, sizeof list->infos[i]);
  list->infos[i].ai_addr = (struct sockaddr *)&list->addresses[i];
  list->infos[i].ai_addrlen = sizeof list->addresses[i];
  if (i > 0)
    list->infos[i - 1].ai_next = &list->infos[i];
}

#define FOREIGN "192.0.2.1" /* RFC 5737: nobody has it */

static void test_addresses_of_a_name(void **state) {
  fixture *f = *state;
  address_list list;
  int port;

  assert_int_equal(create(f), 0);
  add_address(&list, 0, FOREIGN, 0);
  add_address(&list, 1, FOREIGN, 0);
  assert_int_equal(cp__server_listen_on(f->node.server, list.infos),
                   UV_EADDRNOTAVAIL);
  add_address(&list, 2, "127.0.0.1", 0);
  assert_int_equal(cp__server_listen_on(f->node.server, list.infos), 0);
  port = cp_server_port(f->node.server);
  assert_true(port > 0);
  /* One that is there and taken is the answer: before others, and behind. */
  add_address(&list, 0, "127.0.0.1", port);
  add_address(&list, 1, "127.0.0.1", 0);
  assert_int_equal(cp__server_listen_on(f->node.server, list.infos),
                   UV_EADDRINUSE);
  add_address(&list, 0, FOREIGN, port);
  add_address(&list, 1, "127.0.0.1", port);
  assert_int_equal(cp__server_listen_on(f->node.server, list.infos),
                   UV_EADDRINUSE);
  f->node.port = port;
  open_client(f, &f->a, "/?user=alice");
  node_await(&f->node, f->a.status == 101);
}

static void test_ipv6(void **state) {
  fixture *f = *state;
  int rc;

  assert_int_equal(create(f), 0);
  rc = cp_server_listen(f->node.server, "[::1]:0");
  if (rc == UV_EAFNOSUPPORT || rc == UV_EADDRNOTAVAIL)
    skip();
  assert_int_equal(rc, 0);
  assert_true(cp_server_port(f->node.server) > 0);
}

static void make_path(fixture *f) {
  strcpy(f->dir, "/tmp/cp-server-XXXXXX");
  assert_non_null(mkdtemp(f->dir));
  snprintf(f->path, sizeof f->path, "%s/socket", f->dir);
}

static void listen_at_path(fixture *f, int expected) {
  char address[80];

  snprintf(address, sizeof address, "unix:%s", f->path);
  assert_int_equal(cp_server_listen(f->node.server, address), expected);
}

static void test_unix_socket(void **state) {
  fixture *f = *state;

  make_path(f);
  assert_int_equal(create(f), 0);
  listen_at_path(f, 0);
  assert_int_equal(cp_server_port(f->node.server), 0);
  simple_client_open_unix(&f->a, &f->node.loop.loop, f->path, "/?user=alice");
  node_await(&f->node, f->a.status == 101);
  listen_at_path(f, UV_EADDRINUSE); /* it is not stale */
  simple_client_open_unix(&f->b, &f->node.loop.loop, f->path, "/?user=bob");
  node_await(&f->node, f->b.status == 101);
}

static void leave_stale_socket(const char *path) {
  struct sockaddr_un address;
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);

  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, path);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  close(fd);
}

static void test_stale_unix_socket(void **state) {
  fixture *f = *state;

  make_path(f);
  leave_stale_socket(f->path);
  assert_int_equal(create(f), 0);
  listen_at_path(f, 0);
  simple_client_open_unix(&f->a, &f->node.loop.loop, f->path, "/?user=alice");
  node_await(&f->node, f->a.status == 101);
}

static void test_other_files_are_not_replaced(void **state) {
  fixture *f = *state;
  struct stat file;
  FILE *stream;

  make_path(f);
  stream = fopen(f->path, "w");
  fclose(stream);
  assert_int_equal(create(f), 0);
  listen_at_path(f, UV_EADDRINUSE);
  assert_int_equal(stat(f->path, &file), 0);
  assert_true(S_ISREG(file.st_mode));
}

static void test_long_unix_path(void **state) {
  fixture *f = *state;
  char address[200] = "unix:/";

  assert_int_equal(create(f), 0);
  memset(address + 6, 'x', 108);
  assert_int_equal(cp_server_listen(f->node.server, address), UV_ENAMETOOLONG);
}

/* Close. ------------------------------------------------------------------ */

static void on_closed(void *data) {
  observed_node *node = data;

  assert_false(node->closed);
  node->closed = true;
}

static void close_now(fixture *f, uint64_t grace_ms) {
  cp_server_close(f->node.server, grace_ms, on_closed);
  assert_false(f->node.closed);
}

static void await_closed(fixture *f) {
  node_await(&f->node, f->node.closed);
  f->node.server = NULL;
}

static void test_close_at_once(void **state) {
  fixture *f = *state;

  cp_server_close(NULL, 0, NULL);
  cp_server_unref(NULL);
  assert_int_equal(create(f), 0);
  close_now(f, 0);
  await_closed(f);
}

static void test_close_says_goodbye(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_send_to_conn(&f->node, &f->send, f->node.id, "last words");
  close_now(f, 10000);
  assert_string_equal(f->node.fake.asked, "+cp:u:{alice} close:10000 ");
  await_closed(f);
  assert_true(observed_node_heard(&f->node, "open:alice close:alice:1001 "));
  node_await(&f->node, f->a.gone);
  assert_int_equal(f->a.close_code, 1001);
  assert_string_equal(f->a.messages, "last words|");
}

static void test_everything_is_refused_after_close(void **state) {
  fixture *f = *state;
  cp_server *server;

  observed_node_start_linked(&f->node);
  server = f->node.server;
  close_now(f, 0);
  assert_int_equal(cp_server_listen(server, ":0"), CP_E_CLOSED);
  assert_int_equal(observed_broadcast(&f->node, &f->send, "x"), CP_E_CLOSED);
  cp_server_port(server);
  assert_int_equal(cp_server_cluster_state(server), CP_UP);
  await_closed(f);
  assert_int_equal(f->send.n_calls, 0);
}

/* One that does not read, nor answers the close. */
static void test_grace_has_an_end(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  uv_read_stop(&f->a.io.stream);
  close_now(f, 30);
  await_closed(f);
  assert_true(observed_node_heard_word(&f->node, "close:alice:1006"));
  simple_client_hang_up(&f->a);
}

static void test_second_close_shortens_the_grace(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  uv_read_stop(&f->a.io.stream);
  close_now(f, 3600000);
  cp_server_close(f->node.server, 7200000, on_closed);
  cp_server_close(f->node.server, 0, on_closed);
  await_closed(f); /* on_closed checks that it is called once */
  simple_client_hang_up(&f->a);
}

static void test_close_waits_for_the_transport(void **state) {
  fixture *f = *state;
  int i;

  f->node.fake.hold_close = true;
  observed_node_start_linked(&f->node);
  observed_broadcast(&f->node, &f->send, "x");
  close_now(f, 0);
  for (i = 0; i < 10; i++)
    observed_node_poll(&f->node);
  assert_false(f->node.closed);
  fake_transport_answer(&f->node.fake, 0, 2); /* it is still heard */
  observed_node_poll(&f->node);
  assert_int_equal(f->send.n_calls, 1);
  assert_int_equal(f->send.result.state, CP_REACHED);
  fake_transport_finish_close(&f->node.fake);
  await_closed(f);
}

static void test_nothing_is_asked_of_a_closed_transport(void **state) {
  fixture *f = *state;

  f->node.fake.hold_close = true;
  f->node.options.leave_delay_ms = 0;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_forget(&f->node.fake);
  close_now(f, 1000);
  node_await(&f->node, f->node.server->registry.users.n_nodes == 0);
  assert_string_equal(f->node.fake.asked, "close:1000 ");
  fake_transport_unlink(&f->node.fake, "over");
  observed_node_poll(&f->node);
  assert_false(observed_node_heard_word(&f->node, "down"));
  fake_transport_finish_close(&f->node.fake);
  await_closed(f);
}

/* A connection in each state. */

static void close_with_client(fixture *f) {
  close_now(f, 5000);
  await_closed(f);
  node_await(&f->node, f->a.gone);
}

static void test_close_while_asking(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  simple_client_connect(&f->a, &f->node.loop.loop, f->node.port);
  node_await(&f->node, f->node.server->peers.n_conns == 1);
  close_with_client(f);
  assert_int_equal(f->a.status, 0);
  assert_true(observed_node_heard(&f->node, ""));
}

static void test_close_while_asked(void **state) {
  fixture *f = *state;

  f->node.hold = true;
  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  node_await(&f->node, f->node.n_held == 1);
  close_with_client(f);
  assert_int_equal(f->a.status, 503);
  /* The request outlives the server. */
  assert_true(f->node.memory.n_live > 0);
  assert_int_equal(cp_request_path(f->node.held[0]).len, 1);
  assert_int_equal(cp_request_accept(f->node.held[0], cp_str("alice"), NULL),
                   CP_E_CLOSED);
  assert_int_equal(f->node.memory.n_live, 0);
}

static void test_close_while_joining(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  node_await(&f->node, fake_transport_n_unconfirmed(&f->node.fake) == 1);
  close_with_client(f);
  assert_int_equal(f->a.status, 503);
  assert_true(observed_node_heard(&f->node, ""));
}

static void test_close_while_closing(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  assert_int_equal(cp_conn_close(f->node.conn, 4001, cp_str("bye")), 0);
  close_with_client(f);
  assert_int_equal(f->a.close_code, 4001);
}

static void test_close_while_unlinked(void **state) {
  fixture *f = *state;

  observed_node_start(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_send_to_user(&f->node, &f->send, "alice", "x");
  close_with_client(f);
  assert_int_equal(f->send.n_calls, 1);
  assert_string_equal(f->a.messages, "x|");
}

/* From a hook. */

static void close_in_hook(observed_node *node, const char *hook,
                          cp_conn *conn) {
  (void)conn;
  if (strcmp(hook, node->data) != 0)
    return;
  cp_server_close(node->server, 5000, on_closed);
  assert_false(node->closed);
}

static void close_in(fixture *f, const char *hook) {
  f->node.also = close_in_hook;
  f->node.data = (void *)(uintptr_t)hook;
}

static void test_close_in_on_upgrade(void **state) {
  fixture *f = *state;

  close_in(f, "upgrade");
  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  await_closed(f);
  node_await(&f->node, f->a.gone);
  assert_int_equal(f->a.status, 503);
}

static void test_close_in_on_http(void **state) {
  fixture *f = *state;

  close_in(f, "http");
  observed_node_start_linked(&f->node);
  simple_client_get(&f->a, &f->node.loop.loop, f->node.port, "/health");
  await_closed(f);
  node_await(&f->node, f->a.gone);
  assert_int_equal(f->a.status, 503);
}

static void test_close_in_on_open(void **state) {
  fixture *f = *state;

  close_in(f, "open");
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  await_closed(f);
  node_await(&f->node, f->a.gone);
  assert_int_equal(f->a.close_code, 1001);
  assert_true(observed_node_heard(&f->node, "open:alice close:alice:1001 "));
}

static void test_close_in_on_message(void **state) {
  fixture *f = *state;

  close_in(f, "message");
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  simple_client_send(&f->a, "one");
  simple_client_send(&f->a, "two");
  await_closed(f);
  assert_true(
      observed_node_heard(&f->node, "open:alice alice>one close:alice:1001 "));
}

static void test_close_in_on_close(void **state) {
  fixture *f = *state;

  close_in(f, "close");
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_node_connect(&f->node, &f->b, "bob");
  simple_client_hang_up(&f->a);
  await_closed(f);
  assert_true(observed_node_heard_word(&f->node, "close:alice:1006"));
  assert_true(observed_node_heard_word(&f->node, "close:bob:1001"));
}

static void test_close_in_on_transport(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  close_in(f, "transport");
  fake_transport_unlink(&f->node.fake, "break");
  await_closed(f);
  assert_true(observed_node_heard_word(&f->node, "close:alice:1001"));
}

/* Everything else from a hook. */

static void call_everything(observed_node *node, const char *hook,
                            cp_conn *conn) {
  cp_stats stats;

  (void)hook;
  stats.size = sizeof stats;
  cp_server_stats(node->server, &stats);
  cp_broadcast(node->server, CP_TEXT, cp_str("x"), NULL);
  cp_send_to_user(node->server, cp_str("alice"), CP_TEXT, cp_str("y"), NULL);
  cp_send_to_conn(node->server, node->id, CP_TEXT, cp_str("z"), NULL);
  cp_server_listen(node->server, "127.0.0.1:0");
  cp_server_unref(cp_server_ref(node->server));
  if (conn != NULL) {
    cp_conn_queued(conn);
    cp_conn_set_data(conn, node);
    cp_conn_close(conn, 4000, cp_str(hook));
    assert_int_equal(cp_conn_close(conn, 4000, cp_str("")), CP_E_CLOSED);
    assert_ptr_equal(cp_conn_data(conn), node);
  }
}

static void test_everything_from_every_hook(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  f->node.also = call_everything;
  simple_client_get(&f->b, &f->node.loop.loop, f->node.port, "/");
  open_client(f, &f->a, "/?user=alice");
  node_await(&f->node, (fake_transport_confirm_all(&f->node.fake),
                        f->a.gone && f->b.gone));
  assert_int_equal(f->a.close_code, 4000);
  fake_transport_unlink(&f->node.fake, "break");
  observed_node_poll(&f->node);
}

static void end_server(void *data) {
  fixture *f = data;
  cp_stats stats;
  cp_server *server = f->node.server;

  stats.size = sizeof stats;
  cp_server_stats(server, &stats);
  assert_int_equal(stats.conns, 0);
  cp_server_close(server, 0, end_server);
  assert_int_equal(cp_server_listen(server, ":0"), CP_E_CLOSED);
  assert_int_equal(cp_server_port(server), 0);
  assert_int_equal(cp_broadcast(server, CP_TEXT, cp_str("x"), NULL),
                   CP_E_CLOSED);
  f->node.closed = true;
}

static void test_everything_from_the_close_callback(void **state) {
  fixture *f = *state;

  f->node.options.data = f;
  assert_int_equal(create(f), 0);
  cp_server_close(f->node.server, 0, end_server);
  await_closed(f);
}

/* References. */

static void test_a_reference_outlives_the_close(void **state) {
  fixture *f = *state;
  cp_server *server;

  observed_node_start_linked(&f->node);
  server = cp_server_ref(f->node.server);
  assert_ptr_equal(server, f->node.server);
  close_now(f, 0);
  await_closed(f);
  assert_true(f->node.memory.n_live > 0);
  assert_int_equal(cp_broadcast(server, CP_TEXT, cp_str("x"), NULL),
                   CP_E_CLOSED);
  assert_ptr_equal(cp_server_data(server), &f->node);
  cp_server_unref(server);
  assert_int_equal(f->node.memory.n_live, 0);
}

static void unref(void *server) {
  cp_server_unref(server);
}

static void test_the_last_reference_is_given_back_elsewhere(void **state) {
  fixture *f = *state;
  cp_server *server;
  uv_thread_t thread;

  observed_node_start_linked(&f->node);
  server = cp_server_ref(f->node.server);
  close_now(f, 0);
  await_closed(f);
  uv_thread_create(&thread, unref, server);
  uv_thread_join(&thread);
  assert_int_equal(f->node.memory.n_live, 0);
}

/* Redis, as far as a server knows it. */

static void test_redis_that_is_away(void **state) {
  fixture *f = *state;

  f->node.options.transport = NULL;
  f->node.options.redis = "redis://127.0.0.1:1";
  observed_node_start(&f->node);
  node_await(&f->node, observed_node_heard_word(&f->node, "down"));
  assert_string_not_equal(cp_server_cluster_reason(f->node.server), "");
  open_client(f, &f->a, "/?user=alice");
  node_await(&f->node, f->a.status == 101);
  observed_send_to_user(&f->node, &f->send, "alice", "x");
  node_await(&f->node, f->a.n_messages == 1);
  assert_int_equal(f->send.n_calls, 0); /* it waits for the others */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults),
      cmocka_unit_test(test_sized_init),
      TEST(test_newer_options_are_taken),
      TEST(test_bad_options),
      TEST(test_options_without_init),
      TEST(test_bad_urls),
      TEST(test_strings_are_copied),
      TEST(test_getters),
      TEST(test_older_stats),
      TEST(test_log_of_the_transport),
      TEST(test_sigpipe),
      TEST(test_transport_that_does_not_start),
      TEST(test_bad_addresses),
      TEST(test_addresses),
      TEST(test_addresses_of_a_name),
      TEST(test_ipv6),
      TEST(test_unix_socket),
      TEST(test_stale_unix_socket),
      TEST(test_other_files_are_not_replaced),
      TEST(test_long_unix_path),
      TEST(test_close_at_once),
      TEST(test_close_says_goodbye),
      TEST(test_everything_is_refused_after_close),
      TEST(test_grace_has_an_end),
      TEST(test_second_close_shortens_the_grace),
      TEST(test_close_waits_for_the_transport),
      TEST(test_nothing_is_asked_of_a_closed_transport),
      TEST(test_close_while_asking),
      TEST(test_close_while_asked),
      TEST(test_close_while_joining),
      TEST(test_close_while_closing),
      TEST(test_close_while_unlinked),
      TEST(test_close_in_on_upgrade),
      TEST(test_close_in_on_http),
      TEST(test_close_in_on_open),
      TEST(test_close_in_on_message),
      TEST(test_close_in_on_close),
      TEST(test_close_in_on_transport),
      TEST(test_everything_from_every_hook),
      TEST(test_everything_from_the_close_callback),
      TEST(test_a_reference_outlives_the_close),
      TEST(test_the_last_reference_is_given_back_elsewhere),
      TEST(test_redis_that_is_away),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
