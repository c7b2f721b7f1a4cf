/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* load: a WebSocket load program, one thread, on epoll. It shares no code with
 * the library that it measures, and knows nothing of it but this: a client that
 * connects as GET /?user=u17 is user u17, a text "u17 HELLO" sends HELLO to
 * user u17, and "* HELLO" sends it to everybody. Any server that does so can be
 * measured.
 *
 *   modes   relay, fanout, idle, storm: what is measured
 *   pump    when the next message is sent; what a stretch of time cost
 *   traffic who sends to whom, and the check of every single message
 *   swarm   the clients, their sockets and frames
 *   proc, histogram, report, options
 *
 * Exit: 0; 1: something was lost, or came twice, or came out of order, or to
 * the wrong user; 2: it could not be measured. */

#include "die.h"
#include "modes.h"

#include <string.h>

static const struct {
  const char *name;
  bool (*run)(options *o);
} modes[] = {
    {"relay", mode_relay},
    {"fanout", mode_fanout},
    {"idle", mode_idle},
    {"storm", mode_storm},
};

int main(int argc, char **argv) {
  options o;
  size_t i;

  options_parse(&o, argc, argv);
  for (i = 0; i < sizeof modes / sizeof *modes; i++)
    if (strcmp(o.mode, modes[i].name) == 0)
      return modes[i].run(&o) ? 0 : 1;
  die("there is no mode '%s'; load --help lists them", o.mode);
}
