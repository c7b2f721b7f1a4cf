/* A complete server: everybody is who they say, and talks to everybody. */
#include <clusterpush/clusterpush.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static void on_upgrade(cp_server *server, cp_request *request) {
  cp_bytes user;
  (void)server;
  if (cp_request_query(request, "user", &user) == 0)
    cp_request_accept(request, user,
                      NULL); /* check a token first, in earnest */
  else
    cp_request_refuse(request, 401, "who are you?\n");
}

static void on_message(cp_server *server, cp_conn *conn, cp_type type,
                       cp_bytes body) {
  (void)conn;
  cp_broadcast(server, type, body, NULL);
}

int main(void) {
  cp_server_options options;
  cp_server *server;
  int rc;

  cp_server_options_init(&options);
  options.redis = getenv("REDIS_URL"); /* unset: one node, no Redis */
  options.on_upgrade = on_upgrade;
  options.on_message = on_message;
  rc = cp_server_create(&server, uv_default_loop(), &options);
  if (rc == 0)
    rc = cp_server_listen(server, ":8080");
  if (rc == 0)
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  fprintf(stderr, "%s\n", cp_strerror(rc));
  return 1;
}
